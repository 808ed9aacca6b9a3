/** Randomness: Threefry against Random123's published answers, moments, and keys that do not meet. */
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import { childKey, keyInput, keyWords, normal, uniform } from '../../src/dsl/index.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import { evaluate } from '../../src/dsl/interpret.ts'
import { threefry } from '../../src/dsl/primitives/leaf.ts'
import { program, type AnyTensor } from '../../src/dsl/program.ts'
import { value } from '../../src/dsl/value.ts'

const key = keyInput('key')

const draw = (y: AnyTensor, seed = 7): Float64Array => {
  const p = program('random', { y })
  const done = E.chain((q: Parameters<typeof evaluate>[0]) => evaluate(q, { key: value({ word: 2 }, keyWords(seed)) }))(
    p,
  )
  if (E.isLeft(done)) throw new Error(showFaults(done.left))
  return done.right.outputs['y']!.data
}

describe('Threefry-2x32, 20 rounds: known answers', () => {
  /** Random123, examples/kat_vectors: counter, key, result */
  const known = [
    [
      [0x00000000, 0x00000000],
      [0x00000000, 0x00000000],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x1cb996fc, 0xbb002be7],
    ],
    [
      [0x243f6a88, 0x85a308d3],
      [0x13198a2e, 0x03707344],
      [0xc4923a9c, 0x483df7a0],
    ],
  ] as const
  test.each(known)('counter %j, key %j', (counter, k, result) => {
    expect(threefry(k[0], k[1], counter[0], counter[1])).toEqual(result)
  })
})

const N = 20_000
const moments = (xs: Float64Array): { readonly mean: number; readonly variance: number; readonly fourth: number } => {
  const mean = xs.reduce((a, b) => a + b, 0) / xs.length
  const power = (p: number): number => xs.reduce((a, b) => a + (b - mean) ** p, 0) / xs.length
  return { mean, variance: power(2), fourth: power(4) }
}
/** five standard errors: once in two million */
const near = (found: number, expected: number, standardError: number): void => {
  expect(Math.abs(found - expected)).toBeLessThan(5 * standardError)
}

describe('moments', () => {
  test('uniform(-1, 3): mean 1, variance 16/12, within its interval', () => {
    const xs = draw(uniform(-1, 3)(key, { i: N }))
    const m = moments(xs)
    near(m.mean, 1, Math.sqrt(16 / 12 / N))
    // Var(s^2) = (mu4 - sigma^4) / N, mu4 = w^4 / 80
    near(m.variance, 16 / 12, Math.sqrt((256 / 80 - (16 / 12) ** 2) / N))
    expect(xs.every((x) => x > -1 && x < 3)).toBe(true)
  })
  test('normal(2): mean 0, variance 4, fourth moment 48', () => {
    const m = moments(draw(normal(2)(key, { i: N })))
    near(m.mean, 0, 2 / Math.sqrt(N))
    near(m.variance, 4, 4 * Math.sqrt(2 / N))
    // Var(x^4) = (105 - 9) sigma^8
    near(m.fourth, 48, 16 * Math.sqrt(96 / N))
  })
})

describe('keys', () => {
  const correlation = (xs: Float64Array, ys: Float64Array): number => {
    const [a, b] = [moments(xs), moments(ys)]
    const cov = xs.reduce((s, x, i) => s + (x - a.mean) * (ys[i]! - b.mean), 0) / xs.length
    return cov / Math.sqrt(a.variance * b.variance)
  }
  const stream = (i: number, seed?: number) => draw(uniform(0, 1)(childKey(key, i), { i: N }), seed)
  test('children, parent and other seeds are uncorrelated, at lag 0 and 1', () => {
    const streams = [stream(0), stream(1), stream(2), draw(uniform(0, 1)(key, { i: N })), stream(0, 8)]
    streams.forEach((xs, i) =>
      streams.slice(i + 1).forEach((ys) => {
        near(correlation(xs, ys), 0, 1 / Math.sqrt(N))
        near(correlation(xs.slice(1), ys.slice(0, -1)), 0, 1 / Math.sqrt(N))
      }),
    )
  })
  test('a child of a key does not depend on how many there are, and no two share a word', () => {
    const words = Array.from({ length: 40 }, (_, i) => draw(childKey(key, i)).join(' '))
    expect(new Set(words).size).toBe(40)
    expect(draw(childKey(key, 3))).toEqual(draw(childKey(key, 3)))
  })
  test('the same key gives the same numbers; a seed of more than 32 bits is a key of its own', () => {
    expect(draw(normal(1)(key, { i: 5 }))).toEqual(draw(normal(1)(key, { i: 5 })))
    expect(keyWords(2 ** 32 + 5)).toEqual([1, 5])
    expect(draw(uniform(0, 1)(key, { i: 4 }), 5)).not.toEqual(draw(uniform(0, 1)(key, { i: 4 }), 2 ** 32 + 5))
  })
})
