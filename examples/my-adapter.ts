/**
 * An adapter that no library has: LoRA whose product is scaled by a trainable gate per output, g = 0 at init.
 *
 *     y = x W^T + b + g * ((x A^T) B^T)        W' = W + diag(g) B A
 *
 * `npx scion laws examples/my-adapter.ts` checks it; `npx scion train --adapter examples/my-adapter.ts ...` trains it.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, add, childKey, dot, fill, mul, normal, param, positiveInt } from 'scion'

export default adapter({
  name: 'gated-lora',
  doc: 'a low-rank product with a gate per output',
  site: 'linear',
  targets: ['q_proj', 'v_proj'],
  config: { rank: positiveInt(4, 'inner size of the product') },
  params: ({ rank }, { in: width, out }) => ({
    a: param(['r', 'in'], { r: rank, in: width }),
    b: param(['out', 'r'], { out, r: rank }),
    g: param(['out'], { out }),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({
      params: {
        a: normal(0.2)(childKey(key, 0), { r: rank, in: sizes.in }),
        b: normal(0.2)(childKey(key, 1), { out: sizes.out, r: rank }),
        g: fill(0)({ out: sizes.out }),
      },
    }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r'), mul(p.g)))),
  weight: () => (p, W) => pipe(W, add(pipe(p.b, dot(p.a, 'r'), mul(p.g)))),
})
