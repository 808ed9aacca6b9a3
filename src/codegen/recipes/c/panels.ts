/**
 * Packing: an operand's elements in the order in which the micro-kernel reads them, its pointwise producers computed on
 * the way. A panel is P neighbours along one side, for each step of k; beyond the extent it is filled with zeros.
 *
 *     to[start + (k - k0) P + (i - first)] = i < extent ? value(i, k) : 0        first <= i < first + P, k0 <= k < k1
 *
 * A plain read whose address is linear in i and k is one call; anything else is evaluated by vectors, along i straight
 * into the panel, or along k into rows that are then transposed.
 */
import { dim, literal, subDim, type Dim } from '../../../dsl/dim.ts'
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
} from '../../kernel/affine.ts'
import { number } from '../../kernel/expression.ts'
import {
  indicesOfAtom,
  partsOf,
  type Atom,
  type Expr,
  type Index,
  type Loop,
  type Place,
  type Stmt,
} from '../../kernel/kernel.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'
import { sideOf, type Side, type Tile, type Width } from './tiles.ts'

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
  /** as three bf16 numbers each, by steps of k; scratch for a panel before it is split */
  readonly split?: { readonly side: 'rows' | 'columns'; readonly panelOf: (floats: number) => string }
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

export const positions = (over: Side, k: Index): ReadonlyArray<Index> =>
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

/** whether vectors of elements are read rather along i than along k */
export const isAlongRows = (value: Value, extent: Dim, over: Side, shapeOf: Surroundings['shapeOf']): boolean =>
  leaning(probed({ value, extent, over }), shapeOf) > 0

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

/** Reduced axes that memory does not hold as one: loops over the outer ones, `size` steps of the innermost. */
interface Segment {
  readonly loops: ReadonlyArray<Loop>
  readonly size: Dim
  /** flattened step at which the segment begins */
  readonly start: Index
  readonly at: (k: Index) => ReadonlyArray<Index>
}

/** what an axis is taken apart by: the divisor of it alone */
const divisorOf = (i: Index): Dim | undefined => {
  for (const { atom } of i.terms) {
    if (atom.kind !== 'div' && atom.kind !== 'mod') continue
    const [only, ...more] = atom.of.terms
    if (more.length === 0 && only?.atom.kind === 'axis' && only.atom.name === PROBE.k && only.factor.key === '1')
      return atom.by
  }
  return undefined
}

/** The whole of the reduced axes as segments: several axes by the last one, one axis by what its reads divide it by. */
const segmentOf = (s: Surroundings, p: Panel): Segment | undefined => {
  if (p.k0.key !== '0' || p.k1.key !== p.over.size.key) return undefined
  const addresses = readsIn(probed(p)).map((r) => flatten(r.at, s.shapeOf(r.buffer)))
  if (addresses.every((i) => strideAlong(i, PROBE.k) !== undefined)) return undefined
  const { axes } = p.over
  const [only] = axes
  const by = axes.length === 1 ? addresses.map(divisorOf).find((d) => d !== undefined) : undefined
  const [n, d] = [literal(only!.size), by === undefined ? undefined : literal(by)]
  const sizes =
    axes.length > 1
      ? axes.map((a) => a.size)
      : n !== undefined && d !== undefined && n % d === 0
        ? [dim(n / d), dim(d)]
        : []
  if (sizes.length === 0) return undefined
  const outer = sizes.slice(0, -1).map((size) => ({ axis: s.fresh('k'), size }))
  const outerAt = outer.map((o) => axisIndex(o.axis, o.size))
  const flat = (k: Index): Index => flatten([...outerAt, k], sizes)
  return {
    loops: outer.map((o) => loopOver(o.axis, o.size, 'loop')),
    size: sizes.at(-1)!,
    start: flat(whole(0)),
    at: (k) => (axes.length > 1 ? [...outerAt, k] : [flat(k)]),
  }
}

/** elements as lines along k, each `longest` long: element i at to((i - first) longest) */
const linesOf = (s: Surroundings, p: Panel, segment: Segment | undefined): ReadonlyArray<Stmt> => {
  const i = s.fresh('i')
  const element = axisIndex(i, p.extent)
  const start = scaleIndex(p.longest, subIndex(element, p.first))
  const store = (k: Index, at: ReadonlyArray<Index>): Stmt => ({
    kind: 'store',
    ...p.to(addIndex(start, k)),
    value: p.value(element, at),
  })
  const filled =
    segment === undefined
      ? vectors(s, 'k', p.over.size, [p.k0, p.k1, p.longest], (k) => [store(subIndex(k, p.k0), positions(p.over, k))])
      : within(
          segment.loops,
          vectors(s, 'k', segment.size, [whole(0), whole(segment.size), s.width], (k) => [
            store(addIndex(segment.start, k), segment.at(k)),
          ]),
        )
  return within([loopFrom(i, p.extent, p.first, endOf(p), 1, 'loop')], filled)
}

