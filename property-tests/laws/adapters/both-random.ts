/** As a user would write it, with a mistake: both factors are random, so a fresh adapter is not the identity. */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { positiveInt } from '../../../src/adapters/field.ts'
import { add, childKey, dot, uniform } from '../../../src/dsl/index.ts'

export default adapter({
  name: 'both-random',
  doc: 'LoRA whose two factors are both random',
  site: 'linear',
  targets: ['q_proj'],
  config: { rank: positiveInt(4, 'r') },
  params: ({ rank }, sizes) => ({
    a: param(['r', 'in'], { r: rank, in: sizes.in }),
    b: param(['out', 'r'], { out: sizes.out, r: rank }),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({
      params: {
        a: uniform(-1, 1)(childKey(key, 0), { r: rank, in: sizes.in }),
        b: uniform(-1, 1)(childKey(key, 1), { out: sizes.out, r: rank }),
      },
    }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r')))),
})
