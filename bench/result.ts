/** What a run found, as it is written to JSON. Everything else that is written is made from this. */
import type { Form } from './case.ts'
import type { Facts } from './machine.ts'
import type { Absent } from './rival.ts'
import type { Summary } from './statistics.ts'

export interface RivalResult {
  readonly id: string
  readonly family: string
  readonly build: string
}

/** How far a rival's results lie from the reference, relative to the tensor's largest element. */
export interface Deviation {
  readonly worst: number
  readonly of: string
}

export interface CaseResult {
  readonly name: string
  readonly title: string
  readonly flops: Readonly<Partial<Record<Form, number>>>
  readonly bytes?: number
  readonly bound: number
  /** who computed what the results are compared with */
  readonly reference: string
  /** times by form and rival */
  readonly forms: Readonly<Partial<Record<Form, Readonly<Record<string, Summary>>>>>
  readonly deviations: Readonly<Record<string, Deviation>>
  /** why a rival has no times: it failed, or its numbers are off */
  readonly failures: Readonly<Record<string, string>>
  /** GFLOP/s measured between the rounds */
  readonly peak: number
  /** GB/s of a triad as large as the case */
  readonly bandwidth?: number
}

/** One compilation of the training step in a fresh process with an empty cache. */
export interface CompileResult {
  readonly layers: number
  readonly launches: number
  /** CPU milliseconds: tracing and differentiation; the passes, printing, compiling and loading; of it the C compiler's */
  readonly trace: number
  readonly compile: number
  readonly compiler: number
  /** how often the compiler ran */
  readonly runs: number
}

export interface Compilation {
  readonly steps: ReadonlyArray<CompileResult>
  /** runs of the compiler when one symbolic program is compiled for two sizes */
  readonly runsForTwoSizes: number
}

/** A line of what must hold: asked, measured, and whether it does; nothing where it was not measured. */
export interface Claim {
  readonly asked: string
  readonly measured: string
  readonly holds: boolean | undefined
}

export interface Result {
  readonly when: string
  readonly revision: string
  readonly quick: boolean
  readonly machine: Facts & {
    readonly peak: number
    readonly bandwidth: ReadonlyArray<{ readonly bytes: number; readonly rate: number }>
  }
  readonly rivals: ReadonlyArray<RivalResult>
  readonly absent: ReadonlyArray<Absent>
  readonly cases: ReadonlyArray<CaseResult>
  readonly compilation?: Compilation
  readonly claims: ReadonlyArray<Claim>
}
