/**
 * As a user would write it, with a mistake: R = I + Q + Q^2/2 with Q = V - V^T, the exponential cut after three
 * terms, is not orthogonal.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { orthogonal } from '../../../src/adapters/laws/standard.ts'
import { add, dot, eye, fill, rename, scale, sizeOf, sub, type Tensor } from '../../../src/dsl/index.ts'

const rotation = (v: Tensor<'in' | 'to'>): Tensor<'in' | 'to'> => {
  const Q = pipe(v, sub(pipe(v, rename({ in: 'to', to: 'in' }))))
  const square = pipe(Q, rename({ to: 'k' }), dot(pipe(Q, rename({ in: 'k' })), 'k'))
  return pipe(eye('in', 'to', sizeOf(v, 'in')), add(Q), add(pipe(square, scale(0.5))))
}

export default adapter({
  name: 'truncated-rotation',
  doc: 'a rotation by a truncated series',
  site: 'linear',
  targets: ['q_proj'],
  config: {},
  params: (_config, sizes) => ({ v: param(['in', 'to'], { in: sizes.in, to: sizes.in }) }),
  init:
    () =>
    (_key, { sizes }) => ({ params: { v: fill(0)({ in: sizes.in, to: sizes.in }) } }),
  apply: () => (p, x, host) => host.call(pipe(x, dot(rotation(p.v), 'in'), rename({ to: 'in' }))),
  fails: { everyParameterMatters: 'the diagonal of V cancels in V - V^T' },
  laws: [
    orthogonal<unknown, { readonly v: Tensor<'in' | 'to'> }>(() => (p) => ({
      matrix: rotation(p.v),
      row: 'in',
      col: 'to',
    })),
  ],
})
