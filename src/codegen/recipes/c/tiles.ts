/**
 * How a contraction is cut up for vectors of W floats: which output axes are rows and which columns, the tile of
 * registers, and the blocks that threads share.
 *
 *     value[batch, m, n] = sum over terms, sum over k:  left[batch, m, k] right[batch, n, k]
 *
 * rows m are broadcast one by one, columns n lie along the vectors; several axes are one flattened index.
 */
import { addDim, dim, literal, mulDim, productDim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf } from '../../../dsl/node.ts'
import { TILES } from '../../kernel/intrinsics/c.ts'
import { SPLIT_TILES, splitRoom, STEP } from '../../kernel/intrinsics/split-c.ts'
import { nominal, volume } from '../../fuse/costs.ts'
import type { Accumulator, Group, Weighted } from '../../fuse/group.ts'
import { namesOf } from '../../sizes.ts'

// ---------------------------------------------------------------------------------------- model

export type Width = 16 | 8 | 4

/** axes as one flattened index, the last fastest */
export interface Side {
  readonly axes: ReadonlyArray<Axis>
  readonly size: Dim
}

export interface Term {
  readonly rows: Node
  readonly columns: Node
  readonly over: Side
  readonly weight: Weighted
}

/** MR rows times NV vectors, all in registers; `isSplit`: of operands split in bf16 numbers, in a machine's tiles */
export interface Tile {
  readonly rows: number
  readonly vectors: number
  readonly isSplit?: boolean
}

export interface Machine {
  /** tiles that multiply bf16 numbers; `always`: taken wherever they may be, whatever it costs */
  readonly hasTiles?: boolean | 'always'
  /** threads share a launch */
  readonly isShared?: boolean
}

export interface Cut {
  readonly batch: ReadonlyArray<Axis>
  readonly rows: Side
  readonly columns: Side
  /** terms of every accumulator */
  readonly accumulators: ReadonlyArray<{ readonly node: Node; readonly terms: ReadonlyArray<Term> }>
  readonly tile: Tile
  /** rows and columns of a block: whole tiles */
  readonly block: { readonly rows: number; readonly columns: number }
}

// --------------------------------------------------------------------------------- constructors

export const sideOf = (axes: ReadonlyArray<Axis>): Side => ({ axes, size: productDim(axes.map((a) => a.size)) })

/** nominal numbers for what is not known before the kernel runs */
const sizeOf = (s: Side): number => nominal(s.size)
const depthOf = (dot: NodeOf<'dot'>): number => {
  const dims = dot.args[0]!.type.dims
  return dot.attrs.over.reduce((k, o) => k * nominal(dims.find((d) => d.name === o)!.size), 1)
}

// ------------------------------------------------------------------------------- rows and columns

interface Names {
  readonly rows: ReadonlySet<string>
  readonly columns: ReadonlySet<string>
}

/** axes that keep an operand pair from its sides: row axes of the one that goes to the columns, and vice versa */
const offending = (left: Node, right: Node, { rows, columns }: Names): ReadonlyArray<string> => [
  ...namesOf(left).filter((n) => columns.has(n)),
  ...namesOf(right).filter((n) => rows.has(n)),
]

/** which operand goes to the rows: the order with fewer offending axes */
const oriented = (dot: NodeOf<'dot'>, names: Names): readonly [Node, Node] => {
  const [a, b] = [dot.args[0]!, dot.args[1]!]
  return offending(a, b, names).length <= offending(b, a, names).length ? [a, b] : [b, a]
}

/** An axis that two dots do not agree on, or that both operands of one have, is a batch axis: repeated, not tiled. */
const namesFor = (dots: ReadonlyArray<NodeOf<'dot'>>): Names => {
  const main = dots.reduce((best, d) => (depthOf(d) > depthOf(best) ? d : best))
  const [a, b] = main.args.map((x) => new Set(namesOf(x)))
  const kept = namesOf(main)
  let names: Names = {
    rows: new Set(kept.filter((n) => a!.has(n) && !b!.has(n))),
    columns: new Set(kept.filter((n) => b!.has(n) && !a!.has(n))),
  }
  for (;;) {
    const bad = new Set(dots.flatMap((d) => offending(...oriented(d, names), names)))
    if (bad.size === 0) return names
    names = {
      rows: new Set([...names.rows].filter((n) => !bad.has(n))),
      columns: new Set([...names.columns].filter((n) => !bad.has(n))),
    }
  }
}

