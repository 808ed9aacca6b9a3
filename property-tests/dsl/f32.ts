/**
 * A program in true f32: every scalar result rounded, sums in a random order with rounding after each
 * addition, solves by f32 elimination. Written apart from the rows, so that their bounds meet something they
 * did not make. Functions that no target rounds correctly are off by as much as their row says they may be.
 */
import { dtypes, isFloat, roundToDType, type DType } from '../../src/dsl/dtype.ts'
import { topological, type Attrs, type Node, type Op } from '../../src/dsl/node.ts'
import { rowOf } from '../../src/dsl/primitive.ts'
import { scalarOp } from '../../src/dsl/scalar.ts'
import { elements, offsets, type ConcreteDims, type Value } from '../../src/dsl/value.ts'
import { concreteDims } from './samples.ts'

/** uniform in [0, 1) */
export type Random = () => number

/** a small generator of its own: the order of summation must not come from the code under test */
export const randomFrom = (seed: number): Random => {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const r = Math.fround

/** the sum over a random binary tree */
const sum = (xs: ReadonlyArray<number>, random: Random): number => {
  const pool = [...xs]
  while (pool.length > 1) {
    const [a] = pool.splice(Math.floor(random() * pool.length), 1)
    const at = Math.floor(random() * pool.length)
    pool[at] = r(pool[at]! + a!)
  }
  return pool[0] ?? 0
}

type Meaning<K extends Op> = (
  args: ReadonlyArray<Value>,
  attrs: Attrs[K],
  out: { readonly dims: ConcreteDims; readonly dtype: DType },
  random: Random,
) => ReadonlyArray<number>

const positions = (dims: ConcreteDims): ReadonlyArray<number> => Array.from({ length: elements(dims) }, (_, i) => i)
const pick = (dims: ConcreteDims, names: ReadonlyArray<string>): ConcreteDims =>
  names.map((n) => dims.find((d) => d.name === n)!)
const lacking = (dims: ConcreteDims, names: ReadonlyArray<string>): ConcreteDims =>
  dims.filter((d) => !names.includes(d.name))

/** x[outer, inner] for each position of `outer`, a list over `inner` */
const gatherRows = (x: Value, outer: ConcreteDims, inner: ConcreteDims): ReadonlyArray<ReadonlyArray<number>> => {
  const at = offsets(x.dims, [...outer, ...inner])
  const n = elements(inner)
  return positions(outer).map((i) => Array.from({ length: n }, (_, j) => x.data[at[i * n + j]!]!))
}

/** systems one right-hand side at a time: `one(A, b)` answers x */
const systems = (
  [a, b]: ReadonlyArray<Value>,
  row: string,
  col: string,
  out: ConcreteDims,
  one: (a: number[][], b: number[]) => ReadonlyArray<number>,
): ReadonlyArray<number> => {
  const others = lacking(out, [col])
  const [rows, cols] = [pick(a!.dims, [row]), pick(a!.dims, [col])]
  const n = elements(rows)
  const matrices = gatherRows(a!, others, [...rows, ...cols])
  const sides = gatherRows(b!, others, rows)
  const to = offsets(out, [...others, ...cols])
  const y = new Array<number>(elements(out)).fill(0)
  positions(others).forEach((s) => {
    const matrix = Array.from({ length: n }, (_, i) => matrices[s]!.slice(i * n, i * n + n))
    one(matrix, [...sides[s]!]).forEach((x, i) => {
      y[to[s * n + i]!] = x
    })
  })
  return y
}

/** elimination with partial pivoting, then back substitution */
const eliminate = (a: number[][], b: number[]): ReadonlyArray<number> => {
  const n = b.length
  for (let k = 0; k < n; k++) {
    let p = k
    for (let i = k; i < n; i++) if (Math.abs(a[i]![k]!) > Math.abs(a[p]![k]!)) p = i
    ;[a[k], a[p]] = [a[p]!, a[k]!]
    ;[b[k], b[p]] = [b[p]!, b[k]!]
    for (let i = k + 1; i < n; i++) {
      const f = r(a[i]![k]! / a[k]![k]!)
      for (let j = k; j < n; j++) a[i]![j] = r(a[i]![j]! - r(f * a[k]![j]!))
      b[i] = r(b[i]! - r(f * b[k]!))
    }
  }
  return substitute(false)(a, b)
}

const substitute =
  (lower: boolean) =>
  (a: number[][], b: number[]): ReadonlyArray<number> => {
    const n = b.length
    for (let step = 0; step < n; step++) {
      const i = lower ? step : n - 1 - step
      for (let k = lower ? 0 : i + 1; k < (lower ? i : n); k++) b[i] = r(b[i]! - r(a[i]![k]! * b[k]!))
      b[i] = r(b[i]! / a[i]![i]!)
    }
    return b
  }

/** what a row says of its own rounding: its bound at exact arguments, less the half unit that rounding here takes */
const inaccuracy = (fn: string, y: number, args: readonly [number, number, number]): number => {
  const u = dtypes.f32.unitRoundoff
  const claimed = scalarOp(fn)!.bound(y, u, args[0], 0, args[1], 0, args[2], 0)
  return Math.max(0, claimed - 1.01 * u * Math.abs(y))
}

const meanings: { readonly [K in Op]?: Meaning<K> } = {
  const: (_, { value }, { dtype }) => [isFloat(dtype) ? r(value) : value],
  map: (args, { fn }, out, random) => {
    const at = args.map((a) => offsets(a.dims, out.dims))
    return positions(out.dims).map((i) => {
      const [a, b, c] = [0, 1, 2].map((k) => args[k]?.data[at[k]![i]!] ?? 0) as [number, number, number]
      const y = scalarOp(fn)!.eval(a, b, c)
      return isFloat(out.dtype) && Number.isFinite(y) ? r(y + (2 * random() - 1) * inaccuracy(fn, y, [a, b, c])) : y
    })
  },
  cast: ([x], { dtype }) => Array.from(x!.data, (v) => (dtype === 'f32' ? r(v) : roundToDType[dtype](v))),
  reduce: ([x], { fn, over }, out, random) =>
    gatherRows(x!, out.dims, pick(x!.dims, over)).map((xs) => (fn === 'sum' ? sum(xs, random) : Math[fn](...xs))),
  dot: ([a, b], { over }, out, random) => {
    const k = pick(a!.dims, over)
    const [rows, cols] = [gatherRows(a!, out.dims, k), gatherRows(b!, out.dims, k)]
    return rows.map((xs, i) =>
      sum(
        xs.map((x, j) => r(x * cols[i]![j]!)),
        random,
      ),
    )
  },
  cumsum: ([x], { axis }, out, random) => {
    const [loop, outer] = [pick(x!.dims, [axis]), lacking(x!.dims, [axis])]
    const n = elements(loop)
    const y = new Array<number>(elements(out.dims)).fill(0)
    const to = offsets(out.dims, [...outer, ...loop])
    gatherRows(x!, outer, loop).forEach((xs, i) => {
      xs.forEach((_, j) => {
        y[to[i * n + j]!] = sum(xs.slice(0, j + 1), random)
      })
    })
    return y
  },
  scatterAdd: ([updates, ids], { axis, over }, out, random) => {
    const loop = pick(updates!.dims, over)
    const values = gatherRows(updates!, out.dims, loop)
    const rows = gatherRows(ids!, out.dims, loop)
    const where = gatherRows(
      { dims: pick(out.dims, [axis]), data: Float64Array.from(positions(pick(out.dims, [axis]))) },
      out.dims,
      [],
    )
    return values.map((xs, i) =>
      sum(
        xs.filter((_, j) => rows[i]![j] === where[i]![0]),
        random,
      ),
    )
  },
  solve: (args, { row, col }, out) => systems(args, row, col, out.dims, eliminate),
  triSolve: (args, { row, col, lower }, out) => systems(args, row, col, out.dims, substitute(lower)),
}

/** Evaluates in f32; ops that compute nothing (movement, leaves) mean what their row says. */
export const runF32 = (
  roots: ReadonlyArray<Node>,
  given: ReadonlyMap<Node, Value>,
  random: Random,
): ReadonlyArray<Value> => {
  const env = new Map(given)
  const region: Parameters<ReturnType<typeof rowOf>['meaning']>[3]['region'] = (body, args) =>
    runF32(body.results, new Map(body.params.map((p, i) => [p, args[i]!])), random)
  const run = { size: (d: { key: string }) => Number(d.key), region, boundedRegion: () => [] }
  for (const n of topological(roots)) {
    if (env.has(n)) continue
    const out = { dims: concreteDims(n.type.dims), dtype: n.type.dtype }
    const args = n.args.map((a) => env.get(a)!)
    const own = meanings[n.op] as Meaning<Op> | undefined
    const data = own === undefined ? rowOf(n.op).meaning(args, n.attrs, out, run) : own(args, n.attrs, out, random)
    env.set(n, { dims: out.dims, data: Float64Array.from(data) })
  }
  return roots.map((n) => env.get(n)!)
}
