/** What `compile` answers with. */
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type * as TE from 'fp-ts/lib/TaskEither.js'
import type { Checked, Fault } from '../dsl/fault.ts'
import type { Report } from './report.ts'

/** Row-major, in the order of the node's own dims. Integers of 32 bits (keys) come as Uint32Array. */
export type Numbers = Float32Array | Int32Array | Uint32Array
export type Arrays = Readonly<Record<string, Numbers>>
export type Results = Readonly<Record<string, Float32Array>>
export type Running<A> = TE.TaskEither<NonEmptyArray<Fault>, A>

export interface Executable {
  /** what runs it: `gpujs (webasm)`, `oracle` */
  readonly target: string
  /** why this target */
  readonly reason: string
  readonly run: (inputs: Arrays) => Running<Results>
  /** the same, at once: for small programs and for laws */
  readonly runNow: (inputs: Arrays) => Checked<Results>
  readonly report: Report
  readonly dispose: () => void
}
