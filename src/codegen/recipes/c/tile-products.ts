/**
 * The dots of a tile: rows times columns, into a local.
 *
 *     acc[row, column] = sum over terms, sum over k:  left[row, k] right[k, column]
 *
 * Rows are read as they lie where memory is contiguous along k. What has to be computed is left in scratch by the loop
 * over the tile's rows, that is, while what it is made of is at hand; only rows that are contiguous along the tile's
 * axis are packed.
 */
import { dim, literal, type Dim } from '../../../dsl/dim.ts'
import { addIndex, axisIndex, flatten, minIndex, scaleIndex, shiftIndex, subIndex, whole } from '../../kernel/affine.ts'
import { apply, number } from '../../kernel/expression.ts'
import type { Node } from '../../../dsl/node.ts'
import { nominal } from '../../fuse/costs.ts'
import type { Accumulator, Weighted } from '../../fuse/group.ts'
import type { Expr, Index, Place, Stmt } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'
import { isConstant } from './packed.ts'
import { isAlongRows, linearRead, mmaCall, mmaRowsCall, packPanel, positions, vectors, type Value } from './panels.ts'
import { expressionsIn, innerOf, type Home } from './scene.ts'
import { floorTo, loopsOf, spaceOf } from './space.ts'
import { operandsOf, overOf, piecesOf, rangeOf, rowLoop, type Pieces, type Tiling } from './tile.ts'
import { apart, type columnsIn, type Columns } from './tile-columns.ts'
import { bestTile, packedSize, PIECE, sideOf, type Side, type Tile } from './tiles.ts'

export interface Product {
  /** what the loop over the rows does before the dots */
  readonly rows: ReadonlyArray<Stmt>
  /** behind that loop, where the registers of a row are gone */
  readonly dots: () => ReadonlyArray<Stmt>
  readonly home: Home
}

/** the rows of a dot */
interface Left {
  /** in the loop over the rows; or before the dots, piece by piece */
  readonly rows: ReadonlyArray<Stmt>
  readonly before: () => ReadonlyArray<Stmt>
  /** the product of a tile of registers with some columns */
  readonly times: (i: Index, b: { readonly place: Place; readonly step: Index }, acc: Place) => Stmt
}

const none = (): ReadonlyArray<Stmt> => []

const ceilTo = (d: Dim, step: number): Dim => {
  const n = literal(d)
  return n === undefined ? packedSize(d, step, dim(1)) : dim(Math.ceil(n / step) * step)
}

