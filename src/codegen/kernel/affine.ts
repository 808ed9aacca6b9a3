/**
 * Index arithmetic in normal form: an offset plus a sum of multiples of atoms, offsets and factors being sizes, literal
 * or symbolic. Splitting an index and putting it together again cancels:  n floor(i/n) + (i mod n) = i.
 *
 * Note [What is known of symbols]. A symbol is a size: a whole number, at least 0. What follows from that, and from
 * the axes of the index (0 <= axis < size, so size >= 1), is decided here; anything else is unknown, and the guard,
 * clamp or division stays for the machine to do.
 */
import {
  addDim,
  dim,
  divDim,
  isNonNegative,
  isPolynomial,
  literal,
  monomialsOf,
  mulDim,
  subDim,
  substituteDim,
  symbolsOf,
  type Dim,
  type DimLike,
} from '../../dsl/dim.ts'
import type { Atom, Expr, Index, Term } from './kernel.ts'
import { ONE, ZERO, fromAtom, fromTerms, keyOfAtom, mergeTerms } from './terms.ts'

// --------------------------------------------------------------------------------- constructors

export const whole = (n: DimLike): Index => fromTerms(dim(n), [])
/** The variable of a loop or of an `index` statement; 0 where there is only that. */
export const axisIndex = (name: string, size: DimLike): Index =>
  dim(size).key === '1' ? whole(0) : fromAtom({ kind: 'axis', name, size: dim(size) })
export const dataIndex = (of: Expr): Index => fromAtom({ kind: 'data', of })

/** The number, where the index is one. */
export const literalIndex = (i: Index): number | undefined => (i.terms.length === 0 ? literal(i.offset) : undefined)

// ---------------------------------------------------------------------------------------- ranges

/** Certain bounds, each of them valid; none where nothing is known. */
interface Bounds {
  readonly low: ReadonlyArray<Dim>
  readonly high: ReadonlyArray<Dim>
}

const UNKNOWN: Bounds = { low: [], high: [] }
/** alternatives kept where several bounds hold: those of `min` */
const MOST = 4

/** d >= 0 for all sizes, given those that are at least 1 */
const isCertain = (d: Dim, positive: ReadonlySet<string>): boolean => {
  if (isNonNegative(d)) return true
  const used = symbolsOf(d).filter((s) => positive.has(s))
  // s = s' + 1 with s' >= 0
  return used.length > 0 && isNonNegative(substituteDim(d, Object.fromEntries(used.map((s) => [s, addDim(dim(s), 1)]))))
}

/** symbols that are at least 1 because an axis has them as a factor of its size */
const positiveIn = (i: Index, into = new Set<string>()): ReadonlySet<string> => {
  for (const { atom } of i.terms) {
    if (atom.kind === 'axis') {
      if (literal(atom.size) === undefined && atom.size.terms.length === 1 && isPolynomial(atom.size))
        symbolsOf(atom.size).forEach((s) => into.add(s))
    } else if (atom.kind === 'min') atom.of.forEach((j) => positiveIn(j, into))
    else if (atom.kind !== 'data') positiveIn(atom.of, into)
  }
  return into
}

const floorDiv = (a: Dim, n: Dim): Dim | undefined => {
  const [x, y] = [literal(a), literal(n)]
  return x !== undefined && y !== undefined ? dim(Math.floor(x / y)) : undefined
}

const boundsOfAtom = (a: Atom): Bounds => {
  switch (a.kind) {
    case 'axis':
      return { low: [ZERO], high: [subDim(a.size, 1)] }
    case 'div': {
      const { low, high } = boundsOf(a.of)
      const isPositive = low.some(isNonNegative)
      return {
        low: [...low.flatMap((l) => floorDiv(l, a.by) ?? []), ...(isPositive ? [ZERO] : [])].slice(0, 1),
        // of <= n m - 1: of div n <= m - 1
        high: high.flatMap((h) => {
          const known = floorDiv(h, a.by)
          if (known !== undefined) return [known]
          const m = quotient(addDim(h, 1), a.by, [])
          return m === undefined ? (isPositive ? [h] : []) : [subDim(m, 1)]
        }),
      }
    }
    case 'mod':
      return { low: [ZERO], high: [subDim(a.by, 1)] }
    case 'min': {
      const all = a.of.map(boundsOf)
      const lows = all.map((b) => b.low[0])
      const least = lows.find(
        (l) => l !== undefined && lows.every((m) => m !== undefined && isNonNegative(subDim(m, l))),
      )
      return { low: least === undefined ? [] : [least], high: all.flatMap((b) => b.high).slice(0, MOST) }
    }
    case 'clamp':
      return { low: [a.low], high: [a.high] }
    case 'data':
      return UNKNOWN
    default:
      return a satisfies never
  }
}

