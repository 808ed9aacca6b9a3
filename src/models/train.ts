/**
 * Training: forward, backward, clipping and the optimiser's update as *one* program, run step by step on
 * a target. What is trained is either a grafted adapter or the whole model.
 */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { TaskEither } from 'fp-ts/lib/TaskEither.js'
import { grad } from '../autodiff/index.ts'
import { compile, type Executable, type TargetName } from '../codegen/index.ts'
import { kit } from '../dsl/build.ts'
import {
  dim,
  input,
  program,
  wrap,
  type Checked,
  type Fault,
  type Program,
  type Tensor,
  type Value,
  type Values,
} from '../dsl/index.ts'
import type { LlamaConfig } from './config.ts'
import { asGraft, graftedParams, penaltyOf, type Grafted } from './graft.ts'
import { llama, llamaWeights } from './llama.ts'
import { causalLoss, tokenLoss } from './loss.ts'
import { clipByGlobalNorm, globalNorm, type Optimiser } from './optimiser.ts'
import { batchAt, learningRate, windows, type Batch, type Split } from './schedule.ts'

// ---------------------------------------------------------------------------------------- model

/** What a run may answer with. */
export type Faults = NonEmptyArray<Fault>
/** f32 numbers by tensor name, row-major in file order */
export type Buffers = Readonly<Record<string, Float32Array>>

/** A tensor that training changes; its name is its program input's. */
export interface Trainable {
  readonly name: string
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
}

/** How training goes, the model and data apart. */
export interface Recipe {
  readonly steps: number
  readonly rows: number
  /** tokens a row */
  readonly length: number
  readonly peak: number
  readonly warmup: number
  readonly seed: number
  /** gradients are clipped to this global norm */
  readonly clip: number
  readonly optimiser: Optimiser
}

/** Everything that the next step depends on; saved and read back, training goes on as if never stopped. */
export interface TrainState {
  /** steps done */
  readonly step: number
  readonly params: Buffers
  /** `m.<param>`, `v.<param>`... */
  readonly optimiser: Buffers
  readonly losses: ReadonlyArray<number>
}

/** Told after every step; `loss` in nats a token. */
export interface Progress {
  readonly step: number
  readonly steps: number
  readonly loss: number
  readonly gradNorm: number
  readonly tokensPerSecond: number
  readonly secondsLeft: number
}

/** Everything that a training is made of. */
export interface TrainJob {
  readonly config: LlamaConfig
  /** the model's weights by name; those that are trained are taken from the state instead */
  readonly weights: Values
  /** absent: the whole model is trained */
  readonly grafted?: Grafted
  readonly data: Split
  readonly recipe: Recipe
  readonly target: TargetName
  readonly from: TrainState
  readonly onStep?: (p: Progress) => void
  /** told of what a program was compiled for, and why */
  readonly onReady?: (e: Pick<Executable, 'target' | 'reason'>) => void
  /** called with the state every `saveEvery` steps; a fault stops the run */
  readonly onState?: (s: TrainState) => Checked<void>
  readonly saveEvery?: number
}

// --------------------------------------------------------------------------------- constructors

/** What is trained: the parameters of the adapter, or without one every weight of the model. */
export const trainables = (config: LlamaConfig, grafted: Grafted | undefined): ReadonlyArray<Trainable> =>
  grafted === undefined ? llamaWeights(config) : graftedParams(grafted)

const inputOf = (t: Trainable, prefix = ''): Tensor<string> =>
  wrap(
    kit.input(
      `${prefix}${t.name}`,
      t.axes.map((name, i) => ({ name, size: dim(t.shape[i] ?? 0) })),
      'f32',
    ),
  )

const tokenInput = (name: string, rows: number, length: number): Tensor<'token', 'i32'> =>
  wrap(input(name, { batch: rows, token: length }, 'i32').node)

const lossOf = (config: LlamaConfig, grafted: Grafted | undefined, rows: number, length: number) => {
  const graft = asGraft(grafted)
  const targets = tokenInput('targets', rows, length)
  return { logits: llama(config, graft)(tokenInput('tokens', rows, length)), targets }
}

/**
 * One training step.
 * Inputs: weights, params, `m.<param>`... , tokens, targets (rows, length), lr and the optimiser's numbers.
 * Outputs: loss, gradNorm, and the new value of every parameter and state tensor under the input's name.
 */
