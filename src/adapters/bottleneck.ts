/**
 * Bottleneck adapters: a small feed-forward block after a sublayer, before the residual is added. Houlsby et al.
 * 2019, arXiv 1902.00751: one after attention, one after the feed-forward. AdapterHub `DoubleSeqBnConfig`.
 *
 *     A(h) = h + s (f(h D^T + c) U^T + e)
 *
 * D: (m, in), c: (m), U: (in, m), e: (in). Biases are 0. `mam_adapter`: D ~ U(-1/sqrt in, 1/sqrt in) and U = 0, so
 * that A(h) = h at init, exactly. `bert`, the published init: D, U ~ N(0, 0.02), so that A(h) is only near h.
 */
import { pipe } from 'fp-ts/lib/function.js'
import {
  add,
  childKey,
  div,
  dot,
  exp,
  fill,
  gelu,
  map,
  mul,
  neg,
  normal,
  relu,
  scale,
  silu,
  sum,
  uniform,
  zip,
  type Tensor,
} from '../dsl/index.ts'
import { adapter, param, type ActivationHost } from './adapter.ts'
import { choice, positiveInt, real } from './field.ts'
import { identityAtInit, matchesDefinition, scaleZeroIsBase } from './laws/standard.ts'

/** f, by AdapterHub's names */
const functions = { swish: silu, relu, gelu } as const

/** f by its formula: z / (1 + e^-z), max(z, 0), z/2 (1 + erf(z / sqrt 2)) */
const formulas: { readonly [K in keyof typeof functions]: (z: Tensor<'token' | 'm'>) => Tensor<'token' | 'm'> } = {
  swish: (z) => pipe(z, div(pipe(z, neg, exp, add(1)))),
  relu: zip('max')(0),
  gelu: (z) => pipe(z, scale(Math.SQRT1_2), map('erf'), add(1), mul(z), scale(0.5)),
}

interface BottleneckConfig {
  readonly nonlinearity: keyof typeof functions
  readonly scaling: number
  readonly init: 'mam_adapter' | 'bert'
}
interface BottleneckParams {
  readonly down: Tensor<'m' | 'in'>
  readonly downBias: Tensor<'m'>
  readonly up: Tensor<'in' | 'm'>
  readonly upBias: Tensor<'in'>
}

/** A(h) entry by entry:  h_j + s (sum_m U_jm f(sum_i D_mi h_i + c_m) + e_j) */
const definition =
  ({ nonlinearity, scaling }: BottleneckConfig) =>
  (p: BottleneckParams, h: Tensor<'token' | 'in'>): Tensor<'token' | 'in'> => {
    const z = pipe(p.down, mul(h), sum('in'), add(p.downBias))
    return pipe(p.up, mul(formulas[nonlinearity](z)), sum('m'), add(p.upBias), mul(scaling), add(h))
  }

export const bottleneck = adapter({
  name: 'bottleneck',
  doc: 'a small feed-forward block after a sublayer',
  site: 'activation',
  targets: ['attention_adapters', 'output_adapters'],
  config: {
    size: positiveInt(16, 'm, the inner size'),
    nonlinearity: choice(['swish', 'relu', 'gelu'], 'f'),
    scaling: real(1, 's'),
    init: choice(['mam_adapter', 'bert'], 'mam_adapter starts as the identity; bert, as published, only near it'),
  },
  params: ({ size }, sizes) => ({
    down: param(['m', 'in'], { m: size, in: sizes.in }),
    downBias: param(['m'], { m: size }),
    up: param(['in', 'm'], { in: sizes.in, m: size }),
    upBias: param(['in'], { in: sizes.in }),
  }),
  init:
    ({ size, init }) =>
    (key, { sizes }) => {
      const n = Number(sizes.in)
      const limit = Number.isFinite(n) ? 1 / Math.sqrt(n) : 1
      const [D, U] = [
        { m: size, in: sizes.in },
        { in: sizes.in, m: size },
      ]
      const small = normal(0.02)
      return {
        params: {
          down: init === 'bert' ? small(childKey(key, 0), D) : uniform(-limit, limit)(key, D),
          downBias: fill(0)({ m: size }),
          up: init === 'bert' ? small(childKey(key, 1), U) : fill(0)(U),
          upBias: fill(0)({ in: sizes.in }),
        },
      }
    },
  apply:
    ({ nonlinearity, scaling }) =>
    (p, x, host) => {
      const h = host.call(x)
      const inner = functions[nonlinearity](pipe(h, dot(p.down, 'in'), add(p.downBias)))
      return pipe(h, add(pipe(inner, dot(p.up, 'm'), add(p.upBias), scale(scaling))))
    },
  files: {
    library: 'adapterhub',
    type: 'bottleneck',
    keys: {
      down: 'adapter_down.0.weight',
      downBias: 'adapter_down.0.bias',
      up: 'adapter_up.weight',
      upBias: 'adapter_up.bias',
    },
    // m is d / reduction_factor, rounded down
    config: { nonlinearity: 'non_linearity', scaling: 'scaling', init: 'init_weights' },
    absent: { init_weights: 'bert', scaling: 1 },
    fixed: {
      adapter_residual_before_ln: false,
      cross_adapter: false,
      dropout: 0,
      inv_adapter: null,
      is_parallel: false,
      leave_out: [],
      ln_after: false,
      ln_before: false,
      original_ln_before: false,
      phm_layer: false,
      residual_before_ln: true,
      stochastic_depth: 0,
      use_gating: false,
    },
    // norms and products that other settings use
    ignored: {
      factorized_phm_W: true,
      factorized_phm_rule: false,
      hypercomplex_nonlinearity: 'glorot-uniform',
      inv_adapter_reduction_factor: null,
      learn_phm: true,
      original_ln_after: true,
      phm_bias: true,
      phm_c_init: 'normal',
      phm_dim: 4,
      phm_init_range: 0.0001,
      phm_rank: 1,
      shared_W_phm: false,
      shared_phm_rule: true,
    },
  },
  laws: [
    identityAtInit<BottleneckConfig>({
      when: ({ init }) => init === 'mam_adapter',
      reason: 'the published init is small, not zero',
    }),
    matchesDefinition<BottleneckConfig, BottleneckParams>((config) => (p, x, host) => {
      // the law runs on the adapter's own kind of site
      return definition(config)(p, (host as ActivationHost).call(x as Tensor<'token' | 'in'>))
    }),
    scaleZeroIsBase({ config: (c) => ({ ...c, scaling: 0 }) }),
  ],
})
