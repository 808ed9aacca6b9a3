/**
 * The prover's terms: a polynomial is a sum of monomials, a monomial is
 *
 *     coef * sizes * sum over `bound` of the product of `atoms`
 *
 * with a rational coefficient, powers of symbolic sizes, and atoms at positions. Index equality (`=`),
 * order (`<`) and range (`in`) are atoms of value 0 or 1.
 */
import { dim, literal, productDim, type Dim } from '../../dsl/dim.ts'
import {
  areApart,
  isWithin,
  merge,
  part,
  positionKey,
  replaceIn,
  samePosition,
  substituteIn,
  variable,
  variablesOf,
  type Position,
  type Variable,
} from './position.ts'
import * as Q from './rational.ts'
import { noSizes, splitQuotient, timesSizes, type Sizes } from './sizes.ts'

// ---------------------------------------------------------------------------------------- model

/** What is known of an atom that stands for a function of a polynomial. */
export interface Definition {
  /**
   * `power`: body^exponent at params. `inverse`: the inverse N of the matrix body[row, col], at N[col, row];
   * params are col, row and the rest.
   */
  readonly kind: 'power' | 'inverse'
  /** equal bases have equal bodies */
  readonly base: string
  readonly params: ReadonlyArray<Variable>
  readonly body: Poly
  readonly exponent: Q.Rational
}

export interface Atom {
  /** equal heads are equal functions of their positions */
  readonly head: string
  readonly at: ReadonlyArray<Position>
  /** 0 or 1 everywhere */
  readonly isTruth?: boolean
  /** the first two positions may be swapped */
  readonly isSymmetric?: boolean
  readonly definition?: Definition
}

export interface Monomial {
  readonly coef: Q.Rational
  readonly sizes: Sizes
  readonly bound: ReadonlyArray<Variable>
  readonly atoms: ReadonlyArray<Atom>
}

export type Poly = ReadonlyArray<Monomial>

// --------------------------------------------------------------------------------- constructors

export const constant = (c: Q.Rational): Poly =>
  Q.isZero(c) ? [] : [{ coef: c, sizes: noSizes, bound: [], atoms: [] }]
export const ofAtom = (a: Atom): Poly => tidy({ coef: Q.one, sizes: noSizes, bound: [], atoms: [a] })

/** A size as a polynomial; an exact quotient by one term is a product with its inverse. */
export const ofDim = (d: Dim): Poly =>
  d.terms.flatMap((t) =>
    t.atoms.reduce<Poly>(
      (acc, a) => {
        const q = a.startsWith('(') ? splitQuotient(a) : undefined
        const den = q === undefined ? [] : ofDim(q[1])
        const factor =
          q !== undefined && den.length === 1
            ? multiply(ofDim(q[0]), [inverseScalar(den[0]!)])
            : [{ coef: Q.one, sizes: new Map([[a, 1]]), bound: [], atoms: [] }]
        return multiply(acc, factor)
      },
      constant(Q.rational(BigInt(t.coef))),
    ),
  )

/** 1/m for a monomial that is a number times sizes */
export const inverseScalar = (m: Monomial): Monomial => ({
  coef: Q.invert(m.coef),
  sizes: new Map([...m.sizes].map(([s, n]) => [s, -n])),
  bound: [],
  atoms: [],
})

/** 1 where s = t, else 0 */
export const equalAt = (s: Position, t: Position): Atom => ({
  head: '=',
  at: positionKey(s) <= positionKey(t) ? [s, t] : [t, s],
  isTruth: true,
  isSymmetric: true,
})
/** 1 where s < t, else 0 */
export const before = (s: Position, t: Position): Atom => ({ head: '<', at: [s, t], isTruth: true })
/** 1 where 0 <= t < size, else 0 */
export const inside = (t: Position, size: Dim): Atom => ({ head: `in ${size.key}`, at: [t], isTruth: true })

export const equality = (s: Position, t: Position): Poly => ofAtom(equalAt(s, t))
export const range = (t: Position, size: Dim): Poly => (isWithin(t, size) ? constant(Q.one) : ofAtom(inside(t, size)))

