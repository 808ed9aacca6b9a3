/**
 * Where a contraction in C reads its operands: in panels prepared once, in panels or lines that the kernel packs, or
 * as they lie. Rows are broadcast one number at a time, so that lines along the reduced axes serve as well as panels;
 * columns are read by vectors, and rows with steps far apart again and again are worth a copy.
 */
import { dim, literal } from '../../../dsl/dim.ts'
import { addIndex, axisIndex, scaleIndex, subIndex, whole } from '../../kernel/affine.ts'
import { nominal } from '../../fuse/costs.ts'
import type { Node } from '../../../dsl/node.ts'
import type { Index, Place, Stmt } from '../../kernel/kernel.ts'
import { shareWork } from '../../kernel/share.ts'
import {
  leavesOf,
  panelAt,
  panelSize,
  prepare,
  splitOf,
  valueOf,
  type Operand,
  type Pieces,
  type Workshop,
} from './operands.ts'
import { isAlongRows, linearRead, packLines, packPanel, type Panel } from './panels.ts'
import { PIECE, roomOf, type Cut, type Width } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

/** where something begins, and how far apart its steps are */
export interface Stepped {
  readonly place: Place
  readonly step: Index
}

export interface Source {
  /** packs the panel of this piece into scratch */
  readonly pack: (first: Index, p: Pieces) => ReadonlyArray<Stmt>
  readonly panel: (first: Index, p: Pieces) => Stepped
  /** columns read as they are, where the panel is whole */
  readonly direct?: (first: Index, p: Pieces) => Stepped
  /** rows as lines along the reduced axes, `step` apart */
  readonly areLines?: boolean
}

export interface Setting {
  readonly width: Width
  readonly cut: Cut
  readonly w: Workshop
  readonly isBuffer: (n: Node) => boolean
  readonly isConstant: (n: Node) => boolean
  /** reductions go piece by piece */
  readonly isKept: boolean
  readonly isRowsFirst: boolean
  /** first row and column of the block */
  readonly begin: { readonly rows: Index; readonly columns: Index }
}

/** how often an operand is read where it lies, with steps far apart, before copying it is cheaper */
const MOST_READS = 4

// ------------------------------------------------------------------------------------- the sources

const isEven = (c: Cut): boolean => (literal(c.rows.size) ?? 1) % c.tile.rows === 0

const isFixed = (o: Operand, { isBuffer, isConstant }: Setting): boolean =>
  isConstant(o.node) &&
  (o.factor?.node === undefined || isConstant(o.factor.node)) &&
  leavesOf(o.node, isBuffer).length > 0

const sideOf = (o: Operand, { cut }: Setting) => (o.side === 'rows' ? cut.rows : cut.columns)

const linearOf = (o: Operand, s: Setting) =>
  linearRead({ value: valueOf(o, s.cut, s.w), extent: sideOf(o, s).size, over: o.over }, s.w.around.shapeOf)

/** rows that lie as lines, or are made as lines best */
const isLine = (o: Operand, s: Setting): boolean => {
  if (s.cut.tile.isSplit === true || isFixed(o, s)) return false
  const linear = linearOf(o, s)
  return linear === undefined
    ? !isAlongRows(valueOf(o, s.cut, s.w), sideOf(o, s).size, o.over, s.w.around.shapeOf)
    : linear.k.key === '1'
}

const prepared = (o: Operand, { cut, w, width, isBuffer }: Setting): Source => {
  const packed = prepare(o, cut, width, isBuffer)
  const buffer = w.packedBuffer(packed)
  const size = panelSize(o, cut, width)
  const own = cut.batch.flatMap((a, i) =>
    o.node.type.dims.some((d) => d.name === a.name) ? [axisIndex(`b${String(i)}`, a.size)] : [],
  )
  return {
    pack: () => [],
    panel: (first, p) => ({
      place: { buffer, at: [...own, panelAt(o, cut, size, first, p.k0)] },
      step: whole(size),
    }),
  }
}

const sourceOf = (o: Operand, s: Setting, takesLines: boolean): Source => {
  const { cut, w, width, isKept } = s
  const { tile, block } = cut
  if (isFixed(o, s)) return prepared(o, s)
  const [size, side] = [panelSize(o, cut, width), sideOf(o, s)]
  const longest = isKept ? PIECE : literal(o.over.size)!
  const room = roomOf(tile, longest)
  // panels of all the block where the other side's tiles are walked outside
  const isWhole = (o.side === 'columns') === s.isRowsFirst
  const elements = !isWhole ? size : o.side === 'rows' ? block.rows : block.columns
  let made: string | undefined
  const name = (): string => (made ??= w.scratch(o.side === 'rows' ? 'left' : 'right', [dim(elements * room)]))
  const start = (first: Index): Index => (isWhole ? scaleIndex(room, subIndex(first, s.begin[o.side])) : whole(0))
  const panelOf = (first: Index, p: Pieces): Panel => ({
    ...{ to: (i) => ({ buffer: name(), at: [addIndex(start(first), i)] }), size, first, longest },
    ...{ extent: side.size, over: o.over, value: valueOf(o, cut, w), k0: p.k0, k1: p.k1, ...splitOf(o, cut, w) },
  })
  const inScratch =
    (step: number): Source['panel'] =>
    (first) => ({ place: { buffer: name(), at: [start(first)] }, step: whole(step) })
  const packed: Source = { pack: (f, p) => shareWork(packPanel(w.around, panelOf(f, p))), panel: inScratch(size) }
  if (tile.isSplit === true) return packed

  const linear = linearOf(o, s)
  const asItIs =
    (along: 'i' | 'k'): Source['panel'] =>
    (f, p) => ({ place: linear!.place(f, p.k0), step: whole(linear![along]) })
  if (o.side === 'columns')
    return linear?.i.key === '1' && nominal(cut.rows.size) <= MOST_READS * tile.rows
      ? { ...packed, direct: asItIs('k') }
      : packed
  if (takesLines && isLine(o, s))
    return linear === undefined
      ? { pack: (f, p) => shareWork(packLines(w.around, panelOf(f, p))), panel: inScratch(longest), areLines: true }
      : { pack: () => [], panel: asItIs('i'), areLines: true }
  const isRead = linear?.i.key === '1' && isEven(cut) && nominal(cut.columns.size) <= MOST_READS * tile.vectors * width
  return isRead ? { pack: () => [], panel: asItIs('k') } : packed
}

/**
 * The source of every operand, once for all who use it alike. Lines end with the rows, panels with the tile: both add to
 * the same accumulators only where every tile is whole.
 */
export const sourcesOf = (operands: ReadonlyArray<Operand>, s: Setting) => {
  const areLines = operands.every((o) => o.side === 'columns' || isLine(o, s))
  const sources = new Map<string, Source>()
  const of = (o: Operand): Source => {
    const source = sources.get(o.key) ?? sourceOf(o, s, areLines || isEven(s.cut))
    sources.set(o.key, source)
    return source
  }
  return { of, areLines }
}
