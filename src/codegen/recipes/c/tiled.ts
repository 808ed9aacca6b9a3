/**
 * Rows with contractions in them, a tile of rows at a time: attention, HRA, a loss from its logits.
 *
 *     pack what no row depends on; for blocks { pack what the block fixes; for tiles of rows {
 *       multiply the rows by columns into a local; then the rows' other stages, one row after the other } }
 *
 * What a mask leaves empty is left out (`masks.ts`). One operand of every dot has the tile's axis (its rows: `tile-products.ts`), the other has not (its columns:
 * `tile-columns.ts`).
 */
import { literal } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type Node } from '../../../dsl/node.ts'
import { axisIndex, scaleIndex, subIndex, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Group, Stage } from '../../fuse/group.ts'
import type { Index, Place, Stmt } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'
import type { Recipe } from './cells.ts'
import { maskOf } from './masks.ts'
import { gatheredColumns } from './packed.ts'
import { expressionsIn, innerOf } from './scene.ts'
import { isFreeOf, systemOf } from './solve.ts'
import { epilogueAt, stagesAt } from './stages.ts'
import { isTiled, rowLoop, tilingOf, type Tiling } from './tile.ts'
import { applyMask } from './tile-mask.ts'
import { columnsIn } from './tile-columns.ts'
import { productsIn } from './tile-products.ts'
import type { Width } from './tiles.ts'

/** what is done where the axes that it needs are known, before any tile */
interface Before {
  readonly needs: ReadonlyArray<Axis>
  readonly stmts: ReadonlyArray<Stmt>
}

/** What every row reads along its columns, copied side by side; readers find it there from now on. */
const copyColumns = ({ group, axis, scene, outerAt, fresh, scratch }: Tiling): ReadonlyArray<Before> =>
  gatheredColumns(group, axis).map((c) => {
    const inner = innerOf(group, c)
    const col = scratch(
      'col',
      inner.map((d) => d.size),
    )
    const own = new Map(inner.map((d) => [d.name, axisIndex(fresh(d.name), d.size)]))
    const at = new Map([...outerAt, ...own])
    const place = (p: Position): Place => ({ buffer: col, at: inner.map((d) => p.get(d.name)!) })
    const value = expressionsIn(scene)(c, new Map(namesOf(c).map((n) => [n, at.get(n)!])))
    const loops = inner.flatMap((d) =>
      own.get(d.name)!.terms.flatMap(({ atom }) => (atom.kind === 'axis' ? [loopOver(atom.name, d.size, 'loop')] : [])),
    )
    scene.homes.set(c, (p) => ({ kind: 'read', ...place(p) }))
    return {
      needs: group.outer.filter((o) => hasAxis(c.type, o.name)),
      stmts: within(loops, [{ kind: 'store', ...place(at), value }]),
    }
  })

/** The stages of a tile, and what has to stand before tiles. */
const stagesOf = (
  t: Tiling,
  product: ReturnType<typeof productsIn>,
): { readonly body: ReadonlyArray<Stmt>; readonly before: ReadonlyArray<Before> } => {
  const { group, axis, scene, outerAt, first, end, size } = t
  const check = applyMask(t)
  const before: Before[] = [check.before]
  const body: Stmt[] = []
  let plain: Stage[] = []
  /** of the next loop over the rows */
  let row: Stmt[] = []
  const settle = (): void => {
    row.push(...stagesAt(scene, plain, outerAt))
    plain = []
  }
  const flush = (): void => {
    settle()
    if (row.length > 0) body.push(...rowLoop(t, row))
    row = []
    scene.later.forEach((home, n) => scene.homes.set(n, home))
    scene.later.clear()
  }
  const checkRows = (): void => {
    settle()
    row.push(...check.ofRow())
    body.push(...check.start)
    flush()
    body.push(...check.settle())
  }
  if (check.since === undefined) body.push(...check.settle())
  else if (check.since < 0) checkRows()
  for (const [i, stage] of group.stages.entries()) {
    if (stage.kind === 'dot' && isTiled(group, stage, axis.name)) {
      settle()
      const products = stage.accumulators.map((a) => ({ a, ...product(a) }))
      row.push(...products.flatMap((p) => p.rows))
      flush()
      body.push(...products.flatMap((p) => p.dots()))
      const homes = new Map(products.map((p) => [p.a.node, p.home]))
      row.push(...epilogueAt(scene, stage.results, homes, outerAt))
    } else if (stage.kind === 'solve' && isFreeOf(stage.solve, axis.name)) {
      flush()
      const system = systemOf(scene, stage.solve, size)
      const column = (at: Position): Index => scaleIndex(system.sides, subIndex(at.get(axis.name)!, first))
      const needs = group.outer.filter((o) => hasAxis(stage.solve.args[0]!.type, o.name))
      const isLasting = stage.solve.op === 'triSolve'
      if (isLasting) before.push({ needs, stmts: system.matrix(outerAt) })
      else body.push(...system.matrix(outerAt))
      body.push(
        ...rowLoop(t, system.fill(outerAt, column(outerAt))),
        ...system.call(scaleIndex(system.sides, subIndex(end, first))),
      )
      row.push(...epilogueAt(scene, stage.results, new Map([[stage.solve, system.home(column)]]), outerAt))
    } else plain.push(stage)
    if (i === check.since) checkRows()
  }
  flush()
  return { body, before }
}

/** The kernel of a group of rows with contractions, in tiles along an axis. */
export const tiledC = (group: Group, axis: Axis, width: Width, isFrozen: (n: Node) => boolean): Recipe => {
  const t = tilingOf(group, axis, width, maskOf(group, axis))
  const copies = copyColumns(t)
  const columns = columnsIn(t, isFrozen)
  const made = stagesOf(t, productsIn(t, columns.of, isFrozen))
  const packs = columns.all().map(({ needs, pack }): Before => ({ needs, stmts: pack() }))
  const before = [...copies, ...made.before, ...packs]

  const fixed = group.outer.filter((o) => before.some((b) => b.stmts.length > 0 && b.needs.includes(o)))
  const others = group.outer.filter((o) => o !== axis && !fixed.includes(o))
  const isLoop = (o: Axis): boolean => literal(o.size) !== 1
  const role = fixed.some(isLoop) ? 'loop' : 'block'
  const [start] = t.first.terms
  const tileName = start?.atom.kind === 'axis' ? start.atom.name : ''
  const tiles = within(
    [
      ...others.filter(isLoop).map((o) => loopOver(t.names.get(o.name)!, o.size, role)),
      loopFrom(tileName, axis.size, whole(0), whole(axis.size), t.size, role),
    ],
    made.body,
  )
  return t.made.finish([
    ...before.filter((b) => b.needs.length === 0).flatMap((b) => b.stmts),
    ...within(
      fixed.filter(isLoop).map((o) => loopOver(t.names.get(o.name)!, o.size, 'block')),
      [...before.filter((b) => b.needs.length > 0).flatMap((b) => b.stmts), ...tiles],
    ),
  ])
}
