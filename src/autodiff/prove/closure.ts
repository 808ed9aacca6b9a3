/**
 * Atoms that stand for functions of polynomials: exp(p), p^e, the inverse of a matrix. The polynomial is
 * closed over its free variables, which become the atom's positions; equal closures get equal heads.
 */
import { mulDim } from '../../dsl/dim.ts'
import { orderParams } from './canonical.ts'
import {
  constant,
  freeVariables,
  fusible,
  inverseScalar,
  multiply,
  ofAtom,
  replace,
  splitOf,
  subtract,
  substitute,
  type Atom,
  type Definition,
  type Poly,
} from './monomial.ts'
import { merge, part, samePosition, variable, type Position, type Variable } from './position.ts'
import * as Q from './rational.ts'

// ---------------------------------------------------------------------------------------- model

/** What a proof works with: facts and lemmas reach it as `reduce`; names and assumptions are noted here. */
export interface Theory {
  readonly reduce: (p: Poly) => Poly
  /** a short name for a long text, the same for the same text */
  readonly nameOf: (text: string) => string
  readonly assume: (what: string) => void
  readonly use: (lemma: string) => void
}

interface Closed {
  readonly name: string
  readonly params: ReadonlyArray<Variable>
  readonly at: ReadonlyArray<Position>
  readonly body: Poly
}

// --------------------------------------------------------------------------------- constructors

/** p as a function of its free variables, `own` ones first and in their order. p must be reduced. */
export const close = (theory: Theory, p: Poly, own: ReadonlyArray<Variable>): Closed => {
  const mine = new Set(own.map((v) => v.id))
  const args = new Map<number, Position>()
  const paramsOf = (q: Poly): ReadonlyArray<Variable> => freeVariables(q).filter((v) => !mine.has(v.id))
  const argOf = (v: Variable): Position => args.get(v.id) ?? v
  let body = p
  const split = (): boolean => {
    const atoms = body.flatMap((m) => m.atoms)
    for (const v of paramsOf(body)) {
      const sizes = splitOf(atoms, v)
      if (sizes === undefined) continue
      const fresh = sizes.map((s) => variable(s))
      fresh.forEach((f, k) => args.set(f.id, part(argOf(v), sizes, k)))
      body = substitute(body, new Map([[v.id, merge(fresh, sizes)]]))
      return true
    }
    return false
  }
  for (let n = 0; n < 8 && split(); n++);
  const fuse = (): boolean => {
    const joint = fusible(
      body.flatMap((m) => m.atoms),
      new Set(paramsOf(body).map((v) => v.id)),
    )
    if (joint === undefined) return false
    const whole = variable(joint.sizes.reduce((a, b) => mulDim(a, b)))
    const parts = joint.of.map((t) => (t.kind === 'var' ? argOf(t) : t))
    args.set(whole.id, merge(parts, joint.sizes))
    body = replace(body, joint, whole)
    return true
  }
  for (let n = 0; n < 8 && fuse(); n++);
  const { key, order } = orderParams(body, own, paramsOf(body))
  return { name: theory.nameOf(key), params: [...own, ...order], at: order.map(argOf), body }
}

/** f(p), or f over the `own` variables of p */
export const apply = (
  theory: Theory,
  f: string,
  ps: ReadonlyArray<Poly>,
  own: ReadonlyArray<Variable> = [],
  isTruth = false,
): Poly => {
  const closed = ps.map((p) => close(theory, theory.reduce(p), own))
  const head = `${f}(${closed.map((c) => `${c.name}/${c.at.length}`).join(' ')})`
  return ofAtom({ head, at: closed.flatMap((c) => c.at), ...(isTruth ? { isTruth } : {}) })
}

const scalarOf = (p: Poly): boolean => p.length === 1 && p[0]!.atoms.length === 0

const rootOf = (n: bigint): bigint | undefined => {
  const r = BigInt(Math.round(Math.sqrt(Number(n))))
  return r * r === n ? r : undefined
}

/** p^e */
export const raise = (theory: Theory, p: Poly, e: Q.Rational): Poly => {
  const q = theory.reduce(p)
  if (Q.isZero(e)) return constant(Q.one)
  if (Q.isInteger(e) && e.num > 0n) {
    let out: Poly = constant(Q.one)
    for (let i = 0n; i < e.num && i < 8n; i++) out = multiply(out, q)
    if (e.num <= 8n) return out
  }
  const m = q[0]
  if (m !== undefined && q.length === 1 && Q.isInteger(e)) {
    if (scalarOf(q)) {
      const inverse = [inverseScalar(m)]
      let out: Poly = constant(Q.one)
      for (let i = 0n; i < -e.num; i++) out = multiply(out, inverse)
      return out
    }
    // a product of atoms: a power of each
    if (
      m.bound.length === 0 &&
      (m.atoms.length > 1 || m.sizes.size > 0 || !Q.sameRational(m.coef, Q.one) || powered(m.atoms[0]))
    )
      return m.atoms
        .map((a) => raiseAtom(theory, a, e))
        .reduce((a, b) => multiply(a, b), raise(theory, [{ ...m, atoms: [] }], e))
  }
  if (m !== undefined && scalarOf(q) && m.sizes.size === 0 && e.den === 2n && m.coef.num > 0n) {
    const [num, den] = [rootOf(m.coef.num), rootOf(m.coef.den)]
    if (num !== undefined && den !== undefined) return constant(Q.power(Q.rational(num, den), e.num))
  }
  if (q.length === 0 && Q.signOf(e) > 0) return []
  if (!isPositive(q))
    theory.assume(
      `${Q.isInteger(e) ? 'a divisor' : 'what a root is taken of'} is not zero: ${theory.nameOf(orderParams(q, [], freeVariables(q)).key)}`,
    )
  return [powerOf(theory, q, e)].flatMap((a) => ofAtom(a))
}

