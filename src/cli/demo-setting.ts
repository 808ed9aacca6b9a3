/** What the demo works on: the shipped checkpoint, the text that it is adapted to, and how an adapter is trained there. */
import * as E from 'fp-ts/lib/Either.js'
import { fileURLToPath } from 'node:url'
import type { Adapter } from '../adapters/adapter.ts'
import type { TargetName } from '../codegen/index.ts'
import { showFaults, type Checked, type Values } from '../dsl/index.ts'
import type { LlamaConfig } from '../models/config.ts'
import { loadModel } from '../models/files/load.ts'
import type { Tokenizer } from '../models/files/tokenizer.ts'
import { graftOnto, initialParams, type Grafted } from '../models/graft.ts'
import { llamaSites, llamaValues } from '../models/llama.ts'
import { adamW } from '../models/optimiser.ts'
import { learningRateOf } from '../models/recipes.ts'
import { holdOut, type Split } from '../models/schedule.ts'
import { speeches } from '../models/texts.ts'
import type { Recipe } from '../models/train.ts'
import { defaultsOf } from './site-program.ts'

// ---------------------------------------------------------------------------------------- model

/** The model, the text in tokens, and what computes. */
export interface Setting {
  readonly config: LlamaConfig
  readonly weights: Values
  readonly tokenizer: Tokenizer | undefined
  readonly data: Split
  readonly parameters: number
  readonly target: TargetName
}

/** updates of each training */
export const STEPS = 80
/** a batch: so many rows of so many tokens */
export const [ROWS, LENGTH] = [4, 64]
/** batches of the held-out text that a loss is measured on */
export const HELD_OUT_BATCHES = 6
/** the speeches of these years: another century, another kind of text */
const YEARS = Array.from({ length: 10 }, (_, i) => 2011 + i)

const CHECKPOINT = fileURLToPath(new URL('../../checkpoints/moby', import.meta.url))

// --------------------------------------------------------------------------------- constructors

/** What a demo cannot go on without; its faults end it. */
export const orExit = <A>(checked: Checked<A>): A => {
  if (E.isRight(checked)) return checked.right
  console.error(showFaults(checked.left))
  process.exit(1)
}

/** The shipped checkpoint with the speeches, the last tenth held out. Ends the demo where either cannot be read. */
export const loadSetting = (target: TargetName): Setting => {
  const model = orExit(loadModel(CHECKPOINT))
  const text = orExit(speeches(YEARS)).slice(0, 400_000)
  const tokens = model.tokenizer?.encode(text) ?? []
  return {
    target,
    tokenizer: model.tokenizer,
    config: model.config,
    weights: llamaValues(model.config, model.tensors),
    data: holdOut(tokens, 0.1),
    parameters: [...model.tensors.values()].reduce((n, t) => n + t.data.length, 0),
  }
}

/** An adapter with its defaults on the demo's model, and its parameters before the first step. */
export const graftIn = (s: Setting, adapter: Adapter): { readonly grafted: Grafted; readonly initial: Values } => {
  const grafted = orExit(graftOnto(llamaSites(s.config), adapter, defaultsOf(adapter)))
  return { grafted, initial: orExit(initialParams(grafted, 0, (path) => s.weights[`${path}.weight`])) }
}

/** How an adapter is trained here: AdamW at a third of the rate that worked for it. */
export const recipeOf = (adapter: Adapter, steps = STEPS): Recipe => ({
  steps,
  rows: ROWS,
  length: LENGTH,
  // batches here are half of those that the rates were found with, and noisier
  peak: learningRateOf(adapter.name) / 3,
  warmup: 10,
  seed: 0,
  clip: 1,
  optimiser: adamW(),
})
