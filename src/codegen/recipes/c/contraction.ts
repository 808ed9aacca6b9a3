/**
 * Contractions for C: a group with one stage of dots, as tiles of registers over packed panels.
 *
 *     for blocks of batch, rows, columns                          tasks, shared by threads
 *       pack the block's rows; for tiles of columns { pack or find a panel; for tiles of rows { mma; epilogue } }
 *
 * Sums of dots are further steps of the same tile; a factor is folded into the smaller operand while it is packed.
 * Operands that never change are packed once, by a kernel of their own. Reductions that are long, or may be, go piece
 * by piece, and the accumulators of the whole block are kept meanwhile.
 */
import { dim, literal, subDim, type Dim } from '../../../dsl/dim.ts'
import type { Node } from '../../../dsl/node.ts'
import { axisIndex, flatten, minIndex, shiftIndex, subIndex, whole } from '../../kernel/affine.ts'
import { expressions, number } from '../../kernel/expression.ts'
import type { Group } from '../../fuse/group.ts'
import type { Expr, Index, Kernel, Place, Stmt } from '../../kernel/kernel.ts'
import { ownBufferOf } from '../../kernel/layout.ts'
import { shareWork } from '../../kernel/share.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'
import {
  batchAt,
  batchLoops,
  isZero,
  leavesOf,
  operandsOf,
  pieceOf,
  scaled,
  unmerged,
  workshop,
  type Argument,
  type Operand,
  type Pieces,
} from './operands.ts'
import { mmaCall, mmaRowsCall, mmaSplitCalls, strideAlong, vectors } from './panels.ts'
import { sourcesOf, type Source, type Stepped } from './sources.ts'
import { cutContraction, isLong, LONGEST, roomOf, type Cut, type Machine, type Side, type Width } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

export interface ContractionC {
  readonly kernel: Kernel
  /** in order of the kernel's parameters */
  readonly args: ReadonlyArray<Argument>
  /** in order of its outputs */
  readonly results: ReadonlyArray<Node>
}

export interface Options extends Machine {
  readonly width: Width
  /** captured: its values never change */
  readonly isFrozen: (n: Node) => boolean
}

interface Step {
  readonly accumulator: number
  readonly isFirst: boolean
  readonly rows: Operand
  readonly columns: Operand
}

/** steps over the same reduced axes */
interface Run {
  readonly over: Side
  readonly steps: ReadonlyArray<Step>
}

// ------------------------------------------------------------------------------------------ runs

const runsOf = (cut: Cut): ReadonlyArray<Run> => {
  const runs = new Map<string, { over: Side; steps: Omit<Step, 'isFirst'>[] }>()
  cut.accumulators.forEach(({ terms }, accumulator) => {
    for (const t of terms) {
      if (isZero(t.over.size)) continue
      const key = t.over.axes.map((a) => `${a.name} ${a.size.key}`).join(',')
      const run = runs.get(key) ?? { over: t.over, steps: [] }
      runs.set(key, run)
      run.steps.push({ accumulator, ...operandsOf(t, terms.length === 1) })
    }
  })
  // the longest first: what is behind it rounds its sum again; the first step that runs into an accumulator begins it
  const depthOf = (r: { readonly over: Side }): number => literal(r.over.size) ?? LONGEST
  const begun = new Set<number>()
  const ordered = [...runs.values()].sort((a, b) => depthOf(b) - depthOf(a))
  return ordered.map(({ over, steps }) => ({
    over,
    steps: steps.map((s) => {
      const isFirst = !begun.has(s.accumulator)
      begun.add(s.accumulator)
      return { ...s, isFirst }
    }),
  }))
}

// ------------------------------------------------------------------------------------- the recipe

