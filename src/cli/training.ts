/**
 * A training run from its flags to its folder: everything is checked before the first step, the state is saved
 * on the way, and the folder is complete when `training.json`, its last file, is there.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic, writeFolderAtomic } from '../adapters/files/atomic.ts'
import { decodeJson, failWith, Finite, readJson } from '../adapters/files/codec.ts'
import { writeAdapter } from '../adapters/files/folder.ts'
import type { Config } from '../adapters/index.ts'
import type { Checked } from '../dsl/index.ts'
import {
  adamW,
  graftedParams,
  graftOnto,
  heldOutLoss,
  initialParams,
  learningRateOf,
  llamaSites,
  sgd,
  startState,
  train,
  type Grafted,
  type Optimiser,
  type Recipe,
  type TrainJob,
  type TrainState,
} from '../models/index.ts'
import { asSaved } from './adapter-folder.ts'
import { findAdapter, readConfigOption, type NamedAdapter } from './adapters.ts'
import { drawLossCurve } from './loss-curve.ts'
import { modelDigests, needTokenizer, openModel, sha256, type OpenModel } from './model.ts'
import { showSeconds, startProgress } from './progress.ts'
import { readyTeller, type Ready } from './ready.ts'
import type { Terminal } from './terminal.ts'
import type { CommonOptions } from './options.ts'
import { batchesJson, readTrainingData, type TrainingData } from './training-data.ts'
import {
  abandonRun,
  claimFolder,
  hasSavedRun,
  readRun,
  removeRun,
  saveRun,
  type RunRecord,
  type SavedRun,
} from './training-state.ts'
import { versions } from './versions.ts'

// ---------------------------------------------------------------------------------------- model

const RECORD = 'training.json'

/** The flags of `train`. */
export interface TrainOptions extends CommonOptions {
  readonly model: string
  readonly adapter: string
  readonly data: string
  readonly out: string
  readonly config?: string
  readonly modules?: ReadonlyArray<string>
  readonly steps: number
  readonly rows: number
  readonly length: number
  readonly lr?: number
  readonly warmup: number
  readonly seed: number
  readonly heldOut: number
  readonly clip: number
  readonly optimiser: 'adamw' | 'sgd'
  readonly saveEvery: number
  readonly batchesOut?: string
  readonly resume?: true
  readonly force?: true
}

/** What `training.json` holds. */
export interface TrainedRun {
  readonly adapter: string
  readonly config: Config
  readonly modules: ReadonlyArray<string>
  readonly trainable: number
  readonly out: string
  readonly steps: number
  readonly rows: number
  readonly length: number
  /** in nats a token */
  readonly heldOut: { readonly before: number; readonly after: number; readonly tokens: number }
  readonly losses: ReadonlyArray<number>
  /** of this process */
  readonly seconds: number
  readonly run: RunRecord
  /** SHA-256 of the model's files, the same before and after */
  readonly model: Readonly<Record<string, string>>
  /** what computed, and why there */
  readonly ready?: Ready
  readonly versions: Readonly<Record<string, string>>
}

/** Everything that a run needs, checked. */
interface Plan {
  readonly options: TrainOptions
  readonly model: OpenModel
  readonly digests: Readonly<Record<string, string>>
  readonly grafted: Grafted
  readonly modules: ReadonlyArray<string>
  readonly data: TrainingData
  readonly recipe: Recipe
  readonly run: RunRecord
  readonly ready: ReturnType<typeof readyTeller>
}

const optimisers: Readonly<Record<TrainOptions['optimiser'], Optimiser>> = { adamw: adamW(), sgd }

// ------------------------------------------------------------------------------------- the place

type Start = 'fresh' | 'saved' | 'finished'

/** Whether the folder is free, or holds a run to go on with. */
const startIn = ({ out, resume, force }: TrainOptions): Checked<Start> => {
  if (resume && force) return failWith('--resume and --force', 'one of them', 'both')
  if (!existsSync(out)) return E.right('fresh')
  if (!statSync(out).isDirectory()) return failWith('--out', 'a folder', `${out}, a file`)
  if (hasSavedRun(out))
    return resume
      ? E.right('saved')
      : force
        ? E.right('fresh')
        : failWith(
            '--out',
            'a new folder',
            `${out}, with an unfinished run`,
            '--resume goes on with it, --force begins anew',
          )
  if (existsSync(join(out, RECORD)))
    return resume
      ? E.right('finished')
      : force
        ? E.right('fresh')
        : failWith('--out', 'a new folder', `${out}, with a finished run`, '--force begins anew')
  // a run that was killed before its first save leaves its folder and nothing in it
  return readdirSync(out).every((name) => name === '.training') || force
    ? E.right('fresh')
    : failWith('--out', 'a new or empty folder', `${out}, which holds files`, '--force writes among them')
}

// -------------------------------------------------------------------------------------- the plan

const checkLength = ({ loaded }: OpenModel, length: number): Checked<void> =>
  length > loaded.config.maxPositions
    ? failWith('--length', `at most ${loaded.config.maxPositions}, the model's length`, String(length))
    : E.right(undefined)

