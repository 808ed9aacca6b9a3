/**
 * Sums of terms in their one order: what `affine.ts` builds indices from. A term's text is its key; equal keys are equal.
 */
import { addDim, dim, type Dim } from '../../dsl/dim.ts'
import { showExpr, type Atom, type Index, type Term } from './kernel.ts'

export const ZERO = dim(0)
export const ONE = dim(1)

// --------------------------------------------------------------------------------- constructors

const keys = new WeakMap<Atom, string>()

export const keyOfAtom = (a: Atom): string => {
  if (a.kind === 'axis') return a.name
  const known = keys.get(a)
  if (known !== undefined) return known
  const made = ((): string => {
    switch (a.kind) {
      case 'div':
        return `(${a.of.key} div ${a.by.key})`
      case 'mod':
        return `(${a.of.key} mod ${a.by.key})`
      case 'min':
        return `min(${a.of.map((i) => i.key).join(', ')})`
      case 'clamp':
        return `clamp(${a.of.key}, ${a.low.key}, ${a.high.key})`
      case 'data':
        return `int(${showExpr(a.of)})`
      default:
        return a satisfies never
    }
  })()
  keys.set(a, made)
  return made
}

const keyOfFactor = (d: Dim): string => (d.terms.length > 1 ? `(${d.key})` : d.key)

const showTerm = ({ factor, atom }: Term): string =>
  factor.key === '1' ? keyOfAtom(atom) : `${keyOfFactor(factor)}*${keyOfAtom(atom)}`

/** `terms`: in order of their atoms' keys, each atom once, no factor 0 */
export const fromTerms = (offset: Dim, terms: ReadonlyArray<Term>): Index => {
  let key = ''
  for (const t of terms) key += key === '' ? showTerm(t) : `+${showTerm(t)}`
  return { offset, terms, key: key === '' ? offset.key : offset.key === '0' ? key : `${key}+${offset.key}` }
}

/** Two sums of terms as one. */
export const mergeTerms = (a: ReadonlyArray<Term>, b: ReadonlyArray<Term>): ReadonlyArray<Term> => {
  if (a.length === 0) return b
  if (b.length === 0) return a
  const out: Term[] = []
  let [i, j] = [0, 0]
  while (i < a.length && j < b.length) {
    const [s, t] = [a[i]!, b[j]!]
    const [k, l] = [keyOfAtom(s.atom), keyOfAtom(t.atom)]
    if (k === l) {
      const factor = addDim(s.factor, t.factor)
      if (factor.key !== '0') out.push({ factor, atom: t.atom })
    } else out.push(k < l ? s : t)
    if (k <= l) i += 1
    if (l <= k) j += 1
  }
  while (i < a.length) out.push(a[i++]!)
  while (j < b.length) out.push(b[j++]!)
  return out
}

export const fromAtom = (atom: Atom): Index => fromTerms(ZERO, [{ factor: ONE, atom }])
