/**
 * Loops that masks cut short: values as without it, whatever the scores are; less work; and not where what a mask hides
 * is needed after all.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { maskOf } from '../../src/codegen/recipes/c/masks.ts'
import { tileAxis } from '../../src/codegen/recipes/c/tile.ts'
import { simplify } from '../../src/autodiff/simplify.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { kit } from '../../src/dsl/build.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import type { Program } from '../../src/dsl/program.ts'
import { compiledCases, proveCompiled } from './compiled.ts'
import { buffersFor, partCasesOf } from './parts.ts'
import { attended, both, forward, get, prompted, type Traced } from './traced.ts'
import { inputsFor } from './zoo.ts'

// ---------------------------------------------------------------------------------- the programs

type Mask = (key: L.Tensor<'key', 'i32'>, token: L.Tensor<'token', 'i32'>) => L.Tensor<'key' | 'token', 'bool'>

const [q, k, v] = [
  L.input('q', { batch: 'B', token: 'T', kv: 2, h: 4 }),
  L.input('k', { batch: 'B', key: 'T', kv: 2, h: 4 }),
  L.input('v', { batch: 'B', key: 'T', kv: 2, h: 4 }),
]
const positions = { key: L.iota('key', 'T'), token: L.iota('token', 'T') }

const masked = (mask: Mask, other: number): Traced => {
  const kept = mask(positions.key, positions.token)
  const y = pipe(q, L.dot(k, 'h'), L.where(kept, other), L.softmax('key'), L.dot(v, 'key'))
  return { y, wrt: { q, k, v } }
}

const masks: Readonly<Record<string, Mask>> = {
  causal: (key, token) => pipe(key, L.compare('le')(token)),
  'strictly causal': (key, token) => pipe(key, L.compare('lt')(token)),
  'the future': (key, token) => pipe(key, L.compare('ge')(token)),
  'a window': (key, token) =>
    L.wrap(kit.map('and', pipe(key, L.compare('le')(token)).node, pipe(key, L.add(9), L.compare('gt')(token)).node)),
}

// ------------------------------------------------------------------------------------- the tests

const sizes: ReadonlyArray<Sizes> = [
  { B: 1, T: 1 },
  { B: 2, T: 19 },
  { B: 1, T: 50 },
]

/**
 * What a mask puts in the place of scores: far below all; above most, so that hidden values have weight after all; and
 * where e^(it - max) is about the least number of f32, which some rows' maxima make 0.
 */
const others = [-1e30, 0, -103]

const maskedGroups = (p: Program): number =>
  get(blockStages(p, 'c', {}, simplify))
    .fused.launches.flat()
    .filter((g) => {
      const axis = tileAxis(g)
      return axis !== undefined && maskOf(g, axis) !== undefined
    }).length

describe.each(Object.entries(masks).flatMap(([name, mask]) => others.map((o) => [name, o, mask] as const)))(
  '%s, else %d',
  (name, other, mask) => {
    const program = both('masked', masked(mask, other))

    test('forward and all gradients are cut short', () => {
      expect(maskedGroups(forward(name, masked(mask, other)))).toBe(1)
      expect(maskedGroups(program)).toBe(2)
    })

    test('equal to the graph in f64', () => {
      const animal = { name, program, sizes, large: [], ids: 4 }
      const wrong = sizes.flatMap((s) =>
        partCasesOf(animal, 'c', s, inputsFor(program, s, 1, 4, 3)).flatMap((c) => {
          const { kernel } = c.part
          const { outputs, reports } = runKernel(kernel, buffersFor(c, s), s)
          const { worst } = judgeAll(c.wanted, outputs)
          return [
            ...verifyKernel(kernel).map((f) => `${f.at}: expected ${f.expected}, found ${f.actual}`),
            ...reports.map(showReport),
            ...(worst > 1 ? [`${JSON.stringify(s)} ${kernel.name}: ${String(worst)} of the bound`] : []),
          ]
        }),
      )
      expect(wrong.join('\n')).toBe('')
    })

    // a row without any key has no bound that says something where -1e30 is its maximum
    test.skipIf(name === 'strictly causal' && other === -1e30)(
      'equal to the graph as compiled',
      { timeout: 60_000 },
      () => {
        const all = sizes.slice(1).flatMap((s) => compiledCases(name, program, s, inputsFor(program, s, 2, 4, 3), 16))
        proveCompiled(`${name}, else ${String(other)}`, all, 16)
      },
    )
  },
)

test('a causal mask halves the products', () => {
  const T = 128
  const program = forward('attention', attended(1, 1, 8))
  const s = { B: 1, T }
  const animal = { name: 'attention', program, sizes: [s], large: [], ids: 4 }
  const [c] = partCasesOf(animal, 'c', s, inputsFor(program, s, 1, 4))
  let stored = 0
  runKernel(c!.part.kernel, buffersFor(c!, s), s, (buffer, _, stores) => {
    if (buffer.startsWith('acc') && stores !== 0) stored += 1
  })
  // scores of keys up to the end of each tile of 8 rows, and the results
  expect(stored).toBeLessThan(0.58 * T * T + 8 * T)
  expect(stored).toBeGreaterThan(0.5 * T * T + 8 * T)
})

describe('what a mask hides is computed where it is needed', () => {
  const causal = masks['causal']!(positions.key, positions.token)
  const product = pipe(q, L.dot(k, 'h'))
  const weights = (x: typeof product) => pipe(x, L.where(causal, -1e30), L.softmax('key'))
  const refused: Readonly<Record<string, L.AnyTensor>> = {
    'also unmasked': pipe(weights(product), L.add(pipe(product, L.softmax('key'))), L.dot(v, 'key')),
    'not zero there': pipe(product, L.where(causal, 1), L.dot(v, 'key')),
    'of another axis': pipe(
      product,
      L.where(pipe(positions.key, L.compare('le')(3)), -1e30),
      L.softmax('key'),
      L.dot(v, 'key'),
    ),
  }
  test.each(Object.entries(refused))('%s', (name, y) => {
    expect(maskedGroups(forward(name, { y, wrt: {} }))).toBe(0)
  })
})

test('attention of models', () => {
  expect(maskedGroups(both('attention', attended(2, 1, 8)))).toBe(2)
  expect(maskedGroups(both('prompted', prompted(2, 1, 8, 3)))).toBe(2)
})
