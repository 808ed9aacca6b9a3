/**
 * Proofs that two graphs are equal for all sizes (at least 1), in exact arithmetic on finite values.
 *
 *     proveEqual(left, right) : is the normal form of left - right the empty sum?
 *
 * `unknown` is no refutation: the prover knows only what it can rewrite. What a proof takes for granted
 * (a divisor that is not zero, a matrix that can be solved with) stands in `assumes`; empty for total programs.
 */
import { kit } from '../../dsl/build.ts'
import { sameDim } from '../../dsl/dim.ts'
import { axisOf, topological, type Node } from '../../dsl/node.ts'
import { collect, polyKey } from './canonical.ts'
import type { Theory } from './closure.ts'
import { freeVariables, splitOf, substitute, subtract, type Poly } from './monomial.ts'
import { reader } from './normal.ts'
import { anywhere, merge, showPosition, variable, type Position } from './position.ts'
import { orient, rules, type AtomFacts } from './rules.ts'

// ---------------------------------------------------------------------------------------- model

/** What is declared of input tensors: A[i, j] = -A[j, i];  A A^T = A^T A = I. Not checked: it is the caller's word. */
export interface Facts {
  readonly skew?: ReadonlyArray<readonly [node: Node, i: string, j: string]>
  readonly orthogonal?: ReadonlyArray<readonly [node: Node, i: string, j: string]>
}

export type Proof =
  | {
      readonly verdict: 'proved'
      /** lemmas used, each once */
      readonly lemmas: ReadonlyArray<string>
      readonly assumes: ReadonlyArray<string>
      readonly rewrites: number
    }
  | { readonly verdict: 'unknown'; readonly residue: string }

// --------------------------------------------------------------------------------- constructors

const MOST_REWRITES = 3000
const LARGEST = 3000

interface Work extends Theory {
  readonly lemmas: ReadonlySet<string>
  readonly assumes: ReadonlySet<string>
  readonly rewrites: () => number
}

const headOf = (n: Node): string => `${n.op === 'input' ? n.attrs.name.replace(/[^\w.]/g, '_') : n.op}#${n.id}`

const atomFacts = (facts: Facts): AtomFacts => {
  const of = (rows: Facts['skew']): AtomFacts['skew'] =>
    new Map(
      (rows ?? []).map(([n, i, j]) => {
        const at = (axis: string): number => n.type.dims.findIndex((d) => d.name === axis)
        return [headOf(n), [at(i), at(j)] as const]
      }),
    )
  return { skew: of(facts.skew), orthogonal: of(facts.orthogonal) }
}

const theoryOf = (facts: Facts): Work => {
  const names = new Map<string, string>()
  const [lemmas, assumes] = [new Set<string>(), new Set<string>()]
  const known = atomFacts(facts)
  let count = 0

  /** the first rule that applies to a term of p, applied */
  const once = (p: Poly): Poly | undefined => {
    for (let i = 0; i < p.length; i++)
      for (const rule of rules) {
        const by = rule(theory, p[i]!, known)
        if (by !== undefined) return [...p.slice(0, i), ...by, ...p.slice(i + 1)]
      }
    return orient(theory, p, known)
  }
  const reduce = (p: Poly): Poly => {
    let now = collect(p)
    while (count < MOST_REWRITES && now.length < LARGEST) {
      const next = once(now)
      if (next === undefined) return now
      count += 1
      now = collect(next)
    }
    return now
  }
  const theory: Work = {
    reduce,
    nameOf: (text) => {
      const name = names.get(text) ?? `f${names.size}`
      names.set(text, name)
      return name
    },
    assume: (what) => void assumes.add(what),
    use: (lemma) => void lemmas.add(lemma),
    lemmas,
    assumes,
    rewrites: () => count,
  }
  return theory
}

// --------------------------------------------------------------------------------- interpreters

/** free variables that are read in parts are split for good: a position in all of them is a position in each */
const splitFree = (p: Poly): Poly => {
  let now = p
  for (let n = 0; n < 12; n++) {
    const atoms = now.flatMap((m) => m.atoms)
    const found = freeVariables(now)
      .map((v) => ({ v, sizes: splitOf(atoms, v) }))
      .find((s) => s.sizes !== undefined)
    if (found?.sizes === undefined) return now
    const fresh = found.sizes.map((s) => variable(s))
    now = substitute(now, new Map([[found.v.id, merge(fresh, found.sizes)]]))
  }
  return now
}

const conclude = (theory: Work, p: Poly): Proof =>
  p.length === 0
    ? {
        verdict: 'proved',
        lemmas: [...theory.lemmas],
        assumes: [...theory.assumes],
        rewrites: theory.rewrites(),
      }
    : { verdict: 'unknown', residue: showResidue(p) }

const showResidue = (p: Poly): string => {
  const text = polyKey(p, (v) => showPosition(v, (u) => `i${u.id}`))
  return text.length > 1200 ? `${text.slice(0, 1200)}... (${p.length} terms)` : text
}

const differ = (left: Node, right: Node): string | undefined =>
  left.type.dims.length !== right.type.dims.length ||
  left.type.dims.some((d) => {
    const e = axisOf(right.type, d.name)
    return e === undefined || !sameDim(e.size, d.size)
  }) ||
  left.type.dtype !== right.type.dtype
    ? 'two types'
    : topological([left, right]).some((n) => n.op === 'fault')
      ? 'a program with faults'
      : undefined

/** Is left = right, element by element, for all sizes and all finite inputs? */
export const proveEqual = (left: Node, right: Node, facts: Facts = {}): Proof => {
  const why = differ(left, right)
  if (why !== undefined) return { verdict: 'unknown', residue: why }
  if (left === right) return { verdict: 'proved', lemmas: [], assumes: [], rewrites: 0 }
  const theory = theoryOf(facts)
  const read = reader(theory)
  const env: Record<string, Position> = Object.fromEntries(left.type.dims.map((d) => [d.name, anywhere(d.size)]))
  const gap = subtract(read(left, env), read(right, env))
  return conclude(theory, theory.reduce(splitFree(theory.reduce(splitFree(gap)))))
}

/** Is the tensor zero everywhere, for all sizes and all finite inputs? */
export const proveZero = (node: Node, facts: Facts = {}): Proof =>
  proveEqual(node, kit.broadcast(kit.scalar(0, node.type.dtype), node.type.dims), facts)
