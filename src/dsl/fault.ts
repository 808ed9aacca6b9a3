/**
 * A fault: what was expected, what came instead, and where. One shape for a misused operation, a
 * config value, a tensor file and a command-line argument, so that one printer serves them all.
 */
import type { Either } from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'

// ---------------------------------------------------------------------------------------- model

export interface Fault {
  /** the operation (`dot`) or the file and key (`config.json: rope_theta`) */
  readonly at: string
  readonly expected: string
  readonly actual: string
  /** the user's source line, `file:line:column`, where an operation was misused */
  readonly site?: string
  /** what the user most likely meant */
  readonly hint?: string
}

/** Every boundary answers with all its faults at once. */
export type Checked<A> = Either<NonEmptyArray<Fault>, A>

// ----------------------------------------------------------------------------------- interpreters

/** One line for people: `dot: expected axis 'in', found axes token, r (did you mean 'r'?) at f.ts:3:9`. */
export const showFault = (f: Fault): string =>
  `${f.at}: expected ${f.expected}, found ${f.actual}${f.hint === undefined ? '' : ` (${f.hint})`}${
    f.site === undefined ? '' : ` at ${f.site}`
  }`

export const showFaults = (fs: ReadonlyArray<Fault>): string => fs.map(showFault).join('\n')
