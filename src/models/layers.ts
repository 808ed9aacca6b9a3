/** The parts of a LLaMA as pure functions. `in` is the axis of the residual stream; `token` stands for all leading axes. */
import { pipe } from 'fp-ts/lib/function.js'
import type { AttentionInput, LinearHost } from '../adapters/adapter.ts'
import {
  add,
  cast,
  compare,
  concat,
  dot,
  exp,
  iota,
  map,
  mean,
  merge,
  mul,
  neg,
  rename,
  rsqrt,
  scale,
  silu,
  sizeOf,
  slice,
  softmax,
  split,
  square,
  where,
  type Tensor,
} from '../dsl/index.ts'

/** How RoPE pairs the coordinates of a head: i with i + h/2 (Hugging Face), or 2i with 2i + 1 (Meta, llama2.c). */
export type RopeLayout = 'halves' | 'interleaved'

/** x / sqrt(mean x^2 + eps) * g.  x: (token, in), g: (in). Zhang and Sennrich 2019, arXiv 1910.07467 */
export const rmsNorm =
  (gain: Tensor<'in'>, eps: number) =>
  (x: Tensor<'token' | 'in'>): Tensor<'token' | 'in'> =>
    pipe(x, mul(pipe(x, square, mean('in'), add(eps), rsqrt)), mul(gain))

/** angle[token, pair] = token theta^(-2 pair / h) */
const angles = (tokens: Tensor<'token', 'i32'>, headDim: number, theta: number): Tensor<'token' | 'pair'> =>
  pipe(
    pipe(iota('pair', headDim / 2), cast('f32'), scale((-2 * Math.log(theta)) / headDim), exp),
    mul(pipe(tokens, cast('f32'))),
  )

/**
 * Rotary position embedding: each pair (a, b) of a head turns by its angle,
 *
 *     (a cos - b sin, b cos + a sin)
 *
 * x: any axes with `token` and `h`; `positions` (token), where they do not count from 0. Su et al. 2021, arXiv 2104.09864
 */
export const rope =
  (headDim: number, theta: number, layout: RopeLayout, positions?: Tensor<'token', 'i32'>) =>
  <A extends string>(x: Tensor<A>): Tensor<A> => {
    const tokens = positions ?? iota('token', sizeOf(x as unknown as Tensor<'token'>, 'token'))
    const angle = angles(tokens, headDim, theta)
    const axes = layout === 'halves' ? { part: 2, pair: headDim / 2 } : { pair: headDim / 2, part: 2 }
    const pairs = pipe(x as unknown as Tensor<'token' | 'h'>, split('h', axes))
    const [a, b] = [pipe(pairs, slice('part', 0, 1)), pipe(pairs, slice('part', 1, 1))]
    const turned = pipe(pipe(b, neg), concat('part', a))
    const y = pipe(pairs, mul(pipe(angle, map('cos'))), add(pipe(turned, mul(pipe(angle, map('sin'))))))
    return pipe(y, merge(layout === 'halves' ? ['part', 'pair'] : ['pair', 'part'], 'h')) as unknown as Tensor<A>
  }

/** A finite number below every score: masked scores become it by selection, and e^(LOW - max) is 0 exactly. */
const LOW = -1e30

/**
 * softmax_key(q k^T / sqrt h over key <= position) v, for grouped queries. `positions` (token) as for `rope`.
 * q: (token, kv, group, h); k, v: (key, kv, h). Answers heads (token, kv, group, h).
 */
export const causalAttention =
  (headDim: number, positions?: Tensor<'token', 'i32'>) =>
  ({ q, k, v }: AttentionInput): Tensor<'token' | 'kv' | 'group' | 'h'> => {
    const past = pipe(iota('key', sizeOf(k, 'key')), compare('le')(positions ?? iota('token', sizeOf(q, 'token'))))
    return pipe(q, dot(k, 'h'), scale(1 / Math.sqrt(headDim)), where(past, LOW), softmax('key'), dot(v, 'key'))
  }

/** down(silu(gate(x)) * up(x)). Shazeer 2020, arXiv 2002.05202 */
export const swiGlu =
  (gate: LinearHost['call'], up: LinearHost['call'], down: LinearHost['call']) =>
  (x: Tensor<'token' | 'in'>): Tensor<'token' | 'in'> =>
    pipe(gate(x), silu, mul(up(x)), rename({ out: 'in' }), down, rename({ out: 'in' }))
