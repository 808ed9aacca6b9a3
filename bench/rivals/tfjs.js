/**
 * tfjs's side of the bench, wasm, one thread. Its own matMul gradient and `transposeB` fall into a naive loop; a
 * product here transposes explicitly and has a gradient that does, which is 3 to 6 times as fast.
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { causal, formulations, rotation, rowsOf } from './formulations.js'
import { serve } from './serve.ts'

const require = createRequire(import.meta.url)
const tf = require('@tensorflow/tfjs-core')
// the package without layers and converters registers no gradients of its own
require('@tensorflow/tfjs-core/dist/register_all_gradients')
const wasm = require('@tensorflow/tfjs-backend-wasm')
wasm.setWasmPaths(`${join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'wasm-out')}/`)
await tf.setBackend('wasm')
await tf.ready()

const lastTwo = (a) => {
  const axes = [...Array(a.rank).keys()]
  return tf.transpose(a, [...axes.slice(0, -2), a.rank - 1, a.rank - 2])
}
const product = tf.customGrad((a, b, save) => {
  save([a, b])
  return {
    value: tf.matMul(a, b),
    gradFunc: (dy, [x, y]) => [tf.matMul(dy, lastTwo(y)), tf.matMul(lastTwo(x), dy)],
  }
})
const mm = (a, b, ta = false, tb = false) => product(ta ? lastTwo(a) : a, tb ? lastTwo(b) : b)

const A = {
  mm,
  linear: (x, w) => mm(x, w, false, true),
  add: tf.add,
  sub: tf.sub,
  mul: tf.mul,
  div: tf.div,
  times: tf.mul,
  ones: tf.onesLike,
  reshape: tf.reshape,
  permute: tf.transpose,
  repeat: (a, n) => tf.tile(a, [n, 1, 1, 1]),
  columns: (u, r) => tf.split(u, r, 1),
  softmax: (a) => tf.softmax(a),
  logSoftmax: (a) => tf.logSoftmax(a),
  sum: (a) => tf.sum(a),
  mean: (a) => tf.mean(a, -1, true),
  rsqrt: tf.rsqrt,
  tanh: tf.tanh,
  silu: (a) => tf.mul(a, tf.sigmoid(a)),
  causal: (T) => tf.tensor(causal(T), [T, T]),
  rotation: (T, d, theta) => rotation(T, d, theta).map((x) => tf.tensor(x, [T, d / 2])),
  halves: (a) => tf.split(a, 2, 3),
  join: (a, b) => tf.concat([a, b], 3),
  picked: (lp, ids, vocab) => tf.sum(tf.mul(lp, tf.oneHot(ids, vocab))),
}
const kinds = formulations(A)

const tensorsOf = (c, tensors) => {
  if (c.kind !== 'step') return c.tensors.map((t) => [t.name, tf.tensor(tensors[t.name], t.shape)])
  const { dim, rows, length } = c.numbers
  return [
    ...c.tensors
      .filter((t) => c.wrt.includes(t.name) || c.frozen.includes(t.name))
      .map((t) => [t.name, tf.tensor(tensors[t.name], t.shape)]),
    ['embedded', tf.tensor(rowsOf(tensors['model.embed_tokens.weight'], dim, tensors.tokens), [rows * length, dim])],
    ['targets', tf.tensor(Int32Array.from(tensors.targets), [rows * length], 'int32')],
  ]
}

const prepare = (c, tensors) => {
  const f = kinds[c.kind]?.(c.numbers)
  if (f === undefined) throw new Error(`no formulation of ${c.kind}`)
  const given = Object.fromEntries(tensorsOf(c, tensors))
  const isStep = c.kind === 'step'
  const vg = tf.valueAndGrads((...params) =>
    f({ ...given, ...Object.fromEntries(c.wrt.map((n, i) => [n, params[i]])) }),
  )
  const differentiate = () =>
    vg(
      c.wrt.map((n) => given[n]),
      isStep ? undefined : given['ct.y'],
    )
  const both = () => tf.tidy(() => void differentiate())
  return {
    forms: {
      ...(isStep ? { step: both } : { forward: () => tf.tidy(() => void f(given)) }),
      ...(c.wrt.length === 0 || isStep ? {} : { both }),
    },
    results: () =>
      tf.tidy(() => {
        if (c.wrt.length === 0) return { y: f(given).dataSync() }
        const { value, grads } = differentiate()
        return {
          [isStep ? 'loss' : 'y']: value.dataSync(),
          ...(isStep ? {} : Object.fromEntries(c.wrt.map((n, i) => [`d.${n}`, grads[i].dataSync()]))),
        }
      }),
    dispose: () => Object.values(given).forEach((t) => t.dispose()),
  }
}

await serve({ build: `tfjs ${tf.version_core}, wasm, products with explicit transposes`, prepare }, 'tfjs')
