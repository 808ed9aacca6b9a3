/**
 * Dims: sizes as polynomials with integer coefficients over named symbols, so that a program and a
 * proof hold for every size. `token*4 + 1`, `in`, `768`, and exact quotients such as `(in/8)`.
 *
 * Canonical form: terms sorted by their atoms, no zero coefficient; equal sizes have equal `key`s.
 */
import * as E from 'fp-ts/lib/Either.js'

// ---------------------------------------------------------------------------------------- model

interface Term {
  readonly coef: number
  /** sorted names of symbols and quotients, with repetition: `['b', 'b', 't']` is b^2 t */
  readonly atoms: ReadonlyArray<string>
}

export interface Dim {
  readonly terms: ReadonlyArray<Term>
  readonly key: string
  readonly toJSON: () => string
}

/** What a user may write for a size: a number, a symbol's name, or a Dim. */
export type DimLike = number | string | Dim

/** Sizes of symbols at run time. */
export type Sizes = Readonly<Record<string, number>>

interface Quotient {
  readonly num: Dim
  readonly den: Dim
}

/** Quotient atoms by name; the name is canonical, so the table only ever grows by distinct quotients. */
const quotients = new Map<string, Quotient>()

// --------------------------------------------------------------------------------- constructors

const compareAtoms = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): number =>
  b.length - a.length || (a.join('*') < b.join('*') ? -1 : a.join('*') > b.join('*') ? 1 : 0)

const showTerm = (t: Term): string =>
  t.atoms.length === 0 ? String(t.coef) : (t.coef === 1 ? '' : `${String(t.coef)}*`) + t.atoms.join('*')

const fromTerms = (raw: ReadonlyArray<Term>): Dim => {
  const byAtoms = new Map<string, Term>()
  for (const t of raw) {
    const k = t.atoms.join('*')
    byAtoms.set(k, { coef: t.coef + (byAtoms.get(k)?.coef ?? 0), atoms: t.atoms })
  }
  const terms = [...byAtoms.values()].filter((t) => t.coef !== 0).sort((a, b) => compareAtoms(a.atoms, b.atoms))
  const key = terms.length === 0 ? '0' : terms.map(showTerm).join('+')
  return Object.freeze({ terms, key, toJSON: () => key })
}

/** A symbol's name is an identifier; anything else is parsed as printed text (`a*b+1`, `(in/8)`). */
export const dim = (d: DimLike): Dim =>
  typeof d === 'number'
    ? fromTerms([{ coef: d, atoms: [] }])
    : typeof d === 'string'
      ? /^[A-Za-z_][\w.]*$/.test(d)
        ? fromTerms([{ coef: 1, atoms: [d] }])
        : parseDim(d)
      : d

// ---------------------------------------------------------------------------------- combinators

/** p + q */
export const addDim = (p: DimLike, q: DimLike): Dim => fromTerms([...dim(p).terms, ...dim(q).terms])

/** n p, for an integer n */
export const scaleDim = (n: number, p: DimLike): Dim =>
  fromTerms(dim(p).terms.map((t) => ({ coef: n * t.coef, atoms: t.atoms })))

/** p - q */
export const subDim = (p: DimLike, q: DimLike): Dim => addDim(p, scaleDim(-1, q))

const removeAtoms = (from: ReadonlyArray<string>, what: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  const rest = [...from]
  for (const a of what) {
    const i = rest.indexOf(a)
    if (i < 0) return undefined
    rest.splice(i, 1)
  }
  return rest
}

/** (n/d) * d = n inside a term, where d is a single monomial */
const cancelQuotients = (t: Term): Dim => {
  for (const atom of t.atoms) {
    const q = quotients.get(atom)
    const d = q?.den.terms[0]
    if (q === undefined || d === undefined || q.den.terms.length !== 1 || t.coef % d.coef !== 0) continue
    const rest = removeAtoms(removeAtoms(t.atoms, [atom]) ?? [], d.atoms)
    if (rest !== undefined) return mulDim(fromTerms([{ coef: t.coef / d.coef, atoms: rest }]), q.num)
  }
  return fromTerms([t])
}

/** p q, with (n/d) d = n */
export const mulDim = (p: DimLike, q: DimLike): Dim =>
  dim(p)
    .terms.flatMap((a) =>
      dim(q).terms.map((b) => cancelQuotients({ coef: a.coef * b.coef, atoms: [...a.atoms, ...b.atoms].sort() })),
    )
    .reduce((x, y) => fromTerms([...x.terms, ...y.terms]), fromTerms([]))

