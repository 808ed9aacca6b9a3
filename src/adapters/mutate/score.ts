/**
 * The mutation score: which share of small mistakes an adapter's laws notice. Mutants that are ill-typed are
 * `stillborn`; those equal to the original, and to its definition, at 32 generic points are `equivalent`.
 */
import fc from 'fast-check'
import { topological, type Node } from '../../dsl/node.ts'
import type { Adapter, Claim, Config, Law, Specimen } from '../adapter.ts'
import { judge, type Judgement } from '../laws/judge.ts'
import { cases, lawsOf } from '../laws/run.ts'
import { fits, fittingSpecimen, specimen } from '../laws/specimen.ts'
import { of } from '../laws/graph.ts'
import type { MutationResult } from '../laws/verdict.ts'
import { mutant, mutationsOf, showMutation, type Mutation } from './mutant.ts'

// ---------------------------------------------------------------------------------------- model

/** seeds at each of the sizes below: 32 points in all */
const SEEDS = 8
/** configs of different graphs that are mutated */
const CONFIGS = 3

/** Sizes that all differ, so that a mix-up of axes is ill-typed here if it is anywhere; 12 has many divisors. */
const distinct: Readonly<Record<string, number>> = { token: 3, in: 12, out: 5, kv: 2, group: 7, h: 4 }
/** What a mutant is tried on: these, and then square and small ones. */
const tried: ReadonlyArray<Readonly<Record<string, number>>> = [
  distinct,
  { token: 4, in: 8, out: 8, kv: 2, group: 2, h: 3 },
  { token: 2, in: 6, out: 2, kv: 1, group: 3, h: 2 },
  { token: 2, in: 3, out: 4, kv: 3, group: 1, h: 5 },
]

// --------------------------------------------------------------------------------- constructors

const wholeGraph = (s: Specimen): ReadonlyArray<Node> => {
  const host = s.host as { readonly weight?: never }
  const weight =
    s.adapter.weight === undefined || host.weight === undefined
      ? []
      : [s.adapter.weight(s.config)(s.params, host.weight)]
  const inverse =
    s.adapter.inverse === undefined || host.weight === undefined
      ? []
      : [s.adapter.inverse(s.config)(s.params, host.weight)]
  return [s.run(s.params, s.x, s.host), ...weight, ...inverse, ...Object.values(s.initial)].map((x) => x.node)
}

/** what a config makes of the graph, sizes apart: configs of one signature have the same mutants */
const signature = (s: Specimen): string =>
  topological(wholeGraph(s))
    .map((n) => (n.op === 'map' ? n.attrs.fn : n.op))
    .sort()
    .join()

/** a few configs with different graphs, those first to which most laws apply */
const mutatedConfigs = (a: Adapter, laws: ReadonlyArray<Law>, seed: number): ReadonlyArray<Config> => {
  const applicable = (c: Config): number => laws.filter((l) => l.notApplicable?.(a, c) === undefined).length
  const sampled = fc.sample(cases(a), { seed, numRuns: 40 }).map((c) => c.config)
  // a whole number of 1 (a rank, a block) hides mistakes that 2 shows
  const wide = (c: Config): number => Object.values(c).filter((v) => Number.isInteger(v) && Number(v) > 1).length
  const ranked = sampled
    .map((c, i) => ({ c, i, n: applicable(c), wide: wide(c) }))
    .sort((p, q) => q.n - p.n || q.wide - p.wide || p.i - q.i)
  const best = ranked.filter((r) => r.n === ranked[0]?.n)
  const bySignature = new Map<string, Config>()
  for (const { c } of best) {
    const key = signature(fittingSpecimen(a, c, distinct))
    if (!bySignature.has(key)) bySignature.set(key, c)
  }
  return [...bySignature.values()].slice(0, CONFIGS)
}

