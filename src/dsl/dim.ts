/**
 * Dims: sizes as polynomials over named symbols and the inverses of symbols and integers, so that a program and a
 * proof hold for every size. `token*4 + 1`, `in`, `768`, and quotients such as `(in/8)`, exact when the program is run.
 *
 * Canonical form: terms sorted by their atoms, no zero coefficient, nothing left to cancel; equal sizes have equal
 * `key`s. Only a quotient by a sum, `(in/a+b)`, is an atom of its own.
 */
import * as E from 'fp-ts/lib/Either.js'

// ---------------------------------------------------------------------------------------- model

interface Term {
  readonly coef: number
  /** sorted symbols, inverses and quotients by sums, with repetition: `['(1/8)', 'b', 'b']` is b^2 / 8 */
  readonly atoms: ReadonlyArray<string>
}

export interface Dim {
  readonly terms: ReadonlyArray<Term>
  readonly key: string
  /** the number, where the dim is one */
  readonly number: number | undefined
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

/** x of the atom `(1/x)`, a symbol or an integer */
const inverted = (atom: string): string | undefined => /^\(1\/([A-Za-z_][\w.]*|\d+)\)$/.exec(atom)?.[1]
const isInteger = (name: string): boolean => /^\d+$/.test(name)

const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b))

/** coef/div times symbols, over symbols */
interface Ratio {
  readonly coef: number
  readonly div: number
  readonly atoms: ReadonlyArray<string>
  readonly over: ReadonlyArray<string>
}

const ratioOf = (t: Term): Ratio => {
  const inverses = t.atoms.flatMap((a) => inverted(a) ?? [])
  const over = inverses.filter((x) => !isInteger(x))
  const atoms: string[] = []
  for (const a of t.atoms.filter((x) => inverted(x) === undefined)) {
    const i = over.indexOf(a)
    if (i < 0) atoms.push(a)
    else over.splice(i, 1)
  }
  const div = inverses.filter(isInteger).reduce((n, x) => n * Number(x), 1)
  return { coef: t.coef, div, atoms: atoms.sort(), over: over.sort() }
}

const product = (coef: number, atoms: ReadonlyArray<string>): string =>
  atoms.length === 0 ? String(coef) : (coef === 1 ? '' : `${String(coef)}*`) + atoms.join('*')

const showTerm = (t: Term): string => {
  const { coef, div, atoms, over } = ratioOf(t)
  return div === 1 && over.length === 0 ? product(coef, atoms) : `(${product(coef, atoms)}/${product(div, over)})`
}

/** c/d + e/f in lowest terms */
const addRatios = (c: number, d: number, e: number, f: number): readonly [number, number] => {
  const [num, den] = [c * f + e * d, d * f]
  const g = gcd(num, den) || 1
  return [num / g, den / g]
}

const fromTerms = (raw: ReadonlyArray<Term>): Dim => {
  const sums = new Map<string, Ratio>()
  for (const r of raw.map(ratioOf)) {
    const k = `${r.atoms.join('*')}/${r.over.join('*')}`
    const known = sums.get(k)
    const [coef, div] = addRatios(r.coef, r.div, known?.coef ?? 0, known?.div ?? 1)
    sums.set(k, { ...r, coef, div })
  }
  const terms = [...sums.values()]
    .filter((r) => r.coef !== 0)
    .map(({ coef, div, atoms, over }): Term => {
      const inverses = [...over, ...(div === 1 ? [] : [String(div)])].map((x) => `(1/${x})`)
      return { coef, atoms: [...atoms, ...inverses].sort() }
    })
    .sort((a, b) => compareAtoms(a.atoms, b.atoms))
  const key = terms.length === 0 ? '0' : terms.map(showTerm).join('+')
  return Object.freeze({ terms, key, number: numberIn(terms), toJSON: () => key })
}

const numberIn = (terms: ReadonlyArray<Term>): number | undefined =>
  terms.length === 0 ? 0 : terms.length === 1 && terms[0]!.atoms.length === 0 ? terms[0]!.coef : undefined

/** numbers by value: most sizes are, and index arithmetic makes many of them */
const numbers = new Map<number, Dim>()