/** The statements that fill one panel with lines: for elements that are read best along k. */
export const packLines = (s: Surroundings, p: Panel): ReadonlyArray<Stmt> => linesOf(s, p, segmentOf(s, p))

/** lines, then transposed */
const packAlongK = (s: Surroundings, p: Panel, segment: Segment | undefined): ReadonlyArray<Stmt> => {
  const rows = s.rowsOf(p.size * p.longest)
  return [
    ...linesOf(s, { ...p, to: (i) => ({ buffer: rows, at: [i] }) }, segment),
    packCall(p, { buffer: rows, at: [whole(0)] }, validOf(p), whole(p.longest), whole(1)),
  ]
}

/** a plain read that is linear within each segment: a call a segment */
const packSegments = (s: Surroundings, p: Panel, segment: Segment): ReadonlyArray<Stmt> | undefined => {
  const own = { ...p, over: sideOf([{ name: 'segment', size: segment.size }]), k1: whole(segment.size) }
  const value: Value = (i, [k]) => p.value(i, segment.at(k!))
  const linear = linearRead({ ...own, value }, s.shapeOf)
  if (linear === undefined) return undefined
  const to: Room = (i) => p.to(addIndex(scaleIndex(p.size, segment.start), i))
  const call = packCall({ ...own, to }, linear.place(p.first, whole(0)), validOf(p), whole(linear.i), whole(linear.k))
  return within(segment.loops, [call])
}

const packCall = (p: Panel, from: Place, valid: Index, si: Index, sk: Index): Stmt => ({
  kind: 'call',
  intrinsic: p.split === undefined ? 'pack' : 'split',
  places: [p.to(whole(0)), from],
  ints: [
    ...[whole(p.size), valid, subIndex(p.k1, p.k0), si, sk],
    ...(p.split === undefined ? [] : [whole(p.split.side === 'columns' ? 1 : 0)]),
  ],
})

/** The statements that fill one panel. */
export const packPanel = (s: Surroundings, p: Panel): ReadonlyArray<Stmt> => {
  const linear = linearRead(p, s.shapeOf)
  if (linear !== undefined)
    return [packCall(p, linear.place(p.first, p.k0), validOf(p), whole(linear.i), whole(linear.k))]
  const segment = segmentOf(s, p)
  const isAlongI = leaning(probed(p), s.shapeOf) > 0
  if (p.split !== undefined) {
    if (!isAlongI && segment === undefined) return packAlongK(s, p, segment)
    const { split, ...plain } = p
    const panel = split.panelOf(p.size * p.longest)
    return [
      ...packPanel(s, { ...plain, to: (i) => ({ buffer: panel, at: [i] }) }),
      packCall(p, { buffer: panel, at: [whole(0)] }, whole(p.size), whole(1), whole(p.size)),
    ]
  }
  const segments = segment === undefined ? undefined : packSegments(s, p, segment)
  if (segments !== undefined) return segments
  return isAlongI ? packAlongI(s, p) : packAlongK(s, p, segment)
}

/** acc[i ldc + j] (+)= sum over k < depth of a[i lda + k] b[k ldb + j], for so many rows */
export const mmaRowsCall = (
  width: Width,
  tile: Tile,
  rows: Index,
  a: { readonly place: Place; readonly step: Index },
  b: { readonly place: Place; readonly step: Index },
  acc: { readonly place: Place; readonly step: Index },
  depth: Index,
  accumulate: boolean,
): Stmt => ({
  kind: 'call',
  intrinsic: 'mmaRows',
  places: [a.place, b.place, acc.place],
  ints: [
    ...[whole(width), whole(tile.rows), whole(tile.vectors * width), rows, depth],
    ...[a.step, b.step, acc.step, whole(accumulate ? 1 : 0)],
  ],
})

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

/** panels of rows and of columns, and how far they go */
export interface Run {
  readonly rows: Place
  readonly columns: Place
  readonly depth: Index
}

/** the same of panels that were split, one run after the other into the same accumulators, by two a call */
export const mmaSplitCalls = (
  { rows, vectors }: Tile,
  runs: ReadonlyArray<Run>,
  acc: { readonly place: Place; readonly step: Index },
  accumulate: boolean,
): ReadonlyArray<Stmt> =>
  runs.flatMap((first, n): ReadonlyArray<Stmt> => {
    if (n % 2 === 1) return []
    const second = runs[n + 1] ?? { ...first, depth: whole(0) }
    const adds = whole(accumulate || n > 0 ? 1 : 0)
    return [
      {
        kind: 'call',
        intrinsic: 'mma_split',
        places: [first.rows, first.columns, acc.place, second.rows, second.columns],
        ints: [whole(rows), whole(16 * vectors), first.depth, second.depth, acc.step, adds],
      },
    ]
  })
