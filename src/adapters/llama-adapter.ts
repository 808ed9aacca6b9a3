/**
 * LLaMA-Adapter: learned prompts that queries attend to beside the tokens, behind a gate that starts at zero.
 * Zhang et al. 2023, arXiv 2303.16199; PEFT `ADAPTION_PROMPT`.
 *
 *     y = attention(q, k, v) + g softmax(q (P W_k^T)^T / sqrt h) (P W_v^T)
 *
 * P: (prompt, in) ~ N(0, 1). Prompt keys are not rotated, all queries see all prompts, and the two softmaxes are
 * separate. y is before the output projection, which is linear: gating there or behind it is the same.
 * g = 0 at init, so that y is the base's, exactly. PEFT: one g a layer (`scalar`). The original code: tanh of one
 * gate a head (`tanh`), rounded to f16 before it multiplies (`f16Gate`, for inference: rounding has no derivative).
 */
import { pipe } from 'fp-ts/lib/function.js'
import { dim, literal, type DimLike } from '../dsl/dim.ts'
import {
  add,
  cast,
  dot,
  fill,
  mul,
  normal,
  rename,
  rsqrt,
  scalar,
  sizeOf,
  softmax,
  sum,
  tanh,
  type Tensor,
} from '../dsl/index.ts'
import { adapter, param, type Param } from './adapter.ts'
import { choice, flag, natural, positiveInt } from './field.ts'

interface Gating {
  readonly gate: 'scalar' | 'tanh'
  readonly f16Gate: boolean
}
type Heads = 'kv' | 'group'

/** the gate as it multiplies; a scalar gate has no axes, and broadcasts */
const opening =
  ({ gate, f16Gate }: Gating) =>
  (g: Tensor<Heads>): Tensor<Heads> => {
    const open = gate === 'tanh' ? tanh(g) : g
    return f16Gate ? pipe(open, cast('f16'), cast('f32')) : open
  }

/** 1 / sqrt n, of a number or of a size that is not known yet */
const inverseRoot = (n: DimLike): Tensor<never> => {
  const known = literal(dim(n))
  return known === undefined ? pipe(fill(1)({ h: n }), sum('h'), rsqrt) : scalar(1 / Math.sqrt(known))
}

/** the gate's sizes: by head, or none */
const gateSizes = (gate: Gating['gate'], sizes: Readonly<Record<Heads, DimLike>>): Readonly<Record<Heads, DimLike>> =>
  gate === 'tanh' ? { kv: sizes.kv, group: sizes.group } : ({} as Readonly<Record<Heads, DimLike>>)

const gateParam = (gate: Gating['gate'], sizes: Readonly<Record<Heads, DimLike>>): Param<Heads> =>
  param(gate === 'tanh' ? ['kv', 'group'] : [], gateSizes(gate, sizes))

export const llamaAdapter = adapter({
  name: 'llama-adapter',
  doc: 'gated prompts beside the tokens in attention',
  site: 'attention',
  targets: ['self_attn'],
  config: {
    length: positiveInt(10, 'K, the number of prompts'),
    layers: natural(0, 'how many of the last layers; 0 is all'),
    gate: choice(['scalar', 'tanh'], "one gate a layer, as PEFT's, or tanh of one a head, as the original's"),
    f16Gate: flag(false, "rounds the gate to f16 as the original's code does; inference only"),
  },
  params: ({ length, gate }, sizes) => ({
    prompt: param(['prompt', 'in'], { prompt: length, in: sizes.in }),
    gate: gateParam(gate, sizes),
  }),
  init:
    ({ length, gate }) =>
    (key, { sizes }) => ({
      params: { prompt: normal(1)(key, { prompt: length, in: sizes.in }), gate: fill(0)(gateSizes(gate, sizes)) },
    }),
  apply: (config) => (p, x, host) => {
    const P = pipe(p.prompt, rename({ prompt: 'token' }))
    const K = pipe(host.projectKey(P), rename({ token: 'prompt' }))
    const V = pipe(host.projectValue(P), rename({ token: 'prompt' }))
    const a = pipe(x.q, dot(K, 'h'), mul(inverseRoot(sizeOf(x.q, 'h'))), softmax('prompt'))
    return pipe(host.call(x), add(pipe(a, dot(V, 'prompt'), mul(opening(config)(p.gate)))))
  },
  files: {
    library: 'peft',
    type: 'ADAPTION_PROMPT',
    keys: { prompt: 'adaption_prompt', gate: 'adaption_gate' },
    config: { length: 'adapter_len', layers: 'adapter_layers' },
    implies: { gate: 'scalar', f16Gate: false },
    lead: { prompt: 1, gate: 1 },
  },
  otherFiles: [
    {
      library: 'llama-adapter',
      type: 'llama-adapter',
      keys: { prompt: 'adapter_query.weight', gate: 'attention.gate' },
      config: { length: 'adapter_len', layers: 'adapter_layer' },
      implies: { gate: 'tanh' },
    },
  ],
})
