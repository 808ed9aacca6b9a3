/**
 * How the cells of a reduction are grouped: a tile of rows x columns is computed at once, with one vector
 * accumulator per W cells. Vectors lie along the columns (`columns`), or along the reduced axis (`reduced`)
 * where the operands are contiguous there. The choice is by a count of vector operations; see `costOf`.
 *
 *     columns:  s[i][j..j+W] += a[i,k] b[k,j..j+W]        b packed where it is not contiguous along j
 *     reduced:  s[i][j] = sum over lanes of  v += a[i,k..k+W] b[j,k..k+W]
 */
import { flatten } from '../../affine.ts'
import { literal } from '../../../dsl/dim.ts'
import { allExpressions } from '../../split-axes.ts'
import type { Atom, Expr, Index, Kernel, Loop, Stmt } from '../../kernel.ts'
import { indicesOfAtom, partsOfIndex } from '../../kernel.ts'

// ---------------------------------------------------------------------------------------- model

/** a loop over all of a literal size */
export const extentOf = (l: Loop): number => literal(l.size) ?? NaN

export type Read = Expr & { readonly kind: 'read' }
export type Fold = Stmt & { readonly kind: 'fold' }

export interface Side {
  readonly loop: Loop
  readonly size: number
}
export interface Tile {
  readonly lane: 'columns' | 'reduced' | 'none'
  /** floats in a vector */
  readonly width: number
  readonly rows: Side | undefined
  readonly columns: Side | undefined
  /** the reduced axis that vectors lie along */
  readonly along: string | undefined
  readonly packs: ReadonlyArray<Read>
}

/** loops around one fold, outermost first */
export interface Nest {
  readonly loops: ReadonlyArray<Loop>
  /** `let`s, and the fold */
  readonly body: ReadonlyArray<Stmt>
  readonly folds: ReadonlyArray<Fold>
}

// ------------------------------------------------------------------------------------- analyses

export const nestOf = (s: Stmt): Nest => {
  const loops: Loop[] = []
  let at: ReadonlyArray<Stmt> = [s]
  const lets: Stmt[] = []
  for (;;) {
    const inner = at.find((b) => b.kind === 'for')
    lets.push(...at.filter((b) => b.kind !== 'for'))
    if (inner === undefined) break
    loops.push(inner.loop)
    at = inner.body
  }
  return { loops, body: lets, folds: lets.filter((b) => b.kind === 'fold') }
}

const dependsOnAxis = (i: Index, axis: string): boolean => i.terms.some(({ atom }) => atomDepends(atom, axis))
const atomDepends = (a: Atom, axis: string): boolean =>
  a.kind === 'axis'
    ? a.name === axis
    : a.kind === 'data'
      ? exprDepends(a.of, axis)
      : indicesOfAtom(a).some((i) => dependsOnAxis(i, axis))
const exprDepends = (e: Expr, axis: string): boolean => {
  switch (e.kind) {
    case 'read':
      return e.at.some((i) => dependsOnAxis(i, axis))
    case 'index':
    case 'guard':
      return (
        dependsOnAxis(e.of, axis) ||
        (e.kind === 'guard' && (exprDepends(e.then, axis) || exprDepends(e.otherwise, axis)))
      )
    case 'apply':
      return e.args.some((a) => exprDepends(a, axis))
    case 'cast':
      return exprDepends(e.of, axis)
    default:
      return false
  }
}

export type Stride = 'fixed' | 'contiguous' | 'scattered'

export const addressIn = (k: Kernel, e: Read): Index =>
  flatten(e.at, k.params.find((p) => p.name === e.buffer)?.shape ?? [])

export const strideOf = (k: Kernel, e: Read, axis: string): Stride => strideAlong(addressIn(k, e), axis)

const strideAlong = ({ terms }: Index, axis: string): Stride => {
  const plain = terms.find(({ atom }) => atom.kind === 'axis' && atom.name === axis)
  const hidden = terms.some(({ atom }) => atom.kind !== 'axis' && atomDepends(atom, axis))
  return hidden ? 'scattered' : plain === undefined ? 'fixed' : plain.factor.key === '1' ? 'contiguous' : 'scattered'
}

const infix = new Set(['add', 'sub', 'mul', 'div', 'neg'])
/** reads, numbers, registers and operators: what vectors of the compiler can be asked for directly */
export const isSimple = (n: Nest): boolean => {
  const ok = (e: Expr): boolean =>
    (e.kind === 'read' && e.at.flatMap(partsOfIndex).length === 0) ||
    e.kind === 'register' ||
    e.kind === 'number' ||
    (e.kind === 'apply' && infix.has(e.fn) && e.args.every(ok))
  return n.body.length === 1 && n.folds.length === 1 && ok(n.folds[0]!.value)
}

export const readsOf = (n: Nest): ReadonlyArray<Read> => {
  const byText = new Map<string, Read>()
  for (const e of allExpressions(n.body))
    if (e.kind === 'read') byText.set(`${e.buffer}[${e.at.map((i) => i.key).join()}]`, e)
  return [...byText.values()]
}

const product = (xs: ReadonlyArray<number>): number => xs.reduce((a, b) => a * b, 1)

// ------------------------------------------------------------------------------------ the choice

