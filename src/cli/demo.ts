/**
 * `npm run demo [-- --target c|gpujs --compare]`: the whole product on a machine that has only Node and npm. A LLaMA
 * that this project trained on Moby Dick is fine-tuned with every adapter on State of the Union addresses; one
 * table says what each costs, what it gains, and what is known of it.
 */
import Table from 'cli-table3'
import { Option, Command } from 'commander'
import type { Adapter } from '../adapters/adapter.ts'
import { registry } from '../adapters/registry.ts'
import { runLaws, type LawReport } from '../adapters/laws/index.ts'
import { compile, type TargetName } from '../codegen/index.ts'
import type { Values } from '../dsl/index.ts'
import { logitsProgram } from '../models/decode.ts'
import { generate } from '../models/generate.ts'
import { graftedParams, type Grafted } from '../models/graft.ts'
import { mergeInto } from '../models/merge.ts'
import { asValues, evaluator, heldOutLoss, startState, train, trainables, type Buffers } from '../models/train.ts'
import { compareTargets } from './demo-compare.ts'
import {
  graftIn,
  HELD_OUT_BATCHES,
  LENGTH,
  loadSetting,
  orExit,
  recipeOf,
  ROWS,
  STEPS,
  type Setting,
} from './demo-setting.ts'
import { showSeconds, startProgress, type ProgressBar } from './progress.ts'
import { askTarget, showReady } from './ready.ts'
import { processTerminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

interface Row {
  readonly adapter: string
  readonly trainable: number
  readonly before: number
  readonly after: number
  readonly merge: string
  readonly laws: string
  readonly seconds: number
}

/** told of every step of a training: how many are done, and the loss */
type OnStep = (step: number, note: string) => void

/** steps after which the rest is predicted: the first compiles */
const MEASURED = 5

// ------------------------------------------------------------------------------------ one adapter

/** logits of a few held-out tokens, on a target */
const logits = async (
  s: Setting,
  target: TargetName,
  weights: Values,
  grafted: Grafted | undefined,
  params: Buffers,
): Promise<Float32Array> => {
  const length = 32
  const executable = orExit(
    await compile(orExit(logitsProgram(s.config, grafted, 1, length)), { target, frozen: weights })(),
  )
  const tokens = Float32Array.from(s.data.heldOut.slice(0, length))
  const out = orExit(await executable.run({ ...params, tokens })())
  executable.dispose()
  return out['logits'] ?? new Float32Array()
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((m, x, i) => Math.max(m, Math.abs(x - b[i]!)), 0)

/** |merged - adapted| on this target, and the yardstick: how far f32 arithmetic itself is from f64 on the adapted model */
const mergeDifference = async (s: Setting, grafted: Grafted, params: Buffers): Promise<string> => {
  if (grafted.adapter.site !== 'linear') return 'does not merge'
  const merged = orExit(mergeInto(s.weights, grafted, asValues(trainables(s.config, grafted), params)))
  const adapted = await logits(s, s.target, s.weights, grafted, params)
  const difference = furthest(await logits(s, s.target, merged, undefined, {}), adapted)
  const yardstick = furthest(await logits(s, 'oracle', s.weights, grafted, params), adapted)
  return `${difference.toExponential(1)} (${yardstick.toExponential(1)})`
}

const lawsOf = (adapter: Adapter, target: TargetName, onLaw: (share: number, note: string) => void): string => {
  const report: LawReport = runLaws([adapter], {
    runs: 20,
    seed: 1,
    mutation: false,
    target,
    onProgress: (p) => onLaw(p.done / p.of, p.step),
  })
  const mine = report.laws.filter((l) => l.verdict !== 'notApplicable')
  const held = mine.filter((l) => l.verdict !== 'refuted').length
  return `${String(held)}/${String(mine.length)}, ${String(mine.filter((l) => l.verdict === 'proved').length)} proved`
}

const trainOne = async (s: Setting, adapter: Adapter, onStep: OnStep): Promise<Omit<Row, 'laws'>> => {
  const begun = Date.now()
  onStep(0, 'compiling')
  const { grafted, initial } = graftIn(s, adapter)
  const recipe = recipeOf(adapter)
  const job = { config: s.config, weights: s.weights, grafted, target: s.target }
  const from = startState(initial, recipe.optimiser)
  const held = orExit(await evaluator(job, from.params, ROWS, LENGTH)())
  const before = orExit(await held.loss(from.params, s.data.heldOut, HELD_OUT_BATCHES)())
  const state = orExit(
    await train({ ...job, data: s.data, recipe, from, onStep: (p) => onStep(p.step, `loss ${p.loss.toFixed(3)}`) })(),
  )
  const after = orExit(await held.loss(state.params, s.data.heldOut, HELD_OUT_BATCHES)())
  held.dispose()
  return {
    adapter: adapter.name,
    trainable: graftedParams(grafted).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0),
    before,
    after,
    merge: await mergeDifference(s, grafted, state.params),
    seconds: (Date.now() - begun) / 1000,
  }
}

// -------------------------------------------------------------------------------------- the whole

/**
 * Tells how long everything will take, once some steps of the first adapter have been timed. `forward` is what the base
 * model's evaluation took, in ms: an adapter that merges has three more programs of that kind, one of them on the oracle.
 */
const predictor = (begun: number, forward: number): ((step: number) => void) => {
  let first = 0
  return (step) => {
    if (step === 1) first = Date.now()
    if (step !== MEASURED + 1) return
    const perStep = (Date.now() - first) / MEASURED
    // what came before the first step, laws and compilation among it, comes once for each adapter
    const each = first - begun + perStep * STEPS
    const merges = 3 * forward * registry.filter((a) => a.site === 'linear').length
    console.log(
      `This will take about ${showSeconds((registry.length * each + merges) / 1000)}: ${String(MEASURED)} steps took ${perStep.toFixed(0)} ms each.\n`,
    )
  }
}

const allRows = async (s: Setting, bar: ProgressBar, predict: (step: number) => void): Promise<ReadonlyArray<Row>> => {
  const rows: Row[] = []
  const each = 2 * STEPS
  for (const [i, adapter] of registry.entries()) {
    const at = (steps: number, note: string): void =>
      bar.update(i * each + steps, registry.length * each, `${adapter.name}, ${note}`)
    const laws = lawsOf(adapter, s.target, (share, note) => at(share * STEPS, note))
    const trained = await trainOne(s, adapter, (step, note) => {
      at(STEPS + step, note)
      if (i === 0) predict(step)
    })
    rows.push({ ...trained, laws })
  }
  return rows
}

const tableOf = (s: Setting, rows: ReadonlyArray<Row>): string => {
  const table = new Table({
    head: [
      'adapter',
      'trainable',
      'share',
      'loss before',
      'loss after',
      'merged - adapted (yardstick)',
      'laws held',
      'seconds',
    ],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'left', 'right'],
    style: { head: [], border: [], compact: true },
  })
  for (const r of rows)
    table.push([
      r.adapter,
      r.trainable.toLocaleString('en'),
      `${((100 * r.trainable) / s.parameters).toFixed(2)} %`,
      r.before.toFixed(4),
      r.after.toFixed(4),
      r.merge,
      r.laws,
      r.seconds.toFixed(1),
    ])
  return table.toString()
}

