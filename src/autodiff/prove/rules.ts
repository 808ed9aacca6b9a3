/**
 * What the prover may use beyond the laws of sums and products. Each rule rewrites one monomial of a
 * polynomial; the sides are equal for all finite values, and every hypothesis is checked on the spot.
 *
 *     order         [s < t] + [t < s] + [s = t] = 1
 *     power         p p^e = p^(e+1)
 *     inverse       A N = I = N A, solved for the largest term of A
 *     congruence    N (A + A^T) N^T = N + N^T = N^T (A + A^T) N, where A + A^T is one term
 *     skew          A[i, j] = -A[j, i], where declared
 *     orthogonal    A A^T = I = A^T A, where declared
 */
import { monomialKey } from './canonical.ts'
import { bind, raise, type Theory } from './closure.ts'
import { findPattern } from './match.ts'
import {
  add,
  before,
  equality,
  inverseScalar,
  multiply,
  ofAtom,
  scale,
  substitute,
  subtract,
  sumOver,
  tidy,
  type Definition,
  type Monomial,
  type Poly,
} from './monomial.ts'
import { byId, samePosition, variable, variablesOf, type Position, type Variable } from './position.ts'
import * as Q from './rational.ts'

// ---------------------------------------------------------------------------------------- model

/** declared facts of atoms, by head: the numbers of the two positions they speak of */
export interface AtomFacts {
  readonly skew: ReadonlyMap<string, readonly [number, number]>
  readonly orthogonal: ReadonlyMap<string, readonly [number, number]>
}

type Rule = (theory: Theory, m: Monomial, facts: AtomFacts) => Poly | undefined

// --------------------------------------------------------------------------------- constructors

const drop = (m: Monomial, atoms: ReadonlyArray<number>, bound: ReadonlyArray<number> = []): Monomial => ({
  ...m,
  atoms: m.atoms.filter((_, i) => !atoms.includes(i)),
  bound: m.bound.filter((v) => !bound.includes(v.id)),
})

/** m without the atoms and sums that a rule took, times what it puts in their place */
const put = (m: Monomial, by: Poly): Poly =>
  multiply([{ ...m, bound: [] }], by).flatMap((n) => tidy({ ...n, bound: [...n.bound, ...m.bound] }))

/**
 * The term with the most atoms, equalities not counted: what rules are solved for. Of two as large, one is chosen
 * by its text over the numbers of `params`, never by the age of variables: rules must agree on it wherever it stands.
 */
const leadOf = (
  p: Poly,
  params: ReadonlyArray<Variable>,
): { readonly lead: Monomial; readonly rest: Poly } | undefined => {
  const number = new Map(params.map((v, i) => [v.id, `p${i}`]))
  const weight = (m: Monomial): number => m.atoms.filter((a) => a.head !== '=').length
  const keyed = p.map((m) => ({ m, w: weight(m), k: monomialKey(m, (v) => number.get(v.id) ?? byId(v)) }))
  const best = keyed.reduce<(typeof keyed)[number] | undefined>(
    (a, b) => (a === undefined || b.w > a.w || (b.w === a.w && b.k > a.k) ? b : a),
    undefined,
  )
  return best === undefined || best.w === 0 ? undefined : { lead: best.m, rest: p.filter((m) => m !== best.m) }
}

/** lead and rest of a definition's body, at positions; undefined where the lead is no longer one term there */
const leadAt = (
  d: Definition,
  at: ReadonlyMap<number, Position>,
): { readonly lead: Monomial; readonly rest: Poly } | undefined => {
  const split = leadOf(d.body, d.params)
  const [lead, ...more] = split === undefined ? [] : substitute([split.lead], at)
  return split === undefined || lead === undefined || more.length > 0
    ? undefined
    : { lead, rest: substitute(split.rest, at) }
}

const scalarPart = (m: Monomial): Monomial => ({ ...m, atoms: [], bound: [] })

const isSummed = (m: Monomial, t: Position, except: ReadonlyArray<number>): t is Variable =>
  t.kind === 'var' &&
  m.bound.some((v) => v.id === t.id) &&
  except.every((i) => m.atoms[i]!.at.filter((u) => variablesOf(u).some((v) => v.id === t.id)).length <= 1)

// ------------------------------------------------------------------------------------- the rules

