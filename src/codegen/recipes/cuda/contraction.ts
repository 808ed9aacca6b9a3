/**
 * Contractions by tiles. A block computes a tile of the results: tiles of both operands go through shared memory,
 * `depth` steps at a time, and each thread keeps mr x nr results of every accumulator in registers.
 *
 *     acc[i][j] += sum_k left[m0 + i, k] right[k, n0 + j]
 *
 * Sums of dots are further steps of the same accumulators; sibling dots share the tiles that they have in common. What
 * stands before an operand is computed while its tile is filled, what stands behind the dots from the accumulators.
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
} from '../../affine.ts'
import type { Position } from '../../expression.ts'
import type { Expr, Index, Stmt } from '../../kernel.ts'
import { depthFor, THREADS, type Contraction, type Product, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import { apply, barrier, call, guard, named, number, read, repeat, store, unrolled, when } from './statements.ts'

// ---------------------------------------------------------------------------------------- model

type Body = ReadonlyArray<Stmt>

/** an operand's tile in shared memory: depth x (extent + 4), so that rows begin on 16 bytes and in other banks */
interface Staged {
  readonly node: Node
  readonly side: 'left' | 'right'
  readonly factor: Node | undefined
  readonly sign: 1 | -1
  readonly buffer: string
}

/** products over the same axes: one loop */
interface Pass {
  readonly over: ReadonlyArray<Axis>
  readonly depth: number
  readonly tiles: ReadonlyArray<Staged>
  readonly products: ReadonlyArray<{ readonly left: string; readonly right: string; readonly into: number }>
}

interface Where {
  readonly draft: Draft
  readonly c: Contraction
  readonly tile: Tile
  readonly batch: Position
  /** the tile's first row and column */
  readonly m0: Index
  readonly n0: Index
  readonly thread: Index
}

const PAD = 4

// --------------------------------------------------------------------------------------- passes

const keyOf = (axes: ReadonlyArray<Axis>): string =>
  axes
    .map((a) => a.name)
    .sort()
    .join()

const passesOf = (draft: Draft, { products }: Contraction, tile: Tile): ReadonlyArray<Pass> => {
  const groups = new Map<string, Product[]>()
  for (const p of products) groups.set(keyOf(p.over), [...(groups.get(keyOf(p.over)) ?? []), p])
  // tiles of different passes take turns in the same memory
  const pools = { left: [] as string[], right: [] as string[] }
  const depths = [...groups.values()].map((ps) => depthFor(extentOf(ps[0]!.over)))
  const deepest = Math.max(...depths)
  return [...groups.values()].map((ps, pass): Pass => {
    const tiles: Staged[] = []
    const used = { left: 0, right: 0 }
    const tileOf = (node: Node, side: 'left' | 'right', factor: Node | undefined, sign: 1 | -1): string => {
      const known = tiles.find((t) => t.node === node && t.side === side && t.factor === factor && t.sign === sign)
      if (known !== undefined) return known.buffer
      const pool = pools[side]
      const number = used[side]
      used[side] += 1
      const extent = side === 'left' ? tile.m : tile.n
      pool[number] ??= draft.local(`${side}_tile`, 'shared', [dim(deepest), dim(extent + PAD)])
      tiles.push({ node, side, factor, sign, buffer: pool[number] })
      return pool[number]
    }
    const parts = ps.map((p) => ({
      left: tileOf(p.left, 'left', p.factor, p.sign),
      right: tileOf(p.right, 'right', undefined, 1),
      into: p.into,
    }))
    return { over: ps[0]!.over, depth: depths[pass]!, tiles, products: parts }
  })
}

// -------------------------------------------------------------------------------------- staging

/** tiles cover the extent exactly */
const isExact = (extent: Dim, tile: number): boolean => (literal(extent) ?? 1) % tile === 0

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