/** original and mutant side by side: apply at generic and at initial parameters, the initial parameters, weight, inverse */
const sameAs = (original: Specimen, other: Specimen): ReadonlyArray<Claim> => {
  const equal = (label: string, left: Node, right: Node): Claim => ({
    kind: 'equal',
    label,
    left: of(left),
    right: of(right),
  })
  const [l, r] = [wholeGraph(original), wholeGraph(other)]
  return l.map((n, i) => equal(`program ${String(i)}`, n, r[i] ?? n))
}

const isEquivalent = (a: Adapter, m: Adapter, config: Config, seed: number): boolean =>
  tried.every((sizes) => {
    const claims = sameAs(fittingSpecimen(a, config, sizes), fittingSpecimen(m, config, sizes))
    return Array.from({ length: SEEDS }, (_, i) => seed + i).every((at) =>
      judge(claims, at).every((j) => j.kind === 'held'),
    )
  })

const holdsNot = (js: ReadonlyArray<Judgement>): boolean => js.some((j) => j.kind === 'broken')
const saysNothing = (js: ReadonlyArray<Judgement>): boolean => js.some((j) => j.kind === 'vacuous')

/**
 * The first law that fails on the mutant: refuted on a case, or vacuous on every seed at the first sizes. Sizes at
 * which the mutant is ill-typed say nothing.
 */
const killer = (m: Adapter, laws: ReadonlyArray<Law>, config: Config, seed: number): Law | undefined => {
  for (const [i, sizes] of tried.entries()) {
    const s = fittingSpecimen(m, config, sizes)
    if (!fits(s)) continue
    const law = laws.find((l) => {
      const claims = l.claims(s)
      const at = (k: number) => judge(claims, seed + k, l.domain)
      const js = at(i)
      return holdsNot(js) || (i === 0 && saysNothing(js) && [1, 2, 3].every((k) => saysNothing(at(k))))
    })
    if (law !== undefined) return law
  }
  return undefined
}

/** a law that the original itself breaks says nothing about its mutants */
const holdsHere = (a: Adapter, law: Law, config: Config, seed: number): boolean =>
  tried.every((sizes, i) => !holdsNot(judge(law.claims(fittingSpecimen(a, config, sizes)), seed + i, law.domain)))

// --------------------------------------------------------------------------------- interpreters

/** Mutates every program of the adapter at every node, and counts what the laws notice. */
export const scoreMutants = (a: Adapter, seed: number): MutationResult => {
  const started = performance.now()
  const laws = lawsOf(a).filter((l) => a.fails?.[l.name] === undefined)
  const counts = { generated: 0, stillborn: 0, equivalent: 0, killed: 0 }
  const survivors: string[] = []
  const killers: Record<string, number> = {}
  const meet = (m: Mutation, config: Config, applicable: ReadonlyArray<Law>): void => {
    counts.generated += 1
    const other = mutant(a, m)
    const base = fittingSpecimen(a, config, distinct)
    const sizes = { ...distinct, ...Object.fromEntries(Object.entries(base.sizes).map(([n, s]) => [n, Number(s)])) }
    if (!fits(specimen(other, config, sizes))) counts.stillborn += 1
    else if (isEquivalent(a, other, config, seed)) counts.equivalent += 1
    else {
      const law = killer(other, applicable, config, seed)
      if (law === undefined) survivors.push(showMutation(m, config))
      else {
        counts.killed += 1
        killers[law.name] = (killers[law.name] ?? 0) + 1
      }
    }
  }
  for (const config of mutatedConfigs(a, laws, seed)) {
    const applicable = laws.filter((l) => l.notApplicable?.(a, config) === undefined && holdsHere(a, l, config, seed))
    const exercise = (traced: Adapter): void => void wholeGraph(fittingSpecimen(traced, config, distinct))
    for (const m of mutationsOf(a, exercise)) meet(m, config, applicable)
  }
  const judged = counts.killed + survivors.length
  return {
    adapter: a.name,
    ...counts,
    survivors,
    score: judged === 0 ? 1 : counts.killed / judged,
    killers,
    seconds: (performance.now() - started) / 1000,
  }
}
