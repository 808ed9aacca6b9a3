/**
 * The operand of a tile's dots that has not the tile's axis: read as it lies where whole vectors of columns are
 * neighbours, else packed in panels at the outermost loop that knows it, or before anything runs where it never changes.
 */
import { literal } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type Node } from '../../../dsl/node.ts'
import { addIndex, axisIndex, flatten, scaleIndex, unflatten, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Index, Place, Stmt } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'
import { isConstant, packedOf } from './packed.ts'
import { linearRead, packPanel, positions, type Surroundings, type Value } from './panels.ts'
import { expressionsIn } from './scene.ts'
import { piecesOf, type Tiling } from './tile.ts'
import { LONGEST, packedSize, sideOf, type Side, type Tile } from './tiles.ts'

export interface Columns {
  /** outer axes that it depends on */
  readonly needs: ReadonlyArray<Axis>
  /** the place of columns, from a step of k on; so many elements from one step to the next */
  readonly place: (first: Index, k0: Index) => Place
  readonly step: Index
  /** only steps along the last reduced axis are so far apart */
  readonly isSegmented: boolean
  readonly pack: () => ReadonlyArray<Stmt>
}

/** a row of memory this many panels long is read as it is: a panel of longer ones would find few places in a cache */
const WIDEST = 4

const positionsAlong = (side: Side, i: Index): ReadonlyArray<readonly [string, Index]> => {
  const at = unflatten(
    i,
    side.axes.map((a) => a.size),
  )
  return side.axes.map((a, d) => [a.name, at[d]!])
}

/** axes of more than one element: the outer ones, and the last */
export const apart = (side: Side): { readonly outer: ReadonlyArray<Axis>; readonly last: Axis | undefined } => {
  const long = side.axes.filter((a) => literal(a.size) !== 1)
  return { outer: long.slice(0, -1), last: long.at(-1) }
}

/** Columns by what they are of, each made once; `all`: those that were asked for. */
export const columnsIn = (t: Tiling, isFrozen: (n: Node) => boolean) => {
  const { group, width, made, outerAt, scene, around } = t
  const known = new Map<string, Columns>()

  const make = (node: Node, columns: Side, over: Side, tile: Tile, key: string): Columns => {
    const panel = tile.vectors * width
    const needs = group.outer.filter((o) => hasAxis(node.type, o.name))
    const at = (i: Index, k: ReadonlyArray<Index>, outer: Position): Position => {
      const all = new Map([
        ...outer,
        ...positionsAlong(columns, i),
        ...over.axes.map((a, d): [string, Index] => [a.name, k[d]!]),
      ])
      return new Map(namesOf(node).map((a) => [a, all.get(a) ?? whole(0)]))
    }
    const fillWith = (
      s: Surroundings,
      value: Value,
      name: string,
      before: ReadonlyArray<Index>,
    ): ReadonlyArray<Stmt> => {
      const p = piecesOf(t, over)
      const { outer, last } = apart(columns)
      // panels within the last axis lie along memory where those across several axes do not
      const isWithin = outer.length > 0 && (literal(last!.size) ?? 1) % panel === 0
      const extent = isWithin ? last!.size : columns.size
      const around = isWithin ? outer.map((a) => ({ ...a, variable: s.fresh(a.name) })) : []
      const sizes = [...around.map((a) => a.size), extent]
      const flat = (i: Index): Index => flatten([...around.map((a) => axisIndex(a.variable, a.size)), i], sizes)
      const j = s.fresh('j')
      const start = axisIndex(j, extent)
      return within(
        [
          ...around.map((a) => loopOver(a.variable, a.size, 'loop')),
          loopFrom(j, extent, whole(0), whole(extent), panel, 'loop'),
        ],
        p.around(
          packPanel(s, {
            to: (i) => ({
              buffer: name,
              at: [...before, addIndex(addIndex(scaleIndex(over.size, flat(start)), scaleIndex(panel, p.k0)), i)],
            }),
            ...{ size: panel, first: start, extent, over, k0: p.k0, k1: p.k1, longest: p.longest },
            value: (i, k) => value(flat(i), k),
          }),
        ),
      )
    }
    const shape = packedSize(columns.size, panel, over.size)
    const inPanels = (name: string, before: ReadonlyArray<Index>): Pick<Columns, 'place' | 'step'> => ({
      place: (f, k0) => ({
        buffer: name,
        at: [...before, addIndex(scaleIndex(over.size, f), scaleIndex(panel, k0))],
      }),
      step: whole(panel),
    })
    if (isConstant(node, isFrozen)) {
      const packed = packedOf(`rows ${key}`, node, needs, shape, width, (s, expr, outer) =>
        fillWith(
          s,
          (i, k) => expr(node, at(i, k, outer)),
          'out',
          needs.map((o) => outer.get(o.name)!),
        ),
      )
      const before = needs.map((o) => outerAt.get(o.name)!)
      return { needs, ...inPanels(made.addPacked(packed), before), isSegmented: false, pack: () => [] }
    }
    const expr = expressionsIn(scene)
    const value: Value = (i, k) => expr(node, at(i, k, outerAt))
    const { outer, last } = apart(over)
    const along =
      (k: ReadonlyArray<Index>): Value =>
      (i, [inner]) =>
        value(
          i,
          over.axes.map((a) => (a === last ? inner! : (k[outer.indexOf(a)] ?? whole(0)))),
        )
    const anywhere = outer.map((a) => axisIndex(around.fresh(a.name), a.size))
    const segment = last === undefined ? over : sideOf([last])
    const linear = linearRead({ value: along(anywhere), extent: columns.size, over: segment }, around.shapeOf)
    const row = linear === undefined ? undefined : literal(linear.k)
    const isDense =
      linear?.i.key === '1' && (literal(columns.size) ?? 1) % panel === 0 && row !== undefined && row <= WIDEST * panel
    const isSegmented = outer.length > 0
    if (isDense && (!isSegmented || (literal(over.size) ?? Infinity) <= LONGEST)) {
      const place = (f: Index, k0: Index): Place => {
        const read = value(f, positions(over, k0))
        return read.kind === 'read' ? read : linear.place(f, k0)
      }
      return { needs, place, step: whole(row), isSegmented, pack: () => [] }
    }
    const name = t.scratch('right', [shape])
    return { needs, ...inPanels(name, []), isSegmented: false, pack: () => fillWith(around, value, name, []) }
  }

  const of = (node: Node, columns: Side, over: Side, tile: Tile): Columns => {
    const names = (s: Side): string => s.axes.map((a) => a.name).join(' ')
    const key = [node.id, names(columns), names(over), tile.vectors * width].join('/')
    const done = known.get(key) ?? make(node, columns, over, tile, key)
    known.set(key, done)
    return done
  }
  return { of, all: (): ReadonlyArray<Columns> => [...known.values()] }
}
