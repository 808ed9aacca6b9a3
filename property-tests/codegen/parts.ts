/** A program's kernels on a target, each with the nodes that it reads and computes. */
import { expect } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { runKernel } from '../../src/codegen/kernel/interpret.ts'
import { partCases, type Part, type PartCase } from '../../src/codegen/lockstep.ts'
import { verifyFused } from '../../src/codegen/fuse/verify.ts'
import { blockStages, stages } from '../../src/codegen/pipeline.ts'
import type { Kernel } from '../../src/codegen/kernel/kernel.ts'
import { recipeC, type Argument, type Width } from '../../src/codegen/recipes/c/index.ts'
import { recipesCuda } from '../../src/codegen/recipes/cuda/index.ts'
import type { Split } from '../../src/codegen/split.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import { f64, type Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import type { Program } from '../../src/dsl/program.ts'
import { get, inputsFor, type Animal } from './zoo.ts'

// ---------------------------------------------------------------------------------------- model

export type Target = 'gpujs' | 'c' | 'cuda'

/** `args`: the nodes behind what the kernel reads; those that it reads in panels are packed first */
export interface Made extends Part {
  readonly kernel: Kernel
  readonly given: ReadonlyArray<Argument>
}

export type MadeCase = PartCase<Made>

// --------------------------------------------------------------------------------- constructors

const plain = (kernel: Kernel, args: ReadonlyArray<Node>, results: ReadonlyArray<Node>): Made => ({
  kernel,
  args,
  results,
  given: args.map((node) => ({ kind: 'node', node })),
})

const WIDTH: Width = 4

/** `frozen`: inputs whose values never change, by name */
export const madeFor = (
  { program }: Animal,
  target: Target,
  sizes: Sizes,
  frozen: (name: string) => boolean = () => false,
): { readonly split: Split; readonly made: ReadonlyArray<Made>; readonly program: Program } => {
  if (target === 'gpujs') {
    const { split, plan } = get(stages(program, sizes, simplify))
    return { split, program: split.device, made: plan.launches.map((l) => plain(l.kernel, l.args, [l.root])) }
  }
  const { split, fused } = get(blockStages(program, target, sizes, simplify))
  expect(verifyFused(fused)).toEqual([])
  if (target === 'cuda')
    return {
      split,
      program: fused.program,
      made: fused.launches.flatMap((gs) => get(recipesCuda(gs)).map((r) => plain(r.kernel, r.args, r.results))),
    }
  const isFrozen = (n: Node): boolean => n.op === 'input' && frozen(n.attrs.name)
  return {
    split,
    program: fused.program,
    made: fused.launches.flat().map((g): Made => {
      const { kernel, args, results } = recipeC(g, { width: WIDTH, isFrozen })
      const nodes = args.flatMap((a) => (a.kind === 'node' ? [a.node] : a.packed.args))
      return { kernel, args: [...new Set(nodes)], results, given: args }
    }),
  }
}

/**
 * A case for every kernel at these sizes; kernels are interpreted in f64, and judged under the bounds of f64 unless
 * `precision` is that of the nodes themselves.
 */
export const partCasesOf = (
  animal: Animal,
  target: Target,
  sizes: Sizes,
  inputs: Values,
  precision: 'f64' | 'own' = 'f64',
): ReadonlyArray<MadeCase> => {
  const { split, made } = madeFor(animal, target, sizes, (n) => n === 'W' || n.startsWith('model.'))
  return get(partCases(made, split, inputs, target === 'gpujs' ? {} : sizes, precision === 'f64' ? f64 : undefined))
}

export const casesFor = (animal: Animal, target: Target, sizes: Sizes, seed: number): ReadonlyArray<MadeCase> =>
  partCasesOf(animal, target, sizes, inputsFor(animal.program, sizes, seed, animal.ids))

/** What the kernel reads, in order of its parameters. */
export const buffersFor = ({ part, inputs }: MadeCase, sizes: Sizes): ReadonlyArray<Float64Array> => {
  const valueOf = (n: Node): Float64Array => inputs[part.args.indexOf(n)]!
  return part.given.map((a) =>
    a.kind === 'node' ? valueOf(a.node) : runKernel(a.packed.kernel, a.packed.args.map(valueOf), sizes).outputs[0]!,
  )
}
