/** What `compile` answers with. */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type * as TE from 'fp-ts/lib/TaskEither.js'
import type { Checked, Fault } from '../dsl/fault.ts'
import type { Report } from './report/report.ts'

/** Row-major, in the order of the node's own dims. Integers of 32 bits (keys) come as Uint32Array. */
export type Numbers = Float32Array | Int32Array | Uint32Array
export type Arrays = Readonly<Record<string, Numbers>>
export type Results = Readonly<Record<string, Float32Array>>
/** Results copied into the arrays that the caller gave; for targets that make their own. */
export const pour =
  (into: Results | undefined) =>
  (made: Results): Results =>
    into === undefined
      ? made
      : Object.fromEntries(
          Object.entries(made).map(([name, data]) => {
            const own = into[name]
            own?.set(data)
            return [name, own ?? data]
          }),
        )

/** Arrays to fill have the lengths of their outputs. */
export const checkInto = (lengths: Readonly<Record<string, number>>, into: Results = {}): Checked<Results> => {
  const faults = Object.entries(into).flatMap(([name, data]): ReadonlyArray<Fault> => {
    const expected = Object.hasOwn(lengths, name) ? lengths[name] : undefined
    if (expected === undefined)
      return [{ at: `array for output '${name}'`, expected: `one of ${Object.keys(lengths).join(', ')}`, actual: name }]
    return data.length === expected
      ? []
      : [{ at: `array for output '${name}'`, expected: `${String(expected)} numbers`, actual: String(data.length) }]
  })
  const [first, ...rest] = faults
  return first === undefined ? E.right(into) : E.left([first, ...rest])
}

export type Running<A> = TE.TaskEither<NonEmptyArray<Fault>, A>

export interface Executable {
  /** what runs it: `gpujs (webasm)`, `oracle` */
  readonly target: string
  /** why this target */
  readonly reason: string
  /**
   * Outputs by name, row-major. Where `into` has an array for an output it is filled and answered, so that a loop
   * allocates nothing; it must not be an input of the same run. Faults: inputs or arrays of the wrong length.
   */
  readonly run: (inputs: Arrays, into?: Results) => Running<Results>
  /** the same, at once: for small programs and for laws */
  readonly runNow: (inputs: Arrays, into?: Results) => Checked<Results>
  readonly report: Report
  readonly dispose: () => void
}
