/** The programs that kernels are judged on: every adapter forward and backward, attention, rows, a loss, a whole step; small, with symbols. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { linearHost, type Adapter, type Sites } from '../../src/adapters/adapter.ts'
import { adapterNamed, registry } from '../../src/adapters/registry.ts'
import { grad } from '../../src/autodiff/index.ts'
import { kit } from '../../src/dsl/build.ts'
import { evalDim, type Sizes } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { graftOnto } from '../../src/models/graft.ts'
import { causalAttention, rmsNorm } from '../../src/models/layers.ts'
import { llamaSites } from '../../src/models/llama.ts'
import { tokenLoss } from '../../src/models/loss.ts'
import { adamW } from '../../src/models/optimiser.ts'
import { stepProgram, type Recipe } from '../../src/models/train.ts'
import { diceOf } from '../codegen-graphs.ts'

// ---------------------------------------------------------------------------------------- model

export interface Animal {
  readonly name: string
  readonly program: Program
  /** of its symbols: several, so that tiles are whole and cut */
  readonly sizes: ReadonlyArray<Sizes>
  /** larger ones, for what shows only there: the second piece of a long axis */
  readonly large: ReadonlyArray<Sizes>
  /** whole numbers are below this, but for a few that no table has */
  readonly ids: number
}

export const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

// --------------------------------------------------------------------------------- constructors

const sumOf = (y: L.AnyTensor): L.Tensor<never> =>
  L.wrap(
    kit.reduce(
      'sum',
      y.node,
      y.node.type.dims.map((d) => d.name),
    ),
  )

/** forward, and the gradients of sum(y g) */
const both = (name: string, y: L.AnyTensor, wrt: Readonly<Record<string, L.AnyTensor>>): Program => {
  const g = kit.input('g', y.node.type.dims, 'f32')
  const gradients = grad(sumOf({ node: kit.map('mul', y.node, g) }), wrt)
  return get(L.program(name, { y, ...Object.fromEntries(Object.entries(gradients).map(([k, v]) => [`d.${k}`, v])) }))
}

const defaultsOf = (a: Adapter) => Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))
const smallest: Readonly<Record<string, object>> = { oft: { block: 4 } }

/** Adapters of linear layers. */
const linear = (adapter: Adapter): Animal | undefined => {
  const config = { ...defaultsOf(adapter), ...smallest[adapter.name] }
  const params = Object.fromEntries(
    Object.entries(adapter.params(config, { in: 40, out: 72 })).map(([k, p]) => [k, L.input(k, p.sizes)]),
  )
  if (adapter.site !== 'linear') return undefined
  const x = L.input('x', { batch: 'B', token: 'T', in: 40 })
  const host = linearHost(L.input('W', { out: 72, in: 40 }))
  const y = adapter.apply(config)(params, x as Sites['linear']['x'], host, {}) as L.AnyTensor
  return {
    name: adapter.name,
    program: both(adapter.name, y, { x, ...params }),
    sizes: [
      { B: 2, T: 5 },
      { B: 1, T: 16 },
    ],
    large: [
      { B: 4, T: 130 },
      { B: 1, T: 33 },
    ],
    ids: 4,
  }
}

const heads = () => ({
  q: L.input('q', { batch: 'B', token: 'T', kv: 2, group: 2, h: 8 }),
  k: L.input('k', { batch: 'B', key: 'T', kv: 2, h: 8 }),
  v: L.input('v', { batch: 'B', key: 'T', kv: 2, h: 8 }),
})
const tokens: ReadonlyArray<Sizes> = [
  { B: 1, T: 5 },
  { B: 2, T: 18 },
]

const longer: ReadonlyArray<Sizes> = [
  { B: 1, T: 40 },
  { B: 3, T: 33 },
]

const attention = (): Animal => {
  const x = heads()
  return {
    name: 'attention',
    program: both('attention', causalAttention(8)(x as never), x),
    sizes: tokens,
    large: longer,
    ids: 4,
  }
}

