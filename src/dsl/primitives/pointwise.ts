/** Pointwise: map, cast, stopGrad. Arguments meet by axis name; a missing axis broadcasts. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { dtypes, isFloat, roundToDType } from '../dtype.ts'
import type { Axis, Type } from '../node.ts'
import { resultDType, scalarOp, scalarOps } from '../scalar.ts'
import { elements, offsets, sameDims, type ConcreteDims, type Value } from '../value.ts'
import type { ArgSpec, Gen, Primitive } from './row.ts'
import { misuse, suggest, unite } from './typing.ts'

/** Below the smallest normal number of f32 a target may flush to zero: every float result carries this much. */
const UNDERFLOW = 2 ** -126

/** how to read an argument along the loop over `out`: all of it in step, one number, or by a table of offsets */
type Reader = (i: number) => number
const reader = (dims: ConcreteDims, out: ConcreteDims): Reader => {
  if (sameDims(dims, out)) return (i) => i
  if (elements(dims) === 1) return () => 0
  const table = offsets(dims, out)
  return (i) => table[i]!
}

const pointwise = (
  args: ReadonlyArray<Value>,
  out: ConcreteDims,
  f: (a: number, b: number, c: number, i: number, at: readonly [number, number, number]) => number,
): Float64Array => {
  const data = new Float64Array(elements(out))
  const at: [number, number, number] = [0, 0, 0]
  const [ra, rb, rc] = [0, 1, 2].map((k) => (args[k] === undefined ? () => 0 : reader(args[k].dims, out)))
  const [da, db, dc] = [0, 1, 2].map((k) => args[k]?.data ?? new Float64Array(1))
  for (let i = 0; i < data.length; i++) {
    at[0] = ra!(i)
    at[1] = rb!(i)
    at[2] = rc!(i)
    data[i] = f(da![at[0]]!, db![at[1]]!, dc![at[2]]!, i, at)
  }
  return data
}

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
    return pointwise(args, out.dims, f)
  },
  bound: (args, { fn }, out, u) => {
    const bound = scalarOp(fn)?.bound ?? (() => Infinity)
    const errors = [0, 1, 2].map((k) => args[k]?.bound ?? new Float64Array(1))
    const tiny = dtypes[out.dtype].kind === 'float' ? UNDERFLOW : 0
    return pointwise(
      args.map((a) => a.value),
      out.dims,
      (a, b, c, i, at) => {
        const y = out.data[i]!
        return bound(y, u, a, errors[0]![at[0]]!, b, errors[1]![at[1]]!, c, errors[2]![at[2]]!) + tiny
      },
    )
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

export const cast: Primitive<'cast'> = {
  doc: 'the same numbers in another dtype, rounded as the dtype demands (f16 and bf16 to nearest even, integers towards zero)',
  type: ([x], { dtype }) =>
    x === undefined ? E.left(misuse('one argument', 'none')) : E.right({ dims: x.dims, dtype }),
  // rounding is a step function; its derivative is taken to be that of the identity, as every framework does
  vjp: (k, ct, node) => [
    isFloat(node.attrs.dtype) && isFloat(node.args[0]!.type.dtype) ? k.cast(ct, node.args[0]!.type.dtype) : null,
  ],
  meaning: ([x], { dtype }) => x!.data.map(roundToDType[dtype]),
  bound: ([x], { dtype }, out) => {
    const u = isFloat(dtype) ? dtypes[dtype].unitRoundoff : 0
    // a value within its bound of a rounding boundary may go to the next number of the format
    return x!.bound.map((e, i) =>
      e === 0 ? 0 : isFloat(dtype) ? e + (dtype === 'f32' ? 0 : 2 * u * Math.abs(out.data[i]!)) : Math.ceil(e),
    )
  },
  flops: (_, out) => elements(out),
  sample: (g) => ({
    args: [{ type: { dims: sampleDims(g), dtype: 'f32' }, range: [-3, 3] }],
    attrs: { dtype: g.pick(['f32', 'f16', 'bf16', 'i32', 'bool']) },
  }),
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
