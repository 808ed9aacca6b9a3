/**
 * Work that a cell needs twice is done once: subexpressions that occur more than once become `let`s, at
 * the outermost place that knows everything they depend on. Expressions are shared objects here, as
 * `expression.ts` made them, so equality is identity. What reads a buffer that the statements write stays where it is,
 * and nothing leaves an `if`.
 */
import type { Atom, Expr, Index, Stmt } from './kernel.ts'
import { indicesOf, indicesOfAtom, indicesOfStmt, partsOf, partsOfIndex, valuesOf } from './kernel.ts'

/** axes, registers and `name[]` for buffers that the expression depends on */
const dependsOn = (e: Expr, memo: Map<Expr, ReadonlySet<string>>): ReadonlySet<string> => {
  const done = memo.get(e)
  if (done !== undefined) return done
  const found = new Set<string>()
  const atom = (a: Atom): void => {
    if (a.kind === 'axis') found.add(a.name)
    else indicesOfAtom(a).forEach(index)
  }
  const index = (i: Index): void => i.terms.forEach((t) => atom(t.atom))
  if (e.kind === 'register') found.add(e.name)
  if (e.kind === 'read') found.add(`${e.buffer}[]`)
  indicesOf(e).forEach(index)
  for (const p of partsOf(e)) dependsOn(p, memo).forEach((d) => found.add(d))
  memo.set(e, found)
  return found
}

const isTrivial = (e: Expr): boolean => e.kind === 'number' || e.kind === 'register' || e.kind === 'index'

/** every statement below, outer ones first */
const below = (stmts: ReadonlyArray<Stmt>, into: Stmt[] = []): ReadonlyArray<Stmt> => {
  for (const s of stmts) {
    into.push(s)
    if (s.kind === 'for' || s.kind === 'if') below(s.body, into)
  }
  return into
}

const expressionsOf = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Expr> =>
  below(stmts).flatMap((s) => [...indicesOfStmt(s).flatMap(partsOfIndex), ...valuesOf(s)])

/** what is known only once this statement has run: axes, registers, buffers */
const bindsOf = (s: Stmt): ReadonlyArray<string> => {
  switch (s.kind) {
    case 'for':
      return [s.loop.axis]
    case 'index':
    case 'let':
      return [s.name]
    case 'fold':
    case 'unit':
      return [s.register]
    case 'store':
      return [`${s.buffer}[]`]
    case 'call':
      return s.places.map((p) => `${p.buffer}[]`)
    default:
      return []
  }
}

/** The same statements with `let`s for what is used more than once. */
export const shareWork = (cell: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
  const uses = new Map<Expr, number>()
  const visit = (e: Expr): void => {
    const n = uses.get(e) ?? 0
    uses.set(e, n + 1)
    if (n === 0) partsOf(e).forEach(visit)
  }
  expressionsOf(cell).forEach(visit)

  const all = below(cell)
  const own = new Set(all.flatMap(bindsOf))
  // a register that several statements fold has no one value to be known by
  const folds = all.flatMap((s) => (s.kind === 'fold' ? [s.register] : []))
  const settled = (register: string): boolean => folds.indexOf(register) === folds.lastIndexOf(register)
  const memo = new Map<Expr, ReadonlySet<string>>()
  let names = new Map<Expr, Expr>()
  let lets = 0
  const isShared = (e: Expr): boolean => (uses.get(e) ?? 0) > 1 && !isTrivial(e)

  /** `outer`: what is known before this list; of the cell's own names the others are not, until they are bound */
  const place = (stmts: ReadonlyArray<Stmt>, outer: ReadonlySet<string>): ReadonlyArray<Stmt> => {
    const out: Stmt[] = []
    const bound = new Set(outer)
    const emit = (e: Expr): void => {
      for (const p of partsOf(e)) emit(p)
      if (!isShared(e) || names.has(e)) return
      // what an inner loop binds, and what is written on the way, waits for a place that knows it
      if ([...dependsOn(e, memo)].some((d) => own.has(d) && !bound.has(d))) return
      while (own.has(`t${String(lets)}`)) lets += 1
      const name = `t${String(lets++)}`
      out.push({ kind: 'let', name, value: rename(e, names) })
      names.set(e, { kind: 'register', name })
    }
    for (const s of stmts) {
      if (s.kind === 'if') {
        const before = new Map(names)
        out.push({ ...s, body: place(s.body, bound) })
        names = before
      } else if (s.kind === 'for') {
        expressionsOf([s]).forEach(emit)
        const filled = below(s.body).flatMap((b) => (b.kind === 'fold' ? [b.register] : []))
        out.push({ ...s, body: place(s.body, new Set([...bound, s.loop.axis])) })
        filled.filter(settled).forEach((r) => bound.add(r))
      } else if (s.kind === 'let' || s.kind === 'fold' || s.kind === 'store') {
        emit(s.value)
        out.push({ ...s, value: rename(s.value, names) })
        if (s.kind === 'let' || (s.kind === 'fold' && settled(s.register))) bindsOf(s).forEach((d) => bound.add(d))
      } else {
        out.push(s)
        if (s.kind === 'index') bound.add(s.name)
      }
    }
    return out
  }
  return place(cell, new Set())
}

/** shared subexpressions by their registers */
const rename = (e: Expr, names: ReadonlyMap<Expr, Expr>): Expr => {
  const named = names.get(e)
  if (named !== undefined) return named
  switch (e.kind) {
    case 'apply': {
      const args = e.args.map((a) => rename(a, names))
      return args.every((a, i) => a === e.args[i]) ? e : { ...e, args }
    }
    case 'cast': {
      const of = rename(e.of, names)
      return of === e.of ? e : { ...e, of }
    }
    case 'guard': {
      const [then, otherwise] = [rename(e.then, names), rename(e.otherwise, names)]
      return then === e.then && otherwise === e.otherwise ? e : { ...e, then, otherwise }
    }
    default:
      // data inside indices stays as it is: it is part of an index's key
      return e
  }
}
