/** Whole graphs: derivatives of compositions, f32 inside their bounds, custom = derived, and what a gradient leaves alone. */
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { grad, hvp, vjp, withVjp } from '../../src/autodiff/index.ts'
import { pullback } from '../../src/autodiff/vjp.ts'
import { kit } from '../../src/dsl/build.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import {
  add,
  dot,
  exp,
  input,
  map,
  mul,
  scale,
  sigmoid,
  square,
  stopGrad,
  sum,
  tanh,
  type Tensor,
} from '../../src/dsl/index.ts'
import { evaluate, evaluateBounded } from '../../src/dsl/interpret.ts'
import { topological, type Node } from '../../src/dsl/node.ts'
import { program, trace, type AnyTensor } from '../../src/dsl/program.ts'
import { value, type Value } from '../../src/dsl/value.ts'
import { randomFrom, runF32 } from '../dsl/f32.ts'
import { drawGraph, drawInputs } from '../dsl/graphs.ts'
import { compareDerivative } from './differences.ts'

const total = (x: Node): Node =>
  kit.reduce(
    'sum',
    x,
    x.type.dims.map((d) => d.name),
  )

describe('random graphs', () => {
  test('their gradients agree with central differences', () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const { program: p, inputs } = drawGraph(g, { smooth: true, c: 2 })
        const y = total(kit.map('tanh', p.outputs[0]!.node))
        const x = drawInputs(g, inputs)
        const ds = inputs.map((n, i) => kit.input(`d${String(i)}`, n.type.dims, 'f32'))
        const d = Object.fromEntries(Object.values(drawInputs(g, ds)).map((v, i) => [`x${String(i)}`, fewBits(v)]))
        const df = pullback([y], [kit.scalar(1)], inputs)
          .map((q, i) => total(kit.map('mul', q, ds[i]!)))
          .reduce((a, b) => kit.map('add', a, b))
        const at = { ...x, ...Object.fromEntries(inputs.map((_, i) => [`d${String(i)}`, d[`x${String(i)}`]!])) }
        const c = compareDerivative(trace('f', { y: { node: y } }), trace('df', { y: { node: df } }), at, d)
        expect(Math.abs(c.difference - c.derivative), JSON.stringify(c)).toBeLessThanOrEqual(c.tolerance)
      }),
      { numRuns: 120 },
    )
  })
  test('f32 stays within the bound, forward and backward', () => {
    fc.assert(
      fc.property(fc.gen(), fc.nat(), (g, seed) => {
        const { program: p, inputs } = drawGraph(g, { smooth: true, c: 2 })
        const y = p.outputs[0]!.node
        const outputs = [y, ...pullback([total(y)], [kit.scalar(1)], inputs)]
        const all = trace('all', Object.fromEntries(outputs.map((node, i) => [String(i), { node }])))
        const x = drawInputs(g, inputs)
        const oracle = evaluateBounded(all, x)
        if (E.isLeft(oracle)) throw new Error(showFaults(oracle.left))
        const given = new Map(all.inputs.map((i) => [i.node, x[i.name]!]))
        runF32(outputs, given, randomFrom(seed)).forEach((v, k) => {
          const want = oracle.right.outputs[String(k)]!
          v.data.forEach((found, i) =>
            expect(Math.abs(found - want.value.data[i]!)).toBeLessThanOrEqual(want.bound[i]!),
          )
        })
      }),
      { numRuns: 120 },
    )
  })
})

/** few bits, so that the points of the differences are exact */
const fewBits = (v: Value): Value => ({ dims: v.dims, data: v.data.map((a) => Math.round(a * 64) / 64) })

const run = (outputs: Readonly<Record<string, AnyTensor>>, x: Parameters<typeof evaluate>[1]) => {
  const done = E.chain((p: Parameters<typeof evaluate>[0]) => evaluate(p, x))(program('p', outputs))
  if (E.isLeft(done)) throw new Error(showFaults(done.left))
  return done.right.outputs
}