/** reduced axes in the order of the larger operand, so that its panels are read in the order they lie in */
const overOf = (dot: NodeOf<'dot'>): Side => {
  const [a, b] = [dot.args[0]!, dot.args[1]!]
  const larger = volume(a) >= volume(b) ? a : b
  return sideOf(larger.type.dims.filter((d) => dot.attrs.over.includes(d.name)))
}

// ------------------------------------------------------------------------------------------ tiles

const shapes = (width: Width): ReadonlyArray<Tile> => TILES[width].map(([rows, vectors]) => ({ rows, vectors }))

/** Cycles, roughly: two multiply-adds or two loads a cycle, four cycles from one addition to the next of a register. */
const cyclesOf = (t: Tile, width: number, m: number, n: number, k: number): number => {
  const tiles = Math.ceil(m / t.rows) * Math.ceil(n / (t.vectors * width))
  const step = Math.max((t.rows * t.vectors) / 2, (t.rows + t.vectors) / 2, 4)
  return tiles * (k * step + 2 * t.rows * t.vectors + 20)
}

interface Timed {
  readonly tile: Tile
  readonly cycles: number
}

/** another tile than the first only where it is clearly better: each is code of its own */
const quickest = (tiles: ReadonlyArray<Timed>): Timed =>
  tiles.reduce((best, t) => (t.cycles < 0.95 * best.cycles ? t : best))

/** The tile of registers that takes the fewest cycles for m rows, n columns, k steps. */
export const bestTile = (width: Width, m: number, n: number, k: number): Timed =>
  quickest(shapes(width).map((tile) => ({ tile, cycles: cyclesOf(tile, width, m, n, k) })))

/** The same among the machine's tiles of bf16: six products each of 16 cycles, panels from the second-level cache. */
const bestSplitTile = (m: number, n: number, depths: ReadonlyArray<number>): Timed => {
  const steps = depths.reduce((s, k) => s + Math.ceil(k / STEP), 0)
  return quickest(
    SPLIT_TILES.map(([rows, vectors]) => {
      const tiles = Math.ceil(m / rows) * Math.ceil(n / (16 * vectors))
      const cycles = tiles * (steps * 0.65 * rows * vectors * 16 + 400 * depths.length)
      return { tile: { rows, vectors, isSplit: true }, cycles }
    }),
  )
}

/** roundings of a split product of k steps with so many steps of tiles behind it, see `intrinsics/split-c.ts` */
const roundings = (k: number, behind: number): number =>
  Math.ceil(Math.min(STEP, k) / 2) + 2.5 + 6 * (Math.ceil(k / STEP) - 1 + behind)

/** Whether products may be taken of split operands: the depths are known, and roundings no more than of k additions. */
const isSplittable = (accumulators: ReadonlyArray<Accumulator>): boolean =>
  accumulators.every(({ terms }) => {
    const depths = terms.map((t) => literal(overOf(t.dot).size) ?? NaN).sort((a, b) => b - a)
    const all = depths.reduce((s, k) => s + k, 0)
    return depths.every((k, i) => {
      const behind = depths.slice(i + 1).reduce((s, later) => s + Math.ceil(later / STEP), 0)
      // the last ones' roundings are of the whole sum, as those of additions behind the product would be
      return i === 0 ? roundings(k, behind) <= k : roundings(k, behind) <= all
    })
  })

/** stores of one element each where the fastest axis of a result lies along the rows */
const storeCycles = (results: ReadonlyArray<Node>, columns: Side): number =>
  results.reduce((s, r) => {
    const last = r.type.dims.at(-1)?.name
    return s + volume(r) * (columns.axes.at(-1)?.name === last ? 1 / 8 : 3 / 2)
  }, 0)