const signOf = (d: Dim): 1 | -1 | undefined => {
  const n = literal(d)
  if (n !== undefined) return n >= 0 ? 1 : -1
  return isNonNegative(d) ? 1 : isNonNegative(subDim(0, d)) ? -1 : undefined
}

const sums = (xs: ReadonlyArray<Dim>, factor: Dim, ys: ReadonlyArray<Dim>): ReadonlyArray<Dim> =>
  xs.flatMap((x) => ys.map((y) => addDim(x, mulDim(factor, y)))).slice(0, MOST)

const boundsOf = (i: Index): Bounds =>
  i.terms.reduce<Bounds>(
    (sum, { factor, atom }) => {
      const sign = signOf(factor)
      if (sign === undefined) return UNKNOWN
      const { low, high } = boundsOfAtom(atom)
      return sign > 0
        ? { low: sums(sum.low, factor, low), high: sums(sum.high, factor, high) }
        : { low: sums(sum.low, factor, high), high: sums(sum.high, factor, low) }
    },
    { low: [i.offset], high: [i.offset] },
  )

export interface Range {
  /** a certain lower bound; undefined: unknown */
  readonly low: Dim | undefined
  readonly high: Dim | undefined
}

/** The least and the greatest value, or bounds of them, as far as they are known. */
export const rangeOf = (i: Index): Range => {
  const { low, high } = boundsOf(i)
  return { low: low[0], high: high[0] }
}

const NONE: ReadonlySet<string> = new Set()

/** Both bounds where all of it are numbers, as most indices are; undefined: `boundsOf` knows. */
const numbersOf = ({ offset, terms }: Index): readonly [number, number] | undefined => {
  if (offset.number === undefined) return undefined
  let low = offset.number
  let high = low
  for (const { factor, atom } of terms) {
    const most = atom.kind === 'axis' ? atom.size.number : atom.kind === 'mod' ? atom.by.number : undefined
    if (factor.number === undefined || most === undefined) return undefined
    const far = factor.number * (most - 1)
    if (factor.number >= 0) high += far
    else low += far
  }
  return [low, high]
}
const numberIn = (d: DimLike): number | undefined =>
  typeof d === 'number' ? d : typeof d === 'string' ? undefined : d.number

/** Certainly low <= i. */
export const isAtLeast = (i: Index, low: DimLike, also: ReadonlySet<string> = NONE): boolean => {
  const least = numberIn(low)
  const known = least === undefined ? undefined : numbersOf(i)
  if (known !== undefined) return known[0] >= least!
  const bounds = boundsOf(i).low
  if (bounds.length === 0) return false
  const positive = bounds.every((b) => literal(b) !== undefined) ? also : new Set([...positiveIn(i), ...also])
  return bounds.some((b) => isCertain(subDim(b, low), positive))
}

/** Certainly i <= high. */
export const isAtMost = (i: Index, high: DimLike, also: ReadonlySet<string> = NONE): boolean => {
  const most = numberIn(high)
  const known = most === undefined ? undefined : numbersOf(i)
  if (known !== undefined) return known[1] <= most!
  const bounds = boundsOf(i).high
  if (bounds.length === 0) return false
  const isNumber = literal(dim(high)) !== undefined && bounds.every((b) => literal(b) !== undefined)
  const positive = isNumber ? also : new Set([...positiveIn(i), ...also])
  return bounds.some((b) => isCertain(subDim(high, b), positive))
}

/** Certainly low <= i <= high. */
export const isWithin = (i: Index, low: DimLike, high: DimLike, also?: ReadonlySet<string>): boolean =>
  isAtLeast(i, low, also) && isAtMost(i, high, also)