export const stepProgram = (config: LlamaConfig, grafted: Grafted | undefined, recipe: Recipe): Checked<Program> => {
  const { rows, length, optimiser, clip } = recipe
  const { logits, targets } = lossOf(config, grafted, rows, length)
  const loss = causalLoss(logits, targets)
  const penalty = grafted === undefined ? undefined : penaltyOf(grafted)
  const objective = penalty === undefined ? loss : wrap<never>(kit.map('add', loss.node, penalty.node))
  const params = trainables(config, grafted)
  const gradients = grad(objective, Object.fromEntries(params.map((p) => [p.name, inputOf(p)])))
  const gradNorm = globalNorm(gradients)
  const clipped = clipByGlobalNorm(gradients, gradNorm, clip)
  const number = (name: string) => input(name, {}).node
  const numbers = Object.fromEntries(['lr', ...Object.keys(optimiser.numbers(1))].map((n) => [n, number(n)]))
  const updated = params.flatMap((p) => {
    const state = Object.fromEntries(optimiser.state.map((s) => [s, inputOf(p, `${s}.`).node]))
    const next = optimiser.update(inputOf(p).node, clipped[p.name]!.node, state, numbers)
    return [
      [p.name, { node: next.param }] as const,
      ...Object.entries(next.state).map(([s, node]) => [`${s}.${p.name}`, { node }] as const),
    ]
  })
  return program('step', { loss, gradNorm, ...Object.fromEntries(updated) })
}

/** The loss of each position of a batch: `losses` (rows, length). */
export const evaluationProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  rows: number,
  length: number,
): Checked<Program> => {
  const { logits, targets } = lossOf(config, grafted, rows, length)
  return program('evaluation', { losses: tokenLoss(logits, targets) })
}

/** A state before the first step: the parameters given, the optimiser's tensors zero. */
export const startState = (params: Values, optimiser: Optimiser): TrainState => ({
  step: 0,
  params: Object.fromEntries(Object.entries(params).map(([n, v]) => [n, Float32Array.from(v.data)])),
  optimiser: Object.fromEntries(
    Object.entries(params).flatMap(([n, v]) =>
      optimiser.state.map((s) => [`${s}.${n}`, new Float32Array(v.data.length)]),
    ),
  ),
  losses: [],
})

// --------------------------------------------------------------------------------- interpreters

/** Weights that training leaves alone: captured by the compiled program, never copied again. */
const frozenWeights = (weights: Values, params: Buffers): Values =>
  Object.fromEntries(Object.entries(weights).filter(([name]) => params[name] === undefined))

/** Names of inputs that do not appear in the program (a parameter that the loss does not need) are not passed. */
export const onlyInputs = (p: Program, arrays: Buffers): Buffers =>
  Object.fromEntries(p.inputs.flatMap(({ name }) => (arrays[name] === undefined ? [] : [[name, arrays[name]]])))

const batchInputs = (b: Batch): Buffers => ({ tokens: b.tokens, targets: b.targets })

/** Runs the steps that the state lacks, and answers the state after the last one. */
export const train =
  (job: TrainJob): TaskEither<Faults, TrainState> =>
  async () => {
    const { recipe } = job
    const step = stepProgram(job.config, job.grafted, recipe)
    if (E.isLeft(step)) return step
    const compiled = await compile(step.right, {
      target: job.target,
      frozen: frozenWeights(job.weights, job.from.params),
    })()
    if (E.isLeft(compiled)) return compiled
    const executable = compiled.right
    job.onReady?.(executable)
    const begun = Date.now()
    let state = job.from
    for (let s = state.step; s < recipe.steps; s++) {
      const next = await oneStep(job, step.right, executable, state, s)
      if (E.isLeft(next)) {
        executable.dispose()
        return next
      }
      state = next.right.state
      const perStep = (Date.now() - begun) / 1000 / (s + 1 - job.from.step)
      job.onStep?.({
        step: s + 1,
        steps: recipe.steps,
        loss: state.losses[s] ?? NaN,
        gradNorm: next.right.gradNorm,
        tokensPerSecond: (recipe.rows * recipe.length) / perStep,
        secondsLeft: perStep * (recipe.steps - s - 1),
      })
      if (job.saveEvery !== undefined && (s + 1) % job.saveEvery === 0) {
        const saved = job.onState?.(state)
        if (saved !== undefined && E.isLeft(saved)) {
          executable.dispose()
          return saved
        }
      }
    }
    executable.dispose()
    return E.right(state)
  }

