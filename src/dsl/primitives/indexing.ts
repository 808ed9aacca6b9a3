/** Positions as data: gather, scatterAdd, cumsum, argmax. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { isFloat } from '../dtype.ts'
import { axisNames, axisOf, hasAxis, type Dims, type Type } from '../node.ts'
import { elements, offsets, stridesOf, type ConcreteDims, type Value } from '../value.ts'
import { gamma } from './contract.ts'
import type { Primitive } from './row.ts'
import { distinct, findAxis, misuse, missingAxis, needAxes, unite, without } from './typing.ts'

const wholeNumbers = (t: Type): boolean => t.dtype === 'i32' || t.dtype === 'u32'
const sizeOf = (dims: ConcreteDims, axis: string): number => dims.find((d) => d.name === axis)?.size ?? 0

const gathered = (table: Value, ids: Value, axis: string, out: ConcreteDims): Float64Array => {
  const [rows, index] = [offsets(table.dims, out), offsets(ids.dims, out)]
  const stride = stridesOf(table.dims).get(axis) ?? 0
  const n = sizeOf(table.dims, axis)
  return new Float64Array(elements(out)).map((_, i) => {
    const at = ids.data[index[i]!]!
    return at >= 0 && at < n ? table.data[rows[i]! + at * stride]! : 0
  })
}

/** The result's order: the table's axes, and where `axis` was, the axes that only the ids have */
const inPlaceOf = (axis: string, table: Dims, ids: Dims, all: Dims): Dims => {
  const own = ids.filter((d) => !table.some((e) => e.name === d.name))
  const order = table.flatMap((d) => (d.name === axis ? own : [d])).map((d) => d.name)
  return order.map((name) => all.find((d) => d.name === name)!)
}

export const gather: Primitive<'gather'> = {
  doc: 'table[ids] along an axis: sum_v [ids = v] table[v]; zero where an id is outside. Shared axes are batch axes',
  type: ([table, ids], { axis }) => {
    if (table === undefined || ids === undefined) return E.left(misuse('a table and ids', 'fewer'))
    if (!wholeNumbers(ids)) return E.left(misuse('ids of type i32 or u32', ids.dtype))
    return E.chain(() =>
      hasAxis(ids, axis)
        ? E.left(misuse(`ids without axis '${axis}'`, axisNames(ids).join(', '), `rename it`))
        : E.map((dims: Dims) => ({ dims, dtype: table.dtype }))(
            E.map((all: Dims) => inPlaceOf(axis, table.dims, ids.dims, all))(
              unite([ids, { ...table, dims: without(table.dims, [axis]) }]),
            ),
          ),
    )(findAxis(table, axis))
  },
  vjp: (k, ct, node) => {
    const [table, ids] = [node.args[0]!, node.args[1]!]
    const own = axisNames(ids.type).filter((n) => !hasAxis(table.type, n))
    return [k.scatterAdd(ct, ids, node.attrs.axis, axisOf(table.type, node.attrs.axis)!.size, own), null]
  },
  meaning: ([table, ids], { axis }, out) => gathered(table!, ids!, axis, out.dims),
  // an undecided id may read any row: no bound
  bound: ([table, ids], { axis }, out) => {
    const moved = gathered({ dims: table!.value.dims, data: table!.bound }, ids!.value, axis, out.dims)
    const index = offsets(ids!.value.dims, out.dims)
    return moved.map((e, i) => (ids!.bound[index[i]!]! > 0 ? Infinity : e))
  },
  flops: () => 0,
  sample: (g) => {
    const v = g.int(1, 4)
    const s = { name: 's', size: dim(g.size()) }
    const batch = g.pick([[], [s]])
    return {
      args: [
        {
          type: { dims: [{ name: 'v', size: dim(v) }, ...batch, { name: 'd', size: dim(g.size()) }], dtype: 'f32' },
          range: [-3, 3],
        },
        { type: { dims: [...batch, { name: 't', size: dim(g.size()) }], dtype: 'i32' }, range: [0, v - 1] },
      ],
      attrs: { axis: 'v' },
    }
  },
}

const scattered = (
  updates: Value,
  ids: Value,
  axis: string,
  out: ConcreteDims,
  f: (acc: number, u: number) => number,
): Float64Array => {
  const y = new Float64Array(elements(out))
  const loop = [...updates.dims, ...ids.dims.filter((d) => !updates.dims.some((e) => e.name === d.name))]
  const [from, index, to] = [offsets(updates.dims, loop), offsets(ids.dims, loop), offsets(out, loop)]
  const stride = stridesOf(out).get(axis) ?? 0
  const n = sizeOf(out, axis)
  for (let i = 0; i < from.length; i++) {
    const at = ids.data[index[i]!]!
    if (at >= 0 && at < n) {
      const p = to[i]! + at * stride
      y[p] = f(y[p]!, updates.data[from[i]!]!)
    }
  }
  return y
}

