/** A streaming block's state, and what becomes of its sums once a stream has gone by. */
import { dim, subDim } from '../../../dsl/dim.ts'
import type { Node, ReduceFn } from '../../../dsl/node.ts'
import { addIndex, axisIndex, divIndex, minIndex, modIndex, scaleIndex, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Stage } from '../../fuse/group.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { THREADS, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import { apply, barrier, fold, named, read, register, store, unit, unrolled, when } from './statements.ts'
import type { Scale, Streaming } from './streams.ts'
import { nested, type Body } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

/** rows of a block, and steps of the stream that are there at a time */
export const ROWS = 32
export const CHUNK = 32
/** threads that share a row's reductions */
export const LANES = THREADS / ROWS

export const UNIT: Readonly<Record<ReduceFn, number>> = { sum: 0, max: -Infinity, min: Infinity }

/** where in the tile of rows and in the chunk an expression is evaluated */
export interface Here {
  row: Index
  step: Index
}

export interface Stream {
  readonly draft: Draft
  readonly s: Streaming
  readonly stored: ReadonlyArray<Node>
  readonly fixed: Position
  readonly row0: Index
  readonly thread: Index
  readonly here: Here
  /** operands' tiles, for all contractions in turn */
  readonly left: string
  readonly right: string
  /** accumulators of gathered results */
  readonly accs: Map<Node, { readonly name: string; readonly tile: Tile; readonly scale: Scale | undefined }>
  readonly chunks: string[]
}

// ------------------------------------------------------------------------------------- results

export const rowIn = (w: Stream, local: Index): Index =>
  minIndex(addIndex(w.row0, local), whole(subDim(w.s.row.size, 1)))

/** sums of a stage that stand as partials */
export const totalsOf = (stage: Stage, partials: ReadonlyMap<Node, string>): ReadonlyMap<Node, string> => {
  const own =
    stage.kind === 'reduce'
      ? stage.reduces
      : stage.kind === 'dot'
        ? stage.accumulators.flatMap((a) => a.terms.map((t) => t.dot))
        : []
  return new Map(own.flatMap((n) => (partials.has(n) ? [[n as Node, partials.get(n)!] as const] : [])))
}

/** a result with columns */
export const isWide = (n: Node, { s }: Stream): boolean =>
  n.type.dims.some((d) => d.name !== s.row.name && !s.fixed.some((f) => f.name === d.name))

/** numbers of the rows of a stage that is complete: to shared memory, and out */
export const finishFolds = (w: Stream, stage: Stage, totals: ReadonlyMap<Node, string>): Body => {
  const { draft, s, stored } = w
  const name = draft.fresh('row')
  const at = joined(w.fixed, new Map([[s.row.name, axisIndex(name, s.row.size)]]))
  w.here.row = w.thread
  const kept = stage.results.map((node) => ({ node, name: draft.local('kept', 'shared', [dim(ROWS)]) }))
  const sums: Stmt[] = []
  for (const [node, partial] of totals) {
    const total = draft.fresh('total')
    const part = draft.fresh('part')
    const fn: ReduceFn = node.op === 'reduce' ? node.attrs.fn : 'sum'
    sums.push(
      unit(total, fn),
      unrolled(part, LANES, [fold(total, fn, read(partial, [w.thread, axisIndex(part, LANES)]))]),
    )
    draft.settle(node, () => register(total))
  }
  const body = draft.evaluate(
    kept.map((k) => ({ node: k.node, at })),
    (vs) =>
      kept.flatMap((k, i) => [
        store(k.name, [w.thread], vs[i]!),
        ...(stored.includes(k.node)
          ? [when(addIndex(w.row0, w.thread), dim(0), s.row.size, [draft.put(k.node, at, read(k.name, [w.thread]))])]
          : []),
      ]),
  )
  for (const node of totals.keys()) draft.forget(node)
  for (const k of kept) draft.settle(k.node, () => read(k.name, [w.here.row]))
  return [
    when(w.thread, dim(0), dim(ROWS), [
      ...sums,
      ...(s.row.size.key === '1' ? [] : [named(name, s.row.size, rowIn(w, w.thread))]),
      ...body,
    ]),
    barrier,
  ]
}

/** the final maxima, where they are wanted outside */
export const storeMax = (w: Stream, node: Node, from: string): Body => {
  if (!w.stored.includes(node)) return []
  const at = joined(w.fixed, new Map([[w.s.row.name, addIndex(w.row0, w.thread)]]))
  const inside = when(addIndex(w.row0, w.thread), dim(0), w.s.row.size, [w.draft.put(node, at, read(from, [w.thread]))])
  return [when(w.thread, dim(0), dim(ROWS), [inside])]
}

/** results with columns, from the threads' accumulators */
export const finishGathered = (w: Stream, stage: Stage): Body => {
  const { draft, s, stored } = w
  const sums = stage.kind === 'dot' ? stage.accumulators.flatMap((a) => a.terms.map((t) => t.dot)) : []
  const found = sums.flatMap((n) => (w.accs.has(n) ? [{ node: n, ...w.accs.get(n)! }] : []))
  const [first] = found
  if (first === undefined) return []
  const { tile } = first
  const columns = first.node.type.dims.filter((d) => d.name !== s.row.name && !s.fixed.some((f) => f.name === d.name))
  const extent = extentOf(columns)
  const across = tile.n / tile.nr
  const names = { row: draft.fresh('row'), column: draft.fresh('column') }
  const at = joined(
    w.fixed,
    new Map([[s.row.name, axisIndex(names.row, s.row.size)]]),
    pointAt(columns, axisIndex(names.column, extent)),
  )
  return nested(draft, tile, (i, j) => {
    const local = addIndex(scaleIndex(tile.mr, divIndex(w.thread, across)), i)
    const column = addIndex(scaleIndex(tile.nr, modIndex(w.thread, across)), j)
    w.here.row = local
    const wanted = stage.results.filter((r) => stored.includes(r))
    const scales = found.flatMap((f) => (f.scale === undefined ? [] : [{ node: f.scale.by, at }]))
    const values = draft.evaluate(scales, (by) => {
      let next = 0
      for (const f of found) {
        const acc = read(f.name, [i, j])
        const value = f.scale === undefined ? acc : apply(f.scale.fn, acc, by[next++]!)
        draft.settle(f.node, () => value)
      }
      return draft.evaluate(
        wanted.map((node) => ({ node, at })),
        (vs) => wanted.map((node, q) => draft.put(node, at, vs[q]!)),
      )
    })
    for (const f of found) draft.forget(f.node)
    const row = addIndex(w.row0, local)
    return [
      when(row, dim(0), s.row.size, [
        when(column, dim(0), extent, [
          ...(s.row.size.key === '1' ? [] : [named(names.row, s.row.size, row)]),
          ...(extent.key === '1' ? [] : [named(names.column, extent, column)]),
          ...values,
        ]),
      ]),
    ]
  })
}
