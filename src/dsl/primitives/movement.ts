/** Movement: reshape, rename, broadcast, slice, pad, concat. They compute nothing; every one is an index map. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { addDim, dim, literal, productDim, sameDim, subDim } from '../dim.ts'
import { axisNames, axisOf, type Axis, type Dims } from '../node.ts'
import { elements, layOut, offsets, stridesOf, type ConcreteDims, type Value } from '../value.ts'
import type { ArgSpec, Bounded, Gen, Primitive } from './row.ts'
import { distinct, findAxis, misuse, needAxes, without } from './typing.ts'

/** The bound of a movement is the movement of the bounds. */
const movedBounds = (args: ReadonlyArray<Bounded>): ReadonlyArray<Value> =>
  args.map((a) => ({ dims: a.value.dims, data: a.bound }))

const matrix = (g: Gen, i: number = g.size(), j: number = g.size()): ArgSpec => ({
  type: {
    dims: [
      { name: 'i', size: dim(i) },
      { name: 'j', size: dim(j) },
    ],
    dtype: 'f32',
  },
  range: [-3, 3],
})

const sizeOf = (dims: ConcreteDims, axis: string): number => dims.find((d) => d.name === axis)?.size ?? 1
/** the loop `dims` with one axis resized */
const resized = (dims: ConcreteDims, axis: string, size: number): ConcreteDims =>
  dims.map((d) => (d.name === axis ? { name: axis, size } : d))

const reshaped = (
  x: Value,
  from: ReadonlyArray<string>,
  to: ReadonlyArray<string>,
  out: ConcreteDims,
): Float64Array => {
  const kept = x.dims.filter((d) => !from.includes(d.name))
  const merged = from.map((n) => ({ name: n, size: sizeOf(x.dims, n) }))
  const split = out.filter((d) => to.includes(d.name)).sort((a, b) => to.indexOf(a.name) - to.indexOf(b.name))
  const [readKept, readMerged] = [offsets(x.dims, kept), offsets(x.dims, merged)]
  const [writeKept, writeSplit] = [offsets(out, kept), offsets(out, split)]
  const y = new Float64Array(elements(out))
  for (let i = 0; i < readKept.length; i++)
    for (let j = 0; j < readMerged.length; j++)
      y[writeKept[i]! + writeSplit[j]!] = x.data[readKept[i]! + readMerged[j]!]!
  return y
}

export const reshape: Primitive<'reshape'> = {
  doc: 'merges axes (row-major, in the order named) and splits the result into others',
  type: ([x], { from, to }) => {
    if (x === undefined) return E.left(misuse('one argument', 'none'))
    const bad = needAxes(x, from)
    if (bad !== undefined) return E.left(bad)
    const size = (dims: Dims) => productDim(dims.map((d) => d.size))
    const before = size(x.dims.filter((d) => from.includes(d.name)))
    const after = size(to)
    if (!sameDim(before, after))
      return E.left(
        misuse(
          `axes of ${before.key} elements in all`,
          `${after.key} (${to.map((d) => `${d.name}:${d.size.key}`).join(', ')})`,
        ),
      )
    // the new axes stand where the first merged axis stood
    const at = x.dims.findIndex((d) => from.includes(d.name))
    const dims =
      at < 0 ? [...x.dims, ...to] : x.dims.flatMap((d, i) => (i === at ? to : from.includes(d.name) ? [] : [d]))
    return E.map((ds: Dims) => ({ dims: ds, dtype: x.dtype }))(distinct(dims))
  },
  vjp: (k, ct, node) => {
    const { from, to } = node.attrs
    const dims = from.map((n) => axisOf(node.args[0]!.type, n)).filter((d): d is Axis => d !== undefined)
    return [
      k.reshape(
        ct,
        to.map((d) => d.name),
        dims,
      ),
    ]
  },
  meaning: ([x], { from, to }, out) =>
    reshaped(
      x!,
      from,
      to.map((d) => d.name),
      out.dims,
    ),
  bound: (args, { from, to }, out) =>
    reshaped(
      movedBounds(args)[0]!,
      from,
      to.map((d) => d.name),
      out.dims,
    ),
  flops: () => 0,
  sample: (g) => {
    const [p, q] = [g.int(1, 3), g.size()]
    return g.pick([
      {
        args: [matrix(g, p * q)],
        attrs: {
          from: ['i'],
          to: [
            { name: 'p', size: dim(p) },
            { name: 'q', size: dim(q) },
          ],
        },
      },
      { args: [matrix(g, p, q)], attrs: { from: ['j', 'i'], to: [{ name: 'm', size: dim(p * q) }] } },
    ])
  },
}

