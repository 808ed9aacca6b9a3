/** Exports, one row a target. */
import type { Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Program } from '../../dsl/program.ts'
import { exportC } from './c.ts'
import { exportCuda } from './cuda.ts'
import type { Exported, Header } from './exported.ts'
import { exportGpuJs } from './gpujs.ts'

interface Exporter {
  /** `joint`: a program with its gradient, as `vjpProgram` makes it */
  readonly make: (joint: Program, sizes: Sizes, header: Header) => Checked<Exported>
  /** sizes may stay symbols until a kernel is launched */
  readonly symbolic: boolean
}

export type ExportTarget = 'c' | 'cuda' | 'gpujs'

export const exporters: Readonly<Record<ExportTarget, Exporter>> = {
  c: { make: exportC, symbolic: true },
  cuda: { make: exportCuda, symbolic: true },
  gpujs: { make: exportGpuJs, symbolic: false },
}