const recordOf = (o: TrainOptions, named: NamedAdapter, plan: Omit<Plan, 'run' | 'options' | 'ready'>): RunRecord => ({
  model: sha256(JSON.stringify(plan.digests)),
  data: plan.data.sha256,
  adapter: named.sha256 === undefined ? named.adapter.name : `${named.adapter.name}, code ${named.sha256}`,
  config: JSON.stringify(plan.grafted.config),
  modules: plan.modules.join(','),
  steps: o.steps,
  rows: o.rows,
  length: o.length,
  lr: plan.recipe.peak,
  warmup: o.warmup,
  seed: o.seed,
  'held-out': o.heldOut,
  clip: o.clip,
  optimiser: o.optimiser,
  target: o.target,
})

const planOf = (options: TrainOptions, named: NamedAdapter, terminal: Terminal): Checked<Plan> =>
  pipe(
    E.Do,
    E.bind('config', () => readConfigOption(named.adapter, options.config)),
    E.bind('model', () => openModel(options.model, terminal)),
    E.bind('digests', () => modelDigests(options.model)),
    E.tap(({ model }) => checkLength(model, options.length)),
    E.bind('tokenizer', ({ model }) => needTokenizer(model)),
    E.let('modules', () => options.modules ?? named.adapter.targets),
    E.bind('grafted', ({ config, model, modules }) =>
      graftOnto(llamaSites(model.loaded.config), named.adapter, config, modules),
    ),
    E.bind('data', ({ tokenizer }) => readTrainingData(options.data, tokenizer, options.heldOut, options.length)),
    E.map(({ model, digests, grafted, modules, data }): Plan => {
      const { steps, rows, length, warmup, clip } = options
      const recipe = {
        steps,
        rows,
        length,
        warmup,
        clip,
        seed: options.seed,
        peak: options.lr ?? learningRateOf(named.adapter.name),
        optimiser: optimisers[options.optimiser],
      }
      const parts = { model, digests, grafted, modules, data, recipe }
      return { ...parts, options, ready: readyTeller(terminal), run: recordOf(options, named, parts) }
    }),
  )

// ----------------------------------------------------------------------------------- the training

type Job = Pick<TrainJob, 'config' | 'weights' | 'grafted' | 'target' | 'onReady'>

const jobOf = ({ model, grafted, options, ready }: Plan): Job => ({
  config: model.loaded.config,
  weights: model.weights,
  grafted,
  target: options.target,
  onReady: ready.onReady,
})

const heldOutOf = async (plan: Plan, params: TrainState['params'], terminal: Terminal): Promise<Checked<number>> => {
  const { rows, length } = plan.recipe
  const bar = startProgress(terminal, 'held-out loss')
  const { heldOut } = plan.data.split
  const loss = await heldOutLoss(jobOf(plan), params, heldOut, rows, length, Infinity, bar.update)()
  bar.stop()
  return loss
}

/** the parameters as they are made; a fault where no memory holds so many */
const unlessTooLarge = <A>({ run }: Plan, make: () => Checked<A>): Checked<A> => {
  try {
    return make()
  } catch (e) {
    if (!(e instanceof RangeError)) throw e
    return failWith(`--config of ${run.adapter}`, 'parameters that fit in memory', `${run.config} (${e.message})`)
  }
}

/** the state before the first step, with the held-out loss of the parameters as they are made */
const begin = async (plan: Plan, terminal: Terminal): Promise<Checked<SavedRun>> => {
  const { grafted, model, recipe, run } = plan
  const initial = unlessTooLarge(plan, () =>
    initialParams(grafted, recipe.seed, (path) => model.weights[`${path}.weight`]),
  )
  if (E.isLeft(initial)) return initial
  const state = startState(initial.right, recipe.optimiser)
  return E.map((before: number): SavedRun => ({ run, before, state }))(await heldOutOf(plan, state.params, terminal))
}

/** All steps that the saved run lacks, saved on the way. What a fault leaves is removed, unless it can be taken up again. */
const proceed = async (plan: Plan, from: SavedRun, made: boolean, terminal: Terminal): Promise<Checked<TrainState>> => {
  const { options, grafted, recipe } = plan
  const params = graftedParams(grafted)
  const save = (state: TrainState): Checked<void> => saveRun(options.out, { ...from, state }, params, recipe.optimiser)
  const first = save(from.state)
  if (E.isLeft(first)) return first
  let resumable = false
  const bar = startProgress(terminal, 'train')
  const trained = await train({
    ...jobOf(plan),
    data: plan.data.split,
    recipe,
    from: from.state,
    saveEvery: options.saveEvery,
    onStep: ({ step, steps, loss, tokensPerSecond, secondsLeft }) =>
      bar.update(
        step,
        steps,
        `loss ${loss.toFixed(4)}, ${Math.round(tokensPerSecond)} tokens/s, ${showSeconds(secondsLeft)} left`,
      ),
    onState: (state) => {
      const saved = save(state)
      resumable = E.isLeft(saved)
      return saved
    },
  })()
  bar.stop()
  if (E.isLeft(trained) && !resumable) abandonRun(options.out, made)
  return trained
}