/** p^e q^... : powers of one base add up; p^e lead(p) = p^(e+1) - p^e (p - lead(p)) over lead's coefficient, for e <= -1 */
const power: Rule = (theory, m) => {
  for (let i = 0; i < m.atoms.length; i++) {
    const a = m.atoms[i]!
    const d = a.definition
    if (d?.kind !== 'power') continue
    const j = m.atoms.findIndex(
      (b, k) =>
        k > i &&
        b.definition?.kind === 'power' &&
        b.definition.base === d.base &&
        b.at.every((t, n) => samePosition(t, a.at[n]!)),
    )
    const body = substitute(d.body, bind(d.params, a.at))
    if (j >= 0) return put(drop(m, [i, j]), raise(theory, body, Q.plus(d.exponent, m.atoms[j]!.definition!.exponent)))
    if (Q.signOf(Q.plus(d.exponent, Q.one)) > 0) continue
    const split = leadAt(d, bind(d.params, a.at))
    if (split === undefined || split.lead.atoms.length === 0) continue
    const found = findPattern(m, { atoms: split.lead.atoms, bound: split.lead.bound, open: [] }, [i])
    if (found === undefined) continue
    const kept = drop(m, [...found.used, i], found.summed)
    const raised = raise(theory, body, Q.plus(d.exponent, Q.one))
    const same = ofAtom(a)
    return put(kept, multiply([inverseScalar(scalarPart(split.lead))], subtract(raised, multiply(split.rest, same))))
  }
  return undefined
}

/** A N = I: sum_c lead(A)[t, c] N[c, r] = [t = r] - sum_c rest(A)[t, c] N[c, r]; and the same for N A = I */
const inverse: Rule = (theory, m) => {
  for (let i = 0; i < m.atoms.length; i++) {
    const a = m.atoms[i]!
    const d = a.definition
    if (d?.kind !== 'inverse') continue
    const [c, r] = [d.params[0]!, d.params[1]!]
    for (const side of a.isSymmetric === true ? [0, 1, 2, 3] : [0, 1]) {
      // even: the column of N is summed with the matrix; odd: its row
      const own: readonly [Position, Position] = side < 2 ? [a.at[0]!, a.at[1]!] : [a.at[1]!, a.at[0]!]
      const isLeft = side % 2 === 0
      const shared = isLeft ? own[0] : own[1]
      const outer = isLeft ? own[1] : own[0]
      if (!isSummed(m, shared, [i])) continue
      const open = variable(r.size)
      const actual = new Map<number, Position>([
        ...bind(d.params.slice(2), a.at.slice(2)),
        [isLeft ? c.id : r.id, shared],
        [isLeft ? r.id : c.id, open],
      ])
      const split = leadAt(d, actual)
      if (split === undefined || split.lead.atoms.length === 0) continue
      const found = findPattern(m, { atoms: split.lead.atoms, bound: split.lead.bound, open: [open] }, [i], [shared.id])
      const t = found?.at.get(open.id)
      if (found === undefined || t === undefined) continue
      const kept = drop(m, [...found.used, i], found.summed)
      const rest = substitute(split.rest, new Map([[open.id, t]])).flatMap((n) =>
        multiply([n], [{ coef: Q.one, sizes: new Map(), bound: [], atoms: [a] }]),
      )
      theory.use('the inverse is an inverse')
      const value = subtract(equality(t, outer), sumOver(rest, shared))
      return put(kept, multiply([inverseScalar(scalarPart(split.lead))], value))
    }
  }
  return undefined
}

/** N S N^T = N + N^T = N^T S N with S = A + A^T, where S is one term */
const congruence: Rule = (theory, m) => {
  for (let i = 0; i < m.atoms.length; i++) {
    const a = m.atoms[i]!
    const d = a.definition
    if (d?.kind !== 'inverse' || a.isSymmetric === true) continue
    for (let j = i + 1; j < m.atoms.length; j++) {
      const b = m.atoms[j]!
      if (b.head !== a.head || !b.at.slice(2).every((t, k) => samePosition(t, a.at[k + 2]!))) continue
      const done = congruenceAt(theory, m, i, j)
      if (done !== undefined) return done
    }
  }
  return undefined
}

