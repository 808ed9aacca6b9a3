/**
 * Tiles of operands in shared memory, and what the threads of a block multiply from them: parts of contractions and of
 * streams.
 */
import { dim, literal, subDim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node } from '../../../dsl/node.ts'
import {
  addIndex,
  axisIndex,
  divIndex,
  isAtMost,
  minIndex,
  modIndex,
  scaleIndex,
  shiftIndex,
  whole,
} from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { THREADS, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import { apply, barrier, call, guard, named, number, read, repeat, store, unrolled } from './statements.ts'

// ---------------------------------------------------------------------------------------- model

export type Body = ReadonlyArray<Stmt>

/** an operand's tile in shared memory: depth x (extent + 4), so that rows begin on 16 bytes and in other banks */
export interface Staged {
  readonly node: Node
  readonly side: 'left' | 'right'
  readonly factor: Node | undefined
  readonly sign: 1 | -1
  readonly buffer: string
}

/** products over the same axes: one loop */
export interface Pass {
  readonly over: ReadonlyArray<Axis>
  readonly depth: number
  readonly tiles: ReadonlyArray<Staged>
  readonly products: ReadonlyArray<{ readonly left: string; readonly right: string; readonly into: number }>
}

export interface Where {
  readonly draft: Draft
  /** axes of rows and of columns */
  readonly c: { readonly m: ReadonlyArray<Axis>; readonly n: ReadonlyArray<Axis> }
  readonly tile: Tile
  readonly batch: Position
  /** the tile's first row and column */
  readonly m0: Index
  readonly n0: Index
  readonly thread: Index
  /** called before an operand is evaluated: its row (column) and step within the tiles */
  readonly enter?: (i: Index, k: Index) => void
}

export const PAD = 4

// -------------------------------------------------------------------------------------- staging

/** tiles cover the extent exactly */
export const isExact = (extent: Dim, tile: number): boolean => (literal(extent) ?? 1) % tile === 0

/** i, or the last of the extent (of the last `each`) where the tile reaches beyond it */
const within = (i: Index, extent: Dim, tile: number, each = 1): Index =>
  isExact(extent, tile) ? i : minIndex(i, whole(subDim(extent, each)))

/** the tile's cells, shared out over the threads */
const overThreads = (w: Where, cells: number, body: (cell: Index) => Body): Body => {
  const name = w.draft.fresh('cell')
  if (cells % THREADS !== 0 || cells === 0)
    return [repeat('loop', name, dim(cells), body(axisIndex(name, cells)), { from: w.thread, step: THREADS })]
  const turns = cells / THREADS
  const turn = w.draft.fresh('turn')
  return turns === 1
    ? body(w.thread)
    : [unrolled(turn, turns, body(addIndex(w.thread, scaleIndex(THREADS, axisIndex(turn, turns)))))]
}

/** the operand's fastest axis in memory is contracted: neighbouring threads take neighbouring steps */
const isDeepFirst = (node: Node, over: ReadonlyArray<Axis>): boolean => {
  const last = node.type.dims.filter((d) => literal(d.size) !== 1).at(-1)
  return last !== undefined && over.some((a) => a.name === last.name)
}

/** four at a time: the buffer itself, its fastest axis last among those that the tile runs along, all counts whole */
const isByFours = (w: Where, t: Staged, pass: Pass, isDeep: boolean): boolean => {
  const along = isDeep ? pass.over : t.side === 'left' ? w.c.m : w.c.n
  const last = t.node.type.dims.at(-1)
  const size = last === undefined ? undefined : literal(last.size)
  return (
    w.draft.isBuffer(t.node) &&
    t.node.type.dtype === 'f32' &&
    size !== undefined &&
    size % 4 === 0 &&
    along.at(-1)?.name === last!.name &&
    (!isDeep || pass.depth % 4 === 0)
  )
}

const scaledBy = (t: Staged, value: Expr, factor: Expr | undefined): Expr => {
  const scaled = factor === undefined ? value : apply('mul', value, factor)
  return t.sign === 1 ? scaled : apply('neg', scaled)
}

export const stageTile = (w: Where, pass: Pass, t: Staged, k0: Index): Body => {
  const { draft, c, tile } = w
  const [axes, first, extent] = t.side === 'left' ? ([c.m, w.m0, tile.m] as const) : ([c.n, w.n0, tile.n] as const)
  const [size, steps] = [extentOf(axes), extentOf(pass.over)]
  const isDeep = isDeepFirst(t.node, pass.over)
  const fours = isByFours(w, t, pass, isDeep)
  const each = fours ? 4 : 1
  const [inner, outer] = isDeep ? [pass.depth, extent] : [extent, pass.depth]
  const factor = t.factor === undefined ? [] : [{ node: t.factor, at: new Map<string, Index>() }]
  return overThreads(w, (inner * outer) / each, (cell) => {
    const fast = scaleIndex(each, modIndex(cell, inner / each))
    const slow = divIndex(cell, inner / each)
    const [i, k] = isDeep ? [slow, fast] : [fast, slow]
    const names = { i: draft.fresh('i'), k: draft.fresh('k') }
    // four that begin within the extent end within it: both are multiples of four
    const own = within(addIndex(first, i), size, extent, isDeep ? 1 : each)
    const step = addIndex(k0, k)
    const isInside = isAtMost(step, subDim(steps, 1)) || isExact(steps, pass.depth)
    const clamped = isInside ? step : within(step, steps, pass.depth, isDeep ? each : 1)
    const at = joined(w.batch, pointAt(axes, axisIndex(names.i, size)), pointAt(pass.over, axisIndex(names.k, steps)))
    const bound = [
      ...(size.key === '1' ? [] : [named(names.i, size, own)]),
      ...(steps.key === '1' ? [] : [named(names.k, steps, clamped)]),
    ]
    const masked = (v: Expr): Expr => (isInside ? v : guard(step, dim(0), steps, v, number(0)))
    w.enter?.(i, k)
    if (!fours)
      return [
        ...bound,
        ...draft.evaluate([{ node: t.node, at }, ...factor], ([v, f]) => [
          store(t.buffer, [k, i], masked(scaledBy(t, v!, f))),
        ]),
      ]
    const four = draft.local('four', 'register', [dim(4)])
    const lane = draft.fresh('lane')
    const l = axisIndex(lane, 4)
    const to = isDeep ? [addIndex(k, l), i] : [k, addIndex(i, l)]
    const plain = isInside && factor.length === 0 && t.sign === 1 && !isDeep
    return [
      ...bound,
      call('load4', [{ buffer: four, at: [whole(0)] }, draft.placeOf(t.node, at)]),
      ...(plain
        ? [
            call('store4', [
              { buffer: t.buffer, at: [k, i] },
              { buffer: four, at: [whole(0)] },
            ]),
          ]
        : draft.evaluate(factor, ([f]) => [
            unrolled(lane, 4, [store(t.buffer, to, masked(scaledBy(t, read(four, [l]), f)))]),
          ])),
    ]
  })
}

// -------------------------------------------------------------------------------- multiplication

export interface Registers {
  /** one for each accumulator, mr x nr */
  readonly accs: ReadonlyArray<string>
  readonly left: string
  readonly right: string
}

/** part[i] = tile[k, first + i], four at a time where they are that many */
const loadPart = (draft: Draft, part: string, size: number, tile: string, k: Index, first: Index): Body => {
  if (size % 4 === 0)
    return Array.from({ length: size / 4 }, (_, q) =>
      call('load4', [
        { buffer: part, at: [whole(4 * q)] },
        { buffer: tile, at: [k, shiftIndex(first, 4 * q)] },
      ]),
    )
  const name = draft.fresh('i')
  const i = axisIndex(name, size)
  const body = [store(part, [i], read(tile, [k, addIndex(first, i)]))]
  return size === 1 ? body : [unrolled(name, size, body)]
}

export const nested = (draft: Draft, { mr, nr }: Tile, body: (i: Index, j: Index) => Body): Body => {
  const [rowName, columnName] = [draft.fresh('i'), draft.fresh('j')]
  const inner = body(axisIndex(rowName, mr), axisIndex(columnName, nr))
  const columns = nr === 1 ? inner : [unrolled(columnName, nr, inner)]
  return mr === 1 ? columns : [unrolled(rowName, mr, columns)]
}

export const multiply = (w: Where, pass: Pass, r: Registers): Stmt => {
  const { draft, tile } = w
  const name = draft.fresh('step')
  const k = axisIndex(name, pass.depth)
  const across = tile.n / tile.nr
  const [row, column] = [
    scaleIndex(tile.mr, divIndex(w.thread, across)),
    scaleIndex(tile.nr, modIndex(w.thread, across)),
  ]
  const out: Stmt[] = []
  let loaded = { left: '', right: '' }
  for (const p of pass.products) {
    if (loaded.left !== p.left) out.push(...loadPart(draft, r.left, tile.mr, p.left, k, row))
    if (loaded.right !== p.right) out.push(...loadPart(draft, r.right, tile.nr, p.right, k, column))
    loaded = p
    const acc = r.accs[p.into]!
    out.push(
      ...nested(draft, tile, (i, j) => [
        store(acc, [i, j], apply('add', read(acc, [i, j]), apply('mul', read(r.left, [i]), read(r.right, [j])))),
      ]),
    )
  }
  return repeat('loop', name, dim(pass.depth), out)
}

export const runPass = (w: Where, pass: Pass, r: Registers): Body => {
  const steps = extentOf(pass.over)
  const name = w.draft.fresh('k0')
  const isOne = (literal(steps) ?? Infinity) <= pass.depth
  const k0 = isOne ? whole(0) : axisIndex(name, steps)
  const body: Body = [...pass.tiles.flatMap((t) => stageTile(w, pass, t, k0)), barrier, multiply(w, pass, r), barrier]
  return isOne ? body : [repeat('loop', name, steps, body, { step: pass.depth })]
}
