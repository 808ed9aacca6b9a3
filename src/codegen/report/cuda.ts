/** What a program becomes for CUDA: its launches, their source, and what the real compiler says of each kernel, where there is one. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { simplify } from '../../autodiff/simplify.ts'
import type { Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Program } from '../../dsl/program.ts'
import { distinct, launchesOf, type Launched } from '../export/blocks.ts'
import { cudaTarget } from '../export/cuda.ts'
import type { Group } from '../fuse/group.ts'
import { keyOfKernel, type Kernel } from '../kernel/kernel.ts'
import { blockStages } from '../pipeline.ts'
import { blocksAt, launchOf, printCuda, showGrid } from '../print/cuda.ts'
import { reportOfGroups } from './groups.ts'
import type { KernelReport, Report } from './report.ts'
import { readCubin, type CubinKernel } from '../runtime/cubin.ts'
import { findCudaCompiler } from '../runtime/find-cuda-compiler.ts'

/** the architecture whose registers are shown */
const ARCH = 'sm_80'

/** What the compiler made of each kernel, by name; why there is nothing, where there is nothing. */
const compiledBy = (source: string): E.Either<string, ReadonlyMap<string, CubinKernel>> =>
  pipe(
    findCudaCompiler(),
    E.chain((c) => c.compile(source, ARCH)),
    E.chain(({ cubin }) => readCubin(cubin)),
    E.bimap(
      ([first]) => first.actual.split('\n')[0] ?? '',
      ({ kernels }) => new Map(kernels.map((k) => [k.name, k])),
    ),
  )

const resourcesOf = (
  k: Kernel,
  sizes: Sizes,
  compiled: E.Either<string, ReadonlyMap<string, CubinKernel>>,
): NonNullable<KernelReport['resources']> => {
  const { grid, block } = launchOf(k)
  const blocks = blocksAt(grid, sizes)
  const launch = {
    blocks: E.isRight(blocks) ? String(blocks.right) : showGrid(k, 'c'),
    'threads a block': String(block),
  }
  if (E.isLeft(compiled)) return { ...launch, registers: `unknown: ${compiled.left}` }
  const made = compiled.right.get(k.name)
  if (made === undefined) return launch
  return {
    ...launch,
    [`registers (${ARCH})`]: String(made.registers),
    'shared memory': `${String(made.shared)} B`,
    'stack (spills)': `${String(made.frame)} B`,
    code: `${String(made.code)} B`,
  }
}

/** The report for CUDA. Faults: what the passes and the recipes find. */
export const explainCuda = (program: Program, sizes: Sizes): Checked<Report> =>
  pipe(
    blockStages(program, 'cuda', sizes, simplify),
    E.chain(({ fused }) =>
      E.map((launches: ReadonlyArray<Launched>) => {
        const kernels = distinct(launches)
        const compiled = compiledBy(printCuda([...kernels.values()].map((l) => l.kernel)))
        const launchedBy = new Map<Group, Launched>(launches.flatMap((l) => l.groups.map((g) => [g, l] as const)))
        const takes = new Map(launches.flatMap((l) => [...l.takes]))
        return reportOfGroups(fused, 'cuda', sizes, takes, (g) => {
          const key = keyOfKernel(launchedBy.get(g)!.kernel)
          const { kernel } = kernels.get(key)!
          return { source: printCuda([kernel]), key, resources: resourcesOf(kernel, sizes, compiled) }
        })
      })(launchesOf(cudaTarget, fused)),
    ),
  )
