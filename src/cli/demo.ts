/**
 * `npm run demo`: the whole product on a machine that has only Node and npm. A small LLaMA that this
 * project trained on Moby Dick is fine-tuned with every adapter on State of the Union addresses; one
 * table says what each costs, what it gains, and what is known of it.
 */
import * as E from 'fp-ts/lib/Either.js'
import Table from 'cli-table3'
import { fileURLToPath } from 'node:url'
import { registry } from '../adapters/registry.ts'
import type { Adapter, Config } from '../adapters/adapter.ts'
import { runLaws, type LawReport } from '../adapters/laws/index.ts'
import { compile } from '../codegen/index.ts'
import { showFaults, type Checked, type Values } from '../dsl/index.ts'
import { loadModel } from '../models/files/load.ts'
import { logitsProgram } from '../models/generate.ts'
import { graftedParams, graftOnto, initialParams, type Grafted } from '../models/graft.ts'
import { llamaSites, llamaValues } from '../models/llama.ts'
import { mergeInto } from '../models/merge.ts'
import { adamW } from '../models/optimiser.ts'
import { learningRateOf } from '../models/recipes.ts'
import { holdOut, type Split } from '../models/schedule.ts'
import { speeches } from '../models/texts.ts'
import { asValues, evaluator, heldOutLoss, startState, train, trainables, type Buffers } from '../models/train.ts'
import type { LlamaConfig } from '../models/config.ts'
import { showSeconds, startProgress } from './progress.ts'
import { processTerminal } from './terminal.ts'

const STEPS = 80
const [ROWS, LENGTH] = [4, 64]
const HELD_OUT_BATCHES = 6
/** the speeches of these years: another century, another kind of text */
const YEARS = Array.from({ length: 10 }, (_, i) => 2011 + i)

const CHECKPOINT = fileURLToPath(new URL('../../checkpoints/moby', import.meta.url))

interface Setting {
  readonly config: LlamaConfig
  readonly weights: Values
  readonly data: Split
  readonly parameters: number
}

const orExit = <A>(checked: Checked<A>): A => {
  if (E.isRight(checked)) return checked.right
  console.error(showFaults(checked.left))
  process.exit(1)
}

const load = (): Setting => {
  const model = orExit(loadModel(CHECKPOINT))
  const text = orExit(speeches(YEARS)).slice(0, 400_000)
  const tokens = model.tokenizer?.encode(text) ?? []
  return {
    config: model.config,
    weights: llamaValues(model.config, model.tensors),
    data: holdOut(tokens, 0.1),
    parameters: [...model.tensors.values()].reduce((n, t) => n + t.data.length, 0),
  }
}

/** Sizes that fit a model 64 wide; everything else is the adapter's default. */
const configFor = (adapter: Adapter): Config => ({
  ...Object.fromEntries(Object.entries(adapter.config).map(([k, f]) => [k, f.default])),
  ...(adapter.name === 'oft' ? { block: 8 } : {}),
})

/** logits of a few held-out tokens, on a target */
const logits = async (
  s: Setting,
  target: 'auto' | 'oracle',
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

interface Row {
  readonly adapter: string
  readonly trainable: number
  readonly before: number
  readonly after: number
  readonly merge: string
  readonly seconds: number
}

const trainOne = async (s: Setting, adapter: Adapter, onStep: (step: number, note: string) => void): Promise<Row> => {
  const begun = Date.now()
  onStep(0, 'compiling')
  const grafted = orExit(graftOnto(llamaSites(s.config), adapter, configFor(adapter)))
  const initial = orExit(initialParams(grafted, 0, (path) => s.weights[`${path}.weight`]))
  const recipe = {
    steps: STEPS,
    rows: ROWS,
    length: LENGTH,
    // batches here are half of those that the rates were found with, and noisier
    peak: learningRateOf(adapter.name) / 3,
    warmup: 10,
    seed: 0,
    clip: 1,
    optimiser: adamW(),
  }
  const job = { config: s.config, weights: s.weights, grafted, target: 'auto' as const }
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

/** |merged - adapted| on this target, and the yardstick: how far f32 arithmetic itself is from f64 on the adapted model */
const mergeDifference = async (s: Setting, grafted: Grafted, params: Buffers): Promise<string> => {
  if (grafted.adapter.site !== 'linear') return 'does not merge'
  const merged = orExit(mergeInto(s.weights, grafted, asValues(trainables(s.config, grafted), params)))
  const adapted = await logits(s, 'auto', s.weights, grafted, params)
  const difference = furthest(await logits(s, 'auto', merged, undefined, {}), adapted)
  const yardstick = furthest(await logits(s, 'oracle', s.weights, grafted, params), adapted)
  return `${difference.toExponential(1)} (${yardstick.toExponential(1)})`
}

const lawsOf = (report: LawReport, adapter: string): string => {
  const mine = report.laws.filter((l) => l.adapter === adapter && l.verdict !== 'notApplicable')
  const held = mine.filter((l) => l.verdict !== 'refuted').length
  return `${String(held)}/${String(mine.length)}, ${String(mine.filter((l) => l.verdict === 'proved').length)} proved`
}

const main = async (): Promise<void> => {
  const begun = Date.now()
  const setting = load()
  const base = orExit(
    await heldOutLoss(
      { config: setting.config, weights: setting.weights, target: 'auto' },
      {},
      setting.data.heldOut,
      ROWS,
      LENGTH,
      HELD_OUT_BATCHES,
    )(),
  )
  console.log(
    `A LLaMA of ${setting.parameters.toLocaleString('en')} parameters, trained on Moby Dick, adapted to State of the Union addresses.`,
  )
  console.log(`Held-out loss of the base model: ${base.toFixed(4)} nats a token.\n`)

  const bar = startProgress(processTerminal, 'demo')
  const of = (registry.length + 1) * STEPS
  const rows: Row[] = []
  for (const [i, adapter] of registry.entries())
    rows.push(
      await trainOne(setting, adapter, (step, note) => bar.update(i * STEPS + step, of, `${adapter.name}, ${note}`)),
    )
  const report = runLaws(registry, {
    runs: 20,
    seed: 1,
    mutation: false,
    onProgress: (p) => bar.update(registry.length * STEPS + (STEPS * p.done) / p.of, of, `laws of ${p.adapter}`),
  })
  bar.stop()

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
      `${((100 * r.trainable) / setting.parameters).toFixed(2)} %`,
      r.before.toFixed(4),
      r.after.toFixed(4),
      r.merge,
      lawsOf(report, r.adapter),
      r.seconds.toFixed(1),
    ])
  console.log(table.toString())
  console.log(
    `${String(STEPS)} steps of ${String(ROWS)} x ${String(LENGTH)} tokens each; ${showSeconds((Date.now() - begun) / 1000)} in all. The yardstick is how far f32 arithmetic itself is from f64.`,
  )
}

await main()
