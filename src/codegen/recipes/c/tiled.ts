/**
 * Rows with contractions in them, a tile of rows at a time: attention, HRA, a loss from its logits.
 *
 *     pack what no row depends on; for blocks { pack what the block fixes; for tiles of rows {
 *       pack the rows, multiply panel by panel into a local; then the rows' other stages, one row after the other } }
 *
 * One operand of every dot has the tile's axis (its rows), the other has not (its columns): that one is packed at the
 * outermost loop that knows it, or before anything runs where it never changes.
 */
import { dim, literal, type Dim } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type Node, type NodeOf } from '../../../dsl/node.ts'
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
import { apply, number, type Position } from '../../kernel/expression.ts'
import { nominal, volume } from '../../fuse/costs.ts'
import type { Accumulator, Group, Stage, Weighted } from '../../fuse/group.ts'
import { TILES } from '../../kernel/intrinsics/c.ts'
import type { Index, Place, Stmt } from '../../kernel/kernel.ts'
import { dimAlong, namesOf } from '../../sizes.ts'
import { buffer, loopFrom, loopOver, within } from '../../kernel/statements.ts'
import { mmaCall, packPanel, type Surroundings, type Value } from './panels.ts'
import type { Recipe } from './cells.ts'
import { expressionsIn, innerOf, type Home } from './scene.ts'
import { isFreeOf, systemOf } from './solve.ts'
import { epilogueAt, stagesAt } from './stages.ts'
import { bestTile, LONGEST, packedSize, PIECE, sideOf, type Side, type Tile, type Width } from './tiles.ts'
import { gatheredColumns, isConstant, lineBuffer, packedOf } from './packed.ts'
import { sceneOf } from './rows.ts'

// ------------------------------------------------------------------------------- what can be tiled

type DotStage = Extract<Stage, { readonly kind: 'dot' }>

/** the operands of a dot by the tile's axis; undefined where it does not tell them apart */
const sidesOf = (d: NodeOf<'dot'>, axis: string): { readonly rows: Node; readonly columns: Node } | undefined => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  if (hasAxis(a.type, axis) === hasAxis(b.type, axis)) return undefined
  return hasAxis(a.type, axis) ? { rows: a, columns: b } : { rows: b, columns: a }
}

/** every term multiplies rows of the tile by columns that have all the inner axes of the result */
const isTiled = (g: Group, stage: DotStage, axis: string): boolean =>
  stage.accumulators.every((a) => {
    const inner = innerOf(g, a.node)
    if (inner.length === 0 || inner.reduce((n, d) => n * nominal(d.size), 1) < 4) return false
    return a.terms.every(({ dot }) => {
      const sides = sidesOf(dot, axis)
      return (
        sides !== undefined &&
        inner.every((d) => hasAxis(sides.columns.type, d.name) && !hasAxis(sides.rows.type, d.name))
      )
    })
  })

/** The outer axis whose points are the rows of tiles: the one that most dots can be multiplied by, the longest of those. */
export const tileAxis = (g: Group): Axis | undefined => {
  const dots = g.stages.filter((s) => s.kind === 'dot')
  const scored = g.outer
    .filter((o) => (literal(o.size) ?? 64) >= 4)
    .map((o) => ({ o, score: dots.filter((s) => isTiled(g, s, o.name)).length }))
    .filter(({ score }) => score > 0)
    .sort((x, y) => y.score - x.score || nominal(y.o.size) - nominal(x.o.size))
  return scored[0]?.o
}

// ------------------------------------------------------------------------------------- the recipe

const ceilTo = (d: Dim, step: number): Dim => {
  const n = literal(d)
  return n === undefined ? packedSize(d, step, dim(1)) : dim(Math.ceil(n / step) * step)
}

interface Right {
  readonly node: Node
  readonly columns: Side
  readonly over: Side
  readonly tile: Tile
  /** outer axes that it depends on */
  readonly needs: ReadonlyArray<Axis>
  /** the place of a panel, from a step of k on */
  readonly place: (first: Index, k0: Index) => Place
  readonly pack: () => ReadonlyArray<Stmt>
}

interface Pieces {
  readonly k0: Index
  readonly k1: Index
  readonly longest: number
  readonly around: (body: ReadonlyArray<Stmt>) => ReadonlyArray<Stmt>
  readonly isAll: boolean
}

