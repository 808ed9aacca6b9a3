/** Pointwise: map, cast, stopGrad. Arguments meet by axis name; a missing axis broadcasts. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { dtypes, isFloat, roundToDType } from '../dtype.ts'
import type { Axis, Type } from '../node.ts'
import { resultDType, scalarOp, scalarOps } from '../scalar.ts'
import { elements, offsets, sameDims, type ConcreteDims, type Value } from '../value.ts'
import type { ArgSpec, Gen, Primitive, Sample } from './row.ts'
import { misuse, suggest, unite } from './typing.ts'

/** Below the smallest normal number of f32 a target may flush to zero: every float result carries this much. */
const UNDERFLOW = 2 ** -126

/** at least the largest number of units that a row's own rounding takes */
const SECOND_ORDER = 32

/** How to read an argument along the loop over `out`: by a table of offsets, or in steps of 1 or 0. */
interface Reader {
  readonly table: Int32Array | undefined
  readonly step: 0 | 1
}
const reader = (dims: ConcreteDims, out: ConcreteDims): Reader => {
  if (sameDims(dims, out)) return { table: undefined, step: 1 }
  if (elements(dims) === 1) return { table: undefined, step: 0 }
  return { table: offsets(dims, out), step: 1 }
}

const none = { data: new Float64Array(1), reader: { table: undefined, step: 0 } as Reader }
const readers = (args: ReadonlyArray<Value>, out: ConcreteDims) =>
  [0, 1, 2].map((k) => (args[k] === undefined ? none : { data: args[k].data, reader: reader(args[k].dims, out) }))

/** the position in an argument of the i-th element of the loop */
const at = ({ table, step }: Reader, i: number): number => (table === undefined ? i * step : table[i]!)

const sampleDims = (g: Gen): ReadonlyArray<Axis> => [
  { name: 'i', size: dim(g.size()) },
  { name: 'j', size: dim(g.size()) },
]

export const map: Primitive<'map'> = {
  doc: 'a scalar function of one to three arguments, element by element, broadcasting by name',
  type: (args, { fn }) => {
    const row = scalarOp(fn)
    if (row === undefined) return E.left(misuse('a scalar function', `'${fn}'`, suggest(fn, Object.keys(scalarOps))))
    if (row.arity !== args.length) return E.left(misuse(`${String(row.arity)} arguments of ${fn}`, String(args.length)))
    const dtype = resultDType(
      row.signature,
      args.map((a) => a.dtype),
    )
    if (dtype === undefined)
      return E.left(misuse(`arguments that '${fn}' (${row.signature}) takes`, args.map((a) => a.dtype).join(', ')))
    return E.map((dims: Type['dims']) => ({ dims, dtype }))(unite(args))
  },
  vjp: (k, ct, node) => scalarOp(node.attrs.fn)?.vjp(k, ct, node.args, node) ?? [],
  meaning: (args, { fn }, out) => {
    const f = scalarOp(fn)?.eval ?? (() => NaN)
    const [a, b, c] = readers(args, out.dims)
    const y = new Float64Array(elements(out.dims))
    for (let i = 0; i < y.length; i++)
      y[i] = f(a!.data[at(a!.reader, i)]!, b!.data[at(b!.reader, i)]!, c!.data[at(c!.reader, i)]!)
    return y
  },
  bound: (args, { fn }, out, u) => {
    const bound = scalarOp(fn)?.bound ?? (() => Infinity)
    const [a, b, c] = readers(
      args.map((x) => x.value),
      out.dims,
    )
    const [ea, eb, ec] = [0, 1, 2].map((k) => args[k]?.bound ?? none.data)
    const tiny = dtypes[out.dtype].kind === 'float' ? UNDERFLOW : 0
    return out.data.map((y, i) => {
      const [p, q, r] = [at(a!.reader, i), at(b!.reader, i), at(c!.reader, i)]
      const e = bound(y, u, a!.data[p]!, ea![p]!, b!.data[q]!, eb![q]!, c!.data[r]!, ec![r]!)
      // rows round y; what is rounded is y' with |y'| <= |y| + e, hence the factor. 0 times an unbounded error is unbounded
      return Number.isNaN(e) ? Infinity : e * (1 + SECOND_ORDER * u) + tiny
    })
  },
  flops: (_, out, { fn }) => (scalarOp(fn)?.flops ?? 0) * elements(out),
  sample: (g) => {
    const names = Object.keys(scalarOps) as [string, ...string[]]
    const fn = g.pick(names)
    const row = scalarOp(fn)
    const dims = sampleDims(g)
    const dtypeOf = (k: number) =>
      row?.signature === 'logic' || (row?.signature === 'select' && k === 0) ? 'bool' : 'f32'
    const args: ArgSpec[] = (row?.domain ?? []).map((range, k) => ({
      type: { dims: k === 0 ? dims : dims.slice(g.int(0, 2)), dtype: dtypeOf(k) },
      range,
    }))
    return { args, attrs: { fn } }
  },
}

