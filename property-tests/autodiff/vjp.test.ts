/** Every row's derivative, generated from its sample: against central differences, to first and second order. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pullback } from '../../src/autodiff/vjp.ts'
import { kit } from '../../src/dsl/build.ts'
import { isFloat } from '../../src/dsl/dtype.ts'
import type { Node } from '../../src/dsl/node.ts'
import { trace } from '../../src/dsl/program.ts'
import { concreteDims, floatNames, rows, type Case, type Draw } from '../dsl/samples.ts'
import { elements, tabulate, type Value } from '../../src/dsl/value.ts'
import { compareDerivative, type Point } from './differences.ts'

const RUNS = 30

const total = (x: Node): Node =>
  kit.reduce(
    'sum',
    x,
    x.type.dims.map((d) => d.name),
  )
/** <a, b> over every axis */
const inner = (a: Node, b: Node): Node => total(kit.map('mul', a, b))
const plus = (xs: ReadonlyArray<Node>): Node => xs.reduce((a, b) => kit.map('add', a, b), kit.scalar(0))

const drawLike = (draw: Draw, like: Node): Value =>
  tabulate(concreteDims(like.type.dims), () => draw(fc.integer, { min: -64, max: 64 }) / 64 + 1 / 128)

const named = (prefix: string, like: Node): Node => kit.input(prefix, like.type.dims, 'f32')

/** A first- and a second-order statement about one case: f, df, and where. */
interface Statement {
  readonly f: Node
  readonly df: Node
  readonly x: Point
  readonly d: Point
}

const floats = (c: Case): ReadonlyArray<{ readonly name: string; readonly node: Node }> =>
  floatNames(c).map((name) => ({ name, node: c.args[Number(name.slice(1))]! }))

/** as f32: a derivative is taken of the numbers, whatever the format */
const real = (n: Node): Node => kit.cast(n, 'f32')

/** f = <w, y>,  df = sum_x <dx, d_x>  with dx from the row's VJP */
const firstOrder = (c: Case, draw: Draw): Statement | undefined => {
  const xs = floats(c)
  if (!isFloat(c.node.type.dtype) || xs.length === 0) return undefined
  const w = named('w', c.node)
  const grads = pullback(
    [c.node],
    [kit.cast(w, c.node.type.dtype)],
    xs.map((x) => x.node),
  )
  const ds = xs.map((x) => named(`d.${x.name}`, x.node))
  const df = plus(grads.map((g, i) => inner(real(g), ds[i]!)))
  const d = Object.fromEntries(xs.map((x) => [x.name, drawLike(draw, x.node)]))
  const directions = Object.fromEntries(xs.map((x) => [`d.${x.name}`, d[x.name]!]))
  return { f: inner(w, real(c.node)), df, x: { ...c.values, ...directions, w: drawLike(draw, c.node) }, d }
}

/** L = <w, y^2>,  f = sum_x <u_x, dL/dx>,  df = sum_x <(H v)_x, u_x>: the VJP of the VJP */
const secondOrder = (c: Case, draw: Draw): Statement | undefined => {
  const xs = floats(c)
  if (!isFloat(c.node.type.dtype) || xs.length === 0) return undefined
  const nodes = xs.map((x) => x.node)
  const w = named('w', c.node)
  const y = real(c.node)
  const loss = inner(w, kit.map('mul', y, y))
  const us = xs.map((x) => named(`u.${x.name}`, x.node))
  const ds = xs.map((x) => named(`d.${x.name}`, x.node))
  const f = plus(pullback([loss], [kit.scalar(1)], nodes).map((g, i) => inner(real(g), us[i]!)))
  const df = plus(pullback([f], [kit.scalar(1)], nodes).map((g, i) => inner(real(g), ds[i]!)))
  const d = Object.fromEntries(xs.map((x) => [x.name, drawLike(draw, x.node)]))
  const rest = xs.flatMap((x) => [
    [`d.${x.name}`, d[x.name]!] as const,
    [`u.${x.name}`, drawLike(draw, x.node)] as const,
  ])
  return { f, df, x: { ...c.values, ...Object.fromEntries(rest), w: drawLike(draw, c.node) }, d }
}

/** |difference - derivative| <= tolerance, and the tolerance has teeth */
const agree = (s: Statement): void => {
  const program = (node: Node) => {
    const p = trace('statement', { y: { node } })
    expect(p.outputs[0]!.node.op === 'fault' ? p.outputs[0]!.node.attrs : 'no fault').toBe('no fault')
    return p
  }
  const [f, df] = [program(s.f), program(s.df)]
  const c = compareDerivative(f, df, s.x, s.d)
  const scale = Math.max(1, Math.abs(c.derivative))
  expect(Math.abs(c.difference - c.derivative), JSON.stringify(c)).toBeLessThanOrEqual(c.tolerance)
  expect(c.tolerance, `tolerance ${String(c.tolerance)}`).toBeLessThan(1e-5 * scale)
}

/** rounding is a step function, whose derivative is taken to be that of the identity: differences say nothing there */
const smooth = (c: Case): boolean => c.node.op !== 'cast' || c.node.type.dtype === 'f32'

const differentiable = (c: Case): boolean => smooth(c) && c.node.op !== 'stopGrad'

const orders = { 'first order': firstOrder, 'second order': secondOrder } as const

describe.each(Object.entries(orders))('%s', (_, order) => {
  test.each(rows)('$name', ({ draw }) => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = draw(g)
        const s = differentiable(c) ? order(c, g) : undefined
        if (s !== undefined) agree(s)
      }),
      { numRuns: RUNS },
    )
  })
})

describe.each([0, 1])('every free size is %i', (size) => {
  test.each(rows)('$name', ({ draw }) => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = draw(g, size)
        for (const order of [firstOrder, secondOrder]) {
          const s = differentiable(c) ? order(c, g) : undefined
          if (s !== undefined) agree(s)
        }
        expect(Object.values(c.values).every((v) => v.data.length === elements(v.dims))).toBe(true)
      }),
      { numRuns: 4 },
    )
  })
})

describe('teeth: a derivative that is off by a thousandth is refuted', () => {
  const isRefuted = (s: Statement): boolean => {
    const program = (node: Node) => trace('statement', { y: { node } })
    const wrong = kit.map('mul', s.df, kit.scalar(1.001))
    const c = compareDerivative(program(s.f), program(wrong), s.x, s.d)
    return Math.abs(c.difference - c.derivative) > c.tolerance
  }
  /** derivative zero everywhere: nothing to be off by */
  const flat = new Set(['map sign', 'map floor', 'map round'])
  const tested = rows.filter((r) => !flat.has(r.name))
  test.each(tested)('$name', ({ draw }) => {
    let [cases, refuted] = [0, 0]
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const c = draw(g)
        const s = differentiable(c) ? firstOrder(c, g) : undefined
        if (s === undefined || c.node.type.dims.some((d) => d.size.key === '0')) return
        cases += 1
        if (isRefuted(s)) refuted += 1
      }),
      { numRuns: 8 },
    )
    // a direction may be orthogonal to the gradient, hardly more than one in eight
    if (cases > 0) expect(refuted).toBeGreaterThan(0)
  })
})