// ---------------------------------------------------------------------------------- combinators

export const add = (...ps: ReadonlyArray<Poly>): Poly => ps.flat()
export const scale = (c: Q.Rational, p: Poly): Poly =>
  Q.isZero(c) ? [] : p.map((m) => ({ ...m, coef: Q.times(c, m.coef) }))
export const subtract = (p: Poly, q: Poly): Poly => [...p, ...scale(Q.rational(-1n), q)]

const moveAtom = (a: Atom, by: (t: Position) => Position): Atom => {
  const moved = a.at.map(by)
  return a.head === '=' ? equalAt(moved[0]!, moved[1]!) : { ...a, at: moved }
}

/** new names for the bound variables, so that two products never share one */
const freshen = (m: Monomial): Monomial => {
  if (m.bound.length === 0) return m
  const names = new Map(m.bound.map((v) => [v.id, variable(v.size)]))
  const by = (t: Position): Position => substituteIn(t, (v) => names.get(v.id) ?? v)
  return { ...m, bound: m.bound.map((v) => names.get(v.id)!), atoms: m.atoms.map((a) => moveAtom(a, by)) }
}

export const multiply = (p: Poly, q: Poly): Poly =>
  p.flatMap((m) =>
    q.flatMap((n) => {
      const f = freshen(n)
      const product = {
        coef: Q.times(m.coef, f.coef),
        sizes: timesSizes(m.sizes, f.sizes),
        bound: [...m.bound, ...f.bound],
        atoms: [...m.atoms, ...f.atoms],
      }
      return m.atoms.length === 0 || f.atoms.length === 0 ? [product] : tidy(product)
    }),
  )

/** sum over a variable that is free in p */
export const sumOver = (p: Poly, v: Position): Poly =>
  v.kind === 'var' ? p.flatMap((m) => tidy({ ...m, bound: [...m.bound, v] })) : p

/** free variables replaced by positions */
export const substitute = (p: Poly, by: ReadonlyMap<number, Position>): Poly =>
  p.flatMap((m) => {
    const f = freshen(m)
    return tidy({
      ...f,
      atoms: f.atoms.map((a) => moveAtom(a, (t) => substituteIn(t, (v) => by.get(v.id) ?? v))),
    })
  })

export const freeVariables = (p: Poly): ReadonlyArray<Variable> => {
  const free = new Map<number, Variable>()
  for (const m of p) {
    const bound = new Set(m.bound.map((v) => v.id))
    for (const a of m.atoms)
      for (const t of a.at) for (const v of variablesOf(t)) if (!bound.has(v.id)) free.set(v.id, v)
  }
  return [...free.values()]
}

/** every occurrence of a position replaced */
export const replace = (p: Poly, from: Position, to: Position): Poly =>
  p.flatMap((m) => tidy({ ...m, atoms: replaceAll(m.atoms, from, to) }))

/** the first `part` of the variable, anywhere in the atoms: where it wants to be split */
export const splitOf = (atoms: ReadonlyArray<Atom>, v: Variable): ReadonlyArray<Dim> | undefined => {
  const look = (t: Position): ReadonlyArray<Dim> | undefined => {
    switch (t.kind) {
      case 'var':
      case 'at':
        return undefined
      case 'shift':
        return look(t.of)
      case 'merge':
        return t.of.map(look).find((s) => s !== undefined)
      case 'part':
        return t.of.kind === 'var' && t.of.id === v.id ? t.sizes : look(t.of)
      default:
        return t satisfies never
    }
  }
  for (const a of atoms)
    for (const t of a.at) {
      const found = look(t)
      if (found !== undefined) return found
    }
  return undefined
}