const stageTile = (w: Where, pass: Pass, t: Staged, k0: Index): Body => {
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

interface Registers {
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

const nested = (draft: Draft, { mr, nr }: Tile, body: (i: Index, j: Index) => Body): Body => {
  const [rowName, columnName] = [draft.fresh('i'), draft.fresh('j')]
  const inner = body(axisIndex(rowName, mr), axisIndex(columnName, nr))
  const columns = nr === 1 ? inner : [unrolled(columnName, nr, inner)]
  return mr === 1 ? columns : [unrolled(rowName, mr, columns)]
}

const multiply = (w: Where, pass: Pass, r: Registers): Stmt => {
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

const runPass = (w: Where, pass: Pass, r: Registers): Body => {
  const steps = extentOf(pass.over)
  const name = w.draft.fresh('k0')
  const isOne = (literal(steps) ?? Infinity) <= pass.depth
  const k0 = isOne ? whole(0) : axisIndex(name, steps)
  const body: Body = [...pass.tiles.flatMap((t) => stageTile(w, pass, t, k0)), barrier, multiply(w, pass, r), barrier]
  return isOne ? body : [repeat('loop', name, steps, body, { step: pass.depth })]
}

// ------------------------------------------------------------------------------------- epilogue

const epilogue = (w: Where, stored: ReadonlyArray<Node>, r: Registers): Body => {
  const { draft, c, tile } = w
  const across = tile.n / tile.nr
  const [m, n] = [extentOf(c.m), extentOf(c.n)]
  const names = { row: draft.fresh('row'), column: draft.fresh('column') }
  const rowOf = (i: Index): Index => addIndex(w.m0, addIndex(scaleIndex(tile.mr, divIndex(w.thread, across)), i))
  const columnOf = (j: Index): Index => addIndex(w.n0, addIndex(scaleIndex(tile.nr, modIndex(w.thread, across)), j))
  const at = joined(w.batch, pointAt(c.m, axisIndex(names.row, m)), pointAt(c.n, axisIndex(names.column, n)))
  return nested(draft, tile, (i, j) => {
    c.accumulators.forEach((a, q) => draft.settle(a.node, () => read(r.accs[q]!, [i, j])))
    const values = draft.evaluate(
      stored.map((node) => ({ node, at })),
      (vs) => stored.map((node, q) => draft.put(node, at, vs[q]!)),
    )
    c.accumulators.forEach((a) => draft.forget(a.node))
    const bind = (name: string, size: Dim, value: Index, body: Body): Body =>
      size.key === '1' ? body : [named(name, size, value), ...body]
    const bound = bind(names.row, m, rowOf(i), bind(names.column, n, columnOf(j), values))
    const columns = isExact(n, tile.n) ? bound : [when(columnOf(j), dim(0), n, bound)]
    return isExact(m, tile.m) ? columns : [when(rowOf(i), dim(0), m, columns)]
  })
}

// ------------------------------------------------------------------------------------- the nest

export const contraction = (draft: Draft, c: Contraction, tile: Tile, stored: ReadonlyArray<Node>): Stmt => {
  const [m, n, batch] = [extentOf(c.m), extentOf(c.n), extentOf(c.batch)]
  const names = { batch: draft.fresh('batch'), m0: draft.fresh('m0'), n0: draft.fresh('n0') }
  const w: Where = {
    draft,
    c,
    tile,
    batch: pointAt(c.batch, axisIndex(names.batch, batch)),
    m0: axisIndex(names.m0, m),
    n0: axisIndex(names.n0, n),
    thread: axisIndex('thread', THREADS),
  }
  const passes = passesOf(draft, c, tile)
  const r: Registers = {
    accs: c.accumulators.map(() => draft.local('acc', 'register', [dim(tile.mr), dim(tile.nr)])),
    left: draft.local('left_part', 'register', [dim(tile.mr)]),
    right: draft.local('right_part', 'register', [dim(tile.nr)]),
  }
  const clear = nested(draft, tile, (i, j) => r.accs.map((acc) => store(acc, [i, j], number(0))))
  const body: Body = [...clear, ...passes.flatMap((p) => runPass(w, p, r)), ...epilogue(w, stored, r)]
  const threads = repeat('thread', 'thread', dim(THREADS), body)
  const tiles = repeat('block', names.m0, m, [repeat('block', names.n0, n, [threads], { step: tile.n })], {
    step: tile.m,
  })
  return batch.key === '1' ? tiles : repeat('block', names.batch, batch, [tiles])
}
