/**
 * Positions along axes, as terms. Movement ops are maps of positions: a reshape is `merge` and `part`, a
 * slice is `shift`. The constructors keep terms in normal form.
 *
 *     merge([a, b], [m, n]) = a n + b        part(merge([a, b], [m, n]), [m, n], 0) = a
 */
import { addDim, dim, literal, mulDim, productDim, sameDim, scaleDim, type Dim } from '../../dsl/dim.ts'

// ---------------------------------------------------------------------------------------- model

export interface Variable {
  readonly kind: 'var'
  readonly id: number
  /** it runs over 0 .. size-1 */
  readonly size: Dim
}

export type Position =
  | Variable
  | { readonly kind: 'at'; readonly at: Dim }
  | { readonly kind: 'shift'; readonly of: Position; readonly by: Dim }
  | { readonly kind: 'merge'; readonly of: ReadonlyArray<Position>; readonly sizes: ReadonlyArray<Dim> }
  | { readonly kind: 'part'; readonly of: Position; readonly sizes: ReadonlyArray<Dim>; readonly k: number }

// --------------------------------------------------------------------------------- constructors

let nextId = 0

/** A variable that occurs nowhere else. */
export const variable = (size: Dim): Variable => {
  nextId += 1
  return { kind: 'var', id: nextId, size }
}

export const at = (d: Dim): Position => ({ kind: 'at', at: d })

/** A new variable; an axis of size 1 has one position, 0. */
export const anywhere = (size: Dim): Position => (literal(size) === 1 ? at(dim(0)) : variable(size))

/** t + d */
export const shift = (t: Position, d: Dim): Position =>
  d.key === '0'
    ? t
    : t.kind === 'at'
      ? at(addDim(t.at, d))
      : t.kind === 'shift'
        ? shift(t.of, addDim(t.by, d))
        : { kind: 'shift', of: t, by: d }

const sameDims = (a: ReadonlyArray<Dim>, b: ReadonlyArray<Dim>): boolean =>
  a.length === b.length && a.every((d, i) => sameDim(d, b[i]!))

/** row-major: the first position is the slowest */
export const merge = (of: ReadonlyArray<Position>, sizes: ReadonlyArray<Dim>): Position => {
  const flat = of.flatMap((t, i) =>
    literal(sizes[i]!) === 1
      ? []
      : t.kind === 'merge'
        ? t.of.map((u, k) => ({ t: u, size: t.sizes[k]! }))
        : [{ t, size: sizes[i]! }],
  )
  const [ts, ss] = [flat.map((f) => f.t), flat.map((f) => f.size)]
  if (ts.length === 0) return at(dim(0))
  if (ts.length === 1) return ts[0]!
  if (ts.every((t) => t.kind === 'at'))
    return at(ts.reduce<Dim>((acc, t, i) => addDim(mulDim(acc, ss[i]!), (t as { at: Dim }).at), dim(0)))
  const [first] = ts
  const whole =
    first?.kind === 'part' &&
    sameDims(first.sizes, ss) &&
    ts.every((t, k) => t.kind === 'part' && t.k === k && samePosition(t.of, first.of) && sameDims(t.sizes, ss))
  return whole ? first.of : { kind: 'merge', of: ts, sizes: ss }
}

/** the shortest groups, from the left, of two factorings of one size; undefined where none is seen */
const grouping = (
  a: ReadonlyArray<Dim>,
  b: ReadonlyArray<Dim>,
  i: number,
  j: number,
): readonly [number, number] | undefined => {
  for (let n = 2; n <= a.length - i + (b.length - j); n++)
    for (let p = 1; p < n; p++) {
      const q = n - p
      if (i + p > a.length || j + q > b.length) continue
      if (sameDim(productDim(a.slice(i, i + p)), productDim(b.slice(j, j + q)))) return [p, q]
    }
  return undefined
}

