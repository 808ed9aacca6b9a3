/** A tile of rows: some neighbours along one outer axis of a group, which multiply columns together. */
import { literal, type Dim } from '../../../dsl/dim.ts'
import { kit } from '../../../dsl/build.ts'
import { hasAxis, type Axis, type Node, type NodeOf } from '../../../dsl/node.ts'
import { axisIndex, minIndex, shiftIndex, subIndex, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import { nominal, volume } from '../../fuse/costs.ts'
import { resultsOf, type Group, type Stage } from '../../fuse/group.ts'
import { TILES } from '../../kernel/intrinsics/c.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { dimAlong } from '../../sizes.ts'
import { buffer, loopFrom, within } from '../../kernel/statements.ts'
import { lineBuffer } from './packed.ts'
import type { Mask } from './masks.ts'
import type { Surroundings } from './panels.ts'
import { sceneOf } from './rows.ts'
import { innerOf, type Scene } from './scene.ts'
import { floorTo, type Range } from './space.ts'
import { LONGEST, PIECE, sideOf, type Side, type Width } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

export interface Tiling {
  readonly group: Group
  readonly width: Width
  /** its points are rows */
  readonly axis: Axis
  /** rows of a tile, at most; the first of them, and behind the last */
  readonly size: number
  readonly first: Index
  readonly end: Index
  /** the variables of the outer axes, and where they stand at a point */
  readonly names: ReadonlyMap<string, string>
  readonly outerAt: Position
  readonly scene: Scene
  readonly made: ReturnType<typeof sceneOf>
  readonly around: Surroundings
  readonly fresh: (base: string) => string
  readonly scratch: (base: string, shape: ReadonlyArray<Dim>) => string
  readonly mask: Mask | undefined
}

/** reduced axes that are multiplied at once, or piece by piece */
export interface Pieces {
  readonly k0: Index
  readonly k1: Index
  readonly longest: number
  readonly around: (body: ReadonlyArray<Stmt>) => ReadonlyArray<Stmt>
  readonly isAll: boolean
}

// ------------------------------------------------------------------------------------- analyses

export type DotStage = Extract<Stage, { readonly kind: 'dot' }>

/** the operands of a dot by the tile's axis; undefined where it does not tell them apart */
export const sidesOf = (
  d: NodeOf<'dot'>,
  axis: string,
): { readonly rows: Node; readonly columns: Node } | undefined => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  if (hasAxis(a.type, axis) === hasAxis(b.type, axis)) return undefined
  return hasAxis(a.type, axis) ? { rows: a, columns: b } : { rows: b, columns: a }
}

/**
 * The operands of a dot in a tile. A factor that is one number for the whole dot leaves an operand that is in memory but
 * for it, for one that is computed anyway or is smaller; none goes to one that is packed once and for all:
 *
 *     (g dO) V^T = dO (g V)^T
 */
export const operandsOf = (
  g: Group,
  d: NodeOf<'dot'>,
  axis: string,
  isConstant: (n: Node) => boolean,
): { readonly rows: Node; readonly columns: Node } => {
  const { rows, columns } = sidesOf(d, axis)!
  const inMemory = new Set([...g.reads, ...resultsOf(g)])
  const varying = new Set([axis, ...d.attrs.over, ...innerOf(g, d).map((x) => x.name)])
  const isFactor = (n: Node): boolean => n.type.dims.every((x) => !varying.has(x.name) || literal(x.size) === 1)
  const isPlain = (n: Node): boolean => inMemory.has(n) || (n.op === 'rename' && isPlain(n.args[0]!))
  /** what is in memory, times what */
  const apart = (n: Node): readonly [Node, Node] | undefined => {
    if (n.op !== 'map' || n.attrs.fn !== 'mul' || inMemory.has(n)) return undefined
    const [a, b] = [n.args[0]!, n.args[1]!]
    return isFactor(b) && isPlain(a) ? [a, b] : isFactor(a) && isPlain(b) ? [b, a] : undefined
  }
  const takes = (to: Node, from: Node): boolean => !isConstant(to) && (!isPlain(to) || volume(to) < volume(from))
  const [r, c] = [apart(rows), apart(columns)]
  if (r !== undefined && takes(columns, rows)) return { rows: r[0], columns: kit.map('mul', columns, r[1]) }
  if (c !== undefined && !isConstant(columns) && takes(rows, columns))
    return { rows: kit.map('mul', rows, c[1]), columns: c[0] }
  return { rows, columns }
}

