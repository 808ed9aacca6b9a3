/**
 * The runner: every law on n random cases of every adapter, generated and shrunk by fast-check; a proof
 * first, where the prover finds one, and a mutation score last.
 */
import fc from 'fast-check'
import { kit } from '../../dsl/build.ts'
import type { Node } from '../../dsl/node.ts'
import { check, trace, type AnyTensor } from '../../dsl/program.ts'
import type { Adapter, Claim, Config, Law } from '../adapter.ts'
import { judge, type Judgement } from './judge.ts'
import { showFormula } from './show.ts'
import { fittingSpecimen, siteRows, specimen } from './specimen.ts'
import { standardLaws } from './standard.ts'
import type { Counterexample, LawResult } from './verdict.ts'

// ---------------------------------------------------------------------------------------- model

/** Decides whether two graphs are equal for all sizes, in exact arithmetic on finite values. */
export type Prover = (
  left: Node,
  right: Node,
) => { readonly verdict: 'unknown' } | ({ readonly verdict: 'proved' } & ProofBasis)

/** What a proof rests on: named lemmas, and what it takes for granted (a divisor that is not zero). */
export interface ProofBasis {
  readonly lemmas: ReadonlyArray<string>
  readonly assumes: ReadonlyArray<string>
}

export interface Case {
  readonly config: Config
  readonly sizes: Readonly<Record<string, number>>
  readonly seed: number
}

export interface Settings {
  readonly runs: number
  readonly seed: number
  readonly prover?: Prover
}

/** cases that a proved law is run on all the same */
const PROVED_RUNS = 20
/** more vacuous cases than this share fail the law */
const VACUOUS_SHARE = 0.05
/** configs beside the default one that a proof is made for */
const PROVED_CONFIGS = 4

// --------------------------------------------------------------------------------- constructors

/** What is tried for the sizes of axes: small, and never so small that nothing generic is left. */
const sizesTried: Readonly<Record<string, readonly [number, number]>> = {
  token: [2, 3],
  in: [2, 8],
  out: [2, 4],
  kv: [1, 2],
  group: [1, 2],
  h: [2, 4],
}

const between = (axis: string): fc.Arbitrary<number> => {
  const [min, max] = sizesTried[axis] ?? [1, 3]
  return fc.integer({ min, max })
}

const configs = (a: Adapter): fc.Arbitrary<Config> =>
  fc.record(Object.fromEntries(Object.entries(a.config).map(([n, f]) => [n, f.arbitrary])))

/** Random cases of an adapter. */
export const cases = (a: Adapter): fc.Arbitrary<Case> =>
  fc.record({
    config: configs(a),
    sizes: fc.record(Object.fromEntries(['token', ...siteRows[a.site].sizes].map((s) => [s, between(s)]))),
    seed: fc.noBias(fc.integer({ min: 0, max: 2 ** 31 - 1 })),
  })

/** The laws of an adapter: the standard ones, its own in place of those of the same name, and its further ones. */
export const lawsOf = (a: Adapter): ReadonlyArray<Law> => {
  const own = a.laws ?? []
  return [
    ...standardLaws.map((l) => own.find((o) => o.name === l.name) ?? l),
    ...own.filter((o) => !standardLaws.some((l) => l.name === o.name)),
  ]
}

export const defaults = (a: Adapter): Config =>
  Object.fromEntries(Object.entries(a.config).map(([n, f]) => [n, f.default]))

// ---------------------------------------------------------------------------------- combinators

const portsOf = (claims: ReadonlyArray<Claim>): Readonly<Record<string, AnyTensor>> =>
  Object.fromEntries(
    claims.flatMap((c, i): ReadonlyArray<readonly [string, AnyTensor]> =>
      c.kind === 'equal'
        ? [
            [`${String(i)}.left`, c.left],
            [`${String(i)}.right`, c.right],
          ]
        : [],
    ),
  )

/** A law's claims on one case, judged. */
export const judgeCase = (a: Adapter, law: Law, c: Case): ReadonlyArray<Judgement> =>
  judge(law.claims(fittingSpecimen(a, c.config, c.sizes)), c.seed, law.domain)

const broken = (js: ReadonlyArray<Judgement>): Extract<Judgement, { kind: 'broken' }> | undefined =>
  js.find((j) => j.kind === 'broken')

const programsOf = (c: Claim): { readonly left?: string; readonly right?: string } => {
  switch (c.kind) {
    case 'equal':
      return { left: showFormula(c.left.node), right: showFormula(c.right.node) }
    case 'zero':
    case 'nonzero':
    case 'executed':
    case 'golden':
      return { left: showFormula(c.tensor.node) }
    case 'holds':
      return {}
    default:
      return c satisfies never
  }
}

const explain = (a: Adapter, law: Law, c: Case): Counterexample | undefined => {
  const j = broken(judgeCase(a, law, c))
  const sizes = fittingSpecimen(a, c.config, c.sizes).sizes
  return j === undefined
    ? undefined
    : {
        config: c.config,
        sizes: { ...c.sizes, ...Object.fromEntries(Object.entries(sizes).map(([n, s]) => [n, Number(s)])) },
        seed: c.seed,
        claim: j.label,
        why: j.why,
        ...(j.worst === undefined ? {} : { worst: j.worst }),
        ...programsOf(j.claim),
      }
}

