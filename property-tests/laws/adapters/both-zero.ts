/** As a user would write it, with a mistake: both factors start at zero, and no gradient ever reaches either. */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { positiveInt } from '../../../src/adapters/field.ts'
import { add, dot, fill } from '../../../src/dsl/index.ts'

export default adapter({
  name: 'both-zero',
  doc: 'LoRA whose two factors are both zero',
  site: 'linear',
  targets: ['q_proj'],
  config: { rank: positiveInt(4, 'r') },
  params: ({ rank }, sizes) => ({
    a: param(['r', 'in'], { r: rank, in: sizes.in }),
    b: param(['out', 'r'], { out: sizes.out, r: rank }),
  }),
  init:
    ({ rank }) =>
    (_key, { sizes }) => ({
      params: { a: fill(0)({ r: rank, in: sizes.in }), b: fill(0)({ out: sizes.out, r: rank }) },
    }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r')))),
})
