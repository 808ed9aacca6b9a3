/** Laws from code: what is known of an adapter without a test written, and what a law says of a wrong one. */
import {
  adapter,
  add,
  dot,
  normal,
  param,
  positiveInt,
  runLaws,
  scale,
  showCounterexample,
  childKey,
  type Adapter,
} from 'scion'
import { pipe } from 'fp-ts/lib/function.js'
import gatedLora from './my-adapter.ts'

/** LoRA with both factors random: not the identity at init */
const careless: Adapter = adapter({
  name: 'careless-lora',
  doc: 'a low-rank product that starts at random',
  site: 'linear',
  targets: ['q_proj'],
  config: { rank: positiveInt(2, 'inner size') },
  params: ({ rank }, { in: width, out }) => ({
    a: param(['r', 'in'], { r: rank, in: width }),
    b: param(['out', 'r'], { out, r: rank }),
  }),
  init:
    ({ rank }) =>
    (key, { sizes }) => ({
      params: {
        a: normal(1)(childKey(key, 0), { r: rank, in: sizes.in }),
        b: normal(1)(childKey(key, 1), { out: sizes.out, r: rank }),
      },
    }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(x, dot(p.a, 'in'), dot(p.b, 'r'), scale(2)))),
  weight: () => (p, W) => pipe(W, add(pipe(p.b, dot(p.a, 'r'), scale(2)))),
})

const report = runLaws([gatedLora, careless], { runs: 10, seed: 1, mutation: false })
for (const l of report.laws) {
  if (l.verdict !== 'notApplicable') console.log(l.adapter.padEnd(14), l.law.padEnd(24), l.verdict)
  if (l.counterexample !== undefined) console.log(showCounterexample(l.counterexample))
}
