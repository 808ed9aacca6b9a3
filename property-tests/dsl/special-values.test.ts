/** NaN, infinities and signed zeros: what each scalar function answers, and where NaN goes and does not go. */
import { pipe } from 'fp-ts/lib/function.js'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import { grad } from '../../src/autodiff/index.ts'
import { kit } from '../../src/dsl/build.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import { cumsum, dot, exp, input, max, min, mul, softmax, sum, where } from '../../src/dsl/index.ts'
import { evaluate } from '../../src/dsl/interpret.ts'
import { program, type AnyTensor } from '../../src/dsl/program.ts'
import { scalarOps, type ScalarName } from '../../src/dsl/scalar.ts'
import { value, type Value } from '../../src/dsl/value.ts'

const run = (y: AnyTensor, values: Readonly<Record<string, Value>>): ReadonlyArray<number> => {
  const done = E.chain((p: Parameters<typeof evaluate>[0]) => evaluate(p, values))(program('case', { y }))
  if (E.isLeft(done)) throw new Error(showFaults(done.left))
  return Array.from(done.right.outputs['y']!.data)
}

const Inf = Infinity
const points = [NaN, Inf, -Inf, 0, -0, 1] as const

/** at NaN, +Inf, -Inf, +0, -0, 1, written down by hand from IEEE 754 and the rows' docs */
const unary: { readonly [K in ScalarName]?: ReadonlyArray<number> } = {
  neg: [NaN, -Inf, Inf, -0, 0, -1],
  abs: [NaN, Inf, Inf, 0, 0, 1],
  sign: [NaN, 1, -1, 0, 0, 1],
  floor: [NaN, Inf, -Inf, 0, -0, 1],
  round: [NaN, Inf, -Inf, 0, -0, 1],
  sqrt: [NaN, Inf, NaN, 0, -0, 1],
  rsqrt: [NaN, 0, NaN, Inf, -Inf, 1],
  exp: [NaN, Inf, 0, 1, 1, 2.718281828459045],
  log: [NaN, Inf, NaN, -Inf, -Inf, 0],
  log1p: [NaN, Inf, NaN, 0, -0, 0.6931471805599453],
  expm1: [NaN, Inf, -1, 0, -0, 1.718281828459045],
  sin: [NaN, NaN, NaN, 0, -0, 0.8414709848078965],
  cos: [NaN, NaN, NaN, 1, 1, 0.5403023058681398],
  tanh: [NaN, 1, -1, 0, -0, 0.7615941559557649],
  sigmoid: [NaN, 1, 0, 0.5, 0.5, 0.7310585786300049],
  erf: [NaN, 1, -1, 0, -0, 0.8427007929497149],
}

describe('functions of one argument', () => {
  const x = input('x', { i: points.length })
  test.each(Object.entries(unary))('%s', (fn, expected) => {
    const found = run({ node: kit.map(fn, x.node) }, { x: value({ i: points.length }, points) })
    // within two units of the last place of a libm; NaN, infinities and signs of zeros are exact
    found.forEach((y, i) => {
      const want = expected[i]!
      if (!Number.isFinite(want) || want === 0) expect(y, `${fn}(${String(points[i])})`).toBe(want)
      else
        expect(Math.abs(y - want), `${fn}(${String(points[i])}) = ${String(y)}`).toBeLessThanOrEqual(
          4e-16 * Math.abs(want),
        )
    })
  })
})

/** f(a, b) where one of them is special, by the letter of IEEE 754 (`maximum` and `minimum` of 2019: NaN wins) */
const binary: { readonly [K in ScalarName]?: ReadonlyArray<readonly [number, number, number]> } = {
  add: [
    [Inf, -Inf, NaN],
    [Inf, 1, Inf],
    [-0, 0, 0],
  ],
  sub: [
    [Inf, Inf, NaN],
    [1, Inf, -Inf],
    [0, 0, 0],
  ],
  mul: [
    [0, Inf, NaN],
    [-1, Inf, -Inf],
    [-0, 1, -0],
  ],
  div: [
    [0, 0, NaN],
    [Inf, Inf, NaN],
    [1, 0, Inf],
    [1, -0, -Inf],
    [1, Inf, 0],
  ],
  max: [
    [NaN, 1, NaN],
    [1, NaN, NaN],
    [-Inf, 1, 1],
    [0, -0, 0],
  ],
  min: [
    [NaN, 1, NaN],
    [1, NaN, NaN],
    [Inf, 1, 1],
    [0, -0, -0],
  ],
  pow: [
    [0, 0, 1],
    [Inf, 0, 1],
    [0, 1, 0],
    [0, -Inf, Inf],
    [-1, 1, NaN],
    [NaN, 0, 1],
  ],
  eq: [
    [NaN, NaN, 0],
    [Inf, Inf, 1],
    [0, -0, 1],
  ],
  ne: [
    [NaN, NaN, 1],
    [Inf, Inf, 0],
    [0, -0, 0],
  ],
  lt: [
    [NaN, 1, 0],
    [1, NaN, 0],
    [-Inf, Inf, 1],
  ],
  le: [
    [NaN, NaN, 0],
    [Inf, Inf, 1],
  ],
  gt: [
    [NaN, 1, 0],
    [Inf, 1, 1],
  ],
  ge: [
    [NaN, NaN, 0],
    [-0, 0, 1],
  ],
}

