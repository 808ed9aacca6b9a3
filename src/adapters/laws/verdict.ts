/** What the laws say of an adapter, for machines and for people. */
import type { Config } from '../adapter.ts'
import type { Worst } from './judge.ts'

// ---------------------------------------------------------------------------------------- model

/** The smallest case that was found where a law does not hold. */
export interface Counterexample {
  readonly config: Config
  readonly sizes: Readonly<Record<string, number>>
  readonly seed: number
  /** which of the law's claims, and why it is broken */
  readonly claim: string
  readonly why: string
  readonly worst?: Worst
  /** both programs as formulas */
  readonly left?: string
  readonly right?: string
}

export type Verdict = 'proved' | 'tested' | 'refuted' | 'vacuous' | 'notApplicable'

export interface LawResult {
  readonly adapter: string
  readonly law: string
  readonly doc: string
  readonly verdict: Verdict
  /** what was expected: the law holds, or it is refuted where the adapter says that it fails */
  readonly ok: boolean
  /** cases judged, and of those the ones whose bound says nothing, and the ones that a tie leaves undecided */
  readonly cases: number
  readonly vacuous: number
  readonly undecided: number
  /** largest share of the bound that a difference took */
  readonly worst: number
  readonly seed: number
  /** why not applicable, why it fails, or why this is an error */
  readonly reason?: string
  readonly counterexample?: Counterexample
  /** of a proof: the lemmas it uses, and what it takes for granted */
  readonly lemmas?: ReadonlyArray<string>
  readonly assumes?: ReadonlyArray<string>
  readonly seconds: number
}

export interface MutationResult {
  readonly adapter: string
  readonly generated: number
  readonly stillborn: number
  readonly equivalent: number
  readonly killed: number
  /** names of the mutants that every law lets pass */
  readonly survivors: ReadonlyArray<string>
  /** killed / (killed + survivors); 1 where there is nothing to kill */
  readonly score: number
  /** law -> mutants that it was the first to kill */
  readonly killers: Readonly<Record<string, number>>
  readonly seconds: number
}

export interface LawReport {
  readonly laws: ReadonlyArray<LawResult>
  readonly mutation: ReadonlyArray<MutationResult>
}

/** the share of mutants that the laws have to kill */
export const PASSING_SCORE = 0.95

/** Whether every law came out as expected, and every mutation score passes. */
export const passes = (r: LawReport): boolean =>
  r.laws.every((l) => l.ok) && r.mutation.every((m) => m.score >= PASSING_SCORE)

// --------------------------------------------------------------------------------- interpreters

const record = (r: Readonly<Record<string, unknown>>): string =>
  Object.entries(r)
    .map(([k, v]) => `${k} ${typeof v === 'number' ? String(Number(v.toPrecision(4))) : String(v)}`)
    .join(', ')

/** A counterexample for people, a few lines. */
export const showCounterexample = (c: Counterexample): string =>
  [
    `${c.claim}: ${c.why}`,
    `  config ${record(c.config) || 'none'}; sizes ${record(c.sizes)}; seed ${String(c.seed)}`,
    ...(c.worst === undefined
      ? []
      : [
          `  worst at ${c.worst.at}: ${String(c.worst.left)} and ${String(c.worst.right)}, bound ${c.worst.bound.toExponential(1)}`,
        ]),
    ...(c.left === undefined ? [] : [`  left   ${c.left}`]),
    ...(c.right === undefined ? [] : [`  right  ${c.right}`]),
  ].join('\n')

/** One line for a law: `lora  mergeEquivalent  proved, and tested (20 cases, worst 0.12 of the bound)`. */
export const showVerdict = (l: LawResult): string => {
  const tested = `${String(l.cases)} cases, worst ${l.worst.toPrecision(2)} of the bound`
  const apart = [
    ...(l.vacuous > 0 ? [`${String(l.vacuous)} vacuous`] : []),
    ...(l.undecided > 0 ? [`${String(l.undecided)} undecided`] : []),
  ]
  const assumed = l.assumes ?? []
  const given = assumed.length === 0 ? '' : `, given ${assumed.join(' and ')}`
  const words: Readonly<Record<Verdict, string>> = {
    proved: `proved for all sizes${given}; run on ${tested}`,
    tested: `tested (${[tested, ...apart].join('; ')})`,
    refuted: l.ok ? `refuted, as stated: ${l.reason ?? ''}` : 'REFUTED',
    vacuous: `FAILS: ${[...apart, tested].join('; ')}`,
    notApplicable: `not applicable: ${l.reason ?? ''}`,
  }
  const error = !l.ok && l.verdict !== 'refuted' && l.reason !== undefined ? ` ERROR: ${l.reason}` : ''
  return words[l.verdict] + error
}
