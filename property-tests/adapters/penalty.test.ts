/** HRA's penalty:  lambda |I - N^T N|_F, N the columns of U at length one. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { grad } from '../../src/autodiff/index.ts'
import { evaluate, input, program, value } from '../../src/dsl/index.ts'
import { right } from './fixture.ts'
import { named } from './named.ts'

const hra = named('hra')

const [width, weight] = [5, 0.25]

const penaltyOf = (rank: number, orthogonality: number) => {
  const u = input('u', { in: width, r: rank })
  const loss = hra.penalty!({ rank, orthogonality })({ u })
  const p = right(program('penalty', { loss, slope: grad(loss, { u }).u }))
  return (columns: ReadonlyArray<ReadonlyArray<number>>) => {
    const data = Array.from({ length: width }, (_, i) => columns.map((c) => c[i]!)).flat()
    return right(evaluate(p, { u: value({ in: width, r: rank }, data) })).outputs
  }
}

/** the formula, entry by entry */
const byDefinition = (columns: ReadonlyArray<ReadonlyArray<number>>): number => {
  const inner = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => a.reduce((s, x, i) => s + x * b[i]!, 0)
  const N = columns.map((c) => c.map((x) => x / Math.sqrt(inner(c, c))))
  return Math.sqrt(N.flatMap((a, i) => N.map((b, j) => (inner(a, b) - (i === j ? 1 : 0)) ** 2)).reduce((s, x) => s + x))
}

const column = fc.array(fc.double({ min: 0.5, max: 2, noNaN: true }), { minLength: width, maxLength: width })

test('it is the formula', () => {
  fc.assert(
    fc.property(fc.array(column, { minLength: 2, maxLength: 4 }), (columns) => {
      const { loss } = penaltyOf(columns.length, weight)(columns)
      // both sides are f64 of a few dozen operations on numbers of order one
      expect(loss!.data[0]).toBeCloseTo(weight * byDefinition(columns), 12)
    }),
  )
})

test('orthogonal columns of any length cost nothing, and do not break the gradient', () => {
  const { loss, slope } = penaltyOf(
    2,
    weight,
  )([
    [3, 0, 0, 0, 0],
    [0, 0, 0.5, 0, 0],
  ])
  expect(loss!.data[0]).toBe(0)
  expect(Array.from(slope!.data).every((x) => x === 0)).toBe(true)
})

test.each([
  [1, weight],
  [3, 0],
])('rank %i, weight %d: nothing, and no gradient', (rank, orthogonality) => {
  const columns = Array.from({ length: rank }, (_, k) => [1, k + 1, 2, 3, k])
  const { loss, slope } = penaltyOf(rank, orthogonality)(columns)
  expect(loss!.data[0]).toBe(0)
  expect(Array.from(slope!.data)).toEqual(Array.from({ length: width * rank }, () => 0))
})
