/** Finding a contraction inside a monomial: the sum on a rule's left-hand side, anywhere in a product. */
import type { Atom, Monomial } from './monomial.ts'
import { samePosition, variablesOf, type Position, type Variable } from './position.ts'

export interface Pattern {
  readonly atoms: ReadonlyArray<Atom>
  /** summed over inside the pattern: must meet bound variables that occur nowhere else */
  readonly bound: ReadonlyArray<Variable>
  /** may meet any position */
  readonly open: ReadonlyArray<Variable>
}

export interface Match {
  readonly at: ReadonlyMap<number, Position>
  /** numbers of the atoms that met the pattern */
  readonly used: ReadonlyArray<number>
  /** bound variables of the monomial that the pattern's sums took */
  readonly summed: ReadonlyArray<number>
}

type Binding = ReadonlyMap<number, Position>

const unify = (p: Position, t: Position, vars: ReadonlySet<number>, b: Binding): Binding | undefined => {
  switch (p.kind) {
    case 'var': {
      if (!vars.has(p.id)) return samePosition(p, t) ? b : undefined
      const known = b.get(p.id)
      return known === undefined ? new Map([...b, [p.id, t]]) : samePosition(known, t) ? b : undefined
    }
    case 'at':
      return samePosition(p, t) ? b : undefined
    case 'shift':
      return t.kind === 'shift' && t.by.key === p.by.key ? unify(p.of, t.of, vars, b) : undefined
    case 'part':
      return t.kind === 'part' && t.k === p.k && t.sizes.map((s) => s.key).join() === p.sizes.map((s) => s.key).join()
        ? unify(p.of, t.of, vars, b)
        : undefined
    case 'merge':
      return t.kind === 'merge' && t.sizes.map((s) => s.key).join() === p.sizes.map((s) => s.key).join()
        ? p.of.reduce<Binding | undefined>((acc, q, i) => (acc === undefined ? acc : unify(q, t.of[i]!, vars, acc)), b)
        : undefined
    default:
      return p satisfies never
  }
}

const unifyAtom = (p: Atom, a: Atom, vars: ReadonlySet<number>, b: Binding): ReadonlyArray<Binding> => {
  if (p.head !== a.head || p.at.length !== a.at.length) return []
  const inOrder = (at: ReadonlyArray<Position>): ReadonlyArray<Binding> => {
    const found = p.at.reduce<Binding | undefined>(
      (acc, q, i) => (acc === undefined ? acc : unify(q, at[i]!, vars, acc)),
      b,
    )
    return found === undefined ? [] : [found]
  }
  return p.isSymmetric === true ? [...inOrder(a.at), ...inOrder([a.at[1]!, a.at[0]!, ...a.at.slice(2)])] : inOrder(a.at)
}

/** A place of the pattern in m. `taken`: atoms that the rule uses besides the pattern; `summed`: bound variables of m that the pattern shares with them and that go too. */
export const findPattern = (
  m: Monomial,
  pattern: Pattern,
  taken: ReadonlyArray<number>,
  summed: ReadonlyArray<number> = [],
): Match | undefined => {
  const vars = new Set([...pattern.bound, ...pattern.open].map((v) => v.id))
  const boundOf = new Map(m.bound.map((v) => [v.id, v]))

  const accept = (b: Binding, used: ReadonlyArray<number>): Match | undefined => {
    const images: number[] = []
    for (const v of pattern.bound) {
      const t = b.get(v.id)
      if (t?.kind !== 'var' || t.size.key !== v.size.key || !boundOf.has(t.id)) return undefined
      images.push(t.id)
    }
    const gone = new Set([...images, ...summed])
    if (gone.size !== images.length + summed.length) return undefined
    // what the rule keeps may not mention what the sums took
    const kept = m.atoms.flatMap((a, i) => (used.includes(i) || taken.includes(i) ? [] : a.at))
    const others = pattern.open.flatMap((v) => b.get(v.id) ?? [])
    if (pattern.open.some((v) => !b.has(v.id))) return undefined
    if ([...kept, ...others].some((t) => variablesOf(t).some((v) => gone.has(v.id)))) return undefined
    // nor may the further atoms of the rule mention the pattern's own sums
    const own = new Set(images)
    if (taken.some((i) => m.atoms[i]!.at.some((t) => variablesOf(t).some((v) => own.has(v.id))))) return undefined
    return { at: b, used, summed: [...gone] }
  }

  const search = (k: number, b: Binding, used: ReadonlyArray<number>): Match | undefined => {
    const p = pattern.atoms[k]
    if (p === undefined) return accept(b, used)
    for (let i = 0; i < m.atoms.length; i++) {
      if (used.includes(i) || taken.includes(i)) continue
      for (const next of unifyAtom(p, m.atoms[i]!, vars, b)) {
        const found = search(k + 1, next, [...used, i])
        if (found !== undefined) return found
      }
    }
    return undefined
  }
  return search(0, new Map(), [])
}
