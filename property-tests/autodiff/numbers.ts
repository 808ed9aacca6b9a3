/** Numbers for graphs: random points, values of nodes at given sizes. */
import * as E from 'fp-ts/lib/Either.js'
import { dim, evalDim } from '../../src/dsl/dim.ts'
import { evaluate, trace, type Program, type Sizes, type Value } from '../../src/dsl/index.ts'
import type { Node } from '../../src/dsl/node.ts'
import { bindSizes } from '../../src/dsl/program.ts'
import { layOut, tabulate } from '../../src/dsl/value.ts'

/** mulberry32: numbers in [0, 1) from a seed */
export const generator = (seed: number): (() => number) => {
  let s = seed | 0
  return () => {
    s = (s + 0x6d2b79f5) | 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

const bound = (roots: ReadonlyArray<Node>, sizes: Sizes): Program => {
  const by = Object.fromEntries(Object.entries(sizes).map(([n, s]) => [n, dim(s)]))
  return bindSizes(trace('t', Object.fromEntries(roots.map((node, i) => [`y${i}`, { node }]))), by)
}

/** The nodes at one random point, axes in the order of the first node; undefined where the sizes don't fit. */
export const valuesOf = (
  roots: ReadonlyArray<Node>,
  sizes: Sizes,
  seed: number,
): ReadonlyArray<Float64Array> | undefined => {
  const p = bound(roots, sizes)
  const random = generator(seed)
  const inputs: Record<string, Value> = {}
  for (const { name, node } of p.inputs) {
    const dims = node.type.dims.map((d) => {
      const n = evalDim(d.size, {})
      return { name: d.name, size: E.isRight(n) ? n.right : 1 }
    })
    const integer = node.type.dtype === 'u32' || node.type.dtype === 'i32'
    inputs[name] = tabulate(dims, () => (integer ? Math.floor(random() * 1e6) : 2 * random() - 1))
  }
  const out = evaluate(p, inputs, {})
  if (E.isLeft(out)) return undefined
  const first = out.right.outputs['y0']!
  return roots.map((_, i) => layOut(out.right.outputs[`y${i}`]!, first.dims).data)
}

/** the same to within rounding; two values that are not numbers are the same */
export const agree = (a: Float64Array, b: Float64Array): boolean => {
  const scale = [...a, ...b].reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1)
  return a.length === b.length && a.every((x, i) => Object.is(x, b[i]) || Math.abs(x - b[i]!) <= 1e-7 * scale)
}

export const finite = (a: Float64Array): boolean => a.every((x) => Number.isFinite(x))