export const contractionC = (group: Group, { width, isFrozen, ...machine }: Options): ContractionC => {
  const stage = group.stages.find((s) => s.kind === 'dot')!
  const reads = new Set(group.reads)
  const isBuffer = (n: Node): boolean => reads.has(n)
  const isConstant = (n: Node): boolean => isFrozen(n) || leavesOf(n, isBuffer).every(isFrozen)
  const cut = cutContraction(stage.accumulators, group.stored, width, isConstant, machine)
  const w = workshop(isBuffer, width)
  const { rows, columns, tile, block } = cut
  const wide = tile.vectors * width
  const runs = runsOf(cut)
  const isKept = cut.accumulators.some((a) => a.terms.some(isLong))

  // a block's first row and column
  const [m0, n0] = [axisIndex('rows', rows.size), axisIndex('columns', columns.size)]
  const rowsEnd = endOf(m0, block.rows, rows.size)
  const columnsEnd = endOf(n0, block.columns, columns.size)
  group.stored.forEach((r, k) => w.outputs.push(ownBufferOf(r, group.stored.length === 1 ? 'out' : `out${String(k)}`)))
  /**
   * Rows outside, columns inside: a panel of columns that does not stay in the first-level cache beside one of rows
   * is better streamed against a panel of rows that does, where all columns stay in the second level.
   */
  const depth = Math.max(0, ...runs.map((r) => roomOf(tile, literal(r.over.size) ?? Infinity)))
  const { first, second } = tile.isSplit === true ? SPLIT_STAYS : STAYS
  const isRowsFirst = !isKept && wide * depth > first && block.columns * depth <= second

  const isNothing = group.stored.every((r) => r.type.dims.some((d) => isZero(d.size)))
  const begin = { rows: m0, columns: n0 }
  const { of: sourceOf, areLines } = sourcesOf(
    isNothing ? [] : runs.flatMap((r) => r.steps.flatMap((s) => [s.rows, s.columns])),
    { width, cut, w, isBuffer, isConstant, isKept, isRowsFirst, begin },
  )

  // ---- accumulators
  const inPlace = isNothing || isKept || runs.length === 0 ? undefined : placeOf(group.stored, cut, wide, areLines)
  const accs = cut.accumulators.map(() =>
    inPlace !== undefined
      ? 'out'
      : w.scratch('acc', isKept ? [dim(block.rows), dim(block.columns)] : [dim(tile.rows), dim(wide)]),
  )
  const stride = whole(isKept ? block.columns : wide)
  /** an element of an accumulator; i, j: first row and column of its tile */
  const accAt = (a: number, i: Index, j: Index, m: Index, n: Index): Place => ({
    buffer: accs[a]!,
    at: isKept ? [subIndex(m, m0), subIndex(n, n0)] : [subIndex(m, i), subIndex(n, j)],
  })

  // ---- tiles
  const rowTiles = (body: (i: Index) => ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
    const name = w.fresh('i')
    return within([loopFrom(name, rows.size, m0, rowsEnd, tile.rows, 'loop')], body(axisIndex(name, rows.size)))
  }
  const columnTiles = (body: (j: Index) => ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
    const name = w.fresh('j')
    return within([loopFrom(name, columns.size, n0, columnsEnd, wide, 'loop')], body(axisIndex(name, columns.size)))
  }
  const distinct = (steps: ReadonlyArray<Step>, side: 'rows' | 'columns'): ReadonlyArray<Source> => [
    ...new Set(steps.map((s) => sourceOf(s[side]))),
  ]
  const packRowsOf = (steps: ReadonlyArray<Step>, p: Pieces, i: Index): ReadonlyArray<Stmt> =>
    distinct(steps, 'rows').flatMap((s) => s.pack(i, p))
  const packRows = (steps: ReadonlyArray<Step>, p: Pieces): ReadonlyArray<Stmt> =>
    distinct(steps, 'rows').flatMap((s) => {
      const probe = s.pack(m0, p)
      return probe.length === 0 ? [] : rowTiles((i) => s.pack(i, p))
    })
  const lastWhole = subDim(columns.size, wide - 1)
  const isEven = (literal(columns.size) ?? 1) % wide === 0
  const packColumns = (steps: ReadonlyArray<Step>, j: Index, p: Pieces): ReadonlyArray<Stmt> =>
    distinct(steps, 'columns').flatMap((s) => {
      if (s.direct === undefined) return s.pack(j, p)
      return isEven ? [] : [{ kind: 'if', of: j, low: lastWhole, high: columns.size, body: s.pack(j, p) }]
    })
  const multiply = (
    runs: ReadonlyArray<{ readonly steps: ReadonlyArray<Step>; readonly pieces: Pieces }>,
    i: Index,
    j: Index,
  ): ReadonlyArray<Stmt> =>
    accs.flatMap((_, a): ReadonlyArray<Stmt> => {
      const steps = runs.flatMap((r) => r.steps.filter((s) => s.accumulator === a).map((s) => ({ ...s, p: r.pieces })))
      const acc = inPlace?.(i, j) ?? { place: accAt(a, i, j, i, j), step: stride }
      if (tile.isSplit === true) {
        const all = steps.map((s) => ({
          rows: sourceOf(s.rows).panel(i, s.p).place,
          columns: sourceOf(s.columns).panel(j, s.p).place,
          depth: subIndex(s.p.k1, s.p.k0),
        }))
        return mmaSplitCalls(tile, all, acc, isKept)
      }
      return steps.flatMap(({ isFirst, p, ...s }) => {
        const [left, right] = [sourceOf(s.rows), sourceOf(s.columns)]
        const [depth, adds] = [subIndex(p.k1, p.k0), isKept || !isFirst]
        const call = (b: Stepped): Stmt =>
          left.areLines === true
            ? mmaRowsCall(
                width,
                tile,
                subIndex(endOf(i, tile.rows, rows.size), i),
                left.panel(i, p),
                b,
                acc,
                depth,
                adds,
              )
            : mmaCall(width, tile, left.panel(i, p), b, acc, depth, adds)
        if (right.direct === undefined) return [call(right.panel(j, p))]
        if (isEven) return [call(right.direct(j, p))]
        return [
          { kind: 'if', of: j, low: dim(0), high: lastWhole, body: [call(right.direct(j, p))] },
          { kind: 'if', of: j, low: lastWhole, high: columns.size, body: [call(right.panel(j, p))] },
        ]
      })
    })

  /** accumulators := 0, the tile or all that is kept */
  const clear = (which: ReadonlyArray<number>): ReadonlyArray<Stmt> => {
    const [height, length] = isKept ? [block.rows, block.columns] : [tile.rows, wide]
    return which.flatMap((a) => {
      const row = w.fresh('z')
      return within(
        [loopOver(row, height, 'loop')],
        vectors(w.around, 'z', dim(length), [whole(0), whole(length), length], (c) => [
          { kind: 'store', buffer: accs[a]!, at: [axisIndex(row, height), c], value: number(0) },
        ]),
      )
    })
  }

  // ---- what is made of the accumulators
  const tileEnd = (i: Index, n: number, size: Dim): Index => endOf(i, n, size)
  const epilogue = (i: Index, j: Index): ReadonlyArray<Stmt> => {
    const name = w.fresh('m')
    const m = axisIndex(name, rows.size)
    const stores = vectors(w.around, 'n', columns.size, [j, tileEnd(j, wide, columns.size), wide], (n) => {
      const at = new Map<string, Index>([...batchAt(cut.batch), ...unmerged(rows, m), ...unmerged(columns, n)])
      const plain = expressions(w.read)
      const expr = expressions((x, position) => {
        const a = cut.accumulators.findIndex((c) => c.node === x)
        if (a < 0) return w.read(x, position)
        const { terms } = cut.accumulators[a]!
        const value: Expr = { kind: 'read', ...accAt(a, i, j, m, n) }
        if (terms.length !== 1) return value
        const { factor, sign } = terms[0]!.weight
        return scaled({ node: factor, sign }, (f) => plain(f, new Map()), value)
      })
      return group.stored.map((r, k): Stmt => {
        const where = r.type.dims.map((d) => at.get(d.name)!)
        const value = expr(r, new Map(r.type.dims.map((d, x) => [d.name, where[x]!])))
        return { kind: 'store', buffer: w.outputs[k]!.name, at: where, value }
      })
    })
    return shareWork(within([loopFrom(name, rows.size, i, tileEnd(i, tile.rows, rows.size), 1, 'loop')], stores))
  }

  const isAbsent = (a: number): boolean => !runs.some((r) => r.steps.some((s) => s.accumulator === a))
  const all = accs.map((_, a) => a)
  const task = ((): ReadonlyArray<Stmt> => {
    if (isNothing) return []
    if (isKept)
      return [
        ...clear(all),
        ...runs.flatMap(({ over, steps }) => {
          const p = pieceOf(over, w, true)
          return within(p.loops, [
            ...packRows(steps, p),
            ...columnTiles((j) => [
              ...packColumns(steps, j, p),
              ...rowTiles((i) => multiply([{ steps, pieces: p }], i, j)),
            ]),
          ])
        }),
        ...columnTiles((j) => rowTiles((i) => epilogue(i, j))),
      ]
    const pieces = runs.map((r) => ({ steps: r.steps, pieces: pieceOf(r.over, w) }))
    const tileOf = (i: Index, j: Index): ReadonlyArray<Stmt> => [
      ...clear(all.filter(isAbsent)),
      ...multiply(pieces, i, j),
      ...(inPlace === undefined ? epilogue(i, j) : []),
    ]
    const columnsOf = (j: Index): ReadonlyArray<Stmt> => pieces.flatMap((r) => packColumns(r.steps, j, r.pieces))
    if (isRowsFirst)
      return [
        ...columnTiles(columnsOf),
        ...rowTiles((i) => [
          ...pieces.flatMap((r) => packRowsOf(r.steps, r.pieces, i)),
          ...columnTiles((j) => tileOf(i, j)),
        ]),
      ]
    return [
      ...pieces.flatMap((r) => packRows(r.steps, r.pieces)),
      ...columnTiles((j) => [...columnsOf(j), ...rowTiles((i) => tileOf(i, j))]),
    ]
  })()
  const body = within(
    [
      ...batchLoops(cut.batch),
      loopFrom('rows', rows.size, whole(0), whole(rows.size), block.rows, 'block'),
      loopFrom('columns', columns.size, whole(0), whole(columns.size), block.columns, 'block'),
    ],
    task,
  )
  const kernel: Kernel = { name: group.name, params: w.params, outputs: w.outputs, locals: w.locals, body }
  return { kernel, args: w.args, results: group.stored }
}

