/** Where a verb writes: results on `out`, progress and faults on `err`. Tests bring their own. */
import * as E from 'fp-ts/lib/Either.js'
import type { TaskEither } from 'fp-ts/lib/TaskEither.js'
import { showFault, showFaults } from '../dsl/index.ts'
import type { Faults } from '../models/index.ts'
import { userFault } from './thrown.ts'

// ---------------------------------------------------------------------------------------- model

/** Two streams; `isTTY` where a person watches. */
export interface Terminal {
  readonly out: NodeJS.WritableStream
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean }
}

/** What a verb does once its arguments are understood: an exit code, or faults. */
export type Work = TaskEither<Faults, number>

/** Runs a verb's work and keeps its exit code. */
export interface Runner {
  readonly terminal: Terminal
  readonly run: (work: Work) => Promise<void>
}

// --------------------------------------------------------------------------------- constructors

/** The process's own streams. */
export const processTerminal: Terminal = { out: process.stdout, err: process.stderr }

// --------------------------------------------------------------------------------- interpreters

/** One line a warning, on `err`. */
export const warn = ({ err }: Terminal, warnings: ReadonlyArray<string>): void =>
  warnings.forEach((w) => void err.write(`warning: ${w}\n`))

/** One line of JSON, on `out`. */
export const printJson = ({ out }: Terminal, json: unknown): void => void out.write(`${JSON.stringify(json)}\n`)

/** What threw, for people: where a user's own code did, else the whole stack. */
const showThrown = (e: unknown): string => {
  const fault = userFault("the adapter's code", e)
  if (fault !== undefined) return showFault(fault)
  return `internal error, please report it: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`
}

/** 1 and the faults on `err`, or the work's own code. */
export const exitCodeOf = async ({ err }: Terminal, work: Work): Promise<number> => {
  try {
    const done = await work()
    if (E.isRight(done)) return done.right
    err.write(`${showFaults(done.left)}\n`)
  } catch (e) {
    err.write(`${showThrown(e)}\n`)
  }
  return 1
}
