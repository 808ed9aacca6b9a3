/**
 * What is measured: one row a case. A row says which tensors there are, which gradients are wanted and how much
 * work that is; each rival has its own formulation of the row's `kind`, on the same numbers.
 */
import { fileURLToPath } from 'node:url'
import * as E from 'fp-ts/lib/Either.js'
import { adapterNamed } from '../src/adapters/registry.ts'
import { showFaults, type Checked, type Program } from '../src/dsl/index.ts'
import { literal } from '../src/dsl/dim.ts'
import type { LlamaConfig } from '../src/models/config.ts'
import { loadModel } from '../src/models/files/load.ts'
import { graftOnto, graftedParams } from '../src/models/graft.ts'
import { llamaSites } from '../src/models/llama.ts'
import { adamW } from '../src/models/optimiser.ts'
import { stepProgram, type Recipe } from '../src/models/train.ts'

// ---------------------------------------------------------------------------------------- model

/** how a tensor is filled: normal numbers times `scale`, the same number everywhere, or whole numbers below a bound */
export type Filling = { readonly normal: number } | { readonly constant: number } | { readonly below: number }

export interface TensorSpec {
  readonly name: string
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
  readonly filling: Filling
}

export type Kind = 'contraction' | 'lora' | 'hra' | 'oft' | 'attention' | 'silu' | 'softmax' | 'rmsnorm' | 'step'
/** the forward pass alone, or with the gradients; a step is all of a training step */
export type Form = 'forward' | 'both' | 'step'
export type Family = 'torch' | 'jax-js' | 'tfjs' | 'gpujs'

export interface Case {
  readonly name: string
  readonly title: string
  readonly kind: Kind
  readonly forms: ReadonlyArray<Form>
  /** numbers of the formulation: a rank, a block, the model's sizes */
  readonly numbers: Readonly<Record<string, number>>
  readonly tensors: ReadonlyArray<TensorSpec>
  /** inputs that never change: weights of the frozen model */
  readonly frozen: ReadonlyArray<string>
  /** tensors whose gradients are wanted, from the cotangent `ct.y`; answered as `d.<name>` */
  readonly wrt: ReadonlyArray<string>
  /** what is compared: axes of each result, in the order of the rivals' own layout */
  readonly results: Readonly<Record<string, ReadonlyArray<string>>>
  /** of a form: floating-point operations of the products, 2 m n k each */
  readonly flops: Readonly<Partial<Record<Form, number>>>
  /** bytes that have to move: every input read once, every result written once; for cases bound by memory */
  readonly bytes?: number
  /** largest deviation from float64, relative to the tensor's largest element: 2^-24 times the longest chain of sums */
  readonly bound: number
  readonly rivals: ReadonlyArray<Family>
}

// --------------------------------------------------------------------------------- constructors

const UNIT = 2 ** -24
const CHECKPOINT = fileURLToPath(new URL('../checkpoints/moby', import.meta.url))

const tensor = (
  name: string,
  shape: Readonly<Record<string, number>>,
  filling: Filling = { normal: 1 },
): TensorSpec => ({ name, axes: Object.keys(shape), shape: Object.values(shape), filling })

const contraction = (m: number, n: number, k: number): Case => ({
  name: `contraction-${[...new Set([m, n, k])].join('x')}`,
  title: `x W, ${m} x ${k} by ${k} x ${n}`,
  kind: 'contraction',
  forms: ['forward'],
  numbers: {},
  tensors: [tensor('x', { token: m, in: k }), tensor('W', { in: k, out: n })],
  frozen: [],
  wrt: [],
  results: { y: ['token', 'out'] },
  flops: { forward: 2 * m * n * k },
  bound: k * UNIT,
  rivals: ['torch', 'jax-js', 'tfjs'],
})

const [N, D] = [256, 768]
const layer = 2 * N * D * D

interface Linear {
  readonly name: string
  readonly title: string
  readonly kind: Kind
  readonly numbers: Readonly<Record<string, number>>
  readonly params: ReadonlyArray<TensorSpec>
  /** products of the forward pass beside the layer's own; the backward pass has twice as many */
  readonly extra: number
  readonly rivals?: ReadonlyArray<Family>
}

