/** Text from a model: tokens drawn from what `continuation` says of the next. */
import * as E from 'fp-ts/lib/Either.js'
import type { TaskEither } from 'fp-ts/lib/TaskEither.js'
import { threefry } from '../dsl/primitives/leaf.ts'
import { continuation, type Ready, type Speaker } from './continuation.ts'
import type { Faults } from './train.ts'

// ---------------------------------------------------------------------------------------- model

/** How a token is drawn. */
export interface Sampling {
  /** 0: greedy, the likeliest token */
  readonly temperature: number
  /** the smallest set of likeliest tokens with this much probability */
  readonly topP: number
  readonly seed: number
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

/** Who is told what, and when. */
export interface Listeners {
  readonly onToken?: (id: number) => void
  /** of what runs, before the first token */
  readonly onReady?: (ready: Ready) => void
  /** the text is read again for every token: to compare */
  readonly reread?: boolean
}

/** Up to `count` further tokens after the prompt, each told as it comes; stops at an end token or the model's length. */
export const generate =
  (
    speaker: Speaker,
    prompt: ReadonlyArray<number>,
    count: number,
    sampling: Sampling,
    { onToken, onReady, reread }: Listeners = {},
  ): TaskEither<Faults, ReadonlyArray<number>> =>
  async () => {
    const { config } = speaker
    if (prompt.length === 0) return E.left([{ at: 'prompt', expected: 'at least one token', actual: 'none' }])
    if (prompt.length > config.maxPositions)
      return E.left([
        { at: 'prompt', expected: `at most ${String(config.maxPositions)} tokens`, actual: String(prompt.length) },
      ])
    const most = Math.min(prompt.length + count, config.maxPositions)
    const { next, dispose } = continuation(speaker, most, onReady, reread)
    const tokens = [...prompt]
    while (tokens.length < most) {
      const logits = await next(tokens)
      if (E.isLeft(logits)) {
        dispose()
        return logits
      }
      const u = threefry(Math.floor(sampling.seed / 2 ** 32), sampling.seed >>> 0, tokens.length, 1)[0] / 2 ** 32
      const id = drawToken(logits.right, sampling, u)
      if (config.eos.includes(id) || id === config.bos) break
      tokens.push(id)
      onToken?.(id)
    }
    dispose()
    return E.right(tokens.slice(prompt.length))
  }