/** each element once, and split in three more slowly than copied */
const packCycles = (n: Node, { isSplit = false }: Tile, isFrozen: (n: Node) => boolean): number =>
  isFrozen(n) ? 0 : (isSplit ? 0.75 : 0.4) * volume(n)

// ----------------------------------------------------------------------------------------- blocks

const ceilTo = (n: number, step: number): number => Math.ceil(n / step) * step
const LARGEST_LEFT = 300 * 1024
const LARGEST_COLUMNS = 1024

interface Extent {
  readonly m: number
  readonly n: number
  readonly k: number
  /** packed for each row of a block */
  readonly left: number
  readonly batch: number
}

/** a block at least so long along a side packs the other side's operand again for little (about 10/length of its work) */
const WORTH = { rows: 96, columns: 320 } as const
/** work that is worth a second thread; more of it where each block would pack the columns again */
const MUCH = { prepared: 2 ** 20, packed: 2 ** 28 } as const

/** Rows of a block: what stays in the second-level cache. Where threads share a launch two blocks, if that costs little. */
const blockOf = (
  t: Tile,
  width: number,
  e: Extent,
  isPrepared: boolean,
  isLong: boolean,
  isShared: boolean,
): Cut['block'] => {
  const columns = t.vectors * width
  const left = t.isSplit === true ? 1.5 * e.left : e.left
  const inCache = Math.floor(LARGEST_LEFT / Math.max(1, left) / t.rows) * t.rows
  const mostRows = Math.max(t.rows, Math.min(ceilTo(isPrepared ? 256 : 512, t.rows), inCache))
  const mostColumns = isLong ? LARGEST_COLUMNS / 2 : LARGEST_COLUMNS
  const [rowBlocks, columnBlocks] = [Math.max(1, Math.ceil(e.m / mostRows)), Math.max(1, Math.ceil(e.n / mostColumns))]
  const isAlone =
    isShared && e.batch * rowBlocks * columnBlocks < 2 && e.m * e.n * e.k >= MUCH[isPrepared ? 'prepared' : 'packed']
  const isThin = e.m <= 2 * t.rows
  const [moreRows, moreColumns] = !isAlone
    ? [1, 1]
    : !isThin && e.m >= 2 * WORTH.rows && (isPrepared || e.m >= e.n / 2)
      ? [2, 1]
      : isThin || e.n >= 2 * WORTH.columns
        ? [1, 2]
        : [1, 1]
  return {
    rows: ceilTo(Math.ceil(Math.max(1, e.m) / (rowBlocks * moreRows)), t.rows),
    columns: ceilTo(Math.ceil(Math.max(1, e.n) / (columnBlocks * moreColumns)), columns),
  }
}

/** reduced steps that are packed at once: all of them up to here */
export const LONGEST = 1024
/** else in pieces of so many */
export const PIECE = 512

/** Whether the reduced axes are too long to be packed at once, or may be. */
export const isLong = (t: Term): boolean => (literal(t.over.size) ?? Infinity) > LONGEST

/** floats of all row operands' panels, a row */
const leftOf = (terms: ReadonlyArray<Term>, isFrozen: (n: Node) => boolean): number => {
  const piece = terms.some(isLong) ? PIECE : LONGEST
  const depths = new Map(
    terms
      .filter((t) => !isFrozen(t.rows))
      .map((t) => [`${String(t.rows.id)} ${t.over.axes.map((a) => a.name).join()}`, t.over]),
  )
  return [...depths.values()].reduce((s, over) => s + Math.min(sizeOf(over), piece), 0)
}

