/** What a new scalar function costs: one row in one file. Everything else finds it there. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { expect, test, vi } from 'vitest'
import { grad } from '../../src/autodiff/index.ts'
import { compileNow } from '../../src/codegen/index.ts'
import { evaluate, input, map, parse, print, program, sum, value } from '../../src/dsl/index.ts'
import type * as Elementary from '../../src/dsl/scalar/elementary.ts'
import { ULPS, type ScalarOp } from '../../src/dsl/scalar/row.ts'

// f(a) = a / (1 + |a|), f'(a) = 1 / (1 + |a|)^2: a row beside those of elementary.ts, and nothing else
vi.mock('../../src/dsl/scalar/elementary.ts', async (original) => {
  const { elementary } = await original<typeof Elementary>()
  const { monotone } = await import('../../src/dsl/scalar/row.ts')
  const f = (a: number): number => a / (1 + Math.abs(a))
  const softsign: ScalarOp = {
    arity: 1,
    signature: 'float',
    doc: 'a / (1 + |a|)',
    eval: f,
    vjp: (k, ct, [a]) => {
      const d = k.map('add', k.map('abs', a!), k.scalar(1))
      return [k.map('div', ct, k.map('mul', d, d))]
    },
    bound: monotone(f),
    spell: {
      c: (a) => `(${a} / (1.0f + fabsf(${a})))`,
      cuda: (a) => `(${a} / (1.0f + fabsf(${a})))`,
      gpujs: (a) => `(${a} / (1 + Math.abs(${a})))`,
    },
    domain: [[-3, 3]],
    flops: 3,
  }
  return { elementary: { ...elementary, softsign } }
})

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const x = input('x', { i: 3 })
// the union of names is made from the rows; a row that a test adds at run time is not in it
const y = pipe(x, map('softsign' as 'neg'))
const p = get(program('softsign', { y, ...grad(pipe(y, sum('i')), { x }) }))
const at = Float32Array.of(-1, 0.5, 3)

test('it has a meaning and a gradient', () => {
  const { outputs } = get(evaluate(p, { x: value({ i: 3 }, at) }))
  expect(Array.from(outputs['y']!.data)).toEqual([-1 / 2, 0.5 / 1.5, 3 / 4])
  expect(Array.from(outputs['x']!.data)).toEqual([1 / 4, 1 / 2.25, 1 / 16])
})

test('it prints and parses back', () => {
  expect(print(p)).toContain('softsign(')
  expect(print(get(parse(print(p))))).toBe(print(p))
})

test('it compiles and runs, under the bound of its row', () => {
  const executable = get(compileNow(p, { target: 'gpujs' }))
  const out = get(executable.runNow({ x: at }))
  executable.dispose()
  // ULPS of the row, in units of f32's roundoff
  const u = 2 ** -24
  out['y']!.forEach((v, i) => {
    const exact = at[i]! / (1 + Math.abs(at[i]!))
    expect(Math.abs(v - exact)).toBeLessThanOrEqual(ULPS * u * Math.abs(exact))
  })
})
