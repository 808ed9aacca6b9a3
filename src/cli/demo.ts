/**
 * `npm run demo`: the whole product on a machine that has only Node and npm. A small LLaMA that this
 * project trained on Moby Dick is fine-tuned with every adapter on State of the Union addresses; one
 * table says what each costs, what it gains, and what is known of it.
 */
import * as E from 'fp-ts/lib/Either.js'
import Table from 'cli-table3'
import cliProgress from 'cli-progress'
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
import { asValues, heldOutLoss, startState, train, trainables, type Arrays } from '../models/train.ts'
import type { LlamaConfig } from '../models/config.ts'

const STEPS = 40
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
  params: Arrays,
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

const trainOne = async (s: Setting, adapter: Adapter, onStep: (step: number, loss: number) => void): Promise<Row> => {
  const begun = Date.now()
  const grafted = orExit(graftOnto(llamaSites(s.config), adapter, configFor(adapter)))
  const initial = orExit(initialParams(grafted, 0, (path) => s.weights[`${path}.weight`]))
  const recipe = {
    steps: STEPS,
    rows: ROWS,
    length: LENGTH,
    peak: learningRateOf(adapter.name),
    warmup: 5,
    seed: 0,
    clip: 1,
    optimiser: adamW(),
  }
  const job = { config: s.config, weights: s.weights, grafted, target: 'auto' as const }
  const from = startState(initial, recipe.optimiser)
  const before = await heldOut(s, grafted, from.params)
  const state = orExit(await train({ ...job, data: s.data, recipe, from, onStep: (p) => onStep(p.step, p.loss) })())
  return {
    adapter: adapter.name,
    trainable: graftedParams(grafted).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0),
    before,
    after: await heldOut(s, grafted, state.params),
    merge: await mergeDifference(s, grafted, state.params),
    seconds: (Date.now() - begun) / 1000,
  }
}

const heldOut = async (s: Setting, grafted: Grafted | undefined, params: Arrays): Promise<number> => {
  const job = {
    config: s.config,
    weights: s.weights,
    target: 'auto' as const,
    ...(grafted === undefined ? {} : { grafted }),
  }
  return orExit(await heldOutLoss(job, params, s.data.heldOut, ROWS, LENGTH, HELD_OUT_BATCHES)())
}

/** |merged - adapted| on this target, and the yardstick: how far f32 arithmetic itself is from f64 on the adapted model */
const mergeDifference = async (s: Setting, grafted: Grafted, params: Arrays): Promise<string> => {
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
  const base = await heldOut(setting, undefined, {})
  console.log(
    `A LLaMA of ${setting.parameters.toLocaleString('en')} parameters, trained on Moby Dick, adapted to State of the Union addresses.`,
  )
  console.log(`Held-out loss of the base model: ${base.toFixed(4)} nats a token.\n`)

  const bar = new cliProgress.SingleBar({
    format: '{bar} {adapter} {what}',
    stream: process.stderr,
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 15_000,
  })
  bar.start(registry.length * STEPS, 0, { adapter: '', what: 'compiling' })
  const rows: Row[] = []
  for (const [i, adapter] of registry.entries()) {
    bar.update(i * STEPS, { adapter: adapter.name, what: 'compiling' })
    rows.push(
      await trainOne(setting, adapter, (step, loss) =>
        bar.update(i * STEPS + step, { adapter: adapter.name, what: `loss ${loss.toFixed(3)}` }),
      ),
    )
  }
  bar.update(registry.length * STEPS, { adapter: 'laws', what: '' })
  const report = runLaws(registry, { runs: 20, seed: 1, mutation: false })
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
    style: { head: [], border: [] },
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
    `${String(STEPS)} steps of ${String(ROWS)} x ${String(LENGTH)} tokens each; ${((Date.now() - begun) / 1000).toFixed(0)} s in all.`,
  )
}

await main()
