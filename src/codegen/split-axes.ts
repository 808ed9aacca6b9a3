/**
 * Kernel -> Kernel: an axis that is only ever taken apart becomes two loops, so that addresses are sums
 * of whole multiples of axes again:  i = n io + ii,  i div n = io,  i mod n = ii.
 */
import { literal } from '../dsl/dim.ts'
import { addIndex, axisIndex, scaleIndex, substituteIndex } from './affine.ts'
import {
  bodyOf,
  indicesOf,
  indicesOfAtom,
  indicesOfStmt,
  mapParts,
  mapStmt,
  partsOf,
  partsOfIndex,
  valuesOf,
  type Expr,
  type Index,
  type Kernel,
  type Loop,
  type Stmt,
} from './kernel.ts'
import { loopOver } from './statements.ts'

/** parts shorter than this are not worth a loop of their own */
const SHORTEST = 4

/** Every expression below these statements, subexpressions included. */
export const allExpressions = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Expr> => {
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    partsOf(e).forEach(visit)
  }
  const walk = (s: Stmt): void => {
    indicesOfStmt(s).flatMap(partsOfIndex).forEach(visit)
    valuesOf(s).forEach(visit)
    bodyOf(s).forEach(walk)
  }
  stmts.forEach(walk)
  return [...seen]
}

const loopsOf = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Loop> =>
  stmts.flatMap((s) => [...(s.kind === 'for' ? [s.loop] : []), ...loopsOf(bodyOf(s))])

/** a loop over all of a literal size, and its size */
const wholeSizeOf = ({ size, from, to, step }: Loop): number | undefined =>
  from.key === '0' && to.key === size.key && step === 1 ? literal(size) : undefined

/** the largest n by which some index takes the axis apart evenly */
const partOf = (loop: Loop, indices: ReadonlyArray<Index>): number | undefined => {
  const size = wholeSizeOf(loop)
  if (size === undefined) return undefined
  const found = new Set<number>()
  const look = (i: Index): void => {
    for (const { atom } of i.terms) {
      if ((atom.kind === 'div' || atom.kind === 'mod') && atom.of.key === loop.axis) found.add(literal(atom.by) ?? 0)
      indicesOfAtom(atom).forEach(look)
    }
  }
  indices.forEach(look)
  const even = [...found].filter((n) => n >= SHORTEST && n < size && size % n === 0)
  return even.length === 0 ? undefined : Math.max(...even)
}

/** The same statements with the axes of every index rewritten. */
const substituteAxis = (
  stmts: ReadonlyArray<Stmt>,
  loop: Loop,
  by: Index,
  halves: readonly [Loop, Loop],
): ReadonlyArray<Stmt> => {
  const memo = new Map<Expr, Expr>()
  const index = (i: Index): Index => substituteIndex(i, (n) => (n === loop.axis ? by : undefined), expr)
  const expr = (e: Expr): Expr => {
    const known = memo.get(e)
    if (known !== undefined) return known
    const made = mapParts(e, index, expr)
    memo.set(e, made)
    return made
  }
  const all = (b: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => b.map(stmt)
  const stmt = (s: Stmt): Stmt => {
    if (s.kind !== 'for' || s.loop !== loop) return mapStmt(s, index, expr, all)
    const [outer, inner] = halves
    return { kind: 'for', loop: outer, body: [{ kind: 'for', loop: inner, body: all(s.body) }] }
  }
  return all(stmts)
}

/** Axes split until no index takes a whole one apart evenly. */
export const splitAxes = (k: Kernel): Kernel => {
  const indices = allExpressions(k.body).flatMap(indicesOf)
  for (const loop of loopsOf(k.body)) {
    const n = partOf(loop, indices)
    if (n === undefined) continue
    const half = (axis: string, size: number): Loop => loopOver(axis, size, loop.role)
    const outer = half(`${loop.axis}o`, literal(loop.size)! / n)
    const inner = half(`${loop.axis}i`, n)
    const by = addIndex(scaleIndex(n, axisIndex(outer.axis, outer.size)), axisIndex(inner.axis, inner.size))
    return splitAxes({ ...k, body: substituteAxis(k.body, loop, by, [outer, inner]) })
  }
  return k
}
