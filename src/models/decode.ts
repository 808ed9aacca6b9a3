/**
 * The programs of a model that answer with logits: of a whole text; of what follows one; and of one further token of a text
 * whose keys and values are kept.
 *
 * Note [Kept keys]. A kept tensor has a fixed capacity and lives with the host, as `<path>.key` and
 * `<path>.value` (batch, key, kv, h). `readProgram` reads a prompt and answers the rows of all its tokens;
 * `decodeProgram` takes one further token and where it stands, sees row j of the kept where j < at and its
 * own at j = at, and answers its own row alone, which the host writes in place. Rows behind `at` are masked:
 * they may hold anything finite.
 *
 * That is the same function as reading everything again, as long as nothing but attention looks from one
 * token at another; see token-wise.ts.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { add, compare, input, iota, merge, program, rename, take, where, wrap } from '../dsl/index.ts'
import type { Checked, Program, Tensor } from '../dsl/index.ts'
import type { LlamaConfig } from './config.ts'
import { asGraft, type Grafted } from './graft.ts'
import { llamaHead, llamaReading, wholeText, type KeyValue, type Reading } from './llama.ts'

// ---------------------------------------------------------------------------------------- model

/** A kept tensor: the program input of its rows so far, which is also the name of the output with the new rows. */
export interface Kept {
  readonly name: string
  readonly layer: number
  readonly part: keyof KeyValue
}

// --------------------------------------------------------------------------------- constructors

/** Keys and values of every layer. */
export const keptOf = (c: LlamaConfig): ReadonlyArray<Kept> =>
  Array.from({ length: c.layers }, (_, layer) =>
    (['k', 'v'] as const).map((part) => ({
      name: `model.layers.${String(layer)}.self_attn.${part === 'k' ? 'key' : 'value'}`,
      layer,
      part,
    })),
  ).flat()

const tokensOf = (rows: number, length: number): Tensor<'token', 'i32'> =>
  wrap(input('tokens', { batch: rows, token: length }, 'i32').node)

/** of the tokens at `at`, one after the other; kept rows, with the new one in its place */
const keptReading = (c: LlamaConfig, rows: number, capacity: number): Reading => {
  const at = input('at', {}, 'i32')
  const here = pipe(iota('key', capacity), compare('eq')(at))
  const kept = (layer: number, part: keyof KeyValue): Tensor<'key' | 'kv' | 'h'> => {
    const { name } = keptOf(c).find((k) => k.layer === layer && k.part === part)!
    return wrap(input(name, { batch: rows, key: capacity, kv: c.kvHeads, h: c.headDim }).node)
  }
  const joined = (layer: number, part: keyof KeyValue, fresh: Tensor<'token' | 'kv' | 'h'>) =>
    pipe(fresh, merge(['token', 'kv'], 'kv'), where(here, kept(layer, part)))
  return {
    positions: pipe(iota('token', 1), add(at)),
    seen: (layer, { k, v }) => ({ k: joined(layer, 'k', k), v: joined(layer, 'v', v) }),
  }
}

/** what some tokens say: the residual stream, the logits of a stream, and the rows that may be kept, by name */
const readingOf = (
  c: LlamaConfig,
  grafted: Grafted | undefined,
  tokens: Tensor<'token', 'i32'>,
  reading: Reading = wholeText,
) => {
  const graft = asGraft(grafted)
  const { hidden, fresh } = llamaReading(c, graft, reading)(tokens)
  const kept = Object.fromEntries(keptOf(c).map(({ name, layer, part }) => [name, fresh[layer]![part]]))
  return { hidden, kept, logits: llamaHead(c, graft) }
}

/** the stream at position `at` alone */
const lastOf = (hidden: Tensor<'token' | 'in'>): Tensor<'in'> =>
  wrap(pipe(hidden, take(input('at', {}, 'i32'), 'token')).node)

// ---------------------------------------------------------------------------------- combinators

/** logits (batch, position, vocab) of tokens (batch, token), all of them at once. */
export const logitsProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  rows: number,
  length: number,
): Checked<Program> => {
  const { hidden, logits } = readingOf(config, grafted, tokensOf(rows, length))
  return program('logits', { logits: pipe(logits<'token'>(hidden), rename({ token: 'position' })) })
}

/**
 * Reads texts from their beginning. Inputs: tokens (batch, token), `at`, weights and params. Outputs: logits (batch,
 * vocab) of what follows position `at`, and every kept tensor's rows (batch, token, kv, h); rows behind `at` mean nothing.
 */
export const readProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  rows: number,
  length: number,
): Checked<Program> => {
  const { hidden, kept, logits } = readingOf(config, grafted, tokensOf(rows, length))
  return program('read', { logits: logits<never>(lastOf(hidden)), ...kept })
}

/**
 * Reads one further token of each text. Inputs: tokens (batch, 1), their position `at` < capacity, every kept tensor,
 * weights and params. Outputs: logits (batch, vocab) of what follows, and the token's row of every kept tensor
 * (batch, 1, kv, h).
 */
export const decodeProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  rows: number,
  capacity: number,
): Checked<Program> => {
  const { hidden, kept, logits } = readingOf(config, grafted, tokensOf(rows, 1), keptReading(config, rows, capacity))
  return program('decode', { logits: logits<never>(pipe(hidden, merge(['token', 'in'], 'in'))), ...kept })
}

/** logits (vocab) at position `at` of tokens (token), for a fixed length. */
export const nextTokenProgram = (
  config: LlamaConfig,
  grafted: Grafted | undefined,
  length: number,
): Checked<Program> => {
  const { hidden, logits } = readingOf(config, grafted, input('tokens', { token: length }, 'i32'))
  return program('reread', { logits: logits<never>(lastOf(hidden)) })
}
