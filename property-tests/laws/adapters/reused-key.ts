/** As a user would write it, with a mistake: one key for two random factors. Stated to fail where that is meant. */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { positiveInt } from '../../../src/adapters/field.ts'
import { add, dot, fill, mul, uniform } from '../../../src/dsl/index.ts'

export default adapter({
  name: 'reused-key',
  doc: 'LoRA with a gate, its two random factors drawn with one key',
  site: 'linear',
  targets: ['q_proj'],
  config: { rank: positiveInt(4, 'r') },
  params: ({ rank }, sizes) => ({
    a: param(['r', 'in'], { r: rank, in: sizes.in }),
    b: param(['out', 'r'], { out: sizes.out, r: rank }),
    gate: param([], {}),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({
      params: {
        a: uniform(-1, 1)(key, { r: rank, in: sizes.in }),
        b: uniform(-1, 1)(key, { out: sizes.out, r: rank }),
        gate: fill(0)({}),
      },
    }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r'), mul(p.gate)))),
})
