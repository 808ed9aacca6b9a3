/**
 * Laws: a law is two programs that must agree (or one that must vanish, or must not).
 * `standard` the laws, `specimen` what they speak of, `judge` how numbers decide, `run` cases and proofs,
 * `verdict` the results, `report` all of it for a list of adapters.
 */
export * from './standard.ts'
export { matchesReference, onTarget, targetsAgree, type GoldenRow } from './outside.ts'
export { runLaws, type LawOptions, type Progress } from './report.ts'
export { lawsOf, runLaw, type Prover } from './run.ts'
export {
  passes,
  PASSING_SCORE,
  showCounterexample,
  showVerdict,
  type Counterexample,
  type LawReport,
  type LawResult,
  type MutationResult,
  type Verdict,
} from './verdict.ts'