describe('custom = derived', () => {
  const silu = (t: Tensor<string>): Tensor<string> => pipe(t, mul(sigmoid(t)))
  /** s + x s (1 - s), s = sigmoid x */
  const rule = (x: Tensor<string>, ct: Tensor<string>): Tensor<string> => {
    const s = sigmoid(x)
    return pipe(ct, mul(pipe(s, add(pipe(x, mul(s), mul(pipe(s, scale(-1), add(1))))))))
  }
  const own = withVjp(
    'silu',
    (t) => silu(t),
    ([t], _y, ct) => [rule(t!, ct)],
  )
  const wrong = withVjp(
    'silu',
    (t) => silu(t),
    ([t], _y, ct) => [pipe(ct, mul(sigmoid(t!)))],
  )
  const x = input('x', { i: 4 })
  const at = { x: value({ i: 4 }, [-2, -0.3, 0.7, 3]), v: value({ i: 4 }, [1, -2, 0.5, 0.25]) }
  const first = (f: (t: Tensor<'i'>) => Tensor<'i'>) =>
    run({ g: grad(pipe(f(x), square, sum('i')), { x }).x }, at)['g']!.data
  const second = (f: (t: Tensor<'i'>) => Tensor<'i'>) =>
    run({ g: hvp(pipe(f(x), square, sum('i')), { x }, { x: input('v', { i: 4 }) }).x }, at)['g']!.data
  const derived = (t: Tensor<'i'>): Tensor<'i'> => pipe(t, mul(sigmoid(t)))
  /** two formulas for one number, each a dozen roundings of numbers below 64 */
  const near = (a: Float64Array, b: Float64Array): boolean =>
    a.every((p, i) => Math.abs(p - b[i]!) <= 16 * 64 * 2 ** -53)

  test('to first and second order; a rule that drops a term is seen', () => {
    expect(near(first(own<'i'>), first(derived))).toBe(true)
    expect(near(second(own<'i'>), second(derived))).toBe(true)
    expect(near(first(wrong<'i'>), first(derived))).toBe(false)
  })
  test('its value is the body, and the rule is used, not the body', () => {
    expect(run({ y: own<'i'>(x) }, at)['y']!.data).toEqual(run({ y: derived(x) }, at)['y']!.data)
    expect(near(first(wrong<'i'>), first(own<'i'>))).toBe(false)
  })
  test('nested and used twice', () => {
    const nested = withVjp(
      'outer',
      (t) => own<string>(t),
      ([t], _y, ct) => [vjp(own<string>(t!), ct, { t: t! }).t],
    )
    const twice = (f: (t: Tensor<'i'>) => Tensor<'i'>) => (t: Tensor<'i'>) => f(f(t))
    expect(near(first(twice(nested<'i'>)), first(twice(derived)))).toBe(true)
  })
})

describe('activity: what a gradient leaves alone', () => {
  const layers = 6
  const x = input('x', { token: 5, i: 4 })
  const frozen = Array.from({ length: layers }, (_, l) => input(`w${String(l)}`, { i: 4, o: 4 }))
  const [a, b] = [input('a', { i: 4, r: 2 }), input('b', { r: 2, o: 4 })]
  /** a low-rank adapter on one layer only */
  const model = (at: number): Tensor<never> => {
    let h: Tensor<'token' | 'i'> = x
    frozen.forEach((w, l) => {
      const base = pipe(h, dot(w, 'i'))
      const y = l === at ? pipe(base, add(pipe(h, dot(a, 'i'), dot(b, 'r')))) : base
      h = pipe({ node: kit.rename(y.node, { o: 'i' }) } as unknown as Tensor<'token' | 'i'>, tanh)
    })
    return pipe(h, square, sum('token', 'i'))
  }
  /** nodes that the gradients need beyond the forward pass */
  const backward = (loss: Tensor<never>, wrt: Readonly<Record<string, AnyTensor>>): ReadonlyArray<Node> => {
    const forward = new Set(topological([loss.node]))
    return topological(Object.values(grad(loss, wrt)).map((t) => t.node)).filter((n) => !forward.has(n))
  }
  const dots = (ns: ReadonlyArray<Node>): number => ns.filter((n) => n.op === 'dot').length
  const everything = { a, b, x, ...Object.fromEntries(frozen.map((w, l) => [`w${String(l)}`, w])) }

  test.each([0, 2, 5])('an adapter on layer %i: one dot for each frozen layer above, none below', (at) => {
    const loss = model(at)
    // above: ct W^T each. at the adapter: ct B^T, then one for a and one for b
    expect(dots(backward(loss, { a, b }))).toBe(layers - 1 - at + 3)
    expect(backward(loss, { a, b }).length).toBeLessThan(backward(loss, everything).length)
  })
  test('everything: two dots a layer, and four in the adapter', () => {
    expect(dots(backward(model(2), everything))).toBe(2 * layers + 4)
  })
  test('what nothing depends on has gradient zero, and stopGrad cuts', () => {
    const [p, q] = [input('p', { i: 3 }), input('q', { i: 3 })]
    const loss = pipe(p, mul(stopGrad(exp(p))), sum('i'))
    const zero = run({ g: grad(loss, { q }).q }, {})['g']!
    expect(Array.from(zero.data)).toEqual([0, 0, 0])
    const at = { p: value({ i: 3 }, [0, 1, 2]) }
    expect(run({ g: grad(loss, { p }).p }, at)['g']!.data).toEqual(run({ g: map('exp')(p) }, at)['g']!.data)
  })
})
