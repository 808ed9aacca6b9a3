/** Exports in C: kernels with the host's function that runs a list of launches, one source. */
import * as E from 'fp-ts/lib/Either.js'
import { addDim, dim, productDim, scaleDim, type Dim, type Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Node } from '../../dsl/node.ts'
import { bindSizes, type Program } from '../../dsl/program.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { isOnStack, printSourceC } from '../print/c-function.ts'
import { recipeC } from '../recipes/c/index.ts'
import { exportBlocks, type BlockTarget, type Launched } from './blocks.ts'
import type { Exported, Header } from './exported.ts'
import { showSize } from './sequence.ts'

/** floats in a vector: compilers write wider ones as two, and narrower ones are half used */
const WIDTH = 8
/** floats in a cache line: a local begins on one */
const LINE = 16

/** bytes that are surely enough for a kernel's locals */
const scratchOf = (k: Kernel): Dim =>
  scaleDim(
    4,
    k.locals
      .filter((b) => !isOnStack(b))
      .map((b) => addDim(productDim(b.shape), LINE - 1))
      .reduce<Dim>(addDim, dim(0)),
  )

const c: BlockTarget = {
  name: 'c',
  launch: (groups) =>
    E.right(
      groups.map((group): Omit<Launched, 'takes'> => {
        const { kernel, args, results } = recipeC(group, { width: WIDTH, isFrozen: () => false })
        // nothing is frozen, so nothing is packed beforehand
        return {
          kernel,
          results,
          groups: [group],
          args: args.flatMap((a): ReadonlyArray<Node> => (a.kind === 'node' ? [a.node] : [])),
        }
      }),
    ),
  print: (kernels) => printSourceC(kernels, WIDTH).source,
  describe: (k) => ({ scratch: showSize(scratchOf(k)) }),
  extension: 'c',
  compile: {
    with: 'gcc or clang',
    options: ['-std=gnu11', '-O2', '-march=native', '-fno-math-errno', '-fno-trapping-math', '-shared', '-fPIC', '-lm'],
    architectures: [],
  },
  requirements: [
    'tensors are row-major and contiguous, of fewer than 2^31 elements; scratch is on an address that is a multiple of 64',
    'outputs and temporaries share no memory with inputs; a temporary with `inPlaceOf` may lie where that one does',
    'scion_run takes launches as {number of the kernel in this list, its first buffer, its first size}, then all buffers (arguments in order) and all sizes; with -DTHREADS -pthread it shares tasks among threads, each with scratch of its own',
  ],
}

/** The source and what its manifest says of it; sizes that are not given stay symbols. */
export const exportC = (joint: Program, sizes: Sizes, header: Header): Checked<Exported> =>
  exportBlocks(
    c,
    bindSizes(joint, Object.fromEntries(Object.entries(sizes).map(([name, n]) => [name, dim(n)]))),
    header('//'),
  )
