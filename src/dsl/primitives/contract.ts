/** Contractions: reduce and dot. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { isFloat } from '../dtype.ts'
import { axisIn, hasAxis, type Axis, type Node } from '../node.ts'
import { elements, offsets, type ConcreteDims, type Value } from '../value.ts'
import type { Primitive } from './row.ts'
import { misuse, needAxes, unite, without } from './typing.ts'

const named = (dims: ConcreteDims, names: ReadonlyArray<string>): ConcreteDims =>
  dims.filter((d) => names.includes(d.name))
const lacking = (dims: ConcreteDims, names: ReadonlyArray<string>): ConcreteDims =>
  dims.filter((d) => !names.includes(d.name))

/** gamma_n = n u / (1 - n u): relative error of a sum of n terms, in any order (Higham, Accuracy and Stability, 3.1) */
export const gamma = (n: number, u: number): number => (n * u) / (1 - Math.min(0.5, n * u))

const folds = {
  sum: { start: 0, step: (a: number, b: number) => a + b },
  max: { start: -Infinity, step: Math.max },
  min: { start: Infinity, step: Math.min },
} as const

const fold = (
  x: Value,
  over: ReadonlyArray<string>,
  out: ConcreteDims,
  start: number,
  step: (a: number, b: number) => number,
): Float64Array => {
  const outer = offsets(x.dims, out)
  const inner = offsets(x.dims, named(x.dims, over))
  return new Float64Array(elements(out)).map((_, i) => {
    let acc = start
    const base = outer[i]!
    for (let j = 0; j < inner.length; j++) acc = step(acc, x.data[base + inner[j]!]!)
    return acc
  })
}

export const reduce: Primitive<'reduce'> = {
  doc: 'sum, maximum or minimum over axes; of nothing: 0, -Infinity, Infinity',
  type: ([x], { over }) => {
    if (x === undefined) return E.left(misuse('one argument', 'none'))
    const bad = needAxes(x, over)
    return bad !== undefined
      ? E.left(bad)
      : x.dtype === 'bool'
        ? E.left(misuse('numbers', 'bool'))
        : E.right({ dims: without(x.dims, over), dtype: x.dtype })
  },
  // sum: ct to every element. max, min: ct to the elements that attain it, in equal shares
  vjp: (k, ct, node) => {
    const x = node.args[0]!
    if (node.attrs.fn === 'sum') return [k.broadcast(ct, x.type.dims)]
    const attains = k.map('eq', x, node)
    const share = k.map('select', attains, k.scalar(1, x.type.dtype), k.scalar(0, x.type.dtype))
    return [k.map('mul', share, k.map('div', ct, k.reduce('sum', share, node.attrs.over)))]
  },
  meaning: ([x], { fn, over }, out) => fold(x!, over, out.dims, folds[fn].start, folds[fn].step),
  bound: ([x], { fn, over }, out, u) => {
    const errors = { dims: x!.value.dims, data: x!.bound }
    if (fn !== 'sum') {
      // between the extremes of x - e and of x + e: an element that cannot become the extreme one does not count
      const moved = (sign: number): Float64Array => {
        const data = x!.value.data.map((v, i) => v + sign * x!.bound[i]!)
        return fold({ dims: x!.value.dims, data }, over, out.dims, folds[fn].start, folds[fn].step)
      }
      const [low, high] = [moved(-1), moved(1)]
      return out.data.map((y, i) => Math.max(high[i] === y ? 0 : high[i]! - y, low[i] === y ? 0 : y - low[i]!))
    }
    const n = elements(named(x!.value.dims, over))
    const spread = fold(errors, over, out.dims, 0, (a, b) => a + b)
    const size = fold(x!.value, over, out.dims, 0, (a, b) => a + Math.abs(b))
    const g = isFloat(out.dtype) ? gamma(Math.max(0, n - 1), u) : 0
    return spread.map((e, i) => e + g * (size[i]! + e))
  },
  flops: ([x]) => elements(x!),
  sample: (g) => ({
    args: [
      {
        type: {
          dims: [
            { name: 'i', size: dim(g.size()) },
            { name: 'j', size: dim(g.int(1, 4)) },
            { name: 'k', size: dim(g.int(1, 3)) },
          ],
          dtype: 'f32',
        },
        range: [-3, 3],
      },
    ],
    attrs: { fn: g.pick(['sum', 'max', 'min']), over: g.pick([['j'], ['j', 'k'], ['k']]) },
  }),
}

/** The loops of a contraction: batch (in both and kept), rows (only in a), columns (only in b), contracted. */
interface Loops {
  readonly batch: ConcreteDims
  readonly m: ConcreteDims
  readonly n: ConcreteDims
  readonly k: ConcreteDims
}
export const dotLoops = (a: ConcreteDims, b: ConcreteDims, over: ReadonlyArray<string>): Loops => {
  const inB = b.map((d) => d.name)
  const inA = a.map((d) => d.name)
  return {
    batch: named(lacking(a, over), inB),
    m: lacking(lacking(a, over), inB),
    n: lacking(lacking(b, over), inA),
    k: [...named(a, over), ...lacking(named(b, over), inA)],
  }
}