/** every term multiplies rows of the tile by columns that have all the inner axes of the result */
export const isTiled = (g: Group, stage: DotStage, axis: string): boolean =>
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

/** reduced axes in the order of the larger operand */
export const overOf = (d: NodeOf<'dot'>): Side => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  const larger = volume(a) >= volume(b) ? a : b
  return sideOf(
    larger.type.dims
      .filter((x) => d.attrs.over.includes(x.name))
      .map((x) => ({ name: x.name, size: dimAlong(larger, x.name) })),
  )
}

/**
 * Rows of a tile. Columns that come from far away are read once a tile, so that tiles are larger then; all of about one
 * size. The fewer they are, the more of a mask they follow.
 */
const rowsOf = (g: Group, axis: Axis, width: Width, isMasked: boolean): number => {
  const widest = Math.max(
    1,
    ...g.stages.flatMap((s) => s.results.flatMap((n) => innerOf(g, n).map((d) => nominal(d.size)))),
  )
  const unit = TILES[width][0]![0]
  const most = unit * (widest >= 2048 ? 11 : isMasked ? 2 : 4)
  const known = literal(axis.size)
  const pieces = known === undefined ? 1 : Math.max(1, Math.ceil(known / most))
  return known === undefined ? most : Math.max(unit, Math.ceil(known / pieces / unit) * unit)
}

// --------------------------------------------------------------------------------- constructors

export const tilingOf = (group: Group, axis: Axis, width: Width, mask: Mask | undefined): Tiling => {
  const made = sceneOf(group, width)
  const { fresh, bufferOf } = made.naming
  const scratch = (base: string, shape: ReadonlyArray<Dim>): string => {
    const name = fresh(base)
    made.addLocal(buffer(name, shape, 'scratch'))
    return name
  }
  const names = new Map(group.outer.map((o) => [o.name, fresh(o.name)]))
  const first = axisIndex(fresh(`${axis.name}_0`), axis.size)
  const size = rowsOf(group, axis, width, mask !== undefined)
  const known = literal(axis.size)
  const end =
    known !== undefined && known % size === 0
      ? shiftIndex(first, size)
      : minIndex(shiftIndex(first, size), whole(axis.size))
  return {
    ...{ group, width, axis, size, first, end, names, made, fresh, scratch, mask },
    outerAt: new Map(group.outer.map((o) => [o.name, axisIndex(names.get(o.name)!, o.size)])),
    scene: made.scene(undefined, { size, row: (at) => subIndex(at.get(axis.name)!, first) }),
    around: { width, fresh, shapeOf: (b) => bufferOf(b).shape, rowsOf: lineBuffer(made.setLocal, fresh) },
  }
}

/** Statements of every row of the tile, one after the other. */
export const rowLoop = (t: Tiling, body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> =>
  within([loopFrom(t.names.get(t.axis.name)!, t.axis.size, t.first, t.end, 1, 'loop')], body)

/** What is needed now of a side, where that is less than all. */
export const rangeOf = (t: Tiling, side: Side): Range | undefined => {
  const [only, ...more] = side.axes.filter((a) => literal(a.size) !== 1)
  return only === undefined || more.length > 0 ? undefined : t.made.ranges.get(only.name)
}

/** The reduced axes in pieces, all of them or what is needed. */
export const piecesOf = (t: Tiling, over: Side, needed?: Range): Pieces => {
  const k = literal(over.size)
  const { from, to } = needed ?? { from: whole(0), to: whole(over.size) }
  if (k !== undefined && k <= LONGEST) return { k0: from, k1: to, longest: k, around: (b) => b, isAll: true }
  const name = t.fresh('piece')
  const k0 = axisIndex(name, over.size)
  return {
    k0,
    k1: minIndex(shiftIndex(k0, PIECE), to),
    longest: PIECE,
    around: (b) => within([loopFrom(name, over.size, floorTo(t.width, from), to, PIECE, 'loop')], b),
    isAll: false,
  }
}
