/**
 * As a user would write it, with a mistake: f(h) = h sigmoid(h) with a rule of its own,
 *
 *     f'(h) = sigmoid(h) + h sigmoid(h) (1 - sigmoid(h))
 *
 * whose second term is missing.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, param } from '../../../src/adapters/adapter.ts'
import { positiveInt } from '../../../src/adapters/field.ts'
import { withVjp } from '../../../src/autodiff/index.ts'
import { add, dot, fill, mul, sigmoid, silu, uniform, type Tensor } from '../../../src/dsl/index.ts'

const f = withVjp(
  'swish',
  (h) => silu(h),
  ([h], _y, ct) => [pipe(ct, mul(sigmoid(h!)))],
)

export default adapter({
  name: 'dropped-term',
  doc: 'a bottleneck whose derivative lacks a term',
  site: 'activation',
  targets: ['output_adapters'],
  config: { size: positiveInt(4, 'm') },
  params: ({ size }, sizes) => ({
    down: param(['m', 'in'], { m: size, in: sizes.in }),
    up: param(['in', 'm'], { in: sizes.in, m: size }),
  }),
  init:
    ({ size }) =>
    (key, { sizes }) => ({
      params: { down: uniform(-1, 1)(key, { m: size, in: sizes.in }), up: fill(0)({ in: sizes.in, m: size }) },
    }),
  apply: () => (p, x, host) => {
    const h = host.call(x)
    const inner: Tensor<'token' | 'm'> = f(pipe(h, dot(p.down, 'in')))
    return pipe(h, add(pipe(inner, dot(p.up, 'm'))))
  },
})
