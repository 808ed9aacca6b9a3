/**
 * OFT: the layer's input, cut into blocks, each block turned by an orthogonal matrix. Qiu et al. 2023,
 * arXiv 2306.07280; PEFT `OFT` with `use_cayley_neumann: false`.
 *
 *     y = (x R) W^T + b        R = diag(R_1, R_2, ...)        R_k = (I - Q_k)(I + Q_k)^-1
 *     W' = W R^T
 *
 * Q_k is skew-symmetric, v its strict upper triangle, row-major. v = 0, so that R = I at init, exactly. W' keeps
 * the lengths of W's rows and the angles between them.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { divDim, type DimLike } from '../dsl/dim.ts'
import {
  add,
  broadcast,
  concat,
  dot,
  eye,
  fill,
  merge,
  mul,
  pad,
  rename,
  sizeOf,
  slice,
  solve,
  split,
  sub,
  type Tensor,
} from '../dsl/index.ts'
import { adapter, param } from './adapter.ts'
import { flag, positiveInt } from './field.ts'
import { neuronAngles, orthogonal } from './laws/standard.ts'
import { cayley, nearestDivisor, pairsOf, skew } from './rotations.ts'

interface OftConfig {
  readonly block: number
  readonly blockShare: boolean
}

/** v's axes and sizes: one row a block, or one row for all */
const shapeOfV = ({ block, blockShare }: OftConfig, width: DimLike) => {
  const b = nearestDivisor(width, block)
  return { block: blockShare ? 1 : divDim(width, b), pair: pairsOf(b) }
}

/** v by block; with one row for all blocks it has no axis `block`, and broadcasts */
const byBlock = ({ blockShare }: OftConfig, v: Tensor<'block' | 'pair'>): Tensor<'block' | 'pair'> =>
  blockShare ? (pipe(v, merge(['block', 'pair'], 'pair')) as unknown as Tensor<'block' | 'pair'>) : v

/** Q of one row after the other: row i of its upper triangle is the next b - 1 - i numbers of v, after i + 1 zeros */
const fillRows = (v: Tensor<'block' | 'pair'>, b: number): Tensor<'block' | 'i' | 'j'> => {
  const row = (i: number): Tensor<'block' | 'i' | 'j'> => {
    const start = pairsOf(b) - pairsOf(b - i)
    return pipe(v, slice('pair', start, b - 1 - i), pad('pair', i + 1, 0), rename({ pair: 'j' }), broadcast({ i: 1 }))
  }
  const upper = pipe(row(0), concat('i', ...Array.from({ length: b - 1 }, (_, i) => row(i + 1))))
  return pipe(upper, sub(pipe(upper, rename({ i: 'j', j: 'i' }))))
}

export const oft = adapter({
  name: 'oft',
  doc: 'blocks of the input, each turned by an orthogonal matrix',
  site: 'linear',
  targets: ['q_proj', 'v_proj'],
  config: {
    block: positiveInt(32, 'b, the size of a block; where it does not divide the width, the nearest divisor', [2, 4]),
    blockShare: flag(false, 'one matrix for all blocks of a layer'),
  },
  params: (config, sizes) => ({ v: param(['block', 'pair'], shapeOfV(config, sizes.in)) }),
  init:
    (config) =>
    (_key, { sizes }) => ({ params: { v: fill(0)(shapeOfV(config, sizes.in)) } }),
  apply: (config) => (p, x, host) => {
    const b = nearestDivisor(sizeOf(x, 'in'), config.block)
    const R: Tensor<'block' | 'i' | 'j'> = pipe(byBlock(config, p.v), skew(b), cayley(b))
    return pipe(x, split('in', { block: undefined, i: b }), dot(R, 'i'), merge(['block', 'j'], 'in'), host.call)
  },
  weight: (config) => (p, W) => {
    const b = nearestDivisor(sizeOf(W, 'in'), config.block)
    const blocks = divDim(sizeOf(W, 'in'), b)
    const I = eye('i', 'j', b)
    const Q = fillRows(byBlock(config, p.v), b)
    const inverse = pipe(eye('i', 'k', b), solve(pipe(I, add(Q)), 'i', 'j'))
    const R = pipe(I, sub(Q), dot(inverse, 'j'))
    const diagonal = pipe(
      R,
      mul(eye('block', 'other', blocks)),
      merge(['block', 'i'], 'in'),
      merge(['other', 'k'], 'to'),
    )
    return pipe(W, rename({ in: 'to' }), dot(diagonal, 'to'))
  },
  files: {
    library: 'peft',
    type: 'OFT',
    keys: { v: 'oft_R.weight' },
    config: { block: 'oft_block_size', blockShare: 'block_share' },
    absent: { block_share: false },
    // r counts blocks instead of sizing them. PEFT's default is a truncated series, which turns the other way
    fixed: { bias: 'none', coft: false, fan_in_fan_out: false, r: 0, use_cayley_neumann: false },
    // module_dropout does nothing in PEFT
    ignored: { eps: 6e-5, init_weights: true, module_dropout: 0, num_cayley_neumann_terms: 5 },
    stated: ['use_cayley_neumann'],
  },
  laws: [
    orthogonal<OftConfig, { readonly v: Tensor<'block' | 'pair'> }>((config) => (p, sizes) => {
      const b = nearestDivisor(sizes['in'] ?? 0, config.block)
      return { matrix: pipe(byBlock(config, p.v), skew(b), cayley(b)), row: 'i', col: 'j' }
    }),
    neuronAngles,
  ],
})