export const scatterAdd: Primitive<'scatterAdd'> = {
  doc: 'y[v] = sum over `over` of [ids = v] updates: the adjoint of gather',
  type: ([updates, ids], { axis, size, over }) => {
    if (updates === undefined || ids === undefined) return E.left(misuse('updates and ids', 'fewer'))
    if (!isFloat(updates.dtype)) return E.left(misuse('float updates', updates.dtype))
    if (!wholeNumbers(ids)) return E.left(misuse('ids of type i32 or u32', ids.dtype))
    const bad = needAxes(updates, over) ?? needAxes(updates, axisNames(ids))
    if (bad !== undefined) return E.left(bad)
    const idle = over.find((n) => !hasAxis(ids, n))
    if (idle !== undefined) return E.left(missingAxis(idle, ids))
    // gather, its adjoint, reads ids without that axis
    if (hasAxis(ids, axis)) return E.left(misuse(`ids without axis '${axis}'`, axisNames(ids).join(', '), `rename it`))
    return E.chain(() =>
      E.map((ds: Dims) => ({ dims: ds, dtype: updates.dtype }))(
        distinct([{ name: axis, size }, ...without(updates.dims, over)]),
      ),
    )(unite([updates, ids]))
  },
  vjp: (k, ct, node) => [k.gather(ct, node.args[1]!, node.attrs.axis), null],
  meaning: ([updates, ids], { axis }, out) => scattered(updates!, ids!, axis, out.dims, (a, b) => a + b),
  bound: ([updates, ids], { axis }, out, u) => {
    const at = (data: Float64Array): Value => ({ dims: updates!.value.dims, data })
    const errors = scattered(at(updates!.bound), ids!.value, axis, out.dims, (a, b) => a + b)
    const sizes = scattered(at(updates!.value.data.map(Math.abs)), ids!.value, axis, out.dims, (a, b) => a + b)
    const undecided = ids!.bound.some((e) => e > 0)
    const g = gamma(ids!.value.data.length, u)
    return errors.map((e, i) => (undecided ? Infinity : e + g * (sizes[i]! + e)))
  },
  flops: ([updates]) => elements(updates!),
  sample: (g) => {
    const v = g.int(1, 4)
    const t = { name: 't', size: dim(g.size()) }
    const s = { name: 's', size: dim(g.size()) }
    const batch = g.pick([[], [s]])
    return {
      args: [
        { type: { dims: [...batch, t, { name: 'd', size: dim(g.size()) }], dtype: 'f32' }, range: [-3, 3] },
        { type: { dims: [...batch, t], dtype: 'i32' }, range: [0, v - 1] },
      ],
      attrs: { axis: 'v', size: dim(v), over: ['t'] },
    }
  },
}

/** y[i] = sum_{j <= i} x[j] */
const running = (x: Value, axis: string): Float64Array => {
  const y = x.data.slice()
  const others = offsets(
    x.dims,
    x.dims.filter((d) => d.name !== axis),
  )
  const stride = stridesOf(x.dims).get(axis) ?? 0
  for (const base of others)
    for (let j = 1; j < sizeOf(x.dims, axis); j++)
      y[base + j * stride] = y[base + (j - 1) * stride]! + y[base + j * stride]!
  return y
}

const vector = (range: readonly [number, number], i: number, j: number) => ({
  type: {
    dims: [
      { name: 'i', size: dim(i) },
      { name: 'j', size: dim(j) },
    ],
    dtype: 'f32' as const,
  },
  range,
})

export const cumsum: Primitive<'cumsum'> = {
  doc: 'running sums along an axis, the element itself included',
  type: ([x], { axis }) =>
    x === undefined
      ? E.left(misuse('one argument', 'none'))
      : !isFloat(x.dtype)
        ? E.left(misuse('floats', x.dtype))
        : E.map(() => x)(findAxis(x, axis)),
  // dx[j] = sum_{i >= j} ct[i] = total - sum_{i <= j} ct[i] + ct[j]
  vjp: (k, ct, node) => {
    const { axis } = node.attrs
    return [k.map('add', k.map('sub', k.reduce('sum', ct, [axis]), k.cumsum(ct, axis)), ct)]
  },
  meaning: ([x], { axis }) => running(x!, axis),
  bound: ([x], { axis }, _, u) => {
    const dims = x!.value.dims
    const errors = running({ dims, data: x!.bound }, axis)
    const sizes = running({ dims, data: x!.value.data.map(Math.abs) }, axis)
    const g = gamma(Math.max(0, sizeOf(dims, axis) - 1), u)
    return errors.map((e, i) => e + g * (sizes[i]! + e))
  },
  flops: (_, out) => elements(out),
  sample: (g) => ({ args: [vector([-3, 3], g.size(), g.size())], attrs: { axis: 'j' } }),
}

export const argmax: Primitive<'argmax'> = {
  doc: 'the first position of the largest element along an axis',
  type: ([x], { axis }) =>
    x === undefined
      ? E.left(misuse('one argument', 'none'))
      : E.map(() => ({ dims: without(x.dims, [axis]), dtype: 'i32' as const }))(findAxis(x, axis)),
  vjp: () => [null],
  meaning: ([x], { axis }, out) => {
    const base = offsets(x!.dims, out.dims)
    const stride = stridesOf(x!.dims).get(axis) ?? 0
    return new Float64Array(elements(out.dims)).map((_, i) => {
      let best = 0
      for (let j = 1; j < sizeOf(x!.dims, axis); j++)
        if (x!.data[base[i]! + j * stride]! > x!.data[base[i]! + best * stride]!) best = j
      return best
    })
  },
  // another position that may reach the maximum within its bound makes the answer undecided
  bound: ([x], { axis }, out) => {
    const { dims, data } = x!.value
    const base = offsets(dims, out.dims)
    const stride = stridesOf(dims).get(axis) ?? 0
    return out.data.map((best, i) => {
      const at = base[i]! + best * stride
      const floor = data[at]! - x!.bound[at]!
      for (let j = 0; j < sizeOf(dims, axis); j++) {
        const p = base[i]! + j * stride
        if (p !== at && x!.bound[p]! + x!.bound[at]! > 0 && data[p]! + x!.bound[p]! >= floor) return sizeOf(dims, axis)
      }
      return 0
    })
  },
  flops: ([x]) => elements(x!),
  sample: (g) => ({ args: [vector([-3, 3], g.size(), g.int(1, 4))], attrs: { axis: 'j' } }),
}
