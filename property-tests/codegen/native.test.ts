/**
 * Kernels of the C target compiled and run, each judged under the bound of its own part of the graph: the zoo at whole, cut
 * and empty sizes and every width of vectors; random graphs; the same bits whatever the number of threads.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { alikeIn, legalInPlace, type Pair } from '../../src/codegen/kernel/in-place.ts'
import type { Kernel } from '../../src/codegen/kernel/kernel.ts'
import type { Width } from '../../src/codegen/recipes/c/index.ts'
import { widestVectors } from '../../src/codegen/runtime/c.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { describeC } from '../compilers.ts'
import { seed } from '../seed.ts'
import { compiledCases, onceEach, proveCompiled, runAll, type Case } from './compiled.ts'
import { inputsFor, zoo } from './zoo.ts'

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
      sizesOf(a.sizes).flatMap((s) => compiledCases(a.name, a.program, s, inputsFor(a.program, s, 1, a.ids), width)),
    )

const bits = (all: ReturnType<typeof runAll>): ReadonlyArray<ReadonlyArray<Uint32Array>> =>
  all.map((k) => k.map((x) => new Uint32Array(x.buffer)))

describeC('compiled kernels', () => {
  test('the zoo, within the bounds of f32', () => {
    const width = widestVectors()
    const all = zooCases(width)
    expect(all.length).toBeGreaterThan(200)
    proveCompiled('the zoo', all, width)
  }, 120_000)

  test.each([8, 4] as const)(
    'vectors of %d floats',
    (width) => {
      const all = zooCases(width, ['llama-adapter', 'hra', 'oft', 'softmax', 'rms-norm', 'loss'])
      proveCompiled('the zoo', all, width)
    },
    120_000,
  )

  test('threads share a launch and change no bit', () => {
    const width = widestVectors()
    const all = zooCases(width, ['llama-adapter', 'hra', 'loss', 'step with lora'])
    const [one, three] = [runAll(all, width, 1), runAll(all, width, 3)]
    expect(bits(three)).toEqual(bits(one))
  }, 120_000)

  test('results in the place of operands, by one thread and by three', () => {
    const width = widestVectors()
    const names = ['hra', 'oft', 'llama-adapter', 'softmax', 'rms-norm', 'step with lora']
    const all = zooCases(width, names).filter(({ case: c }) => alikeIn(c.part.kernel).length > 0)
    const allowed = (k: Kernel): ReadonlyArray<Pair> => onceEach(legalInPlace(k))
    const some = all.filter(({ case: c }) => allowed(c.part.kernel).length > 0)
    expect(some.length).toBeGreaterThan(30)
    const apart = bits(runAll(some, width))
    for (const threads of [1, 3]) expect(bits(runAll(some, width, threads, allowed))).toEqual(apart)

    // and pairs that are refused are seen to be wrong here, too
    const refused = (k: Kernel): ReadonlyArray<Pair> => {
      const legal = legalInPlace(k)
      return onceEach(alikeIn(k).filter((p) => !legal.some((q) => q.operand === p.operand && q.result === p.result)))
    }
    const others = all.filter(({ case: c }) => refused(c.part.kernel).length > 0)
    const [good, bad] = [bits(runAll(others, width)), bits(runAll(others, width, 1, refused))]
    const wrong = others.filter((_, i) => JSON.stringify(good[i]!.map(String)) !== JSON.stringify(bad[i]!.map(String)))
    console.log(
      `in place: ${String(some.length)} runs the same; refused: ${String(wrong.length)} of ${String(others.length)} wrong`,
    )
    expect(wrong.length).toBeGreaterThan(0.5 * others.length)
  }, 120_000)

  test('random graphs', () => {
    const width = widestVectors()
    const seeds = fc.sample(fc.integer({ min: 0, max: 2 ** 30 }), { seed, numRuns: 80 })
    const all = seeds.flatMap((n) => {
      const { program, inputs } = randomGraph(n, 12)
      return compiledCases(`graph ${String(n)}`, program, {}, inputs, width)
    })
    expect(all.length).toBeGreaterThan(80)
    proveCompiled('random graphs', all, width)
  }, 120_000)
})
