/**
 * Packing: an operand's elements in the order in which the micro-kernel reads them, its pointwise producers computed on
 * the way. A panel is P neighbours along one side, for each step of k; beyond the extent it is filled with zeros.
 *
 *     to[start + (k - k0) P + (i - first)] = i < extent ? value(i, k) : 0        first <= i < first + P, k0 <= k < k1
 *
 * A plain read whose address is linear in i and k is one call; anything else is evaluated by vectors, along i straight
 * into the panel, or along k into rows that are then transposed.
 */
import { literal, subDim, type Dim } from '../../../dsl/dim.ts'
import {
  addIndex,
  axisIndex,
  flatten,
  minIndex,
  scaleIndex,
  shiftIndex,
  subIndex,
  unflatten,
  whole,
} from '../../affine.ts'
import { number } from '../../expression.ts'
import { indicesOfAtom, partsOf, type Atom, type Expr, type Index, type Place, type Stmt } from '../../kernel.ts'
import { loopFrom, loopOver, within } from '../../statements.ts'
import type { Side, Width } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

/** element i of a side, at the positions of the reduced axes */
export type Value = (i: Index, k: ReadonlyArray<Index>) => Expr

/** part of a flat buffer, its last extent: `at(i)` is the place i elements behind the beginning */
export type Room = (i: Index) => Place

export interface Surroundings {
  readonly width: Width
  readonly fresh: (name: string) => string
  readonly shapeOf: (buffer: string) => ReadonlyArray<Dim>
  /** scratch of so many floats for rows before they are transposed */
  readonly rowsOf: (floats: number) => string
}

export interface Panel {
  readonly to: Room
  /** elements of a panel */
  readonly size: number
  readonly first: Index
  readonly extent: Dim
  readonly over: Side
  readonly k0: Index
  readonly k1: Index
  /** at most k1 - k0 */
  readonly longest: number
  readonly value: Value
}

// ------------------------------------------------------------------------------------- analyses

const mentions = (a: Atom, axis: string): boolean =>
  a.kind === 'axis'
    ? a.name === axis
    : a.kind === 'data'
      ? mentionsIn(a.of, axis)
      : indicesOfAtom(a).some((i) => i.terms.some((t) => mentions(t.atom, axis)))
const mentionsIn = (e: Expr, axis: string): boolean =>
  (e.kind === 'read' && e.at.some((i) => i.terms.some((t) => mentions(t.atom, axis)))) ||
  partsOf(e).some((p) => mentionsIn(p, axis))

/** how far a step along the axis moves the index; undefined where that is not the same everywhere */
export const strideAlong = (i: Index, axis: string): Dim | undefined => {
  const moved = i.terms.filter((t) => mentions(t.atom, axis))
  if (moved.length === 0) return literalZero
  return moved.length === 1 && moved[0]!.atom.kind === 'axis' ? moved[0]!.factor : undefined
}
const literalZero = subDim(0, 0)

interface Strides {
  readonly i: Dim
  readonly k: Dim
}

const PROBE = { i: 'probe_i', k: 'probe_k' } as const

const positions = (over: Side, k: Index): ReadonlyArray<Index> =>
  unflatten(
    k,
    over.axes.map((a) => a.size),
  )

/** the value where nothing but i and k varies */
const probed = ({ value, extent, over }: Pick<Panel, 'value' | 'extent' | 'over'>): Expr =>
  value(axisIndex(PROBE.i, extent), positions(over, axisIndex(PROBE.k, over.size)))

const stridesOf = (e: Expr & { readonly kind: 'read' }, shape: ReadonlyArray<Dim>): Strides | undefined => {
  const flat = flatten(e.at, shape)
  const [i, k] = [strideAlong(flat, PROBE.i), strideAlong(flat, PROBE.k)]
  return i === undefined || k === undefined ? undefined : { i, k }
}

/** Where a plain read lies, if its address is linear: the micro-kernel may read it as it is where a step along i is 1. */
export const linearRead = (
  p: Pick<Panel, 'value' | 'extent' | 'over'>,
  shapeOf: Surroundings['shapeOf'],
): (Strides & { readonly place: (i: Index, k: Index) => Place }) | undefined => {
  const e = probed(p)
  if (e.kind !== 'read') return undefined
  const strides = stridesOf(e, shapeOf(e.buffer))
  const place = (i: Index, k: Index): Place => {
    const at = p.value(i, positions(p.over, k))
    return at.kind === 'read' ? { buffer: at.buffer, at: at.at } : { buffer: e.buffer, at: [] }
  }
  return strides === undefined ? undefined : { ...strides, place }
}

const readsIn = (e: Expr): ReadonlyArray<Expr & { readonly kind: 'read' }> => [
  ...(e.kind === 'read' ? [e] : []),
  ...partsOf(e).flatMap(readsIn),
]

/** reads that are contiguous along i, less those that are along k; what does not change along the other counts for nothing */
const leaning = (e: Expr, shapeOf: Surroundings['shapeOf']): number =>
  readsIn(e).reduce((n, r) => {
    const s = stridesOf(r, shapeOf(r.buffer))
    if (s === undefined || s.i.key === '0' || s.k.key === '0') return n
    return n + (s.i.key === '1' ? 1 : 0) - (s.k.key === '1' ? 1 : 0)
  }, 0)

// ------------------------------------------------------------------------------------- the pass

/**
 * Vectors over axis = from .. to of a side: the body for the axis, by W elements. `from` is a multiple of `step`, and
 * `to` the next one or the side's end: where W divides both, every vector is whole.
 */