export const cutContraction = (
  accumulators: ReadonlyArray<Accumulator>,
  results: ReadonlyArray<Node>,
  width: Width,
  isFrozen: (n: Node) => boolean,
  { hasTiles = false, isShared = false }: Machine = {},
): Cut => {
  const dots = accumulators.flatMap((a) => a.terms.map((t) => t.dot))
  const names = namesFor(dots)
  const dims = results[0]?.type.dims ?? dots[0]!.type.dims
  const [one, other] = [names.rows, names.columns].map((s) => sideOf(dims.filter((d) => s.has(d.name))))
  const batch = dims.filter((d) => !names.rows.has(d.name) && !names.columns.has(d.name))
  const k = dots.reduce((s, d) => s + depthOf(d), 0)
  const isSplit = hasTiles !== false && width === 16 && isSplittable(accumulators)
  const repeats = batch.reduce((s, a) => s * nominal(a.size), 1)
  const plans = (
    [
      [one!, other!, false],
      [other!, one!, true],
    ] as const
  ).flatMap(([rows, columns, isSwapped]) => {
    const [m, n] = [sizeOf(rows), sizeOf(columns)]
    const operands = dots.map((d) => (isSwapped ? [...oriented(d, names)].reverse() : oriented(d, names)))
    const tiles = [
      ...(isSplit && hasTiles === 'always' ? [] : [bestTile(width, m, n, k)]),
      ...(isSplit ? [bestSplitTile(m, n, dots.map(depthOf))] : []),
    ]
    return tiles.map(({ tile, cycles }) => {
      // columns of few rows are read where they are
      const isDirect = tile.isSplit !== true && m <= 2 * tile.rows
      const packing = operands.reduce(
        (s, [r, c]) => s + packCycles(r, tile, isFrozen) + (isDirect ? 0 : packCycles(c, tile, isFrozen)),
        0,
      )
      return { rows, columns, isSwapped, tile, cycles: cycles * repeats + storeCycles(results, columns) + packing }
    })
  })
  const plan = plans.reduce((best, p) => (p.cycles < best.cycles ? p : best))
  const cut = accumulators.map(({ node, terms }) => ({
    node,
    terms: terms.map((weight): Term => {
      const [a, b] = oriented(weight.dot, names)
      return { rows: plan.isSwapped ? b : a, columns: plan.isSwapped ? a : b, over: overOf(weight.dot), weight }
    }),
  }))
  const terms = cut.flatMap((a) => a.terms)
  const extent: Extent = {
    m: sizeOf(plan.rows),
    n: sizeOf(plan.columns),
    k,
    left: leftOf(terms, isFrozen),
    batch: repeats,
  }
  const isPrepared = terms.every((t) => isFrozen(t.columns) || volume(t.columns) < 2 ** 14)
  const block = blockOf(plan.tile, width, extent, isPrepared, terms.some(isLong), isShared)
  return { batch, rows: plan.rows, columns: plan.columns, accumulators: cut, tile: plan.tile, block }
}

/** floats that an element's numbers take in a panel */
export const roomOf = ({ isSplit = false }: Tile, depth: number): number => (isSplit ? splitRoom(depth) : depth)

/** floats of a packed operand: whole panels, or enough for them where the extent is a symbol */
export const packedSize = (extent: Dim, panel: number, depth: Dim): Dim => {
  const n = literal(extent)
  return mulDim(n === undefined ? addDim(extent, panel - 1) : dim(ceilTo(n, panel)), depth)
}

/** elements along the axes that only this operand has */
const ownSize = (dot: NodeOf<'dot'>, mine: Node, other: Node): number =>
  dot.type.dims
    .filter((d) => namesOf(mine).includes(d.name) && !namesOf(other).includes(d.name))
    .reduce((s, d) => s * (literal(d.size) ?? Infinity), 1)

/**
 * Products without a tile: one number a point, both operands having shared axes only, or a vector times a matrix that
 * lies along the reduced axis. Points one by one, or side by side in vectors, do them with nothing packed.
 */
export const isThin = (g: Group, isFrozen: (n: Node) => boolean): boolean =>
  g.stages
    .flatMap((s) => (s.kind === 'dot' ? s.accumulators.flatMap((a) => a.terms.map((t) => t.dot)) : []))
    .every((dot) => {
      const [a, b] = [dot.args[0]!, dot.args[1]!]
      const [m, n] = [ownSize(dot, a, b), ownSize(dot, b, a)]
      if (m !== 1 && n !== 1) return false
      const matrix = m === 1 ? b : a
      const isAlong = g.reads.includes(matrix) && dot.attrs.over.includes(matrix.type.dims.at(-1)?.name ?? '')
      return (m === 1 && n === 1) || (isAlong && !isFrozen(matrix))
    })
