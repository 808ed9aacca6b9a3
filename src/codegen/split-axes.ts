/**
 * Kernel -> Kernel: an axis that is only ever taken apart becomes two loops, so that addresses are sums
 * of whole multiples of axes again:  i = n io + ii,  i div n = io,  i mod n = ii.
 */
import { addIndex, axisIndex, scaleIndex, substituteIndex } from './affine.ts'
import { partsOf, type Expr, type Index, type Kernel, type Loop, type Stmt } from './kernel.ts'

/** parts shorter than this are not worth a loop of their own */
const SHORTEST = 4

/** indices that stand directly in an expression */
const indicesOf = (e: Expr): ReadonlyArray<Index> =>
  e.kind === 'read' ? e.at : e.kind === 'index' || e.kind === 'guard' ? [e.of] : []

/** Every expression below these statements, subexpressions included. */
export const allExpressions = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Expr> => {
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    partsOf(e).forEach(visit)
  }
  const walk = (s: Stmt): void => {
    if (s.kind === 'for') s.body.forEach(walk)
    else if (s.kind !== 'unit') visit(s.value)
  }
  stmts.forEach(walk)
  return [...seen]
}

const loopsOf = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Loop> =>
  stmts.flatMap((s) => (s.kind === 'for' ? [s.loop, ...loopsOf(s.body)] : []))

/** the largest n by which some index takes the axis apart evenly */
const partOf = (loop: Loop, indices: ReadonlyArray<Index>): number | undefined => {
  const found = new Set<number>()
  const look = (i: Index): void => {
    for (const { atom } of i.terms) {
      if (atom.kind === 'axis' || atom.kind === 'data') continue
      if ((atom.kind === 'div' || atom.kind === 'mod') && atom.of.key === loop.axis) found.add(atom.by)
      look(atom.of)
    }
  }
  indices.forEach(look)
  const even = [...found].filter((n) => n >= SHORTEST && n < loop.size && loop.size % n === 0)
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
    const made = ((): Expr => {
      switch (e.kind) {
        case 'number':
        case 'register':
          return e
        case 'index':
          return { ...e, of: index(e.of) }
        case 'read':
          return { ...e, at: e.at.map(index) }
        case 'apply':
          return { ...e, args: e.args.map(expr) }
        case 'cast':
          return { ...e, of: expr(e.of) }
        case 'guard':
          return { ...e, of: index(e.of), then: expr(e.then), otherwise: expr(e.otherwise) }
        default:
          return e satisfies never
      }
    })()
    memo.set(e, made)
    return made
  }
  const stmt = (s: Stmt): Stmt => {
    switch (s.kind) {
      case 'for': {
        const body = s.body.map(stmt)
        if (s.loop !== loop) return { ...s, body }
        const [outer, inner] = halves
        return { kind: 'for', loop: outer, body: [{ kind: 'for', loop: inner, body }] }
      }
      case 'unit':
        return s
      case 'store':
        return { ...s, at: s.at.map(index), value: expr(s.value) }
      default:
        return { ...s, value: expr(s.value) }
    }
  }
  return stmts.map(stmt)
}

/** Axes split until no index takes a whole one apart evenly. */
export const splitAxes = (k: Kernel): Kernel => {
  const indices = allExpressions(k.body).flatMap(indicesOf)
  for (const loop of loopsOf(k.body)) {
    const n = partOf(loop, indices)
    if (n === undefined) continue
    const outer: Loop = { ...loop, axis: `${loop.axis}o`, size: loop.size / n, unroll: 1 }
    const inner: Loop = { ...loop, axis: `${loop.axis}i`, size: n, unroll: 1 }
    const by = addIndex(scaleIndex(n, axisIndex(outer.axis, outer.size)), axisIndex(inner.axis, inner.size))
    return splitAxes({ ...k, body: substituteAxis(k.body, loop, by, [outer, inner]) })
  }
  return k
}
