/**
 * HRA: the layer's input through a chain of r reflections. Yuan et al. 2024, arXiv 2405.17484; PEFT `HRA`.
 *
 *     W' = W H        H = H_0 H_1 ... H_{r-1}        H_k = I - 2 u_k u_k^T / |u_k|^2
 *     y = (x H^T) W^T + b
 *
 * U: (in, r). At init neighbouring columns are equal and their reflections cancel: H = I to rounding where r is even.
 * An odd r has no such pairs: U is plainly random and H is not I. Lengths do not matter; a column of zeros gives NaN.
 */
import { pipe } from 'fp-ts/lib/function.js'
import {
  broadcast,
  compare,
  div,
  dot,
  eye,
  map,
  merge,
  mul,
  rename,
  rsqrt,
  scalar,
  scale,
  slice,
  square,
  sub,
  sum,
  uniform,
  where,
  iota,
  type Key,
  type DimLike,
  type Tensor,
} from '../dsl/index.ts'
import { adapter, param } from './adapter.ts'
import { positiveInt, real } from './field.ts'
import { identityAtInit, neuronAngles, orthogonal } from './laws/standard.ts'
import { reflectChain } from './rotations.ts'

interface HraConfig {
  readonly rank: number
}

/** U(-1/sqrt n, 1/sqrt n) over n columns, n = r/2 and each column twice; over all r where r is odd */
const pairedColumns = (key: Key, width: DimLike, rank: number): Tensor<'in' | 'r'> => {
  const n = rank % 2 === 0 ? rank / 2 : rank
  const columns = uniform(-1 / Math.sqrt(n), 1 / Math.sqrt(n))(key, { in: width, half: n })
  return pipe(columns, broadcast({ pair: rank / n }), merge(['half', 'pair'], 'r'))
}

export const hra = adapter({
  name: 'hra',
  doc: 'the input through a chain of reflections',
  site: 'linear',
  targets: ['q_proj', 'v_proj'],
  config: {
    rank: positiveInt(8, 'r, the number of reflections'),
    orthogonality: real(
      0,
      'weight of the penalty that keeps columns orthogonal; 1e-4 is usual, 0 leaves it out',
      [0, 1],
    ),
  },
  params: ({ rank }, sizes) => ({ u: param(['in', 'r'], { in: sizes.in, r: rank }) }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({ params: { u: pairedColumns(key, sizes.in, rank) } }),
  apply: () => (p, x, host) => pipe(x, reflectChain(p.u), host.call),
  weight:
    ({ rank }) =>
    (p, W) =>
      Array.from({ length: rank }, (_, k) => pipe(p.u, slice('r', k, 1), sum('r'))).reduce((V, u) => {
        // V H_k = V - 2 (V u) u^T / |u|^2
        const along = pipe(V, dot(u, 'in'), div(pipe(u, square, sum('in'))), scale(2))
        return pipe(V, sub(pipe(along, mul(u))))
      }, W),
  // lambda |I - N^T N|_F with N the columns of U at length one: its diagonal is 0 for every U
  penalty:
    ({ rank, orthogonality }) =>
    (p) => {
      if (orthogonality === 0 || rank === 1) return scalar(0)
      const N = pipe(p.u, mul(pipe(p.u, square, sum('in'), rsqrt)))
      const cosines = pipe(N, dot(pipe(N, rename({ r: 'c' })), 'in'))
      const others = pipe(cosines, where(pipe(iota('r', rank), compare('ne')(iota('c', rank))), 0))
      const squares = pipe(others, square, sum('r', 'c'))
      // at 0 the root has no derivative: there it is 0, as torch's norm has it
      const some = pipe(squares, compare('gt')(0))
      return pipe(squares, where(some, 1), map('sqrt'), where(some, 0), scale(orthogonality))
    },
  files: {
    library: 'peft',
    type: 'HRA',
    keys: { u: 'hra_u' },
    config: { rank: 'r' },
    fixed: { apply_GS: false, bias: 'none' },
    ignored: { init_weights: true },
  },
  laws: [
    identityAtInit<HraConfig>({
      when: ({ rank }) => rank % 2 === 0,
      reason: 'an odd number of reflections has no pairs',
    }),
    orthogonal<HraConfig, { readonly u: Tensor<'in' | 'r'> }>(() => (p, sizes) => ({
      matrix: pipe(eye('from', 'in', sizes['in'] ?? 0), reflectChain(p.u)),
      row: 'from',
      col: 'in',
    })),
    neuronAngles,
  ],
})
