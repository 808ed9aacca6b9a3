/**
 * Contractions by tiles. A block computes a tile of the results: tiles of both operands go through shared memory,
 * `depth` steps at a time, and each thread keeps mr x nr results of every accumulator in registers.
 *
 *     acc[i][j] += sum_k left[m0 + i, k] right[k, n0 + j]
 *
 * Sums of dots are further steps of the same accumulators; sibling dots share the tiles that they have in common. What
 * stands before an operand is computed while its tile is filled, what stands behind the dots from the accumulators.
 */
import { dim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node } from '../../../dsl/node.ts'
import { addIndex, axisIndex, divIndex, modIndex, scaleIndex } from '../../kernel/affine.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { depthFor, THREADS, type Contraction, type Product, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import { named, note, number, read, repeat, store, when } from './statements.ts'
import {
  isExact,
  nested,
  PAD,
  runPass,
  type Body,
  type Pass,
  type Registers,
  type Staged,
  type Where,
} from './tiles.ts'

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
    const parts = ps.map((p) => {
      // a tile that several products use stays as it is
      const isShared = ps.some((q) => q !== p && q.left === p.left)
      return {
        left: isShared ? tileOf(p.left, 'left', undefined, 1) : tileOf(p.left, 'left', p.factor, p.sign),
        right: isShared ? tileOf(p.right, 'right', p.factor, p.sign) : tileOf(p.right, 'right', undefined, 1),
        into: p.into,
      }
    })
    return { over: ps[0]!.over, depth: depths[pass]!, tiles, products: parts }
  })
}

// ------------------------------------------------------------------------------------- epilogue

const epilogue = (w: Where, c: Contraction, stored: ReadonlyArray<Node>, r: Registers): Body => {
  const { draft, tile } = w
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

export const contraction = (
  draft: Draft,
  c: Contraction,
  tile: Tile,
  stored: ReadonlyArray<Node>,
  what: string,
): Stmt => {
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
  const body: Body = [...clear, ...passes.flatMap((p) => runPass(w, p, r)), ...epilogue(w, c, stored, r)]
  const threads = repeat('thread', 'thread', dim(THREADS), [
    note(
      `tiles of ${String(tile.m)} x ${String(tile.n)} results, ${String(tile.mr)} x ${String(tile.nr)} a thread: ${what}`,
    ),
    ...body,
  ])
  const tiles = repeat('block', names.m0, m, [repeat('block', names.n0, n, [threads], { step: tile.n })], {
    step: tile.m,
  })
  return batch.key === '1' ? tiles : repeat('block', names.batch, batch, [tiles])
}
