/** The learning rate of each step, and which tokens it sees: pure functions of seed and step. */
import { threefry } from '../dsl/primitives/leaf.ts'

/** Of the learning rate. */
export interface Schedule {
  /** peak learning rate */
  readonly peak: number
  readonly steps: number
  /** steps of linear warm-up */
  readonly warmup: number
}

/**
 * Warm-up, then a cosine down to zero, for step s from 0:
 * peak (s + 1) / warmup for s < warmup, else peak/2 (1 + cos(pi (s - warmup) / (steps - warmup))).
 */
export const learningRate = ({ peak, steps, warmup }: Schedule, s: number): number =>
  s < warmup
    ? (peak * (s + 1)) / warmup
    : (peak / 2) * (1 + Math.cos((Math.PI * (s - warmup)) / Math.max(1, steps - warmup)))

/** Token ids to train on, and those kept apart. */
export interface Split {
  readonly train: ReadonlyArray<number>
  readonly heldOut: ReadonlyArray<number>
}

/** The last `share` of the tokens held out. */
export const holdOut = (tokens: ReadonlyArray<number>, share: number): Split => {
  const at = tokens.length - Math.floor(tokens.length * share)
  return { train: tokens.slice(0, at), heldOut: tokens.slice(at) }
}

/** Token ids of a batch, row after row: inputs and the tokens that follow them. */
export interface Batch {
  readonly rows: number
  readonly length: number
  readonly tokens: Float32Array
  readonly targets: Float32Array
}

const cut = (tokens: ReadonlyArray<number>, starts: ReadonlyArray<number>, length: number): Batch => {
  const at = (shift: number): Float32Array =>
    Float32Array.from(
      { length: starts.length * length },
      (_, i) => tokens[starts[Math.floor(i / length)]! + (i % length) + shift] ?? 0,
    )
  return { rows: starts.length, length, tokens: at(0), targets: at(1) }
}

/** Step s of a seed: `rows` windows of length + 1 tokens, each starting at threefry(seed; s, row) mod (n - length). */
export const batchAt = (tokens: ReadonlyArray<number>, seed: number, s: number, rows: number, length: number): Batch =>
  cut(
    tokens,
    Array.from(
      { length: rows },
      (_, row) => threefry(Math.floor(seed / 2 ** 32), seed >>> 0, s, row)[0] % (tokens.length - length),
    ),
    length,
  )

/** Consecutive windows of length + 1 tokens that overlap by one, `rows` at a time; the last batch repeats none and may hold fewer rows. */
export const windows = (tokens: ReadonlyArray<number>, rows: number, length: number): ReadonlyArray<Batch> => {
  const count = Math.floor((tokens.length - 1) / length)
  const starts = Array.from({ length: count }, (_, i) => i * length)
  return Array.from({ length: Math.ceil(count / rows) }, (_, b) =>
    cut(tokens, starts.slice(b * rows, (b + 1) * rows), length),
  )
}