// ---------------------------------------------------------------------------------- combinators

/** n floor(e/n) + (e mod n) = e, and multiples of it */
const recombine = (i: Index): Index => {
  for (const r of i.terms) {
    if (r.atom.kind !== 'mod') continue
    const { of, by } = r.atom
    const quotient = divIndex(of, by)
    const only = quotient.offset.key === '0' && quotient.terms.length === 1 ? quotient.terms[0] : undefined
    if (only?.factor.key !== '1') continue
    const { key } = mulDim(r.factor, by)
    const q = i.terms.find((t) => t.factor.key === key && keyOfAtom(t.atom) === quotient.key)
    if (q === undefined) continue
    const rest = fromTerms(
      i.offset,
      i.terms.filter((t) => t !== q && t !== r),
    )
    return addIndex(rest, scaleIndex(r.factor, of))
  }
  return i
}

const isZero = (i: Index): boolean => i.terms.length === 0 && i.offset.key === '0'

export const addIndex = (a: Index, b: Index): Index =>
  isZero(a) ? b : isZero(b) ? a : recombine(fromTerms(addDim(a.offset, b.offset), mergeTerms(a.terms, b.terms)))

export const scaleIndex = (n: DimLike, a: Index): Index => {
  const by = dim(n)
  if (by.key === '1') return a
  const offset = mulDim(by, a.offset)
  return by.key === '0'
    ? fromTerms(offset, [])
    : fromTerms(
        offset,
        a.terms.map((t) => ({ factor: mulDim(by, t.factor), atom: t.atom })),
      )
}

export const subIndex = (a: Index, b: Index): Index => addIndex(a, scaleIndex(-1, b))

export const shiftIndex = (a: Index, n: DimLike): Index => {
  const offset = addDim(a.offset, n)
  return offset.key === a.offset.key ? a : fromTerms(offset, a.terms)
}

/** f / n where that is whole for all sizes; `wholes`: quotients that are known to be */
const quotient = (f: Dim, n: Dim, wholes: ReadonlyArray<Dim>): Dim | undefined => {
  if (f.key === n.key) return ONE
  const [x, y] = [literal(f), literal(n)]
  if (x === 0) return ZERO
  if (y !== undefined && x !== undefined) return x % y === 0 ? dim(x / y) : undefined
  if (n.terms.length === 1) {
    const q = divDim(f, n)
    return isWhole(q, wholes) ? q : undefined
  }
  // by a sum: a multiple of it by one monomial
  const [first] = monomialsOf(f)
  const found = monomialsOf(n)
    .map((m) => divDim(first!, m))
    .find((q) => mulDim(q, n).key === f.key)
  return found !== undefined && isWhole(found, wholes) ? found : undefined
}

const isWhole = (q: Dim, wholes: ReadonlyArray<Dim>): boolean =>
  isPolynomial(q) || wholes.some((w, i) => !isPolynomial(w) && isWhole(divDim(q, w), wholes.toSpliced(i, 1)))

const axisSizes = (i: Index): ReadonlyArray<Dim> => {
  const sizes: Dim[] = []
  for (const { atom } of i.terms) if (atom.kind === 'axis' && atom.size.number === undefined) sizes.push(atom.size)
  return sizes
}

/** i = n q + r with as much in q as divides evenly */
const splitBy = (i: Index, n: Dim): readonly [Index, Index] => {
  const by = n.number
  const wholes = by === undefined ? [n, ...axisSizes(i)] : axisSizes(i)
  const even: Term[] = []
  const odd: Term[] = []
  for (const t of i.terms) {
    const q =
      by !== undefined && t.factor.number !== undefined
        ? t.factor.number % by === 0
          ? dim(t.factor.number / by)
          : undefined
        : quotient(t.factor, n, wholes)
    if (q === undefined) odd.push(t)
    else even.push({ factor: q, atom: t.atom })
  }
  const known = floorDiv(i.offset, n)
  if (known !== undefined) return [fromTerms(known, even), fromTerms(subDim(i.offset, mulDim(n, known)), odd)]
  const q = monomialsOf(i.offset).reduce<Dim>(
    (sum, m) => addDim(sum, quotient(m, n, wholes) ?? floorDiv(m, n) ?? 0),
    ZERO,
  )
  return [fromTerms(q, even), fromTerms(subDim(i.offset, mulDim(n, q)), odd)]
}