const congruenceAt = (theory: Theory, m: Monomial, i: number, j: number): Poly | undefined => {
  const [a, b] = [m.atoms[i]!, m.atoms[j]!]
  const d = a.definition!
  const [c, r] = [d.params[0]!, d.params[1]!]
  const [x, y] = [variable(r.size), variable(r.size)]
  const further = bind(d.params.slice(2), a.at.slice(2))
  const entry = (row: Position, col: Position): Poly =>
    substitute(d.body, new Map<number, Position>([...further, [r.id, row], [c.id, col]]))
  const [only, ...more] = theory.reduce(add(entry(x, y), entry(y, x)))
  if (only === undefined || more.length > 0) return undefined
  const N = (col: Position, row: Position): Poly => ofAtom({ ...a, at: [col, row, ...a.at.slice(2)] })
  // 1: rows summed, N S N^T. 0: columns summed, N^T S N
  for (const k of [1, 0] as const) {
    const [s, t] = [a.at[k]!, b.at[k]!]
    const [p, q] = [a.at[1 - k]!, b.at[1 - k]!]
    const sums = add(N(p, q), N(q, p))
    if (!isSummed(m, s, [i]) || !isSummed(m, t, [j])) continue
    // what stays may not mention what is summed
    if ([p, q].some((u) => variablesOf(u).some((v) => v.id === s.id || v.id === t.id))) continue
    // S = d I: one sum is left
    const isScalar =
      only.atoms.length === 1 &&
      only.atoms[0]!.head === '=' &&
      [x, y].every((v) => only.atoms[0]!.at.some((u) => samePosition(u, v)))
    if (samePosition(s, t)) {
      const elsewhere = m.atoms.some(
        (e, n) => n !== i && n !== j && e.at.some((u) => variablesOf(u).some((v) => v.id === s.id)),
      )
      if (!isScalar || elsewhere) continue
      theory.use('congruence by an inverse')
      return put(drop(m, [i, j], [s.id]), multiply([inverseScalar(scalarPart(only))], sums))
    }
    const [local, ...others] = substitute(
      [only],
      new Map<number, Position>([
        [x.id, s],
        [y.id, t],
      ]),
    )
    if (local === undefined || others.length > 0 || local.atoms.length === 0) continue
    const found = findPattern(m, { atoms: local.atoms, bound: local.bound, open: [] }, [i, j], [s.id, t.id])
    if (found === undefined) continue
    theory.use('congruence by an inverse')
    return put(drop(m, [...found.used, i, j], found.summed), multiply([inverseScalar(scalarPart(local))], sums))
  }
  return undefined
}

/** sum_i A[i, j] A[i, k] = [j = k] and the same for the other axis */
const orthogonal: Rule = (theory, m, facts) => {
  for (let i = 0; i < m.atoms.length; i++) {
    const a = m.atoms[i]!
    const axes = facts.orthogonal.get(a.head)
    if (axes === undefined) continue
    for (const [s, o] of [axes, [axes[1], axes[0]] as const]) {
      const shared = a.at[s]!
      if (!isSummed(m, shared, [i])) continue
      const at = a.at.map((t, k) => (k === o ? variable(axisSize(t)) : t))
      const open = at[o] as Variable
      const found = findPattern(m, { atoms: [{ ...a, at }], bound: [], open: [open] }, [i], [shared.id])
      if (found === undefined) continue
      theory.use('declared orthogonal')
      return put(drop(m, [...found.used, i], found.summed), equality(a.at[o]!, found.at.get(open.id)!))
    }
  }
  return undefined
}
const axisSize = (t: Position): Variable['size'] =>
  t.kind === 'var' ? t.size : t.kind === 'part' ? t.sizes[t.k]! : variablesOf(t)[0]!.size

export const rules: ReadonlyArray<Rule> = [power, inverse, congruence, orthogonal]

/** The monomial with two positions of one atom swapped, in normal form, where that is one monomial. */
const swapped = (m: Monomial, i: number, p: number, q: number): Monomial | undefined => {
  const atoms = m.atoms.map((a, k) =>
    k === i ? { ...a, at: a.at.map((t, n) => (n === p ? a.at[q]! : n === q ? a.at[p]! : t)) } : a,
  )
  const [one, ...more] = tidy({ ...m, atoms })
  return more.length === 0 ? one : undefined
}

/** A pair of terms that differ in the direction of one order is brought to one direction; a symmetric one is halved. */
export const orient = (theory: Theory, p: Poly, facts: AtomFacts): Poly | undefined => {
  const keys = new Map(p.map((m) => [monomialKey(m), m]))
  for (const [key, m] of keys)
    for (let i = 0; i < m.atoms.length; i++) {
      const a = m.atoms[i]!
      const others = (): Poly => p.filter((n) => n !== m)
      const skew = facts.skew.get(a.head)
      if (skew !== undefined) {
        const other = swapped(m, i, skew[0], skew[1])
        const k = other === undefined ? undefined : monomialKey(other)
        if (other === undefined || k === undefined) continue
        if (k === key) {
          theory.use('declared skew')
          return others()
        }
        if (k < key) {
          theory.use('declared skew')
          return add(others(), [{ ...other, coef: Q.negate(other.coef) }])
        }
      }
      if (a.head !== '<') continue
      const other = swapped(m, i, 0, 1)
      const k = other === undefined ? undefined : monomialKey(other)
      if (other === undefined || k === undefined) continue
      const rest: Poly = tidy(drop(m, [i]))
      const apart = subtract(rest, put(drop(m, [i]), equality(a.at[0]!, a.at[1]!)))
      if (k === key) return add(others(), scale(Q.rational(1n, 2n), apart))
      // [s < t] f = (1 - [s = t]) f - [t < s] f
      if (k < key && keys.has(k))
        return add(others(), subtract(apart, put(drop(m, [i]), ofAtom(before(a.at[1]!, a.at[0]!)))))
    }
  return undefined
}