const numberDim = (n: number): Dim => {
  const known = numbers.get(n)
  if (known !== undefined) return known
  const made = fromTerms([{ coef: n, atoms: [] }])
  numbers.set(n, made)
  return made
}

/** A symbol's name is an identifier; anything else is parsed as printed text (`a*b+1`, `(in/8)`). */
export const dim = (d: DimLike): Dim =>
  typeof d === 'number'
    ? numberDim(d)
    : typeof d === 'string'
      ? /^[A-Za-z_][\w.]*$/.test(d)
        ? fromTerms([{ coef: 1, atoms: [d] }])
        : parseDim(d)
      : d

// ---------------------------------------------------------------------------------- combinators

const numberOf = (p: DimLike): number | undefined =>
  typeof p === 'number' ? p : typeof p === 'string' ? undefined : p.number

/** p + q */
export const addDim = (p: DimLike, q: DimLike): Dim => {
  const [a, b] = [numberOf(p), numberOf(q)]
  if (a !== undefined && b !== undefined) return numberDim(a + b)
  return a === 0 ? dim(q) : b === 0 ? dim(p) : fromTerms([...dim(p).terms, ...dim(q).terms])
}

/** n p, for an integer n */
export const scaleDim = (n: number, p: DimLike): Dim => {
  const a = numberOf(p)
  return a === undefined ? fromTerms(dim(p).terms.map((t) => ({ coef: n * t.coef, atoms: t.atoms }))) : numberDim(n * a)
}

/** p - q */
export const subDim = (p: DimLike, q: DimLike): Dim => addDim(p, scaleDim(-1, q))

/** p q */
export const mulDim = (p: DimLike, q: DimLike): Dim => {
  const [m, n] = [numberOf(p), numberOf(q)]
  if (m !== undefined && n !== undefined) return numberDim(m * n)
  if (m !== undefined) return m === 1 ? dim(q) : scaleDim(m, q)
  if (n !== undefined) return n === 1 ? dim(p) : scaleDim(n, p)
  const [x, y] = [dim(p), dim(q)]
  // (n / sum) sum = n
  for (const [a, b] of [
    [x, y],
    [y, x],
  ] as const) {
    const known =
      a.terms.length === 1 && a.terms[0]!.atoms.length === 1 ? quotients.get(a.terms[0]!.atoms[0]!) : undefined
    if (known?.den.key === b.key) return scaleDim(a.terms[0]!.coef, known.num)
  }
  return fromTerms(
    x.terms.flatMap((a) => y.terms.map((b) => ({ coef: a.coef * b.coef, atoms: [...a.atoms, ...b.atoms] }))),
  )
}

export const productDim = (ds: ReadonlyArray<DimLike>): Dim => ds.reduce<Dim>((a, b) => mulDim(a, b), dim(1))

/** 1/t, where t is made of symbols and integers only */
const inverseOf = (t: Term): Term | undefined => {
  const { coef, div, atoms, over } = ratioOf(t)
  if (atoms.some((a) => quotients.has(a))) return undefined
  const below = [...atoms, ...(Math.abs(coef) === 1 ? [] : [String(Math.abs(coef))])]
  return { coef: Math.sign(coef) * div, atoms: [...over, ...below.map((a) => `(1/${a})`)] }
}

/** p / q, exact when the program is run: by a monomial it is a product with its inverse, by a sum an atom */
export const divDim = (p: DimLike, q: DimLike): Dim => {
  const [num, den] = [dim(p), dim(q)]
  if (den.key === num.key && num.key !== '0') return dim(1)
  const ratio = (numberOf(num) ?? NaN) / (numberOf(den) ?? NaN)
  if (Number.isInteger(ratio)) return numberDim(ratio)
  const inverse = den.terms.length === 1 ? inverseOf(den.terms[0]!) : undefined
  if (inverse !== undefined) return mulDim(num, fromTerms([inverse]))
  const name = `(${num.key}/${den.key})`
  quotients.set(name, { num, den })
  return fromTerms([{ coef: 1, atoms: [name] }])
}

/** The monomials that the dim is a sum of. */
export const monomialsOf = (p: Dim): ReadonlyArray<Dim> =>
  p.terms.length === 1 ? [p] : p.terms.map((t) => fromTerms([t]))