export const rename: Primitive<'rename'> = {
  doc: 'other names for axes, all at once: with named axes this is transposition',
  type: ([x], { axes }) => {
    if (x === undefined) return E.left(misuse('one argument', 'none'))
    const bad = needAxes(x, Object.keys(axes))
    return bad !== undefined
      ? E.left(bad)
      : pipe(
          distinct(x.dims.map((d) => ({ name: axes[d.name] ?? d.name, size: d.size }))),
          E.map((dims) => ({ dims, dtype: x.dtype })),
        )
  },
  vjp: (k, ct, node) => [k.rename(ct, Object.fromEntries(Object.entries(node.attrs.axes).map(([a, b]) => [b, a])))],
  meaning: ([x]) => x!.data,
  bound: ([x]) => x!.bound,
  flops: () => 0,
  sample: (g) => ({ args: [matrix(g)], attrs: { axes: g.pick([{ i: 'j', j: 'i' }, { i: 'k' }]) } }),
}

export const broadcast: Primitive<'broadcast'> = {
  doc: 'the same numbers along new axes',
  type: ([x], { dims }) =>
    x === undefined
      ? E.left(misuse('one argument', 'none'))
      : E.map((ds: Dims) => ({ dims: ds, dtype: x.dtype }))(distinct([...dims, ...x.dims])),
  vjp: (k, ct, node) => [
    k.reduce(
      'sum',
      ct,
      node.attrs.dims.map((d) => d.name),
    ),
  ],
  meaning: ([x], _, out) => layOut(x!, out.dims).data,
  bound: (args, _, out) => layOut(movedBounds(args)[0]!, out.dims).data,
  flops: () => 0,
  sample: (g) => ({ args: [matrix(g)], attrs: { dims: [{ name: 'k', size: dim(g.size()) }] } }),
}

const sliced = (x: Value, axis: string, start: number, out: ConcreteDims): Float64Array => {
  const from = offsets(x.dims, out)
  const skip = start * (stridesOf(x.dims).get(axis) ?? 0)
  return new Float64Array(from.length).map((_, i) => x.data[from[i]! + skip] ?? NaN)
}

export const slice: Primitive<'slice'> = {
  doc: '`size` positions of an axis from `start` on',
  type: ([x], { axis, start, size }) => {
    if (x === undefined) return E.left(misuse('one argument', 'none'))
    return E.chain((a: Axis) => {
      const end = literal(subDim(a.size, addDim(start, size)))
      const [from, length] = [literal(start), literal(size)]
      const outside =
        (end !== undefined && end < 0) || (from !== undefined && from < 0) || (length !== undefined && length < 0)
      return outside
        ? E.left(misuse(`a part of axis '${axis}' of size ${a.size.key}`, `${size.key} from ${start.key} on`))
        : E.right({ dims: x.dims.map((d) => (d.name === axis ? { name: axis, size } : d)), dtype: x.dtype })
    })(findAxis(x, axis))
  },
  vjp: (k, ct, node) => {
    const { axis, start, size } = node.attrs
    const whole = axisOf(node.args[0]!.type, axis)!.size
    return [k.pad(ct, axis, start, subDim(subDim(whole, start), size))]
  },
  meaning: ([x], { axis, start }, out, run) => sliced(x!, axis, run.size(start), out.dims),
  bound: (args, { axis, start }, out, _, run) => sliced(movedBounds(args)[0]!, axis, run.size(start), out.dims),
  flops: () => 0,
  sample: (g) => {
    const [start, size] = [g.int(0, 2), g.size()]
    return { args: [matrix(g, start + size + g.int(0, 2))], attrs: { axis: 'i', start: dim(start), size: dim(size) } }
  },
}