export const vectors = (
  s: Surroundings,
  name: string,
  size: Dim,
  [from, to, step]: readonly [from: Index, to: Index, step: number],
  body: (i: Index) => ReadonlyArray<Stmt>,
): ReadonlyArray<Stmt> => {
  const n = literal(size)
  if (n === 1) return body(whole(0))
  const [chunk, axis] = [s.fresh(`${name}v`), s.fresh(name)]
  const begin = axisIndex(chunk, size)
  const end = shiftIndex(begin, s.width)
  const isWhole = n !== undefined && n % s.width === 0 && step % s.width === 0
  const lanes = { ...loopFrom(axis, size, begin, isWhole ? end : minIndex(end, to), 1, 'vector'), unroll: s.width }
  return within([loopFrom(chunk, size, from, to, s.width, 'loop'), lanes], body(axisIndex(axis, size)))
}

/** elements of the panel that there are */
const validOf = (p: Panel): Index => {
  const n = literal(p.extent)
  return n !== undefined && n % p.size === 0
    ? whole(p.size)
    : minIndex(whole(p.size), subIndex(whole(p.extent), p.first))
}
const endOf = (p: Panel): Index => {
  const n = literal(p.extent)
  const end = shiftIndex(p.first, p.size)
  return n !== undefined && n % p.size === 0 ? end : minIndex(end, whole(p.extent))
}

/** straight into the panel */
const packAlongI = (s: Surroundings, p: Panel): ReadonlyArray<Stmt> => {
  const [k, zero] = [s.fresh('k'), s.fresh('z')]
  const step = axisIndex(k, p.over.size)
  const row = scaleIndex(p.size, subIndex(step, p.k0))
  const at = (i: Index): Place => p.to(addIndex(row, i))
  const valid = validOf(p)
  const filling =
    valid.key === String(p.size)
      ? []
      : within(
          [loopFrom(zero, p.size, valid, whole(p.size), 1, 'loop')],
          [{ kind: 'store', ...at(axisIndex(zero, p.size)), value: number(0) }],
        )
  return within(
    [loopFrom(k, p.over.size, p.k0, p.k1, 1, 'loop')],
    [
      ...vectors(s, 'i', p.extent, [p.first, endOf(p), p.size], (i) => [
        { kind: 'store', ...at(subIndex(i, p.first)), value: p.value(i, positions(p.over, step)) },
      ]),
      ...filling,
    ],
  )
}

/** rows along k, then transposed; several reduced axes are loops of their own where all of them are packed at once */
const packAlongK = (s: Surroundings, p: Panel): ReadonlyArray<Stmt> => {
  const rows = s.rowsOf(p.size * p.longest)
  const i = s.fresh('i')
  const element = axisIndex(i, p.extent)
  const start = scaleIndex(p.longest, subIndex(element, p.first))
  const store = (k: Index, at: ReadonlyArray<Index>): Stmt => ({
    kind: 'store',
    buffer: rows,
    at: [addIndex(start, k)],
    value: p.value(element, at),
  })
  const isAll = p.k0.key === '0' && p.k1.key === p.over.size.key
  const isMerged =
    p.over.axes.length < 2 || !isAll || readsIn(probed(p)).every((r) => stridesOf(r, s.shapeOf(r.buffer)))
  const filled = ((): ReadonlyArray<Stmt> => {
    if (isMerged)
      return vectors(s, 'k', p.over.size, [p.k0, p.k1, p.longest], (k) => [
        store(subIndex(k, p.k0), positions(p.over, k)),
      ])
    const outer = p.over.axes.slice(0, -1).map((a) => ({ axis: s.fresh('k'), size: a.size }))
    const last = p.over.axes.at(-1)!
    const outerAt = outer.map((o) => axisIndex(o.axis, o.size))
    const sizes = p.over.axes.map((a) => a.size)
    return within(
      outer.map((o) => loopOver(o.axis, o.size, 'loop')),
      vectors(s, 'k', last.size, [whole(0), whole(last.size), s.width], (k) => [
        store(flatten([...outerAt, k], sizes), [...outerAt, k]),
      ]),
    )
  })()
  return [
    ...within([loopFrom(i, p.extent, p.first, endOf(p), 1, 'loop')], filled),
    packCall(p, { buffer: rows, at: [whole(0)] }, whole(p.longest), whole(1)),
  ]
}

const packCall = (p: Panel, from: Place, si: Index, sk: Index): Stmt => ({
  kind: 'call',
  intrinsic: 'pack',
  places: [p.to(whole(0)), from],
  ints: [whole(p.size), validOf(p), subIndex(p.k1, p.k0), si, sk],
})

/** The statements that fill one panel. */
export const packPanel = (s: Surroundings, p: Panel): ReadonlyArray<Stmt> => {
  const linear = linearRead(p, s.shapeOf)
  if (linear !== undefined) return [packCall(p, linear.place(p.first, p.k0), whole(linear.i), whole(linear.k))]
  return leaning(probed(p), s.shapeOf) > 0 ? packAlongI(s, p) : packAlongK(s, p)
}

/** acc[i ldc + j] (+)= sum over k < depth of a[k lda + i] b[k ldb + j] */
export const mmaCall = (
  width: Width,
  tile: { readonly rows: number; readonly vectors: number },
  a: { readonly place: Place; readonly step: Index },
  b: { readonly place: Place; readonly step: Index },
  acc: { readonly place: Place; readonly step: Index },
  depth: Index,
  accumulate: boolean,
): Stmt => ({
  kind: 'call',
  intrinsic: 'mma',
  places: [a.place, b.place, acc.place],
  ints: [
    ...[whole(width), whole(tile.rows), whole(tile.vectors * width), depth],
    ...[a.step, b.step, acc.step, whole(accumulate ? 1 : 0)],
  ],
})
