/** Exports, one row a target. */
import type { Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Program } from '../../dsl/program.ts'
import type { Exported, Header } from './exported.ts'
import { exportGpuJs } from './gpujs.ts'

interface Exporter {
  /** `joint`: a program with its gradient, as `vjpProgram` makes it */
  readonly make: (joint: Program, sizes: Sizes, header: Header) => Checked<Exported>
  /** sizes may stay symbols until a kernel is launched */
  readonly symbolic: boolean
}

export type ExportTarget = 'gpujs'

export const exporters: Readonly<Record<ExportTarget, Exporter>> = {
  gpujs: { make: exportGpuJs, symbolic: false },
}