export const tiledC = (g: Group, axis: Axis, width: Width, isFrozen: (n: Node) => boolean): Recipe => {
  const made = sceneOf(g, width)
  const { naming } = made
  const { fresh } = naming
  const scratch = (base: string, shape: ReadonlyArray<Dim>): string => {
    const name = fresh(base)
    made.addLocal(buffer(name, shape, 'scratch'))
    return name
  }
  const lines = lineBuffer(made.setLocal, fresh)
  const around: Surroundings = { width, fresh, shapeOf: (b) => naming.bufferOf(b).shape, rowsOf: lines }

  // ---- rows
  const names = new Map(g.outer.map((o) => [o.name, fresh(o.name)]))
  const first = axisIndex(fresh(`${axis.name}_0`), axis.size)
  const outerAt: Position = new Map(g.outer.map((o) => [o.name, axisIndex(names.get(o.name)!, o.size)]))
  const widest = Math.max(
    1,
    ...g.stages.flatMap((s) => s.results.flatMap((n) => innerOf(g, n).map((d) => nominal(d.size)))),
  )
  const unit = TILES[width][0]![0]
  // columns that come from far away are read once a tile, so that tiles are larger then; all of about one size
  const most = unit * (widest >= 2048 ? 11 : 4)
  const known = literal(axis.size)
  const pieces = known === undefined ? 1 : Math.max(1, Math.ceil(known / most))
  const size = known === undefined ? most : Math.max(unit, Math.ceil(known / pieces / unit) * unit)
  const end =
    known !== undefined && known % size === 0
      ? shiftIndex(first, size)
      : minIndex(shiftIndex(first, size), whole(axis.size))
  const scene = made.scene(undefined, { size, row: (at) => subIndex(at.get(axis.name)!, first) })

  // ---- packing
  const piecesOf = (over: Side): Pieces => {
    const k = literal(over.size)
    if (k !== undefined && k <= LONGEST)
      return { k0: whole(0), k1: whole(k), longest: k, around: (b) => b, isAll: true }
    const name = fresh('piece')
    const k0 = axisIndex(name, over.size)
    const k1 = minIndex(shiftIndex(k0, PIECE), whole(over.size))
    return {
      k0,
      k1,
      longest: PIECE,
      around: (b) => within([loopFrom(name, over.size, whole(0), whole(over.size), PIECE, 'loop')], b),
      isAll: false,
    }
  }
  const rights = new Map<string, Right>()
  const rightOf = (node: Node, columns: Side, over: Side, tile: Tile): Right => {
    const panel = tile.vectors * width
    const key = [
      node.id,
      columns.axes.map((a) => a.name).join(' '),
      over.axes.map((a) => a.name).join(' '),
      panel,
    ].join('/')
    const done = rights.get(key)
    if (done !== undefined) return done
    const needs = g.outer.filter((o) => hasAxis(node.type, o.name))
    const at = (i: Index, k: ReadonlyArray<Index>, outer: Position): Position =>
      new Map([...outer, ...unmerged(columns, i), ...over.axes.map((a, d): [string, Index] => [a.name, k[d]!])])
    const fillWith = (
      s: Surroundings,
      value: Value,
      name: string,
      before: ReadonlyArray<Index>,
    ): ReadonlyArray<Stmt> => {
      const j = s.fresh('j')
      const start = axisIndex(j, columns.size)
      const p = piecesOf(over)
      return within(
        [loopFrom(j, columns.size, whole(0), whole(columns.size), panel, 'loop')],
        p.around(
          packPanel(s, {
            to: (i) => ({
              buffer: name,
              at: [...before, addIndex(addIndex(scaleIndex(over.size, start), scaleIndex(panel, p.k0)), i)],
            }),
            ...{ size: panel, first: start, extent: columns.size, over, k0: p.k0, k1: p.k1, longest: p.longest, value },
          }),
        ),
      )
    }
    const shape = packedSize(columns.size, panel, over.size)
    const placeIn =
      (name: string, before: ReadonlyArray<Index>) =>
      (f: Index, k0: Index): Place => ({
        buffer: name,
        at: [...before, addIndex(scaleIndex(over.size, f), scaleIndex(panel, k0))],
      })
    const own = (n: Node, p: Position): Position => new Map(namesOf(n).map((a) => [a, p.get(a)!]))
    const result = ((): Right => {
      if (isConstant(node, isFrozen)) {
        const packed = packedOf(`rows ${key}`, node, needs, shape, width, (s, expr, outer) =>
          fillWith(
            s,
            (i, k) => expr(node, own(node, at(i, k, outer))),
            'out',
            needs.map((o) => outer.get(o.name)!),
          ),
        )
        const name = made.addPacked(packed)
        const before = needs.map((o) => outerAt.get(o.name)!)
        return { node, columns, over, tile, needs, place: placeIn(name, before), pack: () => [] }
      }
      const name = scratch('right', [shape])
      const expr = expressionsIn(scene)
      const value: Value = (i, k) => expr(node, own(node, at(i, k, outerAt)))
      return {
        node,
        columns,
        over,
        tile,
        needs,
        place: placeIn(name, []),
        pack: () => fillWith(around, value, name, []),
      }
    })()
    rights.set(key, result)
    return result
  }

  // ---- a dot: packed rows times packed columns, into a local
  const accumulate = (a: Accumulator): { readonly stmts: ReadonlyArray<Stmt>; readonly home: Home } => {
    const columns = sideOf(innerOf(g, a.node))
    const depth = a.terms.reduce((k, t) => k + nominal(overOf(t.dot).size), 0)
    const { tile } = bestTile(width, size, nominal(columns.size), depth)
    const panel = tile.vectors * width
    const ld = ceilTo(columns.size, panel)
    const acc = scratch('acc', [dim(Math.ceil(size / tile.rows) * tile.rows), ld])
    const terms = a.terms.filter((t) => literal(overOf(t.dot).size) !== 0)
    const clears = terms.length === 0 || terms.some((t) => !piecesOf(overOf(t.dot)).isAll)
    const stmts = [
      ...(clears ? clear(acc, ld) : []),
      ...terms.flatMap((t, i) => multiply(t, columns, tile, acc, ld, clears || i > 0)),
    ]
    const sizes = columns.axes.map((x) => x.size)
    const home: Home = (at) => ({
      kind: 'read',
      buffer: acc,
      at: [
        subIndex(at.get(axis.name)!, first),
        flatten(
          columns.axes.map((x) => at.get(x.name)!),
          sizes,
        ),
      ],
    })
    return { stmts, home }
  }
  const clear = (acc: string, ld: Dim): ReadonlyArray<Stmt> => {
    const [r, c, c0] = [fresh('r'), fresh('c'), fresh('c0')]
    const lanes = loopFrom(
      c,
      ld,
      axisIndex(c0, ld),
      minIndex(shiftIndex(axisIndex(c0, ld), width), whole(ld)),
      1,
      'vector',
    )
    return within(
      [loopOver(r, size, 'loop'), loopFrom(c0, ld, whole(0), whole(ld), width, 'loop'), { ...lanes, unroll: width }],
      [{ kind: 'store', buffer: acc, at: [axisIndex(r, size), axisIndex(c, ld)], value: number(0) }],
    )
  }
  const lefts = new Map<string, string>()
  const multiply = (
    w: Weighted,
    columns: Side,
    tile: Tile,
    acc: string,
    ld: Dim,
    adds: boolean,
  ): ReadonlyArray<Stmt> => {
    const sides = sidesOf(w.dot, axis.name)!
    const over = overOf(w.dot)
    const right = rightOf(sides.columns, columns, over, tile)
    const p = piecesOf(over)
    const { rows } = tile
    const key = `${String(rows)} ${String(sides.rows.id)} ${over.axes.map((x) => x.name).join(' ')} ${String(w.sign)} ${String(w.factor?.id)}`
    const packedBefore = p.isAll ? lefts.get(key) : undefined
    const left = packedBefore ?? scratch('left', [dim((Math.ceil(size / rows) + 1) * rows * p.longest)])
    if (p.isAll) lefts.set(key, left)
    const expr = expressionsIn(scene)
    const value: Value = (i, k) => {
      const at = new Map([
        ...outerAt,
        [axis.name, i] as const,
        ...over.axes.map((x, d): [string, Index] => [x.name, k[d]!]),
      ])
      const plain = expr(sides.rows, new Map(namesOf(sides.rows).map((n) => [n, at.get(n)!])))
      const scaled = w.factor === undefined ? plain : apply('mul', expr(w.factor, new Map()), plain)
      return w.sign < 0 ? apply('neg', scaled) : scaled
    }
    const start = (i: Index): Index => scaleIndex(p.longest, subIndex(i, first))
    const rowTiles = (body: (i: Index) => ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
      const name = fresh('i')
      return within([loopFrom(name, axis.size, first, end, rows, 'loop')], body(axisIndex(name, axis.size)))
    }
    const packing =
      packedBefore !== undefined
        ? []
        : rowTiles((i) =>
            packPanel(around, {
              to: (e) => ({ buffer: left, at: [addIndex(start(i), e)] }),
              ...{ size: rows, first: i, extent: axis.size, over, k0: p.k0, k1: p.k1, longest: p.longest, value },
            }),
          )
    const j = fresh('j')
    const column = axisIndex(j, columns.size)
    const products = within(
      [loopFrom(j, columns.size, whole(0), whole(columns.size), tile.vectors * width, 'loop')],
      rowTiles((i) => [
        mmaCall(
          width,
          tile,
          { place: { buffer: left, at: [start(i)] }, step: whole(rows) },
          { place: right.place(column, p.k0), step: whole(tile.vectors * width) },
          { place: { buffer: acc, at: [subIndex(i, first), column] }, step: whole(ld) },
          subIndex(p.k1, p.k0),
          adds,
        ),
      ]),
    )
    return p.around([...packing, ...products])
  }

  // ---- the stages of a tile
  const tileBody: Stmt[] = []
  let waiting: Stmt[] = []
  const before: { readonly needs: ReadonlyArray<Axis>; readonly stmts: ReadonlyArray<Stmt> }[] = []
  for (const c of gatheredColumns(g, axis)) {
    const inner = innerOf(g, c)
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
    before.push({
      needs: g.outer.filter((o) => hasAxis(c.type, o.name)),
      stmts: within(loops, [{ kind: 'store', ...place(at), value }]),
    })
    scene.homes.set(c, (p) => ({ kind: 'read', ...place(p) }))
  }
  const rowLoop = (body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> =>
    within([loopFrom(names.get(axis.name)!, axis.size, first, end, 1, 'loop')], body)
  let plain: Stage[] = []
  const flush = (): void => {
    waiting.push(...stagesAt(scene, plain, outerAt))
    plain = []
    if (waiting.length > 0) tileBody.push(...rowLoop(waiting))
    waiting = []
    scene.later.forEach((home, n) => scene.homes.set(n, home))
    scene.later.clear()
  }
  for (const stage of g.stages) {
    if (stage.kind === 'dot' && isTiled(g, stage, axis.name)) {
      flush()
      const homes = new Map<Node, Home>()
      for (const a of stage.accumulators) {
        const { stmts, home } = accumulate(a)
        tileBody.push(...stmts)
        homes.set(a.node, home)
      }
      waiting.push(...epilogueAt(scene, stage.results, homes, outerAt))
    } else if (stage.kind === 'solve' && isFreeOf(stage.solve, axis.name)) {
      flush()
      const system = systemOf(scene, stage.solve, size)
      const column = (at: Position): Index => scaleIndex(system.sides, subIndex(at.get(axis.name)!, first))
      const needs = g.outer.filter((o) => hasAxis(stage.solve.args[0]!.type, o.name))
      const isLasting = stage.solve.op === 'triSolve'
      if (isLasting) before.push({ needs, stmts: system.matrix(outerAt) })
      else tileBody.push(...system.matrix(outerAt))
      tileBody.push(
        ...rowLoop(system.fill(outerAt, column(outerAt))),
        ...system.call(scaleIndex(system.sides, subIndex(end, first))),
      )
      waiting.push(...epilogueAt(scene, stage.results, new Map([[stage.solve, system.home(column)]]), outerAt))
    } else plain.push(stage)
  }
  flush()

  // ---- what is packed outside of tiles, and the loops around them
  for (const r of rights.values()) before.push({ needs: r.needs, stmts: r.pack() })
  const fixed = g.outer.filter((o) => before.some((b) => b.stmts.length > 0 && b.needs.includes(o)))
  const others = g.outer.filter((o) => o !== axis && !fixed.includes(o))
  const isLoop = (o: Axis): boolean => literal(o.size) !== 1
  const role = fixed.some(isLoop) ? 'loop' : 'block'
  const [start] = first.terms
  const tileName = start?.atom.kind === 'axis' ? start.atom.name : ''
  const tiles = within(
    [
      ...others.filter(isLoop).map((o) => loopOver(names.get(o.name)!, o.size, role)),
      loopFrom(tileName, axis.size, whole(0), whole(axis.size), size, role),
    ],
    tileBody,
  )
  const inBlocks = before.filter((b) => b.needs.length > 0).flatMap((b) => b.stmts)
  const prologue = before.filter((b) => b.needs.length === 0).flatMap((b) => b.stmts)
  return made.finish([
    ...prologue,
    ...within(
      fixed.filter(isLoop).map((o) => loopOver(names.get(o.name)!, o.size, 'block')),
      [...inBlocks, ...tiles],
    ),
  ])
}

// --------------------------------------------------------------------------------- constructors

const unmerged = (side: Side, i: Index): ReadonlyArray<readonly [string, Index]> => {
  const at = unflatten(
    i,
    side.axes.map((a) => a.size),
  )
  return side.axes.map((a, d) => [a.name, at[d]!])
}

/** reduced axes in the order of the larger operand */
const overOf = (d: NodeOf<'dot'>): Side => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  const larger = volume(a) >= volume(b) ? a : b
  return sideOf(
    larger.type.dims
      .filter((x) => d.attrs.over.includes(x.name))
      .map((x) => ({ name: x.name, size: dimAlong(larger, x.name) })),
  )
}
