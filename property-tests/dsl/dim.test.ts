/** Sizes as symbols: a commutative ring whose equal members have equal keys, with exact quotients. */
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import {
  addDim,
  dim,
  divDim,
  evalDim,
  mulDim,
  scaleDim,
  subDim,
  substituteDim,
  symbolsOf,
  type Dim,
} from '../../src/dsl/dim.ts'

const symbols = ['a', 'b', 'token', 'x_1'] as const
/** multiples of 24, so that every quotient drawn is exact */
const sizes = { a: 24, b: 48, token: 120, x_1: 72 }

const monomial: fc.Arbitrary<Dim> = fc.oneof(
  fc.integer({ min: -4, max: 6 }).map((n) => dim(n)),
  fc.constantFrom(...symbols).map((s) => dim(s)),
  fc.tuple(fc.constantFrom(...symbols), fc.constantFrom(2, 3, 4, 8)).map(([s, d]) => divDim(s, d)),
)
const dims: fc.Arbitrary<Dim> = fc.letrec<{ d: Dim }>((tie) => ({
  d: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    monomial,
    fc.tuple(tie('d'), tie('d')).map(([p, q]) => addDim(p, q)),
    fc.tuple(tie('d'), tie('d')).map(([p, q]) => mulDim(p, q)),
    fc.tuple(tie('d'), tie('d')).map(([p, q]) => subDim(p, q)),
  ),
})).d
/** what sizes are divided by: a monomial that is not zero */
const divisor: fc.Arbitrary<Dim> = fc.oneof(
  fc.constantFrom(...symbols).map((s) => dim(s)),
  fc.constantFrom(1, 2, 3, 4, 8).map((n) => dim(n)),
  fc.tuple(fc.constantFrom(2, 3), fc.constantFrom(...symbols)).map(([n, s]) => mulDim(n, s)),
)

const value = (p: Dim): number => {
  const n = evalDim(p, sizes)
  if (E.isLeft(n)) throw new Error(`${p.key}: ${n.left}`)
  return n.right
}
const same = (p: Dim, q: Dim): void => {
  expect(p.key).toBe(q.key)
}
const holds = (law: (p: Dim, q: Dim, r: Dim) => void): void =>
  fc.assert(fc.property(dims, dims, dims, law), { numRuns: 300 })

describe('a commutative ring, up to the key', () => {
  test('p + q = q + p', () => holds((p, q) => same(addDim(p, q), addDim(q, p))))
  test('(p + q) + r = p + (q + r)', () => holds((p, q, r) => same(addDim(addDim(p, q), r), addDim(p, addDim(q, r)))))
  test('p q = q p', () => holds((p, q) => same(mulDim(p, q), mulDim(q, p))))
  test('(p q) r = p (q r)', () => holds((p, q, r) => same(mulDim(mulDim(p, q), r), mulDim(p, mulDim(q, r)))))
  test('p (q + r) = p q + p r', () =>
    holds((p, q, r) => same(mulDim(p, addDim(q, r)), addDim(mulDim(p, q), mulDim(p, r)))))
  test('p + 0 = p, 1 p = p, p - p = 0, 2 p = p + p', () =>
    holds((p) => {
      same(addDim(p, 0), p)
      same(mulDim(p, 1), p)
      same(subDim(p, p), dim(0))
      same(scaleDim(2, p), addDim(p, p))
    }))
})

describe('quotients', () => {
  test('(n / d) d = n', () => {
    fc.assert(
      fc.property(dims, divisor, (n, d) => same(mulDim(divDim(n, d), d), n)),
      { numRuns: 300 },
    )
  })
  test('(n d) / d = n', () => {
    fc.assert(
      fc.property(dims, divisor, (n, d) => same(divDim(mulDim(n, d), d), n)),
      { numRuns: 300 },
    )
  })
  test('parts of a quotient make the whole: in/8 taken eight times is in', () => {
    const part = divDim('in', 8)
    same(
      Array.from({ length: 8 }, () => part).reduce((s, p) => addDim(s, p)),
      dim('in'),
    )
  })
  test('one that is not exact is refused when sizes are known, and says why', () => {
    expect(evalDim(divDim('in', 8), { in: 12 })).toEqual(E.left('in = 12 to be a multiple of 8 = 8'))
    expect(evalDim(divDim('in', 'k'), { in: 12 })).toEqual(E.left("a size for symbol 'k'"))
    expect(E.isLeft(evalDim(divDim('in', 'k'), { in: 12, k: 0 }))).toBe(true)
  })
})

describe('interpreters', () => {
  test('a value is a homomorphism: of + - * /', () => {
    holds((p, q) => {
      expect(value(addDim(p, q))).toBe(value(p) + value(q))
      expect(value(subDim(p, q))).toBe(value(p) - value(q))
      // + 0: the sign of zero is nobody's size
      expect(value(mulDim(p, q)) + 0).toBe(value(p) * value(q) + 0)
    })
    fc.assert(
      fc.property(dims, divisor, (p, d) => {
        expect(value(divDim(mulDim(p, d), d)) + 0).toBe(value(p) + 0)
      }),
      { numRuns: 300 },
    )
  })
  test('what is printed is read back', () =>
    holds((p) => same(/^-?\d+$/.test(p.key) ? dim(Number(p.key)) : dim(p.key), p)))
  test('substitution is evaluation, one symbol at a time', () =>
    holds((p) => {
      const all = Object.fromEntries(Object.entries(sizes).map(([s, n]) => [s, dim(n)]))
      expect(symbolsOf(substituteDim(p, all))).toEqual([])
      expect(value(substituteDim(p, all)) + 0).toBe(value(p) + 0)
      expect(value(substituteDim(p, { a: all['a']! })) + 0).toBe(value(p) + 0)
    }))
})
