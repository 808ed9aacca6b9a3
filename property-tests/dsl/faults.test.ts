/** Misuse: every fault at once, each with the operation, both sides, a suggestion, and the user's own line. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { grad, withVjp } from '../../src/autodiff/index.ts'
import { kit } from '../../src/dsl/build.ts'
import type { Checked, Fault } from '../../src/dsl/fault.ts'
import {
  add,
  broadcast,
  concat,
  dot,
  exp,
  input,
  mul,
  slice,
  split,
  sum,
  wrap,
  type Tensor,
} from '../../src/dsl/index.ts'
import { evaluate } from '../../src/dsl/interpret.ts'
import { program } from '../../src/dsl/program.ts'
import { value } from '../../src/dsl/value.ts'

const faultsOf = (p: Checked<unknown>): ReadonlyArray<Fault> => (E.isLeft(p) ? p.left : [])
/** file, line and column of where it is called, from the stack of a plain Error */
const here = (): string => /faults\.test\.ts:\d+/.exec((new Error().stack ?? '').split('\n')[2] ?? '')?.[0] ?? ''

/** a tensor whose axes the compiler does not know: what is left for `check` */
const loose = (name: string, shape: Readonly<Record<string, number>>): Tensor<string> => wrap(input(name, shape).node)

const x = loose('x', { token: 3, in: 4 })
const w = loose('w', { out: 2, in: 5 })

describe('where', () => {
  test("the fault's site is the user's line, through fp-ts pipe as well", () => {
    const line = here()
    const [a, b] = [exp(x), pipe(x, exp, sum('tokn'), mul(2))]
    const found = faultsOf(program('p', { a, b }))
    const next = line.replace(/\d+$/, (n) => String(Number(n) + 1))
    expect(found).toHaveLength(1)
    expect(found[0]!.site).toContain(next)
    expect(found[0]!.site).toMatch(/^\/.*\.ts:\d+:\d+$/)
  })
})

describe('what', () => {
  test('all at once, each once, whatever is built on them', () => {
    const wrongSize = pipe(x, dot(w, 'in'))
    const wrongAxis = pipe(x, sum('tokne'))
    const built = pipe(wrongSize, add(wrongAxis), exp, mul(wrongAxis))
    const found = faultsOf(program('p', { built, again: exp(wrongSize) }))
    expect(found.map(({ site: _, ...f }) => f)).toEqual([
      { at: 'dot', expected: "axis 'in' to have one size", actual: '4 and 5' },
      { at: 'reduce', expected: "axis 'tokne'", actual: 'f32[token:3, in:4]', hint: "did you mean 'token'?" },
    ])
    expect(found.every((f) => f.site?.includes('faults.test.ts'))).toBe(true)
  })
  test('the same misuse on two lines is two faults', () => {
    const first = pipe(x, sum('no'))
    const second = pipe(x, sum('no'))
    expect(faultsOf(program('p', { first, second }))).toHaveLength(2)
  })
  test.each([
    ['a split that does not fit', () => pipe(x, split('in', { a: 3, b: 2 })), 'reshape'],
    ['a slice beyond the end', () => pipe(x, slice('in', 3, 2)), 'slice'],
    ['an axis that is there already, of another size', () => pipe(x, broadcast({ token: 5 })), 'broadcast'],
    ['sizes that differ in a concat', () => pipe(x, concat('token', w)), 'concat'],
    ['an unknown function', () => wrap<string>(kit.map('expp', x.node)), 'expp'],
    ['a loss with axes', () => grad(x as unknown as Tensor<never>, { x }).x, 'grad'],
    ['a function that reads what is not its argument', () => capture(x), 'bad'],
  ] as const)('%s', (_, make, at) => {
    const found = faultsOf(program('p', { y: make() }))
    expect(found.map((f) => f.at)).toEqual([at])
    expect(found[0]!.expected).not.toBe('')
    expect(found[0]!.actual).not.toBe('')
  })
  test('two inputs of one name', () => {
    const found = faultsOf(program('p', { y: add<string>(loose('x', { token: 3 }))(x), z: loose('x', { k: 1 }) }))
    expect(found.map((f) => f.at)).toContain("input 'x'")
  })
})

const capture = (outer: Tensor<string>): Tensor<string> =>
  withVjp(
    'bad',
    (t) => pipe(t, mul(outer)),
    (_args, _y, ct) => [ct],
  )(exp(outer))

describe('at run time: what symbols hide from the types', () => {
  const part = program('part', { y: pipe(input('x', { token: 'token' }), slice('token', 'from', 2)) })
  const run = (from: number) =>
    E.chain((p: Parameters<typeof evaluate>[0]) => evaluate(p, { x: value({ token: 3 }, [1, 2, 3]) }, { from }))(part)
  test('a slice inside its axis', () => {
    expect(
      E.isRight(run(1)) &&
        Array.from(
          run(1)._tag === 'Right'
            ? (run(1) as never as { right: { outputs: { y: { data: Float64Array } } } }).right.outputs.y.data
            : [],
        ),
    ).toEqual([2, 3])
  })
  test('a slice that runs over the end is a fault, not other numbers', () => {
    expect(faultsOf(run(2)).map((f) => f.at)).toEqual(["slice, axis 'token'"])
  })
  test('a size that is nowhere given', () => {
    const p = E.chain((q: Parameters<typeof evaluate>[0]) => evaluate(q, { x: value({ token: 3 }, [1, 2, 3]) }))(part)
    expect(faultsOf(p).length).toBeGreaterThan(0)
  })
  test('an axis that does not divide', () => {
    const p = program('q', { y: pipe(input('x', { in: 'in' }), split('in', { block: '(in/2)', i: 2 })) })
    const found = E.chain((q: Parameters<typeof evaluate>[0]) => evaluate(q, { x: value({ in: 3 }, [1, 2, 3]) }))(p)
    expect(faultsOf(found)[0]!.expected).toContain('multiple of 2')
  })
})
