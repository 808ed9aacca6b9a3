/** The programs that kernels are judged on: every adapter forward and backward, attention, rows, a loss, a whole step; small, with symbols. */
import { pipe } from 'fp-ts/lib/function.js'
import type { Adapter } from '../../src/adapters/adapter.ts'
import { adapterNamed, registry } from '../../src/adapters/registry.ts'
import { evalDim, type Sizes } from '../../src/dsl/dim.ts'
import { roundToDType } from '../../src/dsl/dtype.ts'
import * as L from '../../src/dsl/index.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { tokenLoss } from '../../src/models/loss.ts'
import { adamW } from '../../src/models/optimiser.ts'
import type { Recipe } from '../../src/models/train.ts'
import { diceOf } from '../codegen-graphs.ts'
import {
  adapted,
  attended,
  both,
  decomposedNorm,
  get,
  layerNormed,
  normed,
  prompted,
  softened,
  type Traced,
} from './traced.ts'
import { stepOf } from './training.ts'

export { get } from './traced.ts'

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

// --------------------------------------------------------------------------------- constructors

/** Adapters of linear layers and of activations. */
const layer = (adapter: Adapter): Animal => ({
  name: adapter.name,
  program: both(adapter.name, adapted(adapter, 40, 72)),
  sizes: [
    { B: 2, T: 5 },
    { B: 1, T: 16 },
  ],
  large: [
    { B: 4, T: 130 },
    { B: 1, T: 33 },
  ],
  ids: 4,
})

const attention = (name: string, traced: Traced): Animal => ({
  name,
  program: both(name, traced),
  sizes: [
    { B: 1, T: 5 },
    { B: 2, T: 18 },
  ],
  large: [
    { B: 1, T: 40 },
    { B: 3, T: 33 },
  ],
  ids: 4,
})

const rows = (name: string, traced: Traced): Animal => ({
  name,
  program: both(name, traced),
  sizes: [
    { T: 3, D: 20 },
    { T: 17, D: 7 },
  ],
  large: [
    { T: 5, D: 300 },
    { T: 70, D: 33 },
  ],
  ids: 4,
})

const loss = (): Animal => {
  const x = L.input('x', { token: 'T', in: 6 })
  const W = L.input('W', { vocab: 37, in: 6 })
  const targets = L.input('targets', { token: 'T' }, 'i32')
  return {
    name: 'loss',
    program: both('loss', { y: tokenLoss(pipe(x, L.dot(W, 'in')), targets), wrt: { x } }),
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

const step = (name: string, config: LlamaConfig, recipe: Recipe): Animal => ({
  name: `step with ${name}`,
  program: stepOf(get(adapterNamed(name)), config, recipe),
  sizes: [{}],
  large: [],
  ids: config.vocab,
})

export const zoo: ReadonlyArray<Animal> = [
  ...registry.filter((a) => a.site !== 'attention').map(layer),
  attention('llama-adapter', prompted(2, 2, 8, 3)),
  attention('attention', attended(2, 2, 8)),
  rows('softmax', softened({ token: 'T' }, 'D')),
  rows('rms-norm', normed({ token: 'T' }, 'D')),
  rows('layer-norm', layerNormed({ token: 'T' }, 'D')),
  { name: 'dora-norm', program: both('dora-norm', decomposedNorm(40, 72, 4)), sizes: [{}], large: [], ids: 4 },
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

/** Numbers of order `scale` for a program's inputs, at these sizes; for odd seeds every other input is below zero. */
export const inputsFor = (p: Program, sizes: Sizes, seed: number, ids: number, scale = 1): Values => {
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
            : roundToDType[dtype](Math.fround(scale * (low + (high - low) * d.real())))
      return [name, { dims, data: Float64Array.from({ length }, one) }]
    }),
  )
}