export const productsIn = (
  t: Tiling,
  columnsOf: ReturnType<typeof columnsIn>['of'],
  isFrozen: (n: Node) => boolean,
) => {
  const { group, width, axis, size, first, end, outerAt, scene, around, fresh, scratch } = t

  const rowTiles = (rows: number, body: (i: Index) => ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
    const name = fresh('i')
    return within([loopFrom(name, axis.size, first, end, rows, 'loop')], body(axisIndex(name, axis.size)))
  }
  /** rows of a tile of registers that there are */
  const rowsAt = (i: Index, tile: Tile): Index => {
    const n = literal(axis.size)
    return n !== undefined && n % tile.rows === 0 && size % tile.rows === 0
      ? whole(tile.rows)
      : minIndex(whole(tile.rows), subIndex(end, i))
  }

  const valueOf = (w: Weighted, node: Node, over: Side): Value => {
    const expr = expressionsIn(scene)
    return (i, k): Expr => {
      const at = new Map([
        ...outerAt,
        [axis.name, i] as const,
        ...over.axes.map((x, d): [string, Index] => [x.name, k[d]!]),
      ])
      const plain = expr(node, new Map(namesOf(node).map((n) => [n, at.get(n) ?? whole(0)])))
      const scaled = w.factor === undefined ? plain : apply('mul', expr(w.factor, new Map()), plain)
      return w.sign < 0 ? apply('neg', scaled) : scaled
    }
  }

  /** rows left in scratch by earlier dots of the tile */
  const computed = new Map<string, string>()
  const leftOf = (w: Weighted, node: Node, over: Side, p: Pieces, tile: Tile, ld: Dim, adds: boolean): Left => {
    const value = valueOf(w, node, over)
    const depth = subIndex(p.k1, p.k0)
    const asRows =
      (place: (i: Index) => Place, lda: Index): Left['times'] =>
      (i, b, acc) =>
        mmaRowsCall(
          ...([width, tile, rowsAt(i, tile), { place: place(i), step: lda }] as const),
          ...([b, { place: acc, step: whole(ld) }, depth, adds] as const),
        )
    const linear = linearRead({ value, extent: axis.size, over }, around.shapeOf)
    if (linear?.k.key === '1')
      return { rows: [], before: none, times: asRows((i) => linear.place(i, p.k0), whole(linear.i)) }

    if (isAlongRows(value, axis.size, over, around.shapeOf)) {
      const left = scratch('left', [dim((Math.ceil(size / tile.rows) + 1) * tile.rows * p.longest)])
      const start = (i: Index): Index => scaleIndex(p.longest, subIndex(i, first))
      const panel = { size: tile.rows, extent: axis.size, over, k0: p.k0, k1: p.k1, longest: p.longest }
      return {
        rows: [],
        before: () =>
          rowTiles(tile.rows, (i) =>
            packPanel(around, {
              ...{ ...panel, value: valueOf(w, node, over), first: i },
              to: (e) => ({ buffer: left, at: [addIndex(start(i), e)] }),
            }),
          ),
        times: (i, b, acc) =>
          mmaCall(
            width,
            tile,
            { place: { buffer: left, at: [start(i)] }, step: whole(tile.rows) },
            b,
            { place: acc, step: whole(ld) },
            depth,
            adds,
          ),
      }
    }

    const key = [node.id, over.axes.map((x) => x.name).join(' '), w.sign, w.factor?.id].join('/')
    const done = p.isAll ? computed.get(key) : undefined
    const left = done ?? scratch('left', [dim(size), dim(p.longest)])
    if (p.isAll) computed.set(key, left)
    const times = asRows(
      (i) => ({ buffer: left, at: [subIndex(i, first), p.isAll ? p.k0 : whole(0)] }),
      whole(p.longest),
    )
    if (done !== undefined) return { rows: [], before: none, times }
    const row = outerAt.get(axis.name)!
    const store = (k: Index, of: Expr): Stmt => ({
      kind: 'store',
      buffer: left,
      at: [subIndex(row, first), k],
      value: of,
    })
    if (!p.isAll) {
      const before = (): ReadonlyArray<Stmt> => {
        const late = valueOf(w, node, over)
        const body = vectors(around, 'k', over.size, [p.k0, p.k1, p.longest], (k) => [
          store(subIndex(k, p.k0), late(row, positions(over, k))),
        ])
        return rowLoop(t, body)
      }
      return { rows: [], before, times }
    }
    const make = (at: ReadonlyMap<string, Index>): ReadonlyArray<Stmt> => {
      const own = over.axes.map((x) => at.get(x.name)!)
      return [
        store(
          flatten(
            own,
            over.axes.map((x) => x.size),
          ),
          value(row, own),
        ),
      ]
    }
    return {
      rows: loopsOf(spaceOf(over.axes, outerAt, make, scene.naming), make, width, scene.naming),
      before: none,
      times,
    }
  }

  /** steps of the last reduced axis, for each of the others */
  const segmentsOf = (over: Side): Pieces => {
    const { outer, last } = apart(over)
    const loops = outer.map((a) => ({ ...a, variable: fresh(a.name) }))
    const at = [...loops.map((a) => axisIndex(a.variable, a.size)), whole(0)]
    const k0 = flatten(at, [...loops.map((a) => a.size), last!.size])
    return {
      k0,
      k1: shiftIndex(k0, last!.size),
      longest: literal(over.size) ?? PIECE,
      around: (b) =>
        within(
          loops.map((a) => loopOver(a.variable, a.size, 'loop')),
          b,
        ),
      isAll: true,
    }
  }

  const clear = (acc: string, ld: Dim): ReadonlyArray<Stmt> => {
    const [r, c, c0] = [fresh('r'), fresh('c'), fresh('c0')]
    const begin = axisIndex(c0, ld)
    const lanes = loopFrom(c, ld, begin, minIndex(shiftIndex(begin, width), whole(ld)), 1, 'vector')
    return within(
      [loopOver(r, size, 'loop'), loopFrom(c0, ld, whole(0), whole(ld), width, 'loop'), { ...lanes, unroll: width }],
      [{ kind: 'store', buffer: acc, at: [axisIndex(r, size), axisIndex(c, ld)], value: number(0) }],
    )
  }

  /** a term of an accumulator: its operands, and how much is multiplied at once */
  const factorsOf = (w: Weighted, columns: Side, tile: Tile) => {
    const over = overOf(w.dot)
    const { rows, columns: node } = operandsOf(group, w.dot, axis.name, (n) => isConstant(n, isFrozen))
    const right: Columns = columnsOf(node, columns, over, tile)
    const pieces = right.isSegmented ? segmentsOf(over) : piecesOf(t, over, rangeOf(t, over))
    return { w, over, rows, right, pieces, isOnce: pieces.isAll && !right.isSegmented }
  }

  const multiply = (
    { w, over, rows, right, pieces }: ReturnType<typeof factorsOf>,
    columns: Side,
    tile: Tile,
    acc: string,
    ld: Dim,
    adds: boolean,
  ): Pick<Product, 'rows' | 'dots'> => {
    const left = leftOf(w, rows, over, pieces, tile, ld, adds)
    const j = fresh('j')
    const column = axisIndex(j, columns.size)
    const { from, to } = rangeOf(t, columns) ?? { from: whole(0), to: whole(columns.size) }
    const panel = tile.vectors * width
    const products = within(
      [loopFrom(j, columns.size, floorTo(panel, from), to, panel, 'loop')],
      rowTiles(tile.rows, (i) => [
        left.times(
          i,
          { place: right.place(column, pieces.k0), step: right.step },
          { buffer: acc, at: [subIndex(i, first), column] },
        ),
      ]),
    )
    return { rows: left.rows, dots: () => pieces.around([...left.before(), ...products]) }
  }

  return (a: Accumulator): Product => {
    const columns = sideOf(innerOf(group, a.node))
    const depth = a.terms.reduce((k, w) => k + nominal(overOf(w.dot).size), 0)
    const { tile } = bestTile(width, size, nominal(columns.size), depth)
    const ld = ceilTo(columns.size, tile.vectors * width)
    const acc = scratch('acc', [dim(Math.ceil(size / tile.rows) * tile.rows), ld])
    const terms = a.terms.filter((w) => literal(overOf(w.dot).size) !== 0).map((w) => factorsOf(w, columns, tile))
    const clears = terms.length === 0 || terms.some((f) => !f.isOnce)
    const parts = terms.map((f, i) => multiply(f, columns, tile, acc, ld, clears || i > 0))
    const sizes = columns.axes.map((x) => x.size)
    return {
      rows: parts.flatMap((x) => x.rows),
      dots: () => [...(clears ? clear(acc, ld) : []), ...parts.flatMap((x) => x.dots())],
      home: (at) => ({
        kind: 'read',
        buffer: acc,
        at: [
          subIndex(at.get(axis.name)!, first),
          flatten(
            columns.axes.map((x) => at.get(x.name)!),
            sizes,
          ),
        ],
      }),
    }
  }
}
