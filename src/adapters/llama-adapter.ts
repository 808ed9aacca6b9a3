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
import { kit } from '../dsl/build.ts'
import { dim, literal, type DimLike } from '../dsl/dim.ts'
import {
  add,
  cast,
  div,
  dot,
  exp,
  fill,
  map,
  mul,
  neg,
  normal,
  rename,
  rsqrt,
  scalar,
  scale,
  sizeOf,
  softmax,
  sum,
  tanh,
  wrap,
  type Tensor,
} from '../dsl/index.ts'
import { adapter, param, type AttentionHost, type AttentionInput, type Param } from './adapter.ts'
import { choice, flag, natural, positiveInt, untried } from './field.ts'
import { matchesDefinition, scaleZeroIsBase } from './laws/standard.ts'

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

interface LlamaAdapterParams {
  readonly prompt: Tensor<'prompt' | 'in'>
  readonly gate: Tensor<Heads>
}

/** (1 - e^-2z) / (1 + e^-2z) */
const tanhOf = <A extends string>(z: Tensor<A>): Tensor<A> => {
  const e = pipe(z, scale(-2), exp)
  return pipe(e, neg, add(1), div(pipe(e, add(1))))
}

/** y + g sum_p (e^{s_p} / sum_p' e^{s_p'}) v_p,  s_p = sum_h q_h k_ph / sqrt h: term by term */
const definition =
  ({ gate }: Gating) =>
  (p: LlamaAdapterParams, x: AttentionInput, host: AttentionHost): Tensor<'token' | 'kv' | 'group' | 'h'> => {
    const P = pipe(p.prompt, rename({ prompt: 'token' }))
    const k = pipe(host.projectKey(P), rename({ token: 'prompt' }))
    const v = pipe(host.projectValue(P), rename({ token: 'prompt' }))
    const e = pipe(x.q, mul(k), sum('h'), div(pipe(fill(1)({ h: sizeOf(x.q, 'h') }), sum('h'), map('sqrt'))), exp)
    const g = gate === 'tanh' ? tanhOf(p.gate) : p.gate
    return pipe(e, mul(v), sum('prompt'), div(pipe(e, sum('prompt'))), mul(g), add(host.call(x)))
  }

export const llamaAdapter = adapter({
  name: 'llama-adapter',
  doc: 'gated prompts beside the tokens in attention',
  site: 'attention',
  targets: ['self_attn'],
  config: {
    length: positiveInt(10, 'K, the number of prompts'),
    layers: natural(0, 'how many of the last layers; 0 is all'),
    gate: choice(['scalar', 'tanh'], "one gate a layer, as PEFT's, or tanh of one a head, as the original's"),
    f16Gate: untried(flag(false, "rounds the gate to f16 as the original's code does; inference only")),
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
  laws: [
    matchesDefinition<Gating, LlamaAdapterParams>(
      (config) => (p, x, host) => definition(config)(p, x as AttentionInput, host as AttentionHost),
    ),
    scaleZeroIsBase({ params: (p) => ({ ...p, gate: wrap(kit.map('mul', p['gate']!.node, kit.scalar(0))) }) }),
  ],
})