const powered = (a: Atom | undefined): boolean => a?.definition?.kind === 'power'

/** (p^f)^e = p^(f e) where f is no integer (then p >= 0) or e is one */
const raiseAtom = (theory: Theory, a: Atom, e: Q.Rational): Poly => {
  const d = a.definition
  if (d?.kind !== 'power') return raise(theory, ofAtom(a), e)
  return raise(theory, substitute(d.body, bind(d.params, a.at)), Q.times(d.exponent, e))
}

const powerOf = (theory: Theory, q: Poly, e: Q.Rational): Atom => {
  const c = close(theory, q, [])
  const definition: Definition = { kind: 'power', base: c.name, params: c.params, body: c.body, exponent: e }
  return { head: `power ${c.name} ${Q.showRational(e)}`, at: c.at, definition }
}

export const bind = (params: ReadonlyArray<Variable>, at: ReadonlyArray<Position>): ReadonlyMap<number, Position> =>
  new Map(params.map((v, i) => [v.id, at[i]!]))

/** N[col, row] with sum_col A[r, col] N[col, row] = [r = row], for A over the variables r (rows) and c (columns). */
export const invert = (theory: Theory, A: Poly, r: Variable, c: Variable): Poly => {
  const a = theory.reduce(A)
  const m = a[0]
  // A = d [r = c]: N = [r = c] / d
  const diagonal = a.map((t) => t.atoms.findIndex((x) => x.head === '=' && isPair(x, r, c)))
  if (m !== undefined && diagonal.every((i) => i >= 0)) {
    const d = a.map((t, i) => ({ ...t, atoms: t.atoms.filter((_, j) => j !== diagonal[i]) }))
    return multiply(
      ofAtom({ head: '=', at: [c, r], isTruth: true, isSymmetric: true }),
      raise(theory, d, Q.rational(-1n)),
    )
  }
  // N of A^T is N^T: of the two the one with the lesser name is kept
  const [straight, turned] = [close(theory, a, [r, c]), close(theory, a, [c, r])]
  const isStraight = straight.name <= turned.name
  const isSymmetric = straight.name === turned.name && straight.at.every((t, i) => samePosition(t, turned.at[i]!))
  const closed = isStraight ? straight : turned
  if (!isInvertible(theory, a, r, c)) theory.assume(`a matrix that is solved with is invertible: ${closed.name}`)
  const [first, second, ...rest] = closed.params
  const definition: Definition = {
    kind: 'inverse',
    base: closed.name,
    // body[first, second] is the matrix: first its row. The atom's positions are (col, row).
    params: [second!, first!, ...rest],
    body: closed.body,
    exponent: Q.rational(-1n),
  }
  const at = isStraight ? [c, r, ...closed.at] : [r, c, ...closed.at]
  return ofAtom({
    head: `inverse ${closed.name}`,
    at,
    definition,
    ...(isSymmetric ? { isSymmetric: true } : {}),
  })
}

const isPair = (a: Atom, r: Variable, c: Variable): boolean => {
  const ids = a.at.map((t) => (t.kind === 'var' ? t.id : -1))
  return (ids[0] === r.id && ids[1] === c.id) || (ids[0] === c.id && ids[1] === r.id)
}

// --------------------------------------------------------------------------------- interpreters

/** certainly above zero, at any sizes of at least 1 */
export const isPositive = (p: Poly): boolean => {
  const above = (a: Atom): boolean =>
    /^(exp|sigmoid)\(/.test(a.head) || (a.definition?.kind === 'power' && isPositive(a.definition.body))
  const notBelow = (m: Poly[number]): boolean => {
    const single = m.atoms.filter((a) => a.isTruth !== true && !above(a))
    const counts = new Map<string, number>()
    for (const a of single) {
      const k = `${a.head}${JSON.stringify(a.at)}`
      counts.set(k, (counts.get(k) ?? 0) + 1)
    }
    return Q.signOf(m.coef) > 0 && [...counts.values()].every((n) => n % 2 === 0)
  }
  return p.length > 0 && p.every(notBelow) && p.some((m) => m.atoms.every(above))
}

/** A + A^T = 2 d with d > 0 on the diagonal: x^T A x = d |x|^2, so nothing but 0 goes to 0 */
const isInvertible = (theory: Theory, a: Poly, r: Variable, c: Variable): boolean => {
  const turned = substitute(
    a,
    new Map([
      [r.id, c],
      [c.id, r],
    ]),
  )
  const s = theory.reduce(
    subtract(
      a,
      turned.map((m) => ({ ...m, coef: Q.negate(m.coef) })),
    ),
  )
  const [m] = s
  return (
    s.length === 1 &&
    m?.atoms.length === 1 &&
    m.sizes.size === 0 &&
    m.atoms[0]!.head === '=' &&
    isPair(m.atoms[0]!, r, c) &&
    Q.signOf(m.coef) > 0
  )
}