export const productDim = (ds: ReadonlyArray<DimLike>): Dim => ds.reduce<Dim>((a, b) => mulDim(a, b), dim(1))

/** p / q where every term of p divides by the monomial q, otherwise the atom `(p/q)`: exact when the program is run */
export const divDim = (p: DimLike, q: DimLike): Dim => {
  const [num, den] = [dim(p), dim(q)]
  const m = den.terms[0]
  if (den.key === num.key && num.key !== '0') return dim(1)
  if (m !== undefined && den.terms.length === 1) {
    const terms = num.terms.map((t) => ({ rest: removeAtoms(t.atoms, m.atoms), coef: t.coef / m.coef }))
    if (terms.every((t) => t.rest !== undefined && Number.isInteger(t.coef)))
      return fromTerms(terms.map((t) => ({ coef: t.coef, atoms: t.rest ?? [] })))
  }
  const name = `(${num.key}/${den.key})`
  quotients.set(name, { num, den })
  return fromTerms([{ coef: 1, atoms: [name] }])
}

// --------------------------------------------------------------------------------- interpreters

export const sameDim = (p: Dim, q: Dim): boolean => p.key === q.key

/** The number, where the dim is one. */
export const literal = (p: Dim): number | undefined =>
  p.terms.length === 0 ? 0 : p.terms.length === 1 && p.terms[0]?.atoms.length === 0 ? p.terms[0].coef : undefined

/** Every symbol in the dim, those inside quotients included. */
export const symbolsOf = (p: Dim): ReadonlyArray<string> => [
  ...new Set(
    p.terms.flatMap((t) =>
      t.atoms.flatMap((a) => {
        const q = quotients.get(a)
        return q === undefined ? [a] : [...symbolsOf(q.num), ...symbolsOf(q.den)]
      }),
    ),
  ),
]

/** The value under `sizes`; left: the reason (a symbol without a size, a quotient that is not exact). */
export const evalDim = (p: Dim, sizes: Sizes): E.Either<string, number> => {
  let total = 0
  for (const t of p.terms) {
    let product = t.coef
    for (const a of t.atoms) {
      const q = quotients.get(a)
      if (q === undefined) {
        const s = sizes[a]
        if (s === undefined) return E.left(`a size for symbol '${a}'`)
        product *= s
        continue
      }
      const n = evalDim(q.num, sizes)
      const d = evalDim(q.den, sizes)
      if (E.isLeft(n)) return n
      if (E.isLeft(d)) return d
      if (d.right === 0 || n.right % d.right !== 0)
        return E.left(`${q.num.key} = ${String(n.right)} to be a multiple of ${q.den.key} = ${String(d.right)}`)
      product *= n.right / d.right
    }
    total += product
  }
  return E.right(total)
}

/** Replaces symbols by dims: sizes for some, other names for others. */
export const substituteDim = (p: Dim, by: Readonly<Record<string, Dim>>): Dim =>
  p.terms.reduce<Dim>((sum, t) => {
    const product = t.atoms.reduce<Dim>((acc, a) => {
      const q = quotients.get(a)
      return mulDim(
        acc,
        q === undefined ? (by[a] ?? dim(a)) : divDim(substituteDim(q.num, by), substituteDim(q.den, by)),
      )
    }, dim(t.coef))
    return addDim(sum, product)
  }, dim(0))

/** Reads what `key` prints: `2*a*b+(in/8)+3`. Unreadable text becomes the symbol it spells, which `check` then reports. */
const parseDim = (text: string): Dim => {
  let at = 0
  const factor = (): Dim => {
    if (text[at] === '(') {
      at += 1
      const num = sum()
      const isQuotient = text[at] === '/'
      at += 1
      if (!isQuotient) return num
      const den = sum()
      at += 1
      return divDim(num, den)
    }
    const m = /^(-?\d+|[A-Za-z_][\w.]*)/.exec(text.slice(at))
    const word = m?.[0] ?? text.slice(at)
    at += Math.max(1, word.length)
    return /^-?\d+$/.test(word) ? dim(Number(word)) : fromTerms([{ coef: 1, atoms: [word] }])
  }
  const product = (): Dim => {
    let p = factor()
    while (text[at] === '*') {
      at += 1
      p = mulDim(p, factor())
    }
    return p
  }
  const sum = (): Dim => {
    let s = product()
    while (text[at] === '+') {
      at += 1
      s = addDim(s, product())
    }
    return s
  }
  return sum()
}
