/**
 * Canonical text of monomials: bound variables are named by what they do, so that equal contractions have
 * equal keys. Colours are refined by neighbourhoods; ties are broken by trying each member of the first
 * tied class and keeping the least text. A key spells the whole monomial, so equal keys *are* equal
 * monomials; a budget cut short can only miss an equality, never invent one.
 */
import { byId, showPosition, type Variable } from './position.ts'
import { showRational, plus, isZero } from './rational.ts'
import type { Atom, Monomial, Poly } from './monomial.ts'

export type Label = (v: Variable) => string

const showAtom = (a: Atom, label: Label): string => {
  const ps = a.at.map((t) => showPosition(t, label))
  const swapped = a.isSymmetric === true && ps[1]! < ps[0]! ? [ps[1]!, ps[0]!, ...ps.slice(2)] : ps
  return `${a.head}[${swapped.join(',')}]`
}

const showSizes = (m: Monomial): string =>
  [...m.sizes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([s, n]) => `${s}^${n}`)
    .join('*')

/** FNV-1a: colours need only be equal for equal neighbourhoods */
const hash = (text: string): string => {
  let [h, g] = [0x811c9dc5, 0x12345]
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
    g = Math.imul(g ^ text.charCodeAt(i), 0x85ebca6b) ^ (g >>> 13)
  }
  return `${(h >>> 0).toString(36)}.${(g >>> 0).toString(36)}`
}

type Colours = ReadonlyMap<number, string>

const refine = (m: Monomial, free: Label, start: Colours): Colours => {
  let colours = start
  let classes = new Set(colours.values()).size
  for (let round = 0; round < 6; round++) {
    const label: Label = (v) => colours.get(v.id) ?? free(v)
    const next = new Map<number, string>()
    for (const v of m.bound) {
      const around = m.atoms
        .map((a) => showAtom(a, (u) => (u.id === v.id ? '*' : label(u))))
        .filter((text) => text.includes('*'))
        .sort()
      next.set(v.id, hash(`${colours.get(v.id)!}|${around.join('|')}`))
    }
    colours = next
    const now = new Set(colours.values()).size
    if (now === classes || now === m.bound.length) break
    classes = now
  }
  return colours
}

/** sizes and atoms as text, the coefficient left out */
export const monomialKey = (m: Monomial, free: Label = byId): string => {
  let budget = 24
  const spell = (colours: Colours): string => {
    const order = [...m.bound].sort((a, b) => (colours.get(a.id)! < colours.get(b.id)! ? -1 : 1))
    const names = new Map(order.map((v, i) => [v.id, `b${i}:${v.size.key}`]))
    const atoms = m.atoms.map((a) => showAtom(a, (v) => names.get(v.id) ?? free(v))).sort()
    return `${showSizes(m)} ${atoms.join(' ')}`
  }
  const search = (start: Colours): string => {
    const colours = refine(m, free, start)
    const classes = new Map<string, number[]>()
    for (const v of m.bound) classes.set(colours.get(v.id)!, [...(classes.get(colours.get(v.id)!) ?? []), v.id])
    const tied = [...classes].filter(([, ids]) => ids.length > 1).sort(([a], [b]) => (a < b ? -1 : 1))[0]
    if (tied === undefined) return spell(colours)
    let best: string | undefined
    for (const id of tied[1]) {
      if (best !== undefined && budget <= 0) break
      budget -= 1
      const text = search(new Map([...colours, [id, `${tied[0]}!`]]))
      if (best === undefined || text < best) best = text
    }
    return best!
  }
  return search(new Map(m.bound.map((v) => [v.id, `:${v.size.key}`])))
}

/** Equal monomials added up. */
export const collect = (p: Poly): Poly => {
  const sums = new Map<string, Monomial>()
  for (const m of p) {
    const k = monomialKey(m)
    const known = sums.get(k)
    sums.set(k, known === undefined ? m : { ...known, coef: plus(known.coef, m.coef) })
  }
  return [...sums.values()].filter((m) => !isZero(m.coef))
}

export const polyKey = (p: Poly, free: Label = byId): string =>
  p
    .map((m) => `${showRational(m.coef)} ${monomialKey(m, free)}`)
    .sort()
    .join(' + ')

/** The order of `params` in which the polynomial's text is least; ties beyond four are left as they come. */
export const orderParams = (
  p: Poly,
  designated: ReadonlyArray<Variable>,
  params: ReadonlyArray<Variable>,
): { readonly key: string; readonly order: ReadonlyArray<Variable> } => {
  const fixed = new Map(designated.map((v, i) => [v.id, `d${i}:${v.size.key}`]))
  const keyIn = (order: ReadonlyArray<Variable>): string => {
    const names = new Map(order.map((v, i) => [v.id, `p${i}:${v.size.key}`]))
    return polyKey(p, (v) => fixed.get(v.id) ?? names.get(v.id) ?? '?')
  }
  if (params.length < 2) return { key: keyIn(params), order: params }
  const role = new Map(
    params.map((v) => [v.id, hash(polyKey(p, (u) => fixed.get(u.id) ?? (u.id === v.id ? '*' : `?${u.size.key}`)))]),
  )
  const sorted = [...params].sort((a, b) => (role.get(a.id)! < role.get(b.id)! ? -1 : 1))
  const groups: Variable[][] = []
  for (const v of sorted) {
    const last = groups.at(-1)
    if (last !== undefined && role.get(last[0]!.id) === role.get(v.id)) last.push(v)
    else groups.push([v])
  }
  const orders = groups.reduce<ReadonlyArray<ReadonlyArray<Variable>>>(
    (acc, g) =>
      g.length > 4 ? acc.map((o) => [...o, ...g]) : acc.flatMap((o) => permutations(g).map((q) => [...o, ...q])),
    [[]],
  )
  return orders
    .slice(0, 48)
    .map((order) => ({ key: keyIn(order), order }))
    .reduce((a, b) => (b.key < a.key ? b : a))
}

const permutations = <A>(xs: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  xs.length < 2
    ? [xs]
    : xs.flatMap((x, i) => permutations([...xs.slice(0, i), ...xs.slice(i + 1)]).map((rest) => [x, ...rest]))
