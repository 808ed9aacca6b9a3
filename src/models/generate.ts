/** Text from a model: the prefix is recomputed for every token, in programs of a few fixed lengths. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { TaskEither } from 'fp-ts/lib/TaskEither.js'
import { compile, type Executable, type TargetName } from '../codegen/index.ts'
import {
  input,
  program,
  rename,
  take,
  wrap,
  type Checked,
  type Program,
  type Tensor,
  type Values,
} from '../dsl/index.ts'
import { threefry } from '../dsl/primitives/leaf.ts'
import type { LlamaConfig } from './config.ts'
import { asGraft, ungrafted, type Grafted } from './graft.ts'
import { llama, llamaHead, llamaHidden } from './llama.ts'
import type { Buffers, Faults } from './train.ts'

// ---------------------------------------------------------------------------------------- model

export interface Sampling {
  /** 0: greedy, the likeliest token */
  readonly temperature: number
  /** the smallest set of likeliest tokens with this much probability */
  readonly topP: number
  readonly seed: number
}

export interface Speaker {
  readonly config: LlamaConfig
  readonly weights: Values
  readonly grafted?: Grafted
  readonly params: Buffers
  readonly target: TargetName
}

// --------------------------------------------------------------------------------- constructors

/** logits (vocab) at position `at` of tokens (token), for a fixed length. */
export const nextTokenProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  length: number,
): Checked<Program> => {
  const graft = grafted === undefined ? ungrafted : asGraft(grafted)
  const hidden = llamaHidden(config, graft)(input('tokens', { token: length }, 'i32'))
  const last: Tensor<'in'> = wrap(pipe(hidden, take(input('at', {}, 'i32'), 'token')).node)
  return program('next', { logits: llamaHead(config, graft)<never>(last) })
}

/** logits (batch, position, vocab) of tokens (batch, position). */
export const logitsProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  rows: number,
  length: number,
): Checked<Program> => {
  const graft = grafted === undefined ? ungrafted : asGraft(grafted)
  const tokens: Tensor<'token', 'i32'> = wrap(input('tokens', { batch: rows, token: length }, 'i32').node)
  return program('logits', { logits: pipe(llama(config, graft)(tokens), rename({ token: 'position' })) })
}

// ---------------------------------------------------------------------------------- combinators

/** The token drawn from softmax(logits / temperature) cut to its top-p set, by the uniform number u in [0, 1). */
export const drawToken = (logits: Float32Array, { temperature, topP }: Sampling, u: number): number => {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b)
  if (temperature <= 0) return order[0] ?? 0
  const top = logits[order[0]!]!
  const weights = order.map((i) => Math.exp((logits[i]! - top) / temperature))
  const total = weights.reduce((a, b) => a + b, 0)
  let kept = 0
  let mass = 0
  while (kept < weights.length && mass < topP * total) mass += weights[kept++]!
  let left = u * mass
  for (let i = 0; i < kept; i++) {
    left -= weights[i]!
    if (left < 0) return order[i]!
  }
  return order[Math.max(0, kept - 1)] ?? 0
}

// --------------------------------------------------------------------------------- interpreters

/** the next length in 32, 64, 128, ..., at most the model's own */
const bucket = (n: number, most: number): number => {
  let b = 32
  while (b < n) b *= 2
  return Math.min(b, Math.max(n, most))
}

/** Up to `count` further tokens after the prompt, each told to `onToken`; stops at an end token or the model's length. */
export const generate =
  (
    speaker: Speaker,
    prompt: ReadonlyArray<number>,
    count: number,
    sampling: Sampling,
    onToken: (id: number) => void = () => undefined,
  ): TaskEither<Faults, ReadonlyArray<number>> =>
  async () => {
    const { config } = speaker
    if (prompt.length === 0) return E.left([{ at: 'prompt', expected: 'at least one token', actual: 'none' }])
    if (prompt.length > config.maxPositions)
      return E.left([
        { at: 'prompt', expected: `at most ${String(config.maxPositions)} tokens`, actual: String(prompt.length) },
      ])
    const tokens = [...prompt]
    let compiled: { readonly length: number; readonly executable: Executable } | undefined
    while (tokens.length < Math.min(prompt.length + count, config.maxPositions)) {
      const length = bucket(tokens.length, config.maxPositions)
      if (compiled?.length !== length) {
        compiled?.executable.dispose()
        const built = nextTokenProgram(config, speaker.grafted, length)
        if (E.isLeft(built)) return built
        const made = await compile(built.right, { target: speaker.target, frozen: speaker.weights })()
        if (E.isLeft(made)) return made
        compiled = { length, executable: made.right }
      }
      const padded = new Float32Array(length)
      padded.set(tokens)
      const ran = await compiled.executable.run({
        ...speaker.params,
        tokens: padded,
        at: Float32Array.of(tokens.length - 1),
      })()
      if (E.isLeft(ran)) return ran
      const u = threefry(Math.floor(sampling.seed / 2 ** 32), sampling.seed >>> 0, tokens.length, 1)[0] / 2 ** 32
      const id = drawToken(ran.right['logits'] ?? new Float32Array(), sampling, u)
      if (config.eos.includes(id) || id === config.bos) break
      tokens.push(id)
      onToken(id)
    }
    compiled?.executable.dispose()
    return E.right(tokens.slice(prompt.length))
  }
