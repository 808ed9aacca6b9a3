/**
 * Kernels of the C target compiled and run, each judged under the bound of its own part of the graph: the zoo at whole, cut
 * and empty sizes and every width of vectors; random graphs; the same bits whatever the number of threads.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { keyOfKernel, type Kernel } from '../../src/codegen/kernel.ts'
import { judgeAll, partCases, type PartCase } from '../../src/codegen/lockstep.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { recipeC, type Width } from '../../src/codegen/recipes/c/index.ts'
import { findCompiler, widestVectors } from '../../src/codegen/runtime/c.ts'
import { addressOf, loadKernels, sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import type { Node } from '../../src/dsl/node.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import type { Made } from './parts.ts'
import { get, inputsFor, zoo } from './zoo.ts'

const hasCompiler = E.isRight(findCompiler())
if (!hasCompiler) console.warn('SKIPPED: compiled kernels, for there is no C compiler')

interface Case {
  readonly where: string
  readonly sizes: Sizes
  readonly case: PartCase<Made>
}

/** every kernel of a program, with the oracle's inputs and the bounds of f32 */
const casesOf = (where: string, program: Program, sizes: Sizes, inputs: Values, width: Width): ReadonlyArray<Case> => {
  const { split, fused } = get(blockStages(program, 'c', sizes, simplify))
  const isFrozen = (n: Node): boolean => n.op === 'input' && (n.attrs.name === 'W' || n.attrs.name.startsWith('model.'))
  const made = fused.launches.flat().map((g): Made => {
    const { kernel, args, results } = recipeC(g, { width, isFrozen })
    const nodes = args.flatMap((a) => (a.kind === 'node' ? [a.node] : a.packed.args))
    return { kernel, args: [...new Set(nodes)], results, given: args }
  })
  return get(partCases(made, split, inputs, sizes)).map((c) => ({
    where: `${where} ${JSON.stringify(sizes)} ${c.part.kernel.name}`,
    sizes,
    case: c,
  }))
}

/** all kernels in one object, each run on its own case; answers the results of each */
const runAll = (all: ReadonlyArray<Case>, width: Width, threads = 1): ReadonlyArray<ReadonlyArray<Float32Array>> => {
  const kernels: Kernel[] = []
  const numbers = new Map<string, number>()
  const numberOf = (k: Kernel): number => {
    const key = keyOfKernel(k)
    if (!numbers.has(key)) numbers.set(key, kernels.push(k) - 1)
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
      const made = k.outputs.map((b) => new Float32Array(b.shape.reduce((n, d) => n * sizeAt(d, sizes), 1)).fill(NaN))
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

const wrongOnes = (all: ReadonlyArray<Case>, got: ReadonlyArray<ReadonlyArray<Float32Array>>): string =>
  all
    .flatMap(({ where, case: c }, i) => {
      const { worst } = judgeAll(c.wanted, got[i]!)
      return worst > 1 && !c.undecided ? [`${where}: ${String(worst)} of the bound`] : []
    })
    .join('\n')

/** sizes of its own, one of everything, nothing at all, and tiles that are cut */
const sizesOf = (own: ReadonlyArray<Sizes>): ReadonlyArray<Sizes> =>
  own.some((s) => Object.keys(s).length === 0)
    ? own
    : [
        ...own,
        ...[1, 0, 65].map((n) =>
          Object.fromEntries(
            Object.keys(own[0]!).map((k) => [k, k === 'B' || k === 'D' ? Math.max(1, k === 'B' ? 1 : n) : n]),
          ),
        ),
      ]

const zooCases = (width: Width, names?: ReadonlyArray<string>): ReadonlyArray<Case> =>
  zoo
    .filter((a) => names === undefined || names.includes(a.name))
    .flatMap((a) =>
      sizesOf(a.sizes).flatMap((s) => casesOf(a.name, a.program, s, inputsFor(a.program, s, 1, a.ids), width)),
    )

describe.runIf(hasCompiler)('compiled kernels', () => {
  test('the zoo, within the bounds of f32', () => {
    const width = widestVectors()
    const all = zooCases(width)
    expect(all.length).toBeGreaterThan(200)
    expect(wrongOnes(all, runAll(all, width))).toBe('')
  }, 120_000)

  test.each([8, 4] as const)(
    'vectors of %d floats',
    (width) => {
      const all = zooCases(width, ['llama-adapter', 'hra', 'oft', 'softmax', 'rms-norm', 'loss'])
      expect(wrongOnes(all, runAll(all, width))).toBe('')
    },
    120_000,
  )

  test('threads share a launch and change no bit', () => {
    const width = widestVectors()
    const all = zooCases(width, ['llama-adapter', 'hra', 'loss', 'step with lora'])
    const [one, three] = [runAll(all, width, 1), runAll(all, width, 3)]
    const bits = (r: typeof one): ReadonlyArray<ReadonlyArray<Uint32Array>> =>
      r.map((k) => k.map((x) => new Uint32Array(x.buffer)))
    expect(bits(three)).toEqual(bits(one))
  }, 120_000)

  test('random graphs', () => {
    const width = widestVectors()
    const seeds = fc.sample(fc.integer({ min: 0, max: 2 ** 30 }), { seed, numRuns: 80 })
    const all = seeds.flatMap((n) => {
      const { program, inputs } = randomGraph(n, 12)
      return E.match(
        () => [],
        () => casesOf(`graph ${String(n)}`, program, {}, inputs, width),
      )(blockStages(program, 'c', {}, simplify))
    })
    expect(all.length).toBeGreaterThan(80)
    expect(wrongOnes(all, runAll(all, width))).toBe('')
  }, 120_000)
})
