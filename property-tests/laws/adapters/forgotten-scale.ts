/** As a user would write it, with a mistake: `weight` forgets the scaling that `apply` has. */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { positiveInt, real } from '../../../src/adapters/field.ts'
import { add, dot, fill, scale, uniform } from '../../../src/dsl/index.ts'

export default adapter({
  name: 'forgotten-scale',
  doc: 'LoRA whose merged weight lacks the scaling',
  site: 'linear',
  targets: ['q_proj'],
  config: { rank: positiveInt(4, 'r'), alpha: real(8, 'numerator of the scaling') },
  params: ({ rank }, sizes) => ({
    a: param(['r', 'in'], { r: rank, in: sizes.in }),
    b: param(['out', 'r'], { out: sizes.out, r: rank }),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({
      params: { a: uniform(-1, 1)(key, { r: rank, in: sizes.in }), b: fill(0)({ out: sizes.out, r: rank }) },
    }),
  apply:
    ({ rank, alpha }) =>
    (p, x, host) =>
      pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r'), scale(alpha / rank)))),
  weight: () => (p, W) => pipe(W, add(pipe(p.b, dot(p.a, 'r')))),
})