// ------------------------------------------------------------------------------------- the folder

const checkUnchanged = (plan: Plan): Checked<void> =>
  E.flatMap(modelDigests(plan.options.model), (now) => {
    const changed = Object.keys(plan.digests).find((file) => now[file] !== plan.digests[file])
    return changed === undefined
      ? E.right(undefined)
      : failWith(`${plan.options.model}: ${changed}`, 'a model that stays as it is during training', 'another content')
  })

const writeRun = (plan: Plan, state: TrainState, result: TrainedRun): Checked<void> => {
  const { options, grafted, modules } = plan
  const saved = asSaved({ grafted, params: state.params }, modules, options.model)
  const title = `${grafted.adapter.name}, ${result.steps} steps of ${result.rows} x ${result.length} tokens`
  return pipe(
    writeAdapter(options.out, saved),
    E.flatMap(() =>
      writeFolderAtomic(options.out, [
        { name: 'loss-curve.svg', content: drawLossCurve({ title, losses: state.losses, heldOut: result.heldOut }) },
        { name: RECORD, content: `${JSON.stringify(result, undefined, 1)}\n` },
      ]),
    ),
    E.flatMap(() => removeRun(options.out)),
  )
}

const finish = async (
  plan: Plan,
  { before }: SavedRun,
  state: TrainState,
  begun: number,
  terminal: Terminal,
): Promise<Checked<TrainedRun>> => {
  const after = await heldOutOf(plan, state.params, terminal)
  if (E.isLeft(after)) return after
  if (!Number.isFinite(after.right))
    return failWith('held-out loss after training', 'a finite loss', String(after.right), 'a smaller --lr')
  const { options, grafted, recipe, data } = plan
  const count = (shape: ReadonlyArray<number>): number => shape.reduce((a, b) => a * b, 1)
  const ready = plan.ready.told()
  const result: TrainedRun = {
    adapter: grafted.adapter.name,
    config: grafted.config,
    modules: plan.modules,
    trainable: graftedParams(grafted).reduce((n, p) => n + count(p.shape), 0),
    out: options.out,
    steps: recipe.steps,
    rows: recipe.rows,
    length: recipe.length,
    heldOut: { before, after: after.right, tokens: data.split.heldOut.length },
    losses: state.losses,
    seconds: (performance.now() - begun) / 1000,
    run: plan.run,
    model: plan.digests,
    ...(ready === undefined ? {} : { ready }),
    versions,
  }
  return pipe(
    checkUnchanged(plan),
    E.flatMap(() => writeRun(plan, state, result)),
    E.map(() => result),
  )
}

// ----------------------------------------------------------------------------------- interpreters

const Finished = t.type({
  run: t.record(t.string, t.union([t.string, t.number])),
  heldOut: t.type({ before: Finite, after: Finite }),
})

/** `--resume` of a run that has finished: its record, if it is this run. */
const readFinished = (plan: Plan): Checked<TrainedRun> => {
  const file = join(plan.options.out, RECORD)
  return E.flatMap(readJson(file), (json) =>
    E.flatMap(decodeJson(file, Finished, json), ({ run }) => {
      const other = Object.keys(plan.run).find((key) => run[key] !== plan.run[key])
      // every other part of the record is only shown
      return other === undefined
        ? E.right(json as TrainedRun)
        : failWith(
            `--resume: ${other}`,
            `${String(run[other])}, as the finished run in ${plan.options.out} had`,
            String(plan.run[other]),
          )
    }),
  )
}

/** The whole run. Errors: everything that the readers find; a folder in use; a loss that is not finite. */
export const performTraining = async (options: TrainOptions, terminal: Terminal): Promise<Checked<TrainedRun>> => {
  const begun = performance.now()
  const start = startIn(options)
  if (E.isLeft(start)) return start
  const named = await findAdapter(options.adapter)
  const planned = E.flatMap(named, (n) => planOf(options, n, terminal))
  if (E.isLeft(planned)) return planned
  const plan = planned.right
  if (start.right === 'finished') return readFinished(plan)
  if (options.resume && start.right === 'fresh')
    terminal.err.write(`${options.out}: nothing to resume, beginning anew\n`)
  if (options.batchesOut !== undefined) {
    const written = writeFileAtomic(options.batchesOut, batchesJson(plan.data.split, plan.recipe))
    if (E.isLeft(written)) return written
  }
  const made = !existsSync(options.out)
  const claimed = claimFolder(options.out)
  if (E.isLeft(claimed)) return claimed
  const params = graftedParams(plan.grafted)
  const from =
    start.right === 'saved'
      ? readRun(options.out, plan.run, params, plan.recipe.optimiser)
      : await begin(plan, terminal)
  if (E.isLeft(from)) {
    if (start.right !== 'saved') abandonRun(options.out, made)
    return from
  }
  terminal.err.write(`held-out loss before: ${from.right.before.toFixed(5)}\n`)
  const trained = await proceed(plan, from.right, made, terminal)
  return E.isLeft(trained) ? trained : finish(plan, from.right, trained.right, begun, terminal)
}