/**
 * Whether the dim is certainly at least 0: symbols are sizes, so never negative. What this leaves open may still be.
 */
export const isNonNegative = (p: Dim): boolean =>
  p.terms.every((t) => t.coef >= 0 && t.atoms.every((a) => isNonNegativeAtom(a)))

const isNonNegativeAtom = (atom: string): boolean => {
  const q = quotients.get(atom)
  return q === undefined || (isNonNegative(q.num) && isNonNegative(q.den))
}

/** No quotient in it: whole whatever whole numbers the symbols are. */
export const isPolynomial = (p: Dim): boolean =>
  p.terms.every((t) => t.atoms.every((a) => inverted(a) === undefined && !quotients.has(a)))

// --------------------------------------------------------------------------------- interpreters

export const sameDim = (p: Dim, q: Dim): boolean => p.key === q.key

/** The number, where the dim is one. */
export const literal = (p: Dim): number | undefined => p.number

/** Every symbol in the dim, those inside quotients included. */
export const symbolsOf = (p: Dim): ReadonlyArray<string> =>
  literal(p) !== undefined
    ? []
    : [
        ...new Set(
          p.terms.flatMap((t) => {
            const { atoms, over } = ratioOf(t)
            return [...atoms, ...over].flatMap((a) => {
              const q = quotients.get(a)
              return q === undefined ? [a] : [...symbolsOf(q.num), ...symbolsOf(q.den)]
            })
          }),
        ),
      ]

const valueOf = (atom: string, sizes: Sizes): E.Either<string, number> => {
  const q = quotients.get(atom)
  if (q !== undefined) {
    const [n, d] = [evalDim(q.num, sizes), evalDim(q.den, sizes)]
    if (E.isLeft(n)) return n
    return E.isLeft(d) ? d : exactly(n.right, d.right, q.num.key, q.den.key)
  }
  const s = Object.hasOwn(sizes, atom) ? sizes[atom] : undefined
  return s === undefined ? E.left(`a size for symbol '${atom}'`) : E.right(s)
}

const exactly = (n: number, d: number, num: string, den: string): E.Either<string, number> =>
  d === 0 || n % d !== 0 ? E.left(`${num} = ${String(n)} to be a multiple of ${den} = ${String(d)}`) : E.right(n / d)

const productOf = (start: number, atoms: ReadonlyArray<string>, sizes: Sizes): E.Either<string, number> =>
  atoms.reduce<E.Either<string, number>>(
    (acc, a) => E.chain((n: number) => E.map((m: number) => n * m)(valueOf(a, sizes)))(acc),
    E.right(start),
  )

/** The value under `sizes`; left: the reason (a symbol without a size, a quotient that is not exact). */
export const evalDim = (p: Dim, sizes: Sizes): E.Either<string, number> => {
  const known = literal(p)
  if (known !== undefined) return E.right(known)
  let [num, den] = [0, 1]
  for (const r of p.terms.map(ratioOf)) {
    const [n, d] = [productOf(r.coef, r.atoms, sizes), productOf(r.div, r.over, sizes)]
    if (E.isLeft(n)) return n
    if (E.isLeft(d)) return d
    const alone = p.terms.length === 1 || d.right === 0
    if (alone) return exactly(n.right, d.right, product(r.coef, r.atoms), product(r.div, r.over))
    ;[num, den] = addRatios(num, den, n.right, d.right)
  }
  return den === 1 ? E.right(num) : E.left(`${p.key} to be a whole number`)
}

/** Replaces symbols by dims: sizes for some, other names for others. */
export const substituteDim = (p: Dim, by: Readonly<Record<string, Dim>>): Dim => {
  const one = (a: string): Dim => {
    const q = quotients.get(a)
    return q === undefined ? (by[a] ?? dim(a)) : divDim(substituteDim(q.num, by), substituteDim(q.den, by))
  }
  return p.terms.reduce<Dim>((sum, t) => {
    const { coef, div, atoms, over } = ratioOf(t)
    const [num, den] = [productDim([coef, ...atoms.map(one)]), productDim([div, ...over.map(one)])]
    return addDim(sum, divDim(num, den))
  }, dim(0))
}

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