const widthFor = (extent: number, widest: number): number | undefined =>
  [16, 8, 4].find((w) => w <= extent && w <= widest)
const tilesOf = (s: Side | undefined): number => (s === undefined ? 1 : Math.ceil(extentOf(s.loop) / s.size))
/** panels longer than this do not stay in a core's own cache */
const LARGEST_PANEL = 1 << 18

/** vector operations of the whole nest, outer axes aside */
const costOf = (k: Kernel, n: Nest, t: Tile, stored: Index): number => {
  const terms = product(n.loops.map((l) => extentOf(l)))
  const [rows, columns] = [t.rows?.size ?? 1, t.columns?.size ?? 1]
  const has = (r: Read, s: Side | undefined): boolean => s !== undefined && strideOf(k, r, s.loop.axis) !== 'fixed'
  const work = Math.max(1, allExpressions(n.body).filter((e) => e.kind === 'apply' || e.kind === 'guard').length - 1)
  const tiles = tilesOf(t.rows) * tilesOf(t.columns)
  const inRows = t.columns !== undefined && strideAlong(stored, t.columns.loop.axis) === 'contiguous'
  if (t.lane === 'columns') {
    const vectors = columns / t.width
    const load = (r: Read): number => {
      const stride = strideOf(k, r, t.columns!.loop.axis)
      const times = has(r, t.rows) ? rows : 1
      if (stride === 'fixed') return 0.5 * times
      if (t.packs.includes(r)) return vectors * times + (columns * 1.5) / tilesOf(t.rows)
      return (stride === 'contiguous' ? 1 : 3 * t.width) * vectors * times
    }
    return (
      tiles *
      (terms * (rows * vectors * work + readsOf(n).reduce((s, r) => s + load(r), 0)) +
        8 +
        rows * vectors * (inRows ? 3 : 3 * t.width))
    )
  }
  if (t.lane === 'reduced') {
    const steps = Math.ceil(terms / t.width)
    const load = (r: Read): number =>
      (has(r, t.rows) ? rows : 1) *
      (has(r, t.columns) ? columns : 1) *
      (strideOf(k, r, t.along!) === 'scattered' ? 3 * t.width : 1)
    return (
      tiles * (steps * (rows * columns * work + readsOf(n).reduce((s, r) => s + load(r), 0)) + 10 * rows * columns + 8)
    )
  }
  return tiles * terms * (work * 2 + 2 + readsOf(n).length)
}

/** The cheapest tile for the longest reduction of a cell. */
export const chooseTile = (
  k: Kernel,
  grid: ReadonlyArray<Loop>,
  nests: ReadonlyArray<Nest>,
  stored: Index,
  widest: number,
): Tile => {
  const longest = [...nests].sort(
    (a, b) => product(b.loops.map((l) => extentOf(l))) - product(a.loops.map((l) => extentOf(l))),
  )[0]!
  const simple = isSimple(longest)
  const none: Tile = { lane: 'none', width: 1, rows: undefined, columns: undefined, along: undefined, packs: [] }
  const reads = readsOf(longest)
  const terms = product(longest.loops.map((l) => extentOf(l)))
  const sides = (sizes: ReadonlyArray<number>, not?: Loop): ReadonlyArray<Side | undefined> => [
    undefined,
    ...grid.flatMap((loop) =>
      loop === not ? [] : sizes.filter((s) => s <= extentOf(loop)).map((size) => ({ loop, size })),
    ),
  ]
  const all = product(grid.map((l) => extentOf(l)))
  const candidates: Tile[] = [none]
  for (const loop of grid) {
    const width = widthFor(extentOf(loop), widest)
    if (width === undefined) continue
    for (const vectors of [1, 2]) {
      if (vectors * width > extentOf(loop)) continue
      const columns: Side = { loop, size: vectors * width }
      for (const rows of sides(simple ? [1, 2, 3, 4, 5, 6, 8, 10, 12] : [1, 2], loop)) {
        if ((rows?.size ?? 1) * vectors > 24) continue
        const packable = (r: Read): boolean =>
          simple &&
          rows !== undefined &&
          tilesOf(rows) >= 3 &&
          terms * columns.size <= LARGEST_PANEL &&
          strideOf(k, r, rows.loop.axis) === 'fixed' &&
          (strideOf(k, r, loop.axis) === 'scattered' ||
            (strideOf(k, r, loop.axis) === 'contiguous' && tilesOf(rows) >= 8 && terms >= 64))
        candidates.push({ lane: 'columns', width, rows, columns, along: undefined, packs: reads.filter(packable) })
      }
    }
  }
  for (const l of longest.loops) {
    const width = widthFor(extentOf(l), widest)
    if (width === undefined) continue
    for (const rows of sides([2, 4]))
      for (const columns of sides(simple ? [2, 4] : [], rows?.loop))
        candidates.push({ lane: 'reduced', width, rows, columns, along: l.axis, packs: [] })
  }
  const total = (t: Tile): number => {
    const covered = [t.rows, t.columns].reduce((n, s) => n * (s === undefined ? 1 : extentOf(s.loop)), 1)
    return (costOf(k, longest, t, stored) * all) / covered
  }
  return candidates.reduce((best, t) => (total(t) < total(best) ? t : best))
}
