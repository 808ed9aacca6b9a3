/**
 * Trains the checkpoint that the demo starts from, from nothing, on Moby Dick, and writes it as a Hugging
 * Face folder:  `npm run checkpoint [-- --steps 2000 --out checkpoints/moby]`
 */
import * as E from 'fp-ts/lib/Either.js'
import cliProgress from 'cli-progress'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  childKey,
  evaluate,
  fill,
  keyInput,
  keyWords,
  normal,
  program,
  showFaults,
  value,
  type Checked,
  type Value,
} from '../../src/dsl/index.ts'
import { readSafetensors, writeSafetensors, type StoredTensor } from '../../src/adapters/files/safetensors.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { writeHuggingFace } from '../../src/models/files/huggingface.ts'
import { readTokenizerJson } from '../../src/models/files/tokenizer.ts'
import { llamaWeights } from '../../src/models/llama.ts'
import { adamW, adamWDefaults } from '../../src/models/optimiser.ts'
import { holdOut } from '../../src/models/schedule.ts'
import { mobyDick } from '../../src/models/texts.ts'
import { evaluator, startState, train, type TrainState } from '../../src/models/train.ts'
import { learnTokenizer } from './tokenizer.ts'

const END = '<|endoftext|>'
const { values: flags } = parseArgs({
  options: {
    steps: { type: 'string', default: '5000' },
    out: { type: 'string', default: 'checkpoints/moby' },
    state: { type: 'string', default: '.checkpoint-training' },
  },
})

const orDie = <A>(checked: Checked<A>): A => {
  if (E.isRight(checked)) return checked.right
  console.error(showFaults(checked.left))
  process.exit(1)
}

const config: LlamaConfig = {
  dim: 128,
  hidden: 352,
  layers: 5,
  heads: 8,
  kvHeads: 4,
  headDim: 16,
  vocab: 512,
  normEps: 1e-5,
  ropeTheta: 10000,
  tied: true,
  maxPositions: 256,
  bos: 0,
  eos: [0],
}

/** norms one, everything else N(0, 0.05): tensor number i draws from the seed's i-th child key */
const initial = (): Readonly<Record<string, Value>> => {
  const key = keyInput('key')
  const made = llamaWeights(config).map((w, i) => {
    const shape = Object.fromEntries(w.axes.map((a, j) => [a, w.shape[j]!]))
    return [w.name, w.axes.length === 1 ? fill(1)(shape) : normal(0.05)(childKey(key, i), shape)] as const
  })
  const run = orDie(
    evaluate(orDie(program('init', Object.fromEntries(made))), { key: value({ word: 2 }, keyWords(1)) }),
  )
  return Object.fromEntries(
    llamaWeights(config).map((w) => {
      const v = run.outputs[w.name]!
      return [w.name, { dims: v.dims, data: v.data.map(Math.fround) }]
    }),
  )
}

const stored = (name: string, shape: ReadonlyArray<number>, data: Float32Array): StoredTensor => ({
  name,
  dtype: 'F32',
  shape,
  data,
})

/** The state of a run that was stopped, so that the command can be called again. */
const saveState = (s: TrainState): Checked<void> => {
  mkdirSync(flags.state, { recursive: true })
  writeFileSync(join(flags.state, 'losses.json'), JSON.stringify(s.losses))
  return writeSafetensors(
    join(flags.state, `state.safetensors`),
    Object.entries({ ...s.params, ...s.optimiser }).map(([n, d]) => stored(n, [d.length], d)),
    { metadata: { step: String(s.step) } },
  )
}
const resumed = (start: TrainState): TrainState => {
  const file = join(flags.state, 'state.safetensors')
  if (!existsSync(file)) return start
  const { tensors, metadata } = orDie(readSafetensors(file))
  const read = (arrays: TrainState['params']) =>
    Object.fromEntries(Object.keys(arrays).map((n) => [n, tensors.get(n)!.data]))
  const step = Number(metadata.get('step'))
  const losses = (JSON.parse(readFileSync(join(flags.state, 'losses.json'), 'utf8')) as number[]).slice(0, step)
  return { step, params: read(start.params), optimiser: read(start.optimiser), losses }
}

const text = orDie(mobyDick())
const tokenizerFile = join(flags.state, 'tokenizer.json')
mkdirSync(flags.state, { recursive: true })
if (!existsSync(tokenizerFile)) writeFileSync(tokenizerFile, JSON.stringify(learnTokenizer(text, config.vocab, END)))
const tokenizer = orDie(readTokenizerJson(tokenizerFile, join(flags.state, 'none.json'), config.vocab))
const tokens = tokenizer.encode(text)
console.error(`${String(text.length)} characters, ${String(tokens.length)} tokens`)

const recipe = {
  steps: Number(flags.steps),
  rows: 8,
  length: 128,
  peak: 5e-3,
  warmup: 100,
  seed: 1,
  clip: 1,
  optimiser: adamW({ ...adamWDefaults, weightDecay: 0.1 }),
}
const data = holdOut(tokens, 0.05)
const bar = new cliProgress.SingleBar({
  format: '{bar} {value}/{total} loss {loss} {speed} tokens/s, {left} s left',
  stream: process.stderr,
  noTTYOutput: true,
  notTTYSchedule: 120000,
})
const from = resumed(startState(initial(), recipe.optimiser))
/** the held-out loss so far, beside the loss of the last steps */
const held = orDie(await evaluator({ config, weights: {}, target: 'auto' }, from.params, recipe.rows, recipe.length)())
const heldOut = async (state: TrainState): Promise<void> => {
  const loss = orDie(await held.loss(state.params, data.heldOut)())
  const recent = state.losses.slice(-250)
  console.error(
    `step ${String(state.step)}: held-out ${loss.toFixed(4)}, trained on ${(recent.reduce((a, b) => a + b, 0) / recent.length).toFixed(4)} nats a token`,
  )
}
const told: Promise<void>[] = []
bar.start(recipe.steps, from.step, { loss: '-', speed: '-', left: '-' })
const state = orDie(
  await train({
    config,
    weights: {},
    data,
    recipe,
    target: 'auto',
    from,
    saveEvery: 250,
    onState: (s) => {
      told.push(heldOut(s))
      return saveState(s)
    },
    onStep: (p) =>
      bar.update(p.step, {
        loss: p.loss.toFixed(3),
        speed: p.tokensPerSecond.toFixed(0),
        left: p.secondsLeft.toFixed(0),
      }),
  })(),
)
bar.stop()
await Promise.all(told)
const final = orDie(await held.loss(state.params, data.heldOut)())
const weights = new Map(llamaWeights(config).map((w) => [w.name, stored(w.name, w.shape, state.params[w.name]!)]))
orDie(
  writeHuggingFace(
    flags.out,
    { config, tensors: weights },
    {
      dtype: 'F32',
      others: [
        { name: 'tokenizer.json', content: readFileSync(tokenizerFile, 'utf8') },
        {
          name: 'tokenizer_config.json',
          content: `${JSON.stringify({ bos_token: END, eos_token: END, clean_up_tokenization_spaces: false }, null, 1)}\n`,
        },
      ],
    },
  ),
)
console.log(`${flags.out}: ${String(recipe.steps)} steps, held-out loss ${final.toFixed(4)} nats a token`)
