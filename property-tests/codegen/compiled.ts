/** Kernels of the C target, compiled into one object and run on the oracle's numbers. */
import { expect } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { lettingAlias } from '../../src/codegen/in-place.ts'
import type { Pair } from '../../src/codegen/kernel/in-place.ts'
import { keyOfKernel, type Kernel } from '../../src/codegen/kernel/kernel.ts'
import { judgeAll, partCases, type PartCase } from '../../src/codegen/lockstep.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { recipeC, type Width } from '../../src/codegen/recipes/c/index.ts'
import type { Machine } from '../../src/codegen/recipes/c/tiles.ts'
import { addressOf, loadKernels, sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { Made } from './parts.ts'
import { get } from './zoo.ts'

export interface Case {
  readonly where: string
  readonly sizes: Sizes
  readonly case: PartCase<Made>
}

/** every kernel of a program, with the oracle's inputs and the bounds of f32; `machine`: what it may use beside vectors */
export const compiledCases = (
  where: string,
  program: Program,
  sizes: Sizes,
  inputs: Values,
  width: Width,
  machine: Machine = {},
): ReadonlyArray<Case> => {
  const { split, fused } = get(blockStages(program, 'c', sizes, simplify))
  const isFrozen = (n: Node): boolean => n.op === 'input' && (n.attrs.name === 'W' || n.attrs.name.startsWith('model.'))
  const made = fused.launches.flat().map((g): Made => {
    const { kernel, args, results } = recipeC(g, { width, isFrozen, ...machine })
    const nodes = args.flatMap((a) => (a.kind === 'node' ? [a.node] : a.packed.args))
    return { kernel, args: [...new Set(nodes)], results, given: args }
  })
  return get(partCases(made, split, inputs, sizes)).map((c) => ({
    where: `${where} ${JSON.stringify(sizes)} ${c.part.kernel.name}`,
    sizes,
    case: c,
  }))
}

/** each operand and each result once, the first pairs first */
export const onceEach = (pairs: ReadonlyArray<Pair>): ReadonlyArray<Pair> =>
  pairs.reduce<ReadonlyArray<Pair>>(
    (kept, p) => (kept.some((q) => q.operand === p.operand || q.result === p.result) ? kept : [...kept, p]),
    [],
  )

/**
 * All kernels in one object, each run on its own case; answers the results of each. `inPlace`: results that lie where an
 * operand does.
 */
export const runAll = (
  all: ReadonlyArray<Case>,
  width: Width,
  threads = 1,
  inPlace: (k: Kernel) => ReadonlyArray<Pair> = () => [],
): ReadonlyArray<ReadonlyArray<Float32Array>> => {
  const kernels: Kernel[] = []
  const numbers = new Map<string, number>()
  const numberOf = (k: Kernel): number => {
    const key = keyOfKernel(k)
    if (!numbers.has(key))
      numbers.set(key, kernels.push(lettingAlias(k, new Set(inPlace(k).flatMap((p) => [p.operand, p.result])))) - 1)
    return numbers.get(key)!
  }
  for (const { case: c } of all) {
    numberOf(c.part.kernel)
    c.part.given.forEach((a) => (a.kind === 'packed' ? numberOf(a.packed.kernel) : undefined))
  }
  const loaded = get(loadKernels(kernels, { width, threads: threads > 1 }))
  return all.map(({ sizes, case: { part, inputs } }) => {
    const valueOf = (n: Node): Float32Array => Float32Array.from(inputs[part.args.indexOf(n)]!)
    const fill = (k: Kernel, given: ReadonlyArray<Float32Array>): ReadonlyArray<Float32Array> => {
      // NaN where nothing is written
      const made = k.outputs.map((b) => {
        const pair = inPlace(k).find((p) => p.result === b.name)
        if (pair !== undefined) return given[k.params.findIndex((p) => p.name === pair.operand)]!
        return new Float32Array(b.shape.reduce((n, d) => n * sizeAt(d, sizes), 1)).fill(NaN)
      })
      const launch = { kernel: numberOf(k), buffers: [...given, ...made].map(addressOf) }
      loaded.bind([launch], sizes, threads).run()
      expect(given.length).toBe(k.params.length)
      return made
    }
    const given = part.given.map((a) =>
      a.kind === 'node' ? valueOf(a.node) : fill(a.packed.kernel, a.packed.args.map(valueOf))[0]!,
    )
    return fill(part.kernel, given)
  })
}

/** What is outside its bound, a line each, and how many bounds say nothing. */
export const verdictsOf = (
  all: ReadonlyArray<Case>,
  got: ReadonlyArray<ReadonlyArray<Float32Array>>,
): { readonly wrong: string; readonly vacuous: number; readonly worst: number } => {
  const wrong: string[] = []
  let [vacuous, worst] = [0, 0]
  all.forEach(({ where, case: c }, i) => {
    const verdict = judgeAll(c.wanted, got[i]!)
    if (verdict.worst > 1 && !c.undecided) wrong.push(`${where}: ${String(verdict.worst)} of the bound`)
    if (verdict.vacuous) vacuous += 1
    else if (!c.undecided) worst = Math.max(worst, verdict.worst)
  })
  return { wrong: wrong.join('\n'), vacuous, worst }
}

/** Prints what was judged; a twentieth of the bounds may say nothing, one of few: a softmax of one number has derivative 0. */
export const proveCompiled = (title: string, all: ReadonlyArray<Case>, width: Width): void => {
  const { wrong, vacuous, worst } = verdictsOf(all, runAll(all, width))
  expect(wrong).toBe('')
  console.log(
    `c, ${title}: ${String(all.length)} kernels, ${String(vacuous)} vacuous, worst share of the bound ${worst.toFixed(3)}`,
  )
  expect(vacuous).toBeLessThanOrEqual(Math.max(1, 0.05 * all.length))
}