describe('functions of two arguments', () => {
  test.each(Object.entries(binary))('%s', (fn, table) => {
    const [a, b] = [input('a', { i: table.length }), input('b', { i: table.length })]
    const at = (k: 0 | 1) =>
      value(
        { i: table.length },
        table.map((row) => row[k]),
      )
    expect(run({ node: kit.map(fn, a.node, b.node) }, { a: at(0), b: at(1) })).toEqual(table.map((row) => row[2]))
  })
})

describe('NaN goes through', () => {
  /** arguments where the answer does not depend on the NaN (IEEE 754: x^0 = 1 for every x, and 1^y in C but not here) */
  const except: Readonly<Record<string, (other: number) => boolean>> = { pow: (b) => b === 0 }
  const arithmetic = Object.entries(scalarOps).filter(([, r]) => r.signature === 'float' || r.signature === 'number')
  test.each(arithmetic)('%s', (fn, row) => {
    for (const other of points)
      for (let k = 0; k < row.arity; k++) {
        if (k === 0 && except[fn]?.(other) === true) continue
        const args = Array.from({ length: row.arity }, (_, j) => kit.scalar(j === k ? NaN : other))
        expect(run({ node: kit.map(fn, ...args) }, {}), `${fn} with NaN at ${String(k)}, ${String(other)}`).toEqual([
          NaN,
        ])
      }
  })

  const x = input('x', { i: 2, k: 3 })
  const w = input('w', { k: 3, j: 2 })
  const values = { x: value({ i: 2, k: 3 }, [1, NaN, 3, 4, 5, 6]), w: value({ k: 3, j: 2 }, [1, 1, 0, 0, 1, 1]) }
  const reductions: Readonly<Record<string, AnyTensor>> = {
    sum: sum('k')(x),
    max: max('k')(x),
    min: min('k')(x),
    softmax: softmax('k')(x),
    dot: pipe(x, dot(w, 'k')),
  }
  test.each(Object.entries(reductions))('%s: the rows that hold it, and no other', (_, y) => {
    const found = run(y, values)
    const half = found.length / 2
    expect(found.slice(0, half).every(Number.isNaN), '0 NaN is NaN').toBe(true)
    expect(found.slice(half).some(Number.isNaN)).toBe(false)
  })
  test('cumsum: from there on', () => {
    expect(run(cumsum('k')(x), values)).toEqual([1, NaN, NaN, 4, 9, 15])
  })
  test('of nothing: 0, -Infinity, Infinity', () => {
    const none = input('none', { i: 2, k: 0 })
    const empty = { none: value({ i: 2, k: 0 }, []) }
    expect([sum('k')(none), max('k')(none), min('k')(none)].map((y) => run(y, empty))).toEqual([
      [0, 0],
      [-Inf, -Inf],
      [Inf, Inf],
    ])
  })
})

describe('a masked branch does not leak', () => {
  const [x, m] = [input('x', { i: 3 }), input('m', { i: 3 }, 'bool')]
  const values = { x: value({ i: 3 }, [1, NaN, Inf]), m: value({ i: 3 }, [1, 0, 0]) }
  const masked = pipe(x, where(m, 0))
  test('its value', () => {
    expect(run(masked, values)).toEqual([1, 0, 0])
    expect(run(pipe(x, exp, where(m, -1)), values)).toEqual([Math.E, -1, -1])
  })
  test('its gradient: mask first, compute after', () => {
    const loss = pipe(masked, mul(masked), sum('i'))
    expect(run(grad(loss, { x }).x, values)).toEqual([2, 0, 0])
  })
})