/** An adapter on a linear layer: y, and the gradients of x and of the parameters. W is frozen. */
const linear = ({ name, title, kind, numbers, params, extra, rivals = ['torch', 'jax-js', 'tfjs'] }: Linear): Case => ({
  name,
  title,
  kind,
  numbers,
  rivals,
  forms: ['forward', 'both'],
  tensors: [
    tensor('x', { token: N, in: D }),
    tensor('W', { out: D, in: D }, { normal: 1 / Math.sqrt(D) }),
    ...params,
    tensor('ct.y', { token: N, out: D }),
  ],
  frozen: ['W'],
  wrt: ['x', ...params.map((p) => p.name)],
  results: {
    y: ['token', 'out'],
    'd.x': ['token', 'in'],
    ...Object.fromEntries(params.map((p) => [`d.${p.name}`, p.axes])),
  },
  flops: { forward: layer + extra, both: 2 * layer + 3 * extra },
  bound: D * UNIT,
})

const lora = (r: number): Case =>
  linear({
    name: `lora-${r}`,
    title: `LoRA r ${r}`,
    kind: 'lora',
    numbers: { r, s: 2 },
    params: [tensor('a', { r, in: D }, { normal: 0.02 }), tensor('b', { out: D, r }, { normal: 0.02 })],
    extra: 4 * N * D * r,
  })

const hra = (r: number): Case =>
  linear({
    name: `hra-${r}`,
    title: `HRA r ${r}`,
    kind: 'hra',
    numbers: { r },
    params: [tensor('u', { in: D, r })],
    extra: 4 * N * D * r,
  })

const oft = (b: number): Case =>
  linear({
    name: `oft-${b}`,
    title: `OFT block ${b}`,
    kind: 'oft',
    numbers: { b },
    params: [tensor('v', { block: D / b, pair: (b * (b - 1)) / 2 }, { normal: 0.05 })],
    extra: 2 * N * D * b,
    rivals: ['torch'],
  })

/** LLaMA-Adapter's attention: q, k, v after RoPE; prompts' keys and values; one gate a head, behind tanh. */
const attention = (): Case => {
  const [batch, kv, T, h, K] = [2, 12, 128, 64, 10]
  const queries = { batch, kv, group: 1, token: T, h }
  const keys = { batch, kv, key: T, h }
  const prompts = { kv, token: K, h }
  const tensors = [
    tensor('q', queries),
    tensor('k', keys),
    tensor('v', keys),
    tensor('ak', prompts),
    tensor('av', prompts),
    tensor('gate', { kv, group: 1 }, { normal: 0.1 }),
  ]
  const products = 4 * batch * kv * T * (T + K) * h
  return {
    name: 'llama-adapter',
    title: 'LLaMA-Adapter attention',
    kind: 'attention',
    forms: ['forward', 'both'],
    numbers: { batch, heads: kv, length: T, headDim: h, prompts: K },
    tensors: [...tensors, tensor('ct.y', queries)],
    frozen: [],
    wrt: tensors.map((t) => t.name),
    results: { y: Object.keys(queries), ...Object.fromEntries(tensors.map((t) => [`d.${t.name}`, t.axes])) },
    flops: { forward: products, both: 3 * products },
    bound: (h + T + T) * UNIT,
    rivals: ['torch', 'jax-js', 'tfjs'],
  }
}

/** Cases bound by memory: every number read once and written once. */
const rows = (kind: 'silu' | 'softmax' | 'rmsnorm', title: string): Case => {
  const [token, width] = [512, 768]
  const more = { silu: [tensor('b', { token, in: width })], softmax: [], rmsnorm: [tensor('gain', { in: width })] }[
    kind
  ]
  const tensors = [tensor('a', { token, in: width }), ...more]
  const read = tensors.reduce((n, t) => n + t.shape.reduce((p, s) => p * s, 1), 0)
  return {
    name: kind,
    title: `${title}, ${token} x ${width}`,
    kind,
    forms: ['forward'],
    numbers: {},
    tensors,
    frozen: [],
    wrt: [],
    results: { y: ['token', 'in'] },
    flops: {},
    bytes: 4 * (read + token * width),
    bound: (kind === 'silu' ? 8 : width) * UNIT,
    rivals: ['torch', 'jax-js', 'tfjs'],
  }
}

// ------------------------------------------------------------------------------------- whole steps

/** The model of the step: 6 layers, 288 wide, 6 heads, as llama2.c's stories15M. */
export const stepConfig = (vocab: number, layers = 6): LlamaConfig => ({
  ...{ dim: 288, hidden: 768, layers, heads: 6, kvHeads: 6, headDim: 48, vocab },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 512, eos: [] },
})

export const stepRecipe = (rows = 4, length = 128): Recipe => ({
  ...{ steps: 1, rows, length, peak: 1e-4, warmup: 1, seed: 0, clip: 1 },
  optimiser: adamW(),
})

export const orFail = <A>(checked: Checked<A>): A => {
  if (E.isRight(checked)) return checked.right
  throw new Error(showFaults(checked.left))
}

