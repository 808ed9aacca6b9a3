/** `scion laws`: the verdict on every law of every adapter named, and how many mutants the laws kill. */
import Table from 'cli-table3'
import { Command } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import type { Adapter } from '../adapters/index.ts'
import {
  passes,
  PASSING_SCORE,
  runLaws,
  showCounterexample,
  showVerdict,
  type LawReport,
  type LawResult,
  type MutationResult,
} from '../adapters/laws/index.ts'
import { proveEqual } from '../autodiff/prove/index.ts'
import { collect } from '../adapters/files/codec.ts'
import { findAdapters } from './adapters.ts'
import { adaptersArgument, integer, seed, withExamples, withJson, withTarget, type CommonOptions } from './options.ts'
import { askTarget, readyTeller } from './ready.ts'
import { startProgress } from './progress.ts'
import { defaultsOf, siteProgram, typicalSizes } from './site-program.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

interface LawsOptions extends CommonOptions {
  readonly runs: number
  readonly seed: number
  readonly mutants: boolean
}

// ------------------------------------------------------------------------------------- as JSON

const lawJson = ({
  adapter,
  law,
  verdict,
  cases,
  vacuous,
  worst,
  seed: of,
  ok,
  reason,
  counterexample,
}: LawResult) => ({
  adapter,
  law,
  verdict,
  cases,
  vacuous,
  worst,
  seed: of,
  ...(ok ? {} : { unexpected: true }),
  ...(reason === undefined ? {} : { reason }),
  ...(counterexample === undefined ? {} : { counterexample }),
})

const mutationJson = ({ adapter, generated, stillborn, equivalent, killed, survivors, score }: MutationResult) => ({
  adapter,
  generated,
  stillborn,
  equivalent,
  killed,
  survivors,
  score,
})

// ------------------------------------------------------------------------------------ as tables

const plain = { style: { head: [], border: [], compact: true } }

const lawTable = (laws: ReadonlyArray<LawResult>): string => {
  const table = new Table({
    ...plain,
    head: ['adapter', 'law', 'verdict', 'cases', 'vacuous', 'worst'],
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right'],
  })
  for (const l of laws) {
    const counted = l.verdict !== 'notApplicable'
    const verdict = `${l.verdict}${l.verdict === 'refuted' && l.ok ? ', as stated' : ''}`
    table.push([
      l.adapter,
      l.law,
      verdict,
      counted ? l.cases : '',
      counted ? l.vacuous : '',
      counted && l.verdict !== 'refuted' ? l.worst.toPrecision(2) : '',
    ])
  }
  return table.toString()
}

const mutationTable = (mutation: ReadonlyArray<MutationResult>): string => {
  const table = new Table({
    ...plain,
    head: ['adapter', 'mutants', 'stillborn', 'equivalent', 'killed', 'survivors', 'score'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'],
  })
  for (const m of mutation)
    table.push([m.adapter, m.generated, m.stillborn, m.equivalent, m.killed, m.survivors.length, m.score.toFixed(3)])
  return table.toString()
}

/** what did not come out as it should, in full */
const complaints = ({ laws, mutation }: LawReport): ReadonlyArray<string> => [
  ...laws
    .filter((l) => !l.ok)
    .map((l) =>
      l.counterexample === undefined
        ? `${l.adapter}: ${l.law} ${showVerdict(l)}`
        : `${l.adapter}: ${l.law} is refuted\n${showCounterexample(l.counterexample)}`,
    ),
  ...mutation
    .filter((m) => m.score < PASSING_SCORE)
    .map(
      (m) =>
        `${m.adapter}: the laws kill ${(100 * m.score).toFixed(1)} % of the mutants, less than ${100 * PASSING_SCORE} %; these pass: ${m.survivors.join(', ')}`,
    ),
]

const print = ({ out }: Terminal, report: LawReport): void => {
  const bad = complaints(report)
  const held = report.laws.filter((l) => l.ok).length
  out.write(
    [
      lawTable(report.laws),
      ...(report.mutation.length === 0 ? [] : [mutationTable(report.mutation)]),
      ...bad,
      `${held} of ${report.laws.length} laws came out as they should, ${report.laws.filter((l) => l.verdict === 'proved').length} of them proved.`,
      '',
    ].join('\n'),
  )
}

// --------------------------------------------------------------------------------- interpreters

/** an adapter whose programs have faults would be refuted at every law: its faults are what is wrong with it */
const wellFormed = (adapter: Adapter) =>
  E.map(() => adapter)(siteProgram(adapter, defaultsOf(adapter), typicalSizes(adapter, { in: 16, out: 16, tokens: 4 })))

const check =
  (names: ReadonlyArray<string>, options: LawsOptions, terminal: Terminal): Work =>
  async () => {
    const found = E.flatMap(await findAdapters(names), (adapters) => collect(adapters.map(wellFormed)))
    if (E.isLeft(found)) return found
    const ready = askTarget(options.target)
    if (E.isLeft(ready)) return ready
    const teller = readyTeller(terminal)
    teller.onReady(ready.right)
    const bar = startProgress(terminal, 'laws')
    const report = runLaws(found.right, {
      runs: options.runs,
      seed: options.seed,
      mutation: options.mutants,
      prover: proveEqual,
      target: options.target,
      onProgress: ({ adapter, step, done, of }) => bar.update(done, of, `${adapter} ${step}`),
    })
    bar.stop()
    if (options.json)
      printJson(terminal, {
        laws: report.laws.map(lawJson),
        mutation: report.mutation.map(mutationJson),
        ready: teller.told(),
      })
    else print(terminal, report)
    return E.right(passes(report) ? 0 : 1)
  }

/** The verb `laws`. */
export const lawsVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withTarget(
        new Command('laws')
          .summary('prove, test or refute the laws of adapters')
          .description(
            'Checks adapters against the laws: identity at init, merging, orthogonality and more. Each law is proved for all ' +
              'sizes, tested under a computed bound, or refuted with a smallest counterexample. Then faults are planted in the ' +
              'adapter (mutants), and the laws have to notice. Exit code 1 if a law is refuted, or holds where the adapter ' +
              'states that it fails, or if more than 5 % of the mutants go unnoticed.',
          )
          .addArgument(adaptersArgument)
          .option('--runs <n>', 'random cases of each law', integer(1, 1_000_000), 100)
          .option('--seed <n>', 'of the random cases', seed, 0)
          .option('--no-mutants', 'leave the mutation score out'),
      ),
      '{laws: [...], mutation: [...], ready: {target, reason}}',
    ),
    ['scion laws', 'scion laws lora hra --runs 20', 'scion laws ./mine.ts --seed 7 --json'],
  ).action((names: ReadonlyArray<string>, options: LawsOptions) => run(check(names, options, terminal)))