// --------------------------------------------------------------------------------- interpreters

const zeros = (n: Node): Node => kit.broadcast(kit.scalar(0, n.type.dtype), n.type.dims)

const proofOf = (c: Claim, prover: Prover): ProofBasis | undefined => {
  const equal = (l: Node, r: Node): ProofBasis | undefined => {
    const proof = prover(l, r)
    return proof.verdict === 'proved' ? proof : undefined
  }
  switch (c.kind) {
    case 'equal':
      return c.slack === undefined ? equal(c.left.node, c.right.node) : undefined
    case 'zero':
      return equal(c.tensor.node, zeros(c.tensor.node))
    case 'holds':
      return c.reason === undefined ? { lemmas: [], assumes: [] } : undefined
    case 'nonzero':
    case 'executed':
    case 'golden':
      return undefined
    default:
      return c satisfies never
  }
}

/** whether every claim of the law is proved on symbolic sizes in this config */
const provedAt = (a: Adapter, law: Law, config: Config, prover: Prover): ReadonlyArray<ProofBasis> | undefined => {
  const claims = law.claims(specimen(a, config))
  // what is decided without numbers was decided at these sizes only, and a graph with a fault is no program
  const sayable = claims.some((c) => c.kind === 'equal') && check(trace('law', portsOf(claims)))._tag === 'Right'
  const proofs: ProofBasis[] = []
  for (const c of sayable ? claims : []) {
    const proof = proofOf(c, prover)
    if (proof === undefined) return undefined
    proofs.push(proof)
  }
  return sayable ? proofs : undefined
}

/** Proved: for a few random configs, small and therefore quick to give up on, and the default one, each for all sizes. */
const proved = (a: Adapter, law: Law, settings: Settings): ProofBasis | undefined => {
  const { prover } = settings
  if (prover === undefined || law.domain !== undefined || law.onlyTested === true) return undefined
  const configsTried = [...fc.sample(configs(a), { seed: settings.seed, numRuns: PROVED_CONFIGS }), defaults(a)].filter(
    (c) => law.notApplicable?.(a, c) === undefined,
  )
  const proofs: ProofBasis[] = []
  for (const c of configsTried) {
    const found = provedAt(a, law, c, prover)
    if (found === undefined) return undefined
    proofs.push(...found)
  }
  const all = (f: (p: ProofBasis) => ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(proofs.flatMap(f))]
  return proofs.length === 0 ? undefined : { lemmas: all((p) => p.lemmas), assumes: all((p) => p.assumes) }
}

/** Runs one law on one adapter. */
export const runLaw = (a: Adapter, law: Law, settings: Settings): LawResult => {
  const started = performance.now()
  const { seed } = settings
  const fails = a.fails?.[law.name]
  const finish = (r: Pick<LawResult, 'verdict' | 'ok'> & Partial<LawResult>): LawResult => ({
    adapter: a.name,
    law: law.name,
    doc: law.doc,
    cases: 0,
    vacuous: 0,
    undecided: 0,
    worst: 0,
    seed,
    seconds: (performance.now() - started) / 1000,
    ...r,
  })
  const tried = [defaults(a), ...fc.sample(configs(a), { seed, numRuns: 50 })]
  const reasons = tried.map((c) => law.notApplicable?.(a, c))
  const reason = reasons.find((r) => r !== undefined)
  if (reason !== undefined && reasons.every((r) => r !== undefined))
    return finish({ verdict: 'notApplicable', ok: fails === undefined, reason })

  const proof = fails === undefined ? proved(a, law, settings) : undefined
  const numRuns = Math.min(settings.runs, proof !== undefined ? PROVED_RUNS : Infinity, law.mostCases ?? Infinity)
  let [counted, vacuous, undecided, worst, failed] = [0, 0, 0, 0, false]
  const run = fc.check(
    fc.property(cases(a), (c) => {
      fc.pre(law.notApplicable?.(a, c.config) === undefined)
      const js = judgeCase(a, law, c)
      const holds = broken(js) === undefined
      failed ||= !holds
      if (failed || js.length === 0) return holds
      counted += 1
      if (js.some((j) => j.kind === 'vacuous')) vacuous += 1
      else if (js.some((j) => j.kind === 'undecided')) undecided += 1
      else worst = js.reduce((m, j) => (j.kind === 'held' ? Math.max(m, j.share) : m), worst)
      return true
    }),
    { seed, numRuns, maxSkipsPerRun: 200 },
  )
  const counts = { cases: counted, vacuous, undecided, worst }
  if (run.failed && run.counterexample !== null) {
    const counterexample = explain(a, law, run.counterexample[0])
    return finish({
      ...counts,
      cases: run.numRuns,
      verdict: 'refuted',
      ok: fails !== undefined,
      ...(fails === undefined ? {} : { reason: fails }),
      ...(counterexample === undefined ? {} : { counterexample }),
    })
  }
  if (counted === 0 || vacuous > VACUOUS_SHARE * counted)
    return finish({ ...counts, verdict: 'vacuous', ok: false, reason: 'the bound says nothing of too many cases' })
  if (fails !== undefined)
    return finish({ ...counts, verdict: 'tested', ok: false, reason: `stated to fail (${fails}), but not refuted` })
  return finish({ ...counts, verdict: proof === undefined ? 'tested' : 'proved', ok: true, ...(proof ?? {}) })
}