/** y[batch, m, n] = sum_k a[batch, m, k] b[batch, k, n], with b packed row by row so that the inner loop is in step */
const contract = (a: Value, b: Value, over: ReadonlyArray<string>, out: ConcreteDims): Float64Array => {
  const { batch, m, n, k } = dotLoops(a.dims, b.dims, over)
  const [aB, aM, aK] = [offsets(a.dims, batch), offsets(a.dims, m), offsets(a.dims, k)]
  const [bB, bN, bK] = [offsets(b.dims, batch), offsets(b.dims, n), offsets(b.dims, k)]
  const [yB, yM, yN] = [offsets(out, batch), offsets(out, m), offsets(out, n)]
  const [M, N, K] = [aM.length, bN.length, aK.length]
  const y = new Float64Array(elements(out))
  const [x, z] = [a.data, b.data]
  const packed = new Float64Array(K * N)
  const row = new Float64Array(N)
  for (let s = 0; s < aB.length; s++) {
    for (let kk = 0, p = 0; kk < K; kk++) {
      const base = bB[s]! + bK[kk]!
      for (let j = 0; j < N; j++) packed[p++] = z[base + bN[j]!]!
    }
    for (let i = 0; i < M; i++) {
      const base = aB[s]! + aM[i]!
      row.fill(0)
      for (let kk = 0, p = 0; kk < K; kk++) {
        const f = x[base + aK[kk]!]!
        for (let j = 0; j < N; j++) row[j] = row[j]! + f * packed[p++]!
      }
      const to = yB[s]! + yM[i]!
      for (let j = 0; j < N; j++) y[to + yN[j]!] = row[j]!
    }
  }
  return y
}

const absolute = (v: Value): Value => ({ dims: v.dims, data: v.data.map(Math.abs) })
const unbounded = (e: number): number => (Number.isNaN(e) ? Infinity : e)
const plus = (x: Float64Array, y: Float64Array): Float64Array => x.map((v, i) => v + y[i]!)

export const dot: Primitive<'dot'> = {
  doc: 'the sum over the named axes of the product: einsum with names; other shared axes are batch axes',
  type: ([a, b], { over }) => {
    if (a === undefined || b === undefined) return E.left(misuse('two arguments', 'fewer'))
    if (a.dtype !== b.dtype || !isFloat(a.dtype))
      return E.left(misuse('two float tensors of one dtype', `${a.dtype}, ${b.dtype}`))
    const bad = needAxes(a, over) ?? needAxes(b, over)
    if (bad !== undefined) return E.left(bad)
    const first = without(a.dims, over)
    const rest = without(b.dims, over).filter((d) => axisIn(first, d.name) === undefined)
    return E.map(() => ({ dims: [...first, ...rest], dtype: a.dtype }))(unite([a, b]))
  },
  // y = sum_k a b: da = ct b summed over what a lacks, db = ct a summed over what b lacks
  vjp: (k, ct, node) => {
    const [a, b] = [node.args[0]!, node.args[1]!]
    const only = (x: Node, y: Node): ReadonlyArray<string> =>
      ct.type.dims.map((d) => d.name).filter((n) => hasAxis(x.type, n) && !hasAxis(y.type, n))
    return [k.dot(ct, b, only(b, a)), k.dot(ct, a, only(a, b))]
  },
  meaning: ([a, b], { over }, out) => contract(a!, b!, over, out.dims),
  // sum |a| eb + |b| ea + ea eb + gamma_K sum |a||b|
  bound: ([a, b], { over }, out, u) => {
    const [ea, eb] = [
      { dims: a!.value.dims, data: a!.bound },
      { dims: b!.value.dims, data: b!.bound },
    ]
    const [va, vb] = [absolute(a!.value), absolute(b!.value)]
    const sizes = contract(va, vb, over, out.dims)
    const cross = [
      contract(va, eb, over, out.dims),
      contract(ea, vb, over, out.dims),
      contract(ea, eb, over, out.dims),
    ].reduce(plus)
    const K = elements(dotLoops(a!.value.dims, b!.value.dims, over).k)
    const g = gamma(K, u)
    // each product may underflow; 0 times an unbounded error is unbounded
    const tiny = K * 2 ** -126
    return sizes.map((s, i) => unbounded(cross[i]! + g * (s + cross[i]!) + tiny))
  },
  flops: ([a, b], out, { over }) => 2 * elements(out) * elements(dotLoops(a!, b!, over).k),
  sample: (g) => {
    const axes: Record<'s' | 'i' | 'j' | 'k', Axis> = {
      s: { name: 's', size: dim(g.size()) },
      i: { name: 'i', size: dim(g.size()) },
      j: { name: 'j', size: dim(g.size()) },
      k: { name: 'k', size: dim(g.int(1, 4)) },
    }
    const batch = g.pick([[], [axes.s]])
    return {
      args: [
        { type: { dims: [...batch, axes.i, axes.k], dtype: 'f32' }, range: [-2, 2] },
        { type: { dims: [axes.k, ...batch, axes.j], dtype: 'f32' }, range: [-2, 2] },
      ],
      attrs: { over: ['k'] },
    }
  },
}
