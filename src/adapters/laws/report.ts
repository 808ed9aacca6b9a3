/** The whole report: every law of every adapter, then the mutation scores. */
import { proveEqual } from '../../autodiff/prove/index.ts'
import type { TargetName } from '../../codegen/index.ts'
import type { Adapter } from '../adapter.ts'
import { scoreMutants } from '../mutate/score.ts'
import { onTarget, targetsAgree } from './outside.ts'
import { lawsOf, runLaw, type Prover } from './run.ts'
import type { LawReport, LawResult, MutationResult } from './verdict.ts'

// ---------------------------------------------------------------------------------------- model

export interface Progress {
  readonly adapter: string
  /** the law just finished, or `mutants` */
  readonly step: string
  readonly done: number
  readonly of: number
  readonly result?: LawResult
}

export interface LawOptions {
  /** random cases of each law, 100 unless told otherwise */
  readonly runs?: number
  readonly seed?: number
  /** the library's own, unless told otherwise */
  readonly prover?: Prover
  /** false leaves the mutation score out */
  readonly mutation?: boolean
  /** what `targetsAgree` compiles for: gpujs, which runs anywhere, unless told otherwise */
  readonly target?: TargetName
  readonly onProgress?: (p: Progress) => void
}

// --------------------------------------------------------------------------------- interpreters

/** Laws and mutation scores of these adapters. Nothing here is random but by `seed`. */
export const runLaws = (adapters: ReadonlyArray<Adapter>, options: LawOptions = {}): LawReport => {
  const { runs = 100, seed = 0, mutation: score = true, target = 'gpujs', onProgress = () => undefined } = options
  const settings = { runs, seed, prover: options.prover ?? proveEqual }
  // mutants are run on the oracle alone: a mutant that is compiled faithfully agrees with itself
  const targets = [targetsAgree(target, onTarget(target))]
  const of = adapters.reduce((n, a) => n + lawsOf(a).length + targets.length + (score ? 1 : 0), 0)
  let done = 0
  const laws: LawResult[] = []
  const mutation: MutationResult[] = []
  for (const a of adapters) {
    const results = [...lawsOf(a), ...targets].map((law) => {
      const result = runLaw(a, law, settings)
      done += 1
      onProgress({ adapter: a.name, step: law.name, done, of, result })
      return result
    })
    laws.push(...results)
    if (!score) continue
    mutation.push(scoreMutants(a, seed))
    done += 1
    onProgress({ adapter: a.name, step: 'mutants', done, of })
  }
  return { laws, mutation }
}