/** the k-th coordinate of a position in an axis of size `sizes[0] * sizes[1] * ...` */
export const part = (of: Position, sizes: ReadonlyArray<Dim>, k: number): Position => {
  if (literal(sizes[k]!) === 1) return at(dim(0))
  const ones = sizes.map((s) => literal(s) === 1)
  if (ones.some((o) => o))
    return part(
      of,
      sizes.filter((_, i) => !ones[i]),
      k - ones.slice(0, k).filter((o) => o).length,
    )
  if (sizes.length === 1) return of
  if (of.kind === 'part') {
    const nested = [...of.sizes.slice(0, of.k), ...sizes, ...of.sizes.slice(of.k + 1)]
    return part(of.of, nested, of.k + k)
  }
  if (of.kind === 'at') {
    const [n, stride, size] = [literal(of.at), literal(productDim(sizes.slice(k + 1))), literal(sizes[k]!)]
    return n === undefined || stride === undefined || size === undefined
      ? { kind: 'part', of, sizes, k }
      : at(dim(Math.floor(n / stride) % size))
  }
  if (of.kind !== 'merge') return { kind: 'part', of, sizes, k }
  let [i, j] = [0, 0]
  for (let g = grouping(of.sizes, sizes, i, j); g !== undefined; g = grouping(of.sizes, sizes, i, j)) {
    const [p, q] = g
    if (k < j + q) {
      if (p === of.of.length && q === sizes.length && p > 1 && q > 1) break
      const group = merge(of.of.slice(i, i + p), of.sizes.slice(i, i + p))
      return part(group, sizes.slice(j, j + q), k - j)
    }
    i += p
    j += q
  }
  return { kind: 'part', of, sizes, k }
}

// ---------------------------------------------------------------------------------- combinators

/** Every variable replaced by a position. */
export const substituteIn = (t: Position, by: (v: Variable) => Position): Position => {
  switch (t.kind) {
    case 'var':
      return by(t)
    case 'at':
      return t
    case 'shift':
      return shift(substituteIn(t.of, by), t.by)
    case 'merge':
      return merge(
        t.of.map((u) => substituteIn(u, by)),
        t.sizes,
      )
    case 'part':
      return part(substituteIn(t.of, by), t.sizes, t.k)
    default:
      return t satisfies never
  }
}

/** Every subterm equal to `from` replaced by `to`. */
export const replaceIn = (t: Position, from: Position, to: Position): Position => {
  if (samePosition(t, from)) return to
  switch (t.kind) {
    case 'var':
    case 'at':
      return t
    case 'shift':
      return shift(replaceIn(t.of, from, to), t.by)
    case 'merge':
      return merge(
        t.of.map((u) => replaceIn(u, from, to)),
        t.sizes,
      )
    case 'part':
      return part(replaceIn(t.of, from, to), t.sizes, t.k)
    default:
      return t satisfies never
  }
}

// --------------------------------------------------------------------------------- interpreters

export const showPosition = (t: Position, label: (v: Variable) => string): string => {
  switch (t.kind) {
    case 'var':
      return label(t)
    case 'at':
      return `@${t.at.key}`
    case 'shift':
      return `(${showPosition(t.of, label)}+${t.by.key})`
    case 'merge':
      return `<${t.of.map((u, i) => `${showPosition(u, label)}:${t.sizes[i]!.key}`).join(' ')}>`
    case 'part':
      return `${showPosition(t.of, label)}.${t.k}/${t.sizes.map((s) => s.key).join('x')}`
    default:
      return t satisfies never
  }
}

/** padded, so that the order of names is the order of ids: v9 before v10 */
export const byId = (v: Variable): string => `v${String(v.id).padStart(10, '0')}`
export const positionKey = (t: Position): string => showPosition(t, byId)
export const samePosition = (a: Position, b: Position): boolean => a === b || positionKey(a) === positionKey(b)

export const variablesOf = (t: Position): ReadonlyArray<Variable> =>
  t.kind === 'var'
    ? [t]
    : t.kind === 'at'
      ? []
      : t.kind === 'merge'
        ? t.of.flatMap((u) => variablesOf(u))
        : variablesOf(t.of)

/** is 0 <= t < size for certain? */
export const isWithin = (t: Position, size: Dim): boolean => {
  const n = literal(size)
  switch (t.kind) {
    case 'at': {
      const p = literal(t.at)
      return p === undefined || p < 0
        ? false
        : n !== undefined
          ? p < n
          : // every symbol is at least 1
            p === 0 && size.terms.length > 0 && size.terms.every((s) => s.coef > 0)
    }
    case 'shift':
      return false
    case 'var':
    case 'merge':
    case 'part': {
      const range = t.kind === 'var' ? t.size : t.kind === 'part' ? t.sizes[t.k]! : productDim(t.sizes)
      const r = literal(range)
      return sameDim(range, size) || (r !== undefined && n !== undefined && r <= n)
    }
    default:
      return t satisfies never
  }
}

/** is s = t impossible? seen for numbers apart, and for one position and its shift */
export const areApart = (s: Position, t: Position): boolean => {
  const offset = (p: Position): readonly [string, Dim] =>
    p.kind === 'at' ? ['', p.at] : p.kind === 'shift' ? [positionKey(p.of), p.by] : [positionKey(p), dim(0)]
  const [[a, d], [b, e]] = [offset(s), offset(t)]
  const gap = literal(addDim(d, scaleDim(-1, e)))
  return a === b && gap !== undefined && gap !== 0
}
