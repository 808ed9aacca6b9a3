/** Flags that verbs share, and how the text of an argument becomes a value. Faults name the flag and the text. */
import { Argument, InvalidArgumentError, Option, type Command } from 'commander'
import type { TargetName } from '../codegen/index.ts'

// ---------------------------------------------------------------------------------------- model

/** What every verb that computes takes. */
export interface CommonOptions {
  readonly target: TargetName
  readonly json?: true
}

// --------------------------------------------------------------------------------- constructors

/** A whole number from `least` to `most`, written with digits only. */
export const integer =
  (least: number, most: number = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const n = /^\d+$/.test(text) ? Number(text) : NaN
    if (n >= least && n <= most) return n
    throw new InvalidArgumentError(
      most === Number.MAX_SAFE_INTEGER
        ? `Expected a whole number of at least ${least}.`
        : `Expected a whole number from ${least} to ${most}.`,
    )
  }

/** A finite number x with `holds(x)`; `expected` says so in words. */
export const numberWhere =
  (expected: string, holds: (x: number) => boolean) =>
  (text: string): number => {
    const x = text.trim() === '' ? NaN : Number(text)
    if (Number.isFinite(x) && holds(x)) return x
    throw new InvalidArgumentError(`Expected ${expected}.`)
  }

/** `q_proj,v_proj` */
export const names = (text: string): ReadonlyArray<string> => {
  const found = text.split(',').map((name) => name.trim())
  if (found.some((name) => name === '')) throw new InvalidArgumentError('Expected names with commas between them.')
  return found
}

/** Any whole number that a double holds exactly. */
export const seed = integer(0, 2 ** 53 - 1)

const targets: ReadonlyArray<TargetName> = ['auto', 'c', 'gpujs', 'oracle']

// ---------------------------------------------------------------------------------- combinators

/** `--target`; `more` are further choices. */
export const withTarget = (command: Command, more: ReadonlyArray<string> = []): Command =>
  command.addOption(
    new Option(
      '--target <name>',
      'what computes: c (f32, needs a C compiler), gpujs (f32, anywhere), or oracle (f64, slow and exact); auto takes the first of c and gpujs that works',
    )
      .choices([...targets, ...more])
      .default('auto'),
  )

/** `--json`, with what the object holds. */
export const withJson = (command: Command, what: string): Command =>
  command.option('--json', `print one JSON object on stdout: ${what}`)

/** Examples at the end of the help. */
export const withExamples = (command: Command, examples: ReadonlyArray<string>): Command =>
  command.addHelpText(
    'after',
    `\n${examples.length === 1 ? 'Example' : 'Examples'}:\n${examples.map((e) => `  $ ${e}`).join('\n')}\n`,
  )

/** The definition of a user's own adapter, for folders that hold its parameters. */
export const withDefinition = (command: Command): Command =>
  command.option('--definition <file.ts>', 'the adapter that --adapter holds the parameters of, where it is your own')

/** Any number of adapters; none is all built-in ones. */
export const adaptersArgument = new Argument('[adapters...]', 'names of built-in adapters, or files that export one')