/** a merge of two or more of `own` variables that occur nowhere else: one variable would do */
export const fusible = (
  atoms: ReadonlyArray<Atom>,
  own: ReadonlySet<number>,
): Extract<Position, { kind: 'merge' }> | undefined => {
  const merges = new Map<string, Extract<Position, { kind: 'merge' }>>()
  const visit = (t: Position): void => {
    if (t.kind === 'merge') {
      merges.set(positionKey(t), t)
      t.of.forEach(visit)
    } else if (t.kind === 'shift' || t.kind === 'part') visit(t.of)
  }
  for (const a of atoms) a.at.forEach(visit)
  for (const t of merges.values()) {
    const distinct = new Set(t.of.map((u) => (u.kind === 'var' && own.has(u.id) && sameSize(u, t) ? u.id : -1)))
    if (distinct.has(-1) || distinct.size !== t.of.length) continue
    const hole = variable(dim(1))
    const rest = atoms.flatMap((a) => a.at.flatMap((u) => variablesOf(replaceIn(u, t, hole))))
    if (rest.every((v) => !distinct.has(v.id))) return t
  }
  return undefined
}
const sameSize = (u: Variable, t: Extract<Position, { kind: 'merge' }>): boolean =>
  t.sizes[t.of.indexOf(u)]!.key === u.size.key

// ------------------------------------------------------------------------------ tidying a product

const replaceAll = (atoms: ReadonlyArray<Atom>, from: Position, to: Position): ReadonlyArray<Atom> =>
  atoms.map((a) => moveAtom(a, (t) => replaceIn(t, from, to)))

const without = <A>(xs: ReadonlyArray<A>, i: number): ReadonlyArray<A> => [...xs.slice(0, i), ...xs.slice(i + 1)]

type Step = { readonly kind: 'zero' } | { readonly kind: 'again'; readonly next: Monomial } | undefined
const again = (next: Monomial): Step => ({ kind: 'again', next })
const vanishes: Step = { kind: 'zero' }

/** sum_v [v = t] f(v) = [t in range] f(t), and what else an equality says */
const useEquality = (m: Monomial, i: number): Step => {
  const a = m.atoms[i]!
  const [s, t] = [a.at[0]!, a.at[1]!]
  const rest = without(m.atoms, i)
  if (samePosition(s, t)) return again({ ...m, atoms: rest })
  if (areApart(s, t)) return vanishes
  for (const [v, u] of [
    [s, t],
    [t, s],
  ] as const) {
    if (v.kind !== 'var' || !m.bound.some((b) => b.id === v.id)) continue
    if (variablesOf(u).some((w) => w.id === v.id)) continue
    const guard = isWithin(u, v.size) ? [] : [inside(u, v.size)]
    return again({
      ...m,
      bound: m.bound.filter((b) => b.id !== v.id),
      atoms: [...replaceAll(rest, v, u), ...guard],
    })
  }
  for (const [v, u] of [
    [s, t],
    [t, s],
  ] as const)
    if (u.kind === 'merge' && v.kind !== 'shift' && v.kind !== 'at') {
      if (!isWithin(v, productDim(u.sizes)) || !u.of.every((x, k) => isWithin(x, u.sizes[k]!))) continue
      return again({ ...m, atoms: [...rest, ...u.of.map((x, k) => equalAt(part(v, u.sizes, k), x))] })
    }
  // both free: one name for the two; the equality itself stays
  const [small, large] = orderPair(s, t)
  const renamed = replaceAll(rest, large, small)
  const changed = renamed.some((x, k) => x.at.some((u, j) => !samePosition(u, rest[k]!.at[j]!)))
  return changed ? again({ ...m, atoms: [...renamed, a] }) : undefined
}

/** which of two positions stays: fixed ones first, then older variables */
const orderPair = (s: Position, t: Position): readonly [Position, Position] => {
  const rank = (p: Position): number =>
    p.kind === 'at'
      ? 0
      : p.kind === 'var'
        ? 1e12 + p.id
        : p.kind === 'part' && p.of.kind === 'var'
          ? 2e12 + p.of.id
          : 3e12
  const [a, b] = [rank(s), rank(t)]
  return a < b || (a === b && positionKey(s) <= positionKey(t)) ? [s, t] : [t, s]
}