const oneStep = async (
  job: TrainJob,
  step: Program,
  executable: Executable,
  state: TrainState,
  s: number,
): Promise<Checked<{ readonly state: TrainState; readonly gradNorm: number }>> => {
  const { recipe } = job
  const batch = batchAt(job.data.train, recipe.seed, s, recipe.rows, recipe.length)
  const numbers = Object.fromEntries(
    Object.entries({ lr: learningRate(recipe, s), ...recipe.optimiser.numbers(s + 1) }).map(([n, x]) => [
      n,
      Float32Array.of(x),
    ]),
  )
  const ran = await executable.run(
    onlyInputs(step, { ...state.params, ...state.optimiser, ...batchInputs(batch), ...numbers }),
  )()
  if (E.isLeft(ran)) return ran
  const out = ran.right
  const loss = out['loss']?.[0] ?? NaN
  if (!Number.isFinite(loss))
    return E.left([
      { at: `step ${String(s + 1)}`, expected: 'a finite loss', actual: String(loss), hint: 'a smaller learning rate' },
    ])
  const pick = (old: Buffers): Buffers => Object.fromEntries(Object.keys(old).map((n) => [n, out[n] ?? old[n]!]))
  return E.right({
    state: {
      step: s + 1,
      params: pick(state.params),
      optimiser: pick(state.optimiser),
      losses: [...state.losses, loss],
    },
    gradNorm: out['gradNorm']?.[0] ?? NaN,
  })
}

/** A compiled evaluation, for as many parameters and texts as there are. */
export interface Evaluator {
  /** mean loss, in nats a token, over consecutive windows of the tokens; at most so many batches */
  readonly loss: (
    params: Buffers,
    tokens: ReadonlyArray<number>,
    most?: number,
    onBatch?: (done: number, of: number) => void,
  ) => TaskEither<Faults, number>
  readonly dispose: () => void
}

type EvaluationJob = Pick<TrainJob, 'config' | 'weights' | 'grafted' | 'target' | 'onReady'>

/** `trained` names the parameters that each call brings; all other weights are captured. */
export const evaluator =
  (job: EvaluationJob, trained: Buffers, rows: number, length: number): TaskEither<Faults, Evaluator> =>
  async () => {
    const built = evaluationProgram(job.config, job.grafted, rows, length)
    if (E.isLeft(built)) return built
    const compiled = await compile(built.right, { target: job.target, frozen: frozenWeights(job.weights, trained) })()
    if (E.isLeft(compiled)) return compiled
    job.onReady?.(compiled.right)
    const { run, dispose } = compiled.right
    const loss: Evaluator['loss'] =
      (params, tokens, most = Infinity, onBatch = () => undefined) =>
      async () => {
        const batches = windows(tokens, rows, length).slice(0, most)
        if (batches.length === 0)
          return E.left([
            { at: 'held-out tokens', expected: `at least ${String(length + 1)}`, actual: String(tokens.length) },
          ])
        let [sum, count] = [0, 0]
        for (const [i, batch] of batches.entries()) {
          const ran = await run(onlyInputs(built.right, { ...params, ...batchInputs(filled(batch, rows)) }))()
          if (E.isLeft(ran)) return ran
          const valid = batch.rows * length
          sum += (ran.right['losses'] ?? new Float32Array()).subarray(0, valid).reduce((a, b) => a + b, 0)
          count += valid
          onBatch(i + 1, batches.length)
        }
        return E.right(sum / count)
      }
    return E.right({ loss, dispose })
  }

/** `evaluator` for one text and one set of parameters. */
export const heldOutLoss =
  (
    job: EvaluationJob,
    params: Buffers,
    tokens: ReadonlyArray<number>,
    rows: number,
    length: number,
    most = Infinity,
    onBatch: (done: number, of: number) => void = () => undefined,
  ): TaskEither<Faults, number> =>
  async () => {
    const made = await evaluator(job, params, rows, length)()
    if (E.isLeft(made)) return made
    const loss = await made.right.loss(params, tokens, most, onBatch)()
    made.right.dispose()
    return loss
  }

/** a short batch filled up with zeros, whose losses are not counted */
const filled = (b: Batch, rows: number): Batch => {
  const grow = (x: Float32Array): Float32Array => {
    const y = new Float32Array(rows * b.length)
    y.set(x)
    return y
  }
  return { rows, length: b.length, tokens: grow(b.tokens), targets: grow(b.targets) }
}

/** Stored arrays as values under the names and axes of the trainables. */
export const asValues = (ts: ReadonlyArray<Trainable>, arrays: Buffers): Values =>
  Object.fromEntries(
    ts.map((t): [string, Value] => [
      t.name,
      {
        dims: t.axes.map((name, i) => ({ name, size: t.shape[i] ?? 0 })),
        data: Float64Array.from(arrays[t.name] ?? []),
      },
    ]),
  )