const prompted = (): Animal => {
  const x = heads()
  const adapter = get(adapterNamed('llama-adapter'))
  const [K, V] = [L.input('K', { prompt: 3, kv: 2, h: 8 }), L.input('V', { prompt: 3, kv: 2, h: 8 })]
  const gate = L.input('gate', {})
  const host = {
    projectKey: () => pipe(K, L.rename({ prompt: 'token' })),
    projectValue: () => pipe(V, L.rename({ prompt: 'token' })),
    call: causalAttention(8),
  }
  const prompt = L.input('prompt', { prompt: 3, in: 16 })
  const y = adapter.apply(defaultsOf(adapter))({ prompt, gate }, x as never, host, {}) as L.AnyTensor
  return {
    name: 'llama-adapter',
    program: both('prompted', y, { ...x, K, V, gate }),
    sizes: tokens,
    large: longer,
    ids: 4,
  }
}

const rows = (): ReadonlyArray<Animal> => {
  const x = L.input('x', { token: 'T', in: 'D' })
  const gain = L.input('gain', { in: 'D' })
  const sizes = [
    { T: 3, D: 20 },
    { T: 17, D: 7 },
  ]
  const large = [
    { T: 5, D: 300 },
    { T: 70, D: 33 },
  ]
  return [
    { name: 'softmax', program: both('softmax', pipe(x, L.softmax('in')), { x }), sizes, large, ids: 4 },
    { name: 'rms-norm', program: both('norm', rmsNorm(gain, 1e-5)(x), { x, gain }), sizes, large, ids: 4 },
  ]
}

const loss = (): Animal => {
  const x = L.input('x', { token: 'T', in: 6 })
  const W = L.input('W', { vocab: 37, in: 6 })
  const targets = L.input('targets', { token: 'T' }, 'i32')
  return {
    name: 'loss',
    program: both('loss', tokenLoss(pipe(x, L.dot(W, 'in')), targets), { x }),
    sizes: [{ T: 5 }, { T: 18 }],
    large: [{ T: 70 }],
    ids: 37,
  }
}

const small = {
  ...{ dim: 40, hidden: 72, layers: 1, heads: 4, kvHeads: 2, headDim: 10, vocab: 70 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 64, eos: [] },
}
const few = { steps: 1, rows: 1, length: 36, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }

const step = (name: string, config: LlamaConfig, recipe: Recipe): Animal => {
  const adapter = get(adapterNamed(name))
  const grafted = get(graftOnto(llamaSites(config), adapter, { ...defaultsOf(adapter), ...smallest[name] }))
  return {
    name: `step with ${name}`,
    program: get(stepProgram(config, grafted, recipe)),
    sizes: [{}],
    large: [],
    ids: config.vocab,
  }
}

export const zoo: ReadonlyArray<Animal> = [
  ...registry.flatMap((a) => linear(a) ?? []),
  prompted(),
  attention(),
  ...rows(),
  loss(),
  step('lora', small, few),
  step('llama-adapter', small, few),
]

/** Steps of a real model's shape, for what is planned and not run. */
const real = {
  ...small,
  dim: 288,
  hidden: 768,
  layers: 4,
  heads: 6,
  kvHeads: 6,
  headDim: 48,
  vocab: 512,
  maxPositions: 512,
}
export const steps: ReadonlyArray<Animal> = registry.map((a) => step(a.name, real, { ...few, rows: 4, length: 128 }))

/** Numbers of order one for a program's inputs, at these sizes; for odd seeds every other input is below zero. */
export const inputsFor = (p: Program, sizes: Sizes, seed: number, ids: number): Values => {
  const d = diceOf(seed)
  return Object.fromEntries(
    p.inputs.map(({ name, node }, i) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: get(evalDim(a.size, sizes)) }))
      const length = dims.reduce((s, a) => s * a.size, 1)
      const { dtype } = node.type
      // second moments, and an optimiser's numbers, are never negative
      const low = name.startsWith('v.') || dims.length === 0 ? 0.1 : -1
      const high = low < 0 && seed % 2 === 1 && i % 2 === 0 ? -0.25 : 1
      const one = (): number =>
        dtype === 'i32'
          ? d.int(0, 4) === 0
            ? d.pick([-1, 0, ids - 1, ids])
            : d.int(0, ids - 1)
          : dtype === 'u32'
            ? d.int(0, 2 ** 31)
            : Math.fround(low + (high - low) * d.real())
      return [name, { dims, data: Float64Array.from({ length }, one) }]
    }),
  )
}