/** a sentence of the base model's, to show what it knows before it is adapted */
const speak = async (s: Setting): Promise<string> => {
  const prompt = s.tokenizer?.encode('The whale') ?? []
  const speaker = { config: s.config, weights: s.weights, params: {}, target: s.target }
  const ids = orExit(await generate(speaker, prompt, 48, { temperature: 0.5, topP: 0.9, seed: 4 })())
  return (s.tokenizer?.decode([...prompt, ...ids]) ?? '').replace(/\s+/g, ' ')
}

const main = async (target: TargetName, compare: boolean): Promise<void> => {
  const ready = orExit(askTarget(target))
  const s = loadSetting(target)
  console.log(
    `A LLaMA of ${s.parameters.toLocaleString('en')} parameters, trained on Moby Dick, adapted to State of the Union addresses; ${showReady(ready)}.`,
  )
  const started = Date.now()
  const base = { config: s.config, weights: s.weights, target }
  const loss = orExit(await heldOutLoss(base, {}, s.data.heldOut, ROWS, LENGTH, HELD_OUT_BATCHES)())
  const forward = Date.now() - started
  console.log(`Held-out loss of the base model: ${loss.toFixed(4)} nats a token. It says: ${await speak(s)} ...`)
  const begun = Date.now()
  const bar = startProgress(processTerminal, 'demo')
  const rows = await allRows(s, bar, predictor(begun, forward))
  bar.stop()
  console.log(tableOf(s, rows))
  console.log(
    `${String(STEPS)} steps of ${String(ROWS)} x ${String(LENGTH)} tokens each; ${showSeconds((Date.now() - begun) / 1000)} in all. The yardstick is how far f32 arithmetic itself is from f64.`,
  )
  if (compare) console.log(await compareTargets(s))
}

await new Command('demo')
  .description('Fine-tunes the shipped checkpoint with every adapter and prints one table.')
  .addOption(new Option('--target <name>', 'what computes').choices(['auto', 'c', 'gpujs']).default('auto'))
  .option('--compare', 'also time the same steps on c and on gpujs, in this run')
  .action(({ target, compare }: { readonly target: TargetName; readonly compare?: true }) =>
    main(target, compare === true),
  )
  .parseAsync()