/** The training step with LoRA r 8 on q and v. */
export const stepOf = (
  config: LlamaConfig,
  recipe: Recipe,
): { readonly program: Program; readonly params: string[] } => {
  const adapter = orFail(adapterNamed('lora'))
  const grafted = orFail(graftOnto(llamaSites(config), adapter, { rank: 8, alpha: 16, rslora: false }))
  return {
    program: orFail(stepProgram(config, grafted, recipe)),
    params: graftedParams(grafted).map((p) => p.name),
  }
}

const fillingOf = (name: string, recipe: Recipe, vocab: number): Filling => {
  const numbers = recipe.optimiser.numbers(1)
  if (name === 'tokens' || name === 'targets') return { below: vocab }
  if (name === 'lr') return { constant: recipe.peak }
  if (numbers[name] !== undefined) return { constant: numbers[name] }
  if (name.startsWith('m.') || name.startsWith('v.')) return { constant: 0 }
  return name.includes('norm') ? { constant: 1 } : { normal: 0.02 }
}

/**
 * Forward, backward, clipping and AdamW. 2 flops for each multiply-add of the frozen layers, the head and attention
 * (its causal half not discounted), twice: frozen weights have no gradient.
 */
export const stepCase = (
  name: string,
  title: string,
  config: LlamaConfig,
  recipe: Recipe,
  rivals: ReadonlyArray<Family>,
): Case => {
  const { program, params } = stepOf(config, recipe)
  const trained = params.flatMap((p) => [p, `m.${p}`, `v.${p}`])
  const tensors = program.inputs.map(({ name: n, node }) => ({
    name: n,
    axes: node.type.dims.map((d) => d.name),
    shape: node.type.dims.map((d) => literal(d.size) ?? 0),
    filling: fillingOf(n, recipe, config.vocab),
  }))
  const { dim, hidden, layers, vocab } = config
  const tokens = recipe.rows * recipe.length
  const macs = layers * (4 * dim * dim + 3 * dim * hidden) + dim * vocab + layers * 2 * recipe.length * dim
  return {
    name,
    title,
    kind: 'step',
    forms: ['step'],
    numbers: {
      ...{ dim, hidden, layers, vocab, heads: config.heads, headDim: config.headDim, kvHeads: config.kvHeads },
      ...{ eps: config.normEps, theta: config.ropeTheta, rows: recipe.rows, length: recipe.length, r: 8, s: 2 },
      ...{ lr: recipe.peak, clip: recipe.clip },
    },
    tensors,
    frozen: tensors.map((t) => t.name).filter((n) => n.startsWith('model.') && !trained.includes(n)),
    wrt: params,
    results: {
      loss: [],
      gradNorm: [],
      // the first moments after a first step are (1 - beta1) times the clipped gradients: linear in them, as p' is not
      ...Object.fromEntries(params.map((p) => [`m.${p}`, tensors.find((t) => t.name === p)?.axes ?? []])),
    },
    flops: { step: 4 * tokens * macs },
    bound: layers * hidden * UNIT,
    rivals,
  }
}

/** One row a case, in the order in which they are run. Steps are built when they are asked for. */
export const cases: ReadonlyArray<{ readonly name: string; readonly make: () => Case }> = [
  ...[
    contraction(512, 512, 512),
    contraction(256, 768, 768),
    lora(8),
    lora(64),
    hra(8),
    oft(32),
    attention(),
    rows('silu', 'silu(a) b'),
    rows('softmax', 'softmax of rows'),
    rows('rmsnorm', 'RMSNorm of rows'),
  ].map((c) => ({ name: c.name, make: () => c })),
  ...[512, 32000].map((vocab) => ({
    name: `step-${vocab}`,
    make: () =>
      stepCase(
        `step-${vocab}`,
        `training step, 6 layers, vocabulary ${vocab}`,
        stepConfig(vocab),
        stepRecipe(),
        vocab === 512 ? ['torch', 'jax-js', 'tfjs'] : ['torch'],
      ),
  })),
  {
    // the step of `npm run demo`: the shipped checkpoint's sizes, 4 rows of 64 tokens
    name: 'demo-step',
    make: () =>
      stepCase('demo-step', "the demo's training step", orFail(loadModel(CHECKPOINT)).config, stepRecipe(4, 64), [
        'gpujs',
      ]),
  },
]

/** The case of that name, made; an error lists those there are. */
export const caseNamed = (name: string): Case => {
  const found = cases.find((c) => c.name === name)
  if (found === undefined) throw new Error(`expected one of ${cases.map((c) => c.name).join(', ')}, got ${name}`)
  return found.make()
}
