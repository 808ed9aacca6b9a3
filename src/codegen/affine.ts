/**
 * Index arithmetic in normal form: an offset plus a sum of whole multiples of atoms. Splitting an index
 * and putting it together again cancels:  n floor(i/n) + (i mod n) = i.
 */
import { showExpr, type Atom, type Expr, type Index, type Term } from './kernel.ts'

// --------------------------------------------------------------------------------- constructors

const keyOfAtom = (a: Atom): string => {
  switch (a.kind) {
    case 'axis':
      return a.name
    case 'div':
      return `(${a.of.key} div ${a.by})`
    case 'mod':
      return `(${a.of.key} mod ${a.by})`
    case 'clamp':
      return `clamp(${a.of.key}, ${a.low}, ${a.high})`
    case 'data':
      return `int(${showExpr(a.of)})`
    default:
      return a satisfies never
  }
}

const fromTerms = (offset: number, raw: ReadonlyArray<Term>): Index => {
  const byKey = new Map<string, Term>()
  for (const t of raw) {
    const k = keyOfAtom(t.atom)
    byKey.set(k, { factor: t.factor + (byKey.get(k)?.factor ?? 0), atom: t.atom })
  }
  const kept = [...byKey].filter(([, t]) => t.factor !== 0).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const text = kept.map(([k, t]) => (t.factor === 1 ? k : `${t.factor}*${k}`))
  const key = [...text, ...(offset !== 0 || text.length === 0 ? [String(offset)] : [])].join('+')
  return { offset, terms: kept.map(([, t]) => t), key }
}

export const whole = (n: number): Index => fromTerms(n, [])
export const axisIndex = (name: string, size: number): Index =>
  size === 1 ? whole(0) : fromTerms(0, [{ factor: 1, atom: { kind: 'axis', name, size } }])
export const dataIndex = (of: Expr): Index => fromTerms(0, [{ factor: 1, atom: { kind: 'data', of } }])

// ---------------------------------------------------------------------------------- combinators

const rangeOfAtom = (a: Atom): readonly [number, number] => {
  switch (a.kind) {
    case 'axis':
      return [0, a.size - 1]
    case 'div': {
      const [low, high] = rangeOf(a.of)
      return [Math.floor(low / a.by), Math.floor(high / a.by)]
    }
    case 'mod':
      return [0, a.by - 1]
    case 'clamp':
      return [a.low, a.high]
    case 'data':
      return [-Infinity, Infinity]
    default:
      return a satisfies never
  }
}

/** The least and the greatest value. */
export const rangeOf = (i: Index): readonly [number, number] =>
  i.terms.reduce<readonly [number, number]>(
    ([low, high], { factor, atom }) => {
      const [a, b] = rangeOfAtom(atom)
      return factor > 0 ? [low + factor * a, high + factor * b] : [low + factor * b, high + factor * a]
    },
    [i.offset, i.offset],
  )

/** n floor(e/n) + (e mod n) = e, and multiples of it */
const recombine = (i: Index): Index => {
  for (const r of i.terms) {
    if (r.atom.kind !== 'mod') continue
    const { of, by } = r.atom
    const quotient = divIndex(of, by)
    const only = quotient.offset === 0 && quotient.terms.length === 1 ? quotient.terms[0] : undefined
    if (only?.factor !== 1) continue
    const q = i.terms.find((t) => t.factor === r.factor * by && keyOfAtom(t.atom) === quotient.key)
    if (q === undefined) continue
    const rest = fromTerms(
      i.offset,
      i.terms.filter((t) => t !== q && t !== r),
    )
    return addIndex(rest, scaleIndex(r.factor, of))
  }
  return i
}

export const addIndex = (a: Index, b: Index): Index =>
  recombine(fromTerms(a.offset + b.offset, [...a.terms, ...b.terms]))

export const scaleIndex = (n: number, a: Index): Index =>
  fromTerms(
    n * a.offset,
    a.terms.map((t) => ({ factor: n * t.factor, atom: t.atom })),
  )

export const shiftIndex = (a: Index, n: number): Index => fromTerms(a.offset + n, a.terms)

/** i = n q + r with as much in q as divides evenly */
const splitBy = (i: Index, n: number): readonly [Index, Index] => {
  const even = i.terms.filter((t) => t.factor % n === 0)
  const odd = i.terms.filter((t) => t.factor % n !== 0)
  const q = Math.floor(i.offset / n)
  return [
    fromTerms(
      q,
      even.map((t) => ({ factor: t.factor / n, atom: t.atom })),
    ),
    fromTerms(i.offset - n * q, odd),
  ]
}

const isWithin = (i: Index, low: number, high: number): boolean => {
  const [a, b] = rangeOf(i)
  return a >= low && b <= high
}

/** floor(i / n) for i >= 0 */
export const divIndex = (i: Index, n: number): Index => {
  if (n === 1) return i
  const [q, r] = splitBy(i, n)
  if (isWithin(r, 0, n - 1)) return q
  const [first] = r.terms
  // floor(floor(e/m)/n) = floor(e/(m n))
  const nested =
    r.offset === 0 && r.terms.length === 1 && first?.factor === 1 && first.atom.kind === 'div' ? first.atom : undefined
  if (nested !== undefined) return addIndex(q, divIndex(nested.of, nested.by * n))
  return addIndex(q, fromTerms(0, [{ factor: 1, atom: { kind: 'div', of: r, by: n } }]))
}

/** i mod n for i >= 0 */
export const modIndex = (i: Index, n: number): Index => {
  if (n === 1) return whole(0)
  const r = splitBy(i, n)[1]
  return isWithin(r, 0, n - 1) ? r : fromTerms(0, [{ factor: 1, atom: { kind: 'mod', of: r, by: n } }])
}

export const clampIndex = (i: Index, low: number, high: number): Index =>
  isWithin(i, low, high) ? i : fromTerms(0, [{ factor: 1, atom: { kind: 'clamp', of: i, low, high } }])

/** The position in a row-major tensor of these sizes. */
export const flatten = (at: ReadonlyArray<Index>, sizes: ReadonlyArray<number>): Index =>
  at.reduce<Index>((acc, i, d) => addIndex(scaleIndex(sizes[d]!, acc), i), whole(0))

/** The coordinates of a row-major position. */
export const unflatten = (i: Index, sizes: ReadonlyArray<number>): ReadonlyArray<Index> => {
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

/** Every axis that the index depends on, through data as well. */
export const isKnown = (i: Index): boolean => i.terms.length === 0

/** Atoms and expressions rewritten: an axis by an index, an expression by another. */
export const substituteIndex = (
  i: Index,
  axis: (name: string, size: number) => Index | undefined,
  expr: (e: Expr) => Expr,
): Index =>
  i.terms.reduce<Index>((sum, { factor, atom }) => {
    const inner = (of: Index): Index => substituteIndex(of, axis, expr)
    const replaced = ((): Index => {
      switch (atom.kind) {
        case 'axis':
          return axis(atom.name, atom.size) ?? fromTerms(0, [{ factor: 1, atom }])
        case 'div':
          return divIndex(inner(atom.of), atom.by)
        case 'mod':
          return modIndex(inner(atom.of), atom.by)
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