/**
 * Where a tile's accumulators are the result itself: it is their sum and nothing more, tiles are whole, and memory holds
 * the columns side by side and the rows at a distance.
 */
const placeOf = (
  [result, ...others]: ReadonlyArray<Node>,
  { batch, rows, columns, tile, accumulators: [only, ...more] }: Cut,
  wide: number,
  areLines: boolean,
): ((i: Index, j: Index) => Stepped) | undefined => {
  const isWhole = (size: Dim, n: number): boolean => (literal(size) ?? 1) % n === 0
  if (result === undefined || only === undefined || result !== only.node || others.length + more.length > 0)
    return undefined
  if (!(areLines || isWhole(rows.size, tile.rows)) || !isWhole(columns.size, wide)) return undefined
  const [term, ...further] = only.terms
  if (further.length === 0 && (term?.weight.factor !== undefined || term?.weight.sign !== 1)) return undefined
  const placed = (i: Index, j: Index): Place => {
    const at = new Map<string, Index>([...batchAt(batch), ...unmerged(rows, i), ...unmerged(columns, j)])
    return { buffer: 'out', at: result.type.dims.map((d) => at.get(d.name)!) }
  }
  const probe = placed(axisIndex('i', rows.size), axisIndex('j', columns.size))
  const address = flatten(
    probe.at,
    result.type.dims.map((d) => d.size),
  )
  const step = strideAlong(address, 'i')
  if (step === undefined || strideAlong(address, 'j')?.key !== '1') return undefined
  return (i, j) => ({ place: placed(i, j), step: whole(step) })
}

/** floats that stay in a core's caches beside what streams by */
const STAYS = { first: 10 * 1024, second: 2 ** 18 } as const
const SPLIT_STAYS = { first: 10 * 1024, second: 400 * 1024 } as const

/** the end of a tile of n that begins at i */
const endOf = (i: Index, n: number, size: Dim): Index => {
  const extent = literal(size)
  const end = shiftIndex(i, n)
  return extent !== undefined && extent % n === 0 ? end : minIndex(end, whole(size))
}
