/** Exports in CUDA C: kernels that the driver launches, one source, no headers for f32. */
import * as E from 'fp-ts/lib/Either.js'
import type { Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import { bindSizes, type Program } from '../../dsl/program.ts'
import { dim } from '../../dsl/dim.ts'
import { launchOf, printCuda, showGrid } from '../print/cuda.ts'
import { recipesCuda } from '../recipes/cuda/index.ts'
import { exportBlocks, type BlockTarget, type Launched } from './blocks.ts'
import type { Exported, Header } from './exported.ts'
import { tidied } from './sequence.ts'

export const cudaTarget: BlockTarget = {
  name: 'cuda',
  launch: (groups) =>
    E.map((recipes: ReadonlyArray<Omit<Launched, 'groups' | 'takes'>>): ReadonlyArray<Omit<Launched, 'takes'>> =>
      recipes.map((r, i) => ({ ...r, groups: recipes.length === 1 ? groups : groups.slice(i, i + 1) })),
    )(recipesCuda(groups)),
  print: printCuda,
  describe: (k) => {
    const { block, shared } = launchOf(k)
    return {
      grid: {
        c: tidied(showGrid(k, 'c')),
        javascript: tidied(showGrid(k, 'js')),
        python: tidied(showGrid(k, 'python')),
      },
      block,
      sharedStatic: shared,
      sharedDynamic: 0,
    }
  },
  packing: { pointer: 8, int: 4 },
  extension: 'cu',
  compile: {
    with: 'NVRTC or nvcc',
    options: ['--std=c++17'],
    architectures: ['sm_75', 'sm_80', 'sm_90', 'sm_100', 'sm_120'],
  },
  requirements: [
    'tensors are row-major and contiguous, on addresses that are multiples of 16',
    'no tensor has 2^31 elements or more',
    'outputs and temporaries share no memory with inputs; a temporary with `inPlaceOf` may lie where that one does',
    'grids and blocks have one dimension; launches of a sequence go to one stream, in order',
  ],
}

/** The source and what its manifest says of it; sizes that are not given stay symbols. */
export const exportCuda = (joint: Program, sizes: Sizes, header: Header): Checked<Exported> =>
  exportBlocks(
    cudaTarget,
    bindSizes(joint, Object.fromEntries(Object.entries(sizes).map(([name, n]) => [name, dim(n)]))),
    header('//'),
  )