/** whoever divides by n says that n is at least 1 */
const positiveBy = (n: Dim): ReadonlySet<string> =>
  literal(n) === undefined && n.terms.length === 1 && isPolynomial(n) ? new Set(symbolsOf(n)) : new Set()

/** floor(i / n) for i >= 0 */
export const divIndex = (i: Index, by: DimLike): Index => {
  const n = dim(by)
  if (n.key === '1') return i
  const [q, r] = splitBy(i, n)
  if (r.key === '0' || isWithin(r, 0, subDim(n, 1), positiveBy(n))) return q
  const [first] = r.terms
  // floor(floor(e/m)/n) = floor(e/(m n))
  const nested =
    r.offset.key === '0' && r.terms.length === 1 && first?.factor.key === '1' && first.atom.kind === 'div'
      ? first.atom
      : undefined
  if (nested !== undefined) return addIndex(q, divIndex(nested.of, mulDim(nested.by, n)))
  return addIndex(q, fromAtom({ kind: 'div', of: r, by: n }))
}

/** i mod n for i >= 0 */
export const modIndex = (i: Index, by: DimLike): Index => {
  const n = dim(by)
  if (n.key === '1') return whole(0)
  const r = splitBy(i, n)[1]
  return r.key === '0' || isWithin(r, 0, subDim(n, 1), positiveBy(n)) ? r : fromAtom({ kind: 'mod', of: r, by: n })
}

export const clampIndex = (i: Index, low: DimLike, high: DimLike): Index =>
  isWithin(i, low, high) ? i : fromAtom({ kind: 'clamp', of: i, low: dim(low), high: dim(high) })

/** The least of several, without those that are certainly not less than another. */
export const minIndex = (...of: ReadonlyArray<Index>): Index => {
  const isLess = (i: number, j: number): boolean =>
    of[i]!.key === of[j]!.key ? i < j : isAtLeast(subIndex(of[j]!, of[i]!), 0)
  const kept = of.filter((_, j) => !of.some((_o, i) => i !== j && isLess(i, j) && (i < j || !isLess(j, i))))
  return kept.length === 1 ? kept[0]! : fromAtom({ kind: 'min', of: kept })
}

/** The position in a row-major tensor of these sizes. */
export const flatten = (at: ReadonlyArray<Index>, sizes: ReadonlyArray<DimLike>): Index =>
  at.reduce<Index>((acc, i, d) => addIndex(scaleIndex(sizes[d]!, acc), i), whole(0))

/** The coordinates of a row-major position. */
export const unflatten = (i: Index, sizes: ReadonlyArray<DimLike>): ReadonlyArray<Index> => {
  const at: Index[] = []
  let rest = i
  sizes
    .slice(1)
    .reverse()
    .forEach((n) => {
      at.unshift(modIndex(rest, n))
      rest = divIndex(rest, n)
    })
  return sizes.length === 0 ? [] : [rest, ...at]
}

/** Atoms and expressions rewritten: an axis by an index, an expression by another. */
export const substituteIndex = (
  i: Index,
  axis: (name: string, size: Dim) => Index | undefined,
  expr: (e: Expr) => Expr,
): Index =>
  i.terms.reduce<Index>((sum, { factor, atom }) => {
    const inner = (of: Index): Index => substituteIndex(of, axis, expr)
    const replaced = ((): Index => {
      switch (atom.kind) {
        case 'axis':
          return axis(atom.name, atom.size) ?? fromAtom(atom)
        case 'div':
          return divIndex(inner(atom.of), atom.by)
        case 'mod':
          return modIndex(inner(atom.of), atom.by)
        case 'min':
          return minIndex(...atom.of.map(inner))
        case 'clamp':
          return clampIndex(inner(atom.of), atom.low, atom.high)
        case 'data':
          return dataIndex(expr(atom.of))
        default:
          return atom satisfies never
      }
    })()
    return addIndex(sum, scaleIndex(factor, replaced))
  }, whole(i.offset))