/** how far truncation (or the test for zero) may take x' from x with |x' - x| <= e */
const crossing = (dtype: 'i32' | 'u32' | 'bool', x: number, e: number): number =>
  dtype === 'bool'
    ? Math.abs(x) <= e
      ? 1
      : 0
    : Math.max(Math.trunc(x + e) - Math.trunc(x), Math.trunc(x) - Math.trunc(x - e))

export const cast: Primitive<'cast'> = {
  doc: 'the same numbers in another dtype, rounded as the dtype demands (f16 and bf16 to nearest even, integers towards zero)',
  type: ([x], { dtype }) =>
    x === undefined ? E.left(misuse('one argument', 'none')) : E.right({ dims: x.dims, dtype }),
  // rounding is a step function; its derivative is taken to be that of the identity, as every framework does
  vjp: (k, ct, node) => [
    isFloat(node.attrs.dtype) && isFloat(node.args[0]!.type.dtype) ? k.cast(ct, node.args[0]!.type.dtype) : null,
  ],
  meaning: ([x], { dtype }) => x!.data.map(roundToDType[dtype]),
  bound: ([x], { dtype }, _, unit) => {
    if (!isFloat(dtype)) return x!.bound.map((e, i) => (e === 0 ? 0 : crossing(dtype, x!.value.data[i]!, e)))
    const { unitRoundoff: u, tiny } = dtypes[dtype]
    const round = roundToDType[dtype]
    // f32 is not rounded by the oracle: one rounding. f16, bf16 are: both x and x' are rounded, perhaps to neighbours
    return x!.bound.map((e, i) => {
      const a = Math.abs(x!.value.data[i]!)
      if (dtype === 'f32') return e === 0 && Math.fround(a) === a ? 0 : e + unit * (a + e)
      return e === 0 ? 0 : Number.isFinite(round(a + e)) ? e + u * (2 * a + e) + 2 * tiny : Infinity
    })
  },
  flops: (_, out) => elements(out),
  sample: (g) =>
    g.pick<Sample<'cast'>>([
      {
        args: [{ type: { dims: sampleDims(g), dtype: 'f32' }, range: [-3, 3] }],
        attrs: { dtype: g.pick(['f16', 'bf16', 'i32', 'bool']) },
      },
      {
        args: [{ type: { dims: sampleDims(g), dtype: 'u32' }, range: [0, 2 ** 32 - 1] }],
        attrs: { dtype: 'f32' },
      },
    ]),
}

export const stopGrad: Primitive<'stopGrad'> = {
  doc: 'the identity, through which no cotangent passes',
  type: ([x]) => (x === undefined ? E.left(misuse('one argument', 'none')) : E.right(x)),
  vjp: () => [null],
  meaning: ([x]) => x!.data,
  bound: ([x]) => x!.bound,
  flops: () => 0,
  sample: (g) => ({ args: [{ type: { dims: sampleDims(g), dtype: 'f32' }, range: [-3, 3] }], attrs: {} }),
}
