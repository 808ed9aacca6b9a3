/**
 * Work that a cell needs twice is done once: subexpressions that occur more than once become `let`s, at
 * the outermost place that knows everything they depend on. Expressions are shared objects here, as
 * `nest` made them, so equality is identity.
 */
import type { Expr, Index, Stmt } from './kernel.ts'
import { partsOf, partsOfIndex } from './kernel.ts'

/** loop axes and registers that the expression depends on */
const dependsOn = (e: Expr, memo: Map<Expr, ReadonlySet<string>>): ReadonlySet<string> => {
  const done = memo.get(e)
  if (done !== undefined) return done
  const found = new Set<string>()
  const index = (i: Index): void => {
    for (const { atom } of i.terms) {
      if (atom.kind === 'axis') found.add(atom.name)
      else if (atom.kind === 'data') dependsOn(atom.of, memo).forEach((d) => found.add(d))
      else index(atom.of)
    }
  }
  if (e.kind === 'register') found.add(e.name)
  if (e.kind === 'index' || e.kind === 'guard') index(e.of)
  if (e.kind === 'read') e.at.forEach(index)
  for (const p of partsOf(e)) dependsOn(p, memo).forEach((d) => found.add(d))
  memo.set(e, found)
  return found
}

const isTrivial = (e: Expr): boolean => e.kind === 'number' || e.kind === 'register' || e.kind === 'index'

const expressionsOf = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Expr> =>
  stmts.flatMap((s): ReadonlyArray<Expr> => {
    switch (s.kind) {
      case 'for':
        return expressionsOf(s.body)
      case 'unit':
        return []
      case 'store':
        return [...s.at.flatMap(partsOfIndex), s.value]
      default:
        return [s.value]
    }
  })

/** The same statements with `let`s for what is used more than once. */
export const shareWork = (cell: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
  const uses = new Map<Expr, number>()
  const visit = (e: Expr): void => {
    const n = uses.get(e) ?? 0
    uses.set(e, n + 1)
    if (n === 0) partsOf(e).forEach(visit)
  }
  expressionsOf(cell).forEach(visit)

  const memo = new Map<Expr, ReadonlySet<string>>()
  const names = new Map<Expr, Expr>()
  let lets = 0
  const isShared = (e: Expr): boolean => (uses.get(e) ?? 0) > 1 && !isTrivial(e)

  /** axes that loops inside this list bind, and registers that are filled in it, are not known before */
  const place = (stmts: ReadonlyArray<Stmt>, outer: ReadonlySet<string>): ReadonlyArray<Stmt> => {
    const out: Stmt[] = []
    const filled = new Set<string>()
    const emit = (e: Expr, bound: ReadonlySet<string>): void => {
      for (const p of partsOf(e)) emit(p, bound)
      if (!isShared(e) || names.has(e)) return
      const needs = [...dependsOn(e, memo)]
      // what an inner loop binds waits for that loop's own list
      if (needs.some((d) => d.startsWith('k') && !bound.has(d))) return
      if (needs.some((d) => d.startsWith('s') && !filled.has(d) && !outer.has(d))) return
      const name = `t${String(lets)}`
      lets += 1
      out.push({ kind: 'let', name, value: rename(e, names) })
      names.set(e, { kind: 'register', name })
    }
    for (const s of stmts) {
      if (s.kind === 'for') {
        expressionsOf(s.body).forEach((e) => emit(e, outer))
        const bound = new Set([...outer, s.loop.axis, ...filled])
        out.push({ ...s, body: place(s.body, bound) })
        const collect = (b: ReadonlyArray<Stmt>): void =>
          b.forEach((x) =>
            x.kind === 'fold' ? filled.add(x.register) : x.kind === 'for' ? collect(x.body) : undefined,
          )
        collect(s.body)
        continue
      }
      if (s.kind === 'unit') {
        out.push(s)
        continue
      }
      emit(s.value, outer)
      out.push({ ...s, value: rename(s.value, names) })
      if (s.kind === 'fold') filled.add(s.register)
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
