/** HRA's penalty:  lambda |I - N^T N|_F, N the columns of U at length one. */
import { pipe } from 'fp-ts/lib/function.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { grad } from '../../src/autodiff/index.ts'
import {
  div,
  evaluate,
  evaluateBounded,
  eye,
  f64,
  input,
  map,
  mul,
  program,
  rename,
  scale,
  sub,
  sum,
  value,
  type Tensor,
} from '../../src/dsl/index.ts'
import { right } from './fixture.ts'
import { named } from './named.ts'

const hra = named('hra')

const [width, weight] = [5, 0.25]

const programOf = (rank: number, orthogonality: number) => {
  const u = input('u', { in: width, r: rank })
  const loss = hra.penalty!({ rank, orthogonality })({ u })
  return right(program('penalty', { loss, slope: grad(loss, { u }).u }))
}

const penaltyOf = (rank: number, orthogonality: number) => {
  const p = programOf(rank, orthogonality)
  return (columns: ReadonlyArray<ReadonlyArray<number>>) => {
    const data = Array.from({ length: width }, (_, i) => columns.map((c) => c[i]!)).flat()
    return right(evaluate(p, { u: value({ in: width, r: rank }, data) })).outputs
  }
}

/** the formula, entry by entry:  lambda sqrt sum_ab (u_a . u_b / |u_a| |u_b| - [a = b])^2 */
const byDefinition = (rank: number) => {
  const u = input('u', { in: width, r: rank })
  const [a, b] = [pipe(u, rename({ r: 'a' })), pipe(u, rename({ r: 'b' }))]
  const length = <A extends string>(c: Tensor<A | 'in'>) => pipe(c, mul(c), sum('in'), map('sqrt'))
  const cosine = pipe(a, mul(b), sum('in'), div(pipe(length<'a'>(a), mul(length<'b'>(b)))))
  const off = pipe(cosine, sub(eye('a', 'b', rank)))
  return right(program('definition', { loss: pipe(off, mul(off), sum('a', 'b'), map('sqrt'), scale(weight)) }))
}

const column = fc.array(fc.double({ min: 0.5, max: 2, noNaN: true }), { minLength: width, maxLength: width })

test('it is the formula', () => {
  fc.assert(
    fc.property(fc.array(column, { minLength: 2, maxLength: 4 }), (columns) => {
      const rank = columns.length
      const u = value({ in: width, r: rank }, Array.from({ length: width }, (_, i) => columns.map((c) => c[i]!)).flat())
      const [ours, theirs] = [programOf(rank, weight), byDefinition(rank)].map(
        (p) => right(evaluateBounded(p, { u }, {}, {}, f64)).outputs['loss']!,
      )
      const bound = ours!.bound[0]! + theirs!.bound[0]!
      // positive columns are never orthogonal, so the cost is not nothing, and the bound is worth something
      expect(bound).toBeLessThan(1e-3 * theirs!.value.data[0]!)
      expect(Math.abs(ours!.value.data[0]! - theirs!.value.data[0]!)).toBeLessThanOrEqual(bound)
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
