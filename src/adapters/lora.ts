/**
 * LoRA: a low-rank addition to a frozen linear layer. Hu et al. 2021, arXiv 2106.09685; PEFT `LORA`.
 *
 *     y = x W^T + b + s (x A^T) B^T        s = alpha / r, or alpha / sqrt r (rsLoRA, Kalajdzievski 2023)
 *     W' = W + s B A
 *
 * A: (r, in) ~ U(-1/sqrt in, 1/sqrt in), B: (out, r) = 0, so that y is the base's at init, exactly.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { add, dot, fill, scale, uniform } from '../dsl/index.ts'
import { adapter, param } from './adapter.ts'
import { flag, positiveInt, real } from './field.ts'
import { rankAtMost, scaleZeroIsBase } from './laws/standard.ts'

/** s */
const scaling = ({
  rank,
  alpha,
  rslora,
}: {
  readonly rank: number
  readonly alpha: number
  readonly rslora: boolean
}): number => (rslora ? alpha / Math.sqrt(rank) : alpha / rank)

/** PEFT's keys of LoRA's variants: null where they are off */
const variants = [
  'alora_invocation_tokens',
  'arrow_config',
  'corda_config',
  'eva_config',
  'kasa_config',
  'layer_replication',
  'lora_ga_config',
  'megatron_config',
  'monteclora_config',
  'target_parameters',
  'trainable_token_indices',
  'use_bdlora',
  'velora_config',
]

export const lora = adapter({
  name: 'lora',
  doc: 'a low-rank product added to the weight',
  site: 'linear',
  targets: ['q_proj', 'v_proj'],
  config: {
    rank: positiveInt(8, 'r, the inner size of the product'),
    alpha: real(16, 'numerator of the scaling s'),
    rslora: flag(false, 's = alpha / sqrt r instead of alpha / r'),
  },
  params: ({ rank }, sizes) => ({
    a: param(['r', 'in'], { r: rank, in: sizes.in }),
    b: param(['out', 'r'], { out: sizes.out, r: rank }),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => {
      const n = Number(sizes.in)
      const limit = Number.isFinite(n) ? 1 / Math.sqrt(n) : 1
      return {
        params: {
          a: uniform(-limit, limit)(key, { r: rank, in: sizes.in }),
          b: fill(0)({ out: sizes.out, r: rank }),
        },
      }
    },
  apply: (config) => (p, x, host) =>
    pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r'), scale(scaling(config))))),
  weight: (config) => (p, W) => pipe(W, add(pipe(p.b, dot(p.a, 'r'), scale(scaling(config))))),
  files: {
    library: 'peft',
    type: 'LORA',
    keys: { a: 'lora_A.weight', b: 'lora_B.weight' },
    config: { rank: 'r', alpha: 'lora_alpha', rslora: 'use_rslora' },
    absent: { use_rslora: false },
    fixed: {
      bias: 'none',
      fan_in_fan_out: false,
      lora_bias: false,
      lora_dropout: 0,
      rank_pattern: {},
      alpha_pattern: {},
      use_dora: false,
      use_qalora: false,
      ...Object.fromEntries(variants.map((key) => [key, null])),
    },
    // how the factors began; the other inits change the base weight too
    oneOf: { init_lora_weights: [true, false, 'gaussian', 'orthogonal'] },
    ignored: { ensure_weight_tying: false, loftq_config: {}, megatron_core: 'megatron.core', qalora_group_size: 16 },
  },
  laws: [
    rankAtMost<{ readonly rank: number }>(({ rank }) => rank),
    scaleZeroIsBase({ config: (c) => ({ ...c, alpha: 0 }) }),
  ],
})
