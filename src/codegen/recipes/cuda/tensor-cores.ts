/**
 * Contractions of f16 and bf16 operands on tensor cores: 16 x 16 x 16 at a time, products exact, sums in f32. A block's
 * eight warps have 16 x 32 results each of a tile of 64 x 64; the accumulators go through shared memory to the epilogue.
 */
import { dim } from '../../../dsl/dim.ts'
import type { Node } from '../../../dsl/node.ts'
import { addIndex, axisIndex, divIndex, modIndex, scaleIndex, shiftIndex, whole } from '../../kernel/affine.ts'
import type { Index, Stmt, Storage } from '../../kernel/kernel.ts'
import { FRAGMENT } from '../../kernel/intrinsics/wmma.ts'
import { THREADS, type Contraction, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import { barrier, call, named, note, read, repeat, unrolled, when } from './statements.ts'
import { isExact, stageTile, type Body, type Where } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

const TILE: Tile = { m: 64, n: 64, mr: 4, nr: 4 }
const DEPTH = 32
/** a warp's columns: two fragments beside each other */
const COLUMNS = 2
/** a padded row of halves: a multiple of 16 bytes, and other banks */
const PAD = 8
/** a padded row of floats of the accumulators' tile */
const PAD_OUT = 4
/** accumulators whose tiles fit shared memory */
const MOST = 2

type Half = 'f16' | 'bf16'

const MOVES: ReadonlySet<Node['op']> = new Set(['rename', 'reshape', 'broadcast', 'slice'])

/** numbers that lie in memory as halves, moved at most */
const halfOf = (n: Node, isBuffer: (n: Node) => boolean): Half | undefined => {
  if (n.op === 'cast' && n.attrs.dtype === 'f32') return halfOf(n.args[0]!, isBuffer)
  if (n.type.dtype !== 'f16' && n.type.dtype !== 'bf16') return undefined
  if (isBuffer(n)) return n.type.dtype
  return MOVES.has(n.op) ? halfOf(n.args[0]!, isBuffer) : undefined
}

/** The operands' type, where tensor cores compute what is meant. */
export const halvesOf = (draft: Draft, c: Contraction): Half | undefined => {
  const types = new Set(c.products.flatMap((p) => [halfOf(p.left, draft.isBuffer), halfOf(p.right, draft.isBuffer)]))
  const [only] = types
  const isPlain = c.products.every((p) => p.factor === undefined && p.sign === 1)
  return types.size === 1 && isPlain && c.accumulators.length <= MOST ? only : undefined
}

// ------------------------------------------------------------------------------------- the nest

export const tensorCores = (
  draft: Draft,
  c: Contraction,
  half: Half,
  stored: ReadonlyArray<Node>,
  what: string,
): Stmt => {
  const [m, n, batch] = [extentOf(c.m), extentOf(c.n), extentOf(c.batch)]
  const names = { batch: draft.fresh('batch'), m0: draft.fresh('m0'), n0: draft.fresh('n0') }
  const thread = axisIndex('thread', THREADS)
  const w: Where = {
    draft,
    c,
    tile: TILE,
    batch: pointAt(c.batch, axisIndex(names.batch, batch)),
    m0: axisIndex(names.m0, m),
    n0: axisIndex(names.n0, n),
    thread,
  }
  const storage: Storage = half
  const tiles = {
    left: draft.local('left_tile', 'shared', [dim(DEPTH), dim(TILE.m + PAD)], storage),
    right: draft.local('right_tile', 'shared', [dim(DEPTH), dim(TILE.n + PAD)], storage),
  }
  const fragment = (name: string, dtype: Storage): string => draft.local(name, 'register', [dim(FRAGMENT)], dtype)
  const [left, right] = [fragment('left_part', storage), fragment('right_part', storage)]
  const accs = c.accumulators.map(() => Array.from({ length: COLUMNS }, () => fragment('acc', 'f32')))
  const at0 = (buffer: string) => ({ buffer, at: [whole(0)] })
  const warp = divIndex(thread, 32)
  const [row, column] = [scaleIndex(16, divIndex(warp, COLUMNS)), scaleIndex(16 * COLUMNS, modIndex(warp, COLUMNS))]

  /** acc += left right, 16 steps at a time */
  const multiply = (into: ReadonlyArray<string>): Body => {
    const name = draft.fresh('step')
    const k = axisIndex(name, DEPTH)
    const load = (which: 'left' | 'right', first: Index): Stmt =>
      call(
        `wmma_load_${which}`,
        [at0(which === 'left' ? left : right), { buffer: tiles[which], at: [k, first] }],
        [whole((which === 'left' ? TILE.m : TILE.n) + PAD)],
      )
    const body = [
      load('left', row),
      ...into.flatMap((acc, q) => [
        load('right', shiftIndex(column, 16 * q)),
        call('wmma_mma', [at0(acc), at0(left), at0(right)]),
      ]),
    ]
    return [repeat('loop', name, dim(DEPTH), body, { step: 16 })]
  }

  const passes = c.products.flatMap((p): Body => {
    const pass = { over: p.over, depth: DEPTH, tiles: [], products: [] }
    const steps = extentOf(p.over)
    const name = draft.fresh('k0')
    const k0 = axisIndex(name, steps)
    const one = (node: Node, side: 'left' | 'right'): Body =>
      stageTile(w, pass, { node, side, factor: undefined, sign: 1, buffer: tiles[side] }, k0)
    const body = [...one(p.left, 'left'), ...one(p.right, 'right'), barrier, ...multiply(accs[p.into]!), barrier]
    return [repeat('loop', name, steps, body, { step: DEPTH })]
  })

  // the accumulators as a tile in shared memory, then a cell a thread, neighbours beside each other
  const outs = c.accumulators.map(() => draft.local('results', 'shared', [dim(TILE.m), dim(TILE.n + PAD_OUT)]))
  const stores = accs.flatMap((parts, a) =>
    parts.map((acc, q) =>
      call(
        'wmma_store',
        [{ buffer: outs[a]!, at: [row, shiftIndex(column, 16 * q)] }, at0(acc)],
        [whole(TILE.n + PAD_OUT)],
      ),
    ),
  )
  const body: Body = [
    ...accs.flat().map((acc) => call('wmma_fill', [at0(acc)])),
    ...passes,
    ...stores,
    barrier,
    ...epilogue(w, c, outs, stored),
  ]
  const threads = repeat('thread', 'thread', dim(THREADS), [
    note(`tensor cores, tiles of 64 x 64 results, 16 x 32 a warp: ${what}`),
    ...body,
  ])
  const blocks = repeat('block', names.m0, m, [repeat('block', names.n0, n, [threads], { step: TILE.n })], {
    step: TILE.m,
  })
  return batch.key === '1' ? blocks : repeat('block', names.batch, batch, [blocks])
}

const epilogue = (w: Where, c: Contraction, outs: ReadonlyArray<string>, stored: ReadonlyArray<Node>): Body => {
  const { draft } = w
  const [m, n] = [extentOf(c.m), extentOf(c.n)]
  const turns = (TILE.m * TILE.n) / THREADS
  const names = { turn: draft.fresh('turn'), row: draft.fresh('row'), column: draft.fresh('column') }
  const cell = addIndex(w.thread, scaleIndex(THREADS, axisIndex(names.turn, turns)))
  const [i, j] = [divIndex(cell, TILE.n), modIndex(cell, TILE.n)]
  const at = joined(w.batch, pointAt(c.m, axisIndex(names.row, m)), pointAt(c.n, axisIndex(names.column, n)))
  c.accumulators.forEach((a, q) => draft.settle(a.node, () => read(outs[q]!, [i, j])))
  const values = draft.evaluate(
    stored.map((node) => ({ node, at })),
    (vs) => stored.map((node, q) => draft.put(node, at, vs[q]!)),
  )
  c.accumulators.forEach((a) => draft.forget(a.node))
  const [row, column] = [addIndex(w.m0, i), addIndex(w.n0, j)]
  const bound = [
    ...(m.key === '1' ? [] : [named(names.row, m, row)]),
    ...(n.key === '1' ? [] : [named(names.column, n, column)]),
    ...values,
  ]
  const columns = isExact(n, TILE.n) ? bound : [when(column, dim(0), n, bound)]
  return [unrolled(names.turn, turns, isExact(m, TILE.m) ? columns : [when(row, dim(0), m, columns)])]
}