/** copies x into y along `axis` from `at` on */
const place = (x: Value, axis: string, at: number, y: Float64Array, out: ConcreteDims): void => {
  const loop = resized(out, axis, sizeOf(x.dims, axis))
  const [from, to] = [offsets(x.dims, loop), offsets(out, loop)]
  const skip = at * (stridesOf(out).get(axis) ?? 0)
  for (let i = 0; i < from.length; i++) y[to[i]! + skip] = x.data[from[i]!]!
}

const padded = (x: Value, axis: string, before: number, out: ConcreteDims): Float64Array => {
  const y = new Float64Array(elements(out))
  place(x, axis, before, y, out)
  return y
}

export const pad: Primitive<'pad'> = {
  doc: 'zeros before and after along an axis',
  type: ([x], { axis, before, after }) =>
    x === undefined
      ? E.left(misuse('one argument', 'none'))
      : E.chain((a: Axis) => {
          const negative = [before, after].find((d) => (literal(d) ?? 0) < 0)
          return negative !== undefined
            ? E.left(misuse('padding of at least 0', negative.key))
            : E.right({
                dims: x.dims.map((d) =>
                  d.name === axis ? { name: axis, size: addDim(addDim(before, a.size), after) } : d,
                ),
                dtype: x.dtype,
              })
        })(findAxis(x, axis)),
  vjp: (k, ct, node) => [
    k.slice(ct, node.attrs.axis, node.attrs.before, axisOf(node.args[0]!.type, node.attrs.axis)!.size),
  ],
  meaning: ([x], { axis, before }, out, run) => padded(x!, axis, run.size(before), out.dims),
  bound: (args, { axis, before }, out, _, run) => padded(movedBounds(args)[0]!, axis, run.size(before), out.dims),
  flops: () => 0,
  sample: (g) => ({ args: [matrix(g)], attrs: { axis: 'j', before: dim(g.int(0, 2)), after: dim(g.int(0, 2)) } }),
}

const joined = (xs: ReadonlyArray<Value>, axis: string, out: ConcreteDims): Float64Array => {
  const y = new Float64Array(elements(out))
  let at = 0
  for (const x of xs) {
    place(x, axis, at, y, out)
    at += sizeOf(x.dims, axis)
  }
  return y
}

export const concat: Primitive<'concat'> = {
  doc: 'one after the other along an axis; their other axes are the same',
  type: (args, { axis }) => {
    const [first] = args
    if (first === undefined) return E.left(misuse('at least one argument', 'none'))
    let size = dim(0)
    for (const t of args) {
      const a = axisOf(t, axis)
      if (a === undefined) return E.left(needAxes(t, [axis]) ?? misuse(`axis '${axis}'`, 'none'))
      if (t.dtype !== first.dtype) return E.left(misuse(`dtype ${first.dtype}`, t.dtype))
      const others = without(t.dims, [axis])
      const differs =
        others.length !== first.dims.length - 1 || others.some((d) => axisOf(first, d.name)?.size.key !== d.size.key)
      if (differs)
        return E.left(
          misuse(
            `axes ${axisNames(first).join(', ')} of the same sizes`,
            others.map((d) => `${d.name}:${d.size.key}`).join(', '),
          ),
        )
      size = addDim(size, a.size)
    }
    return E.right({ dims: first.dims.map((d) => (d.name === axis ? { name: axis, size } : d)), dtype: first.dtype })
  },
  vjp: (k, ct, node) => {
    let at = dim(0)
    return node.args.map((x) => {
      const size = axisOf(x.type, node.attrs.axis)!.size
      const part = k.slice(ct, node.attrs.axis, at, size)
      at = addDim(at, size)
      return part
    })
  },
  meaning: (args, { axis }, out) => joined(args, axis, out.dims),
  bound: (args, { axis }, out) => joined(movedBounds(args), axis, out.dims),
  flops: () => 0,
  sample: (g) => {
    const j = g.size()
    return { args: [matrix(g, g.size(), j), matrix(g, g.size(), j)], attrs: { axis: 'i' } }
  },
}