const useOrder = (m: Monomial, i: number): Step => {
  const [s, t] = [m.atoms[i]!.at[0]!, m.atoms[i]!.at[1]!]
  if (samePosition(s, t)) return vanishes
  const reversed = m.atoms.some((b) => b.head === '<' && samePosition(b.at[0]!, t) && samePosition(b.at[1]!, s))
  if (reversed) return vanishes
  const [a, b] = [s, t].map((p) => (p.kind === 'at' ? literal(p.at) : undefined))
  if (a !== undefined && b !== undefined) return a < b ? again({ ...m, atoms: without(m.atoms, i) }) : vanishes
  return undefined
}

const useRange = (m: Monomial, i: number): Step => {
  const a = m.atoms[i]!
  const size = dim(a.head.slice(3))
  const t = a.at[0]!
  if (isWithin(t, size)) return again({ ...m, atoms: without(m.atoms, i) })
  const [p, n] = [t.kind === 'at' ? literal(t.at) : undefined, literal(size)]
  if (p !== undefined && (p < 0 || (n !== undefined && p >= n))) return vanishes
  return undefined
}

const sameAtom = (a: Atom, b: Atom): boolean =>
  a.head === b.head && a.at.length === b.at.length && a.at.every((t, i) => samePosition(t, b.at[i]!))

const useBound = (m: Monomial, k: number): Step => {
  const v = m.bound[k]!
  const parts = splitOf(m.atoms, v)
  if (parts !== undefined) {
    const fresh = parts.map((s) => variable(s))
    return again({
      ...m,
      bound: [...without(m.bound, k), ...fresh],
      atoms: replaceAll(m.atoms, v, merge(fresh, parts)),
    })
  }
  return undefined
}

const step = (m: Monomial): Step => {
  for (let i = 0; i < m.atoms.length; i++) {
    const a = m.atoms[i]!
    const done =
      a.head === '='
        ? useEquality(m, i)
        : a.head === '<'
          ? useOrder(m, i)
          : a.head.startsWith('in ')
            ? useRange(m, i)
            : undefined
    if (done !== undefined) return done
    if (a.isTruth === true && m.atoms.slice(0, i).some((b) => sameAtom(a, b)))
      return again({ ...m, atoms: without(m.atoms, i) })
  }
  for (let k = 0; k < m.bound.length; k++) {
    const done = useBound(m, k)
    if (done !== undefined) return done
  }
  const joint = m.bound.length < 2 ? undefined : fusible(m.atoms, new Set(m.bound.map((v) => v.id)))
  if (joint !== undefined) {
    const gone = new Set(joint.of.map((t) => (t.kind === 'var' ? t.id : -1)))
    const v = variable(productDim(joint.sizes))
    return again({
      ...m,
      bound: [...m.bound.filter((b) => !gone.has(b.id)), v],
      atoms: replaceAll(m.atoms, joint, v),
    })
  }
  return undefined
}

const MOST_STEPS = 200

/** The product in normal form: equalities used, truths once each, unused sums become sizes. */
export const tidy = (m: Monomial): Poly => {
  if (Q.isZero(m.coef)) return []
  let now = m
  // every step is an equality, so stopping early is safe: two equalities may go on renaming one another
  for (let n = 0; n < MOST_STEPS; n++) {
    const s = step(now)
    if (s === undefined) break
    if (s.kind === 'zero') return []
    now = s.next
  }
  const used = new Set(now.atoms.flatMap((a) => a.at.flatMap((t) => variablesOf(t).map((v) => v.id))))
  const idle = now.bound.filter((v) => !used.has(v.id))
  if (idle.length === 0) return [now]
  const kept = { ...now, bound: now.bound.filter((v) => used.has(v.id)) }
  return idle.reduce<Poly>(
    (acc, v) =>
      acc.flatMap((n) =>
        ofDim(v.size).map((f) => ({
          ...n,
          coef: Q.times(n.coef, f.coef),
          sizes: timesSizes(n.sizes, f.sizes),
        })),
      ),
    [kept],
  )
}
