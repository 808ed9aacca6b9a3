/**
 * jax-js's side of the bench: one jitted function of y and all gradients (`valueAndGrad` with the output beside the
 * loss), so that it does the same work; wasm, one thread.
 */
import { readFileSync } from 'node:fs'
import { causal, formulations, rotation, rowsOf } from './formulations.js'
import { serve } from './serve.ts'

const jax = await import('@jax-js/jax')
const { version } = JSON.parse(
  readFileSync(new URL('../node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'),
)
await jax.init('wasm')
jax.defaultDevice('wasm')
const { numpy: np, nn } = jax

/** an array is consumed by what it is handed to, unless handed on as a reference */
const ref = (a) => (typeof a === 'object' && a !== null && a.ref !== undefined ? a.ref : a)
const array = (data, shape) => np.array(data).reshape(shape)
const lastTwo = (a) => {
  const axes = [...Array(a.ndim).keys()]
  return ref(a).transpose([...axes.slice(0, -2), a.ndim - 1, a.ndim - 2])
}
const mm = (a, b, ta = false, tb = false) => np.matmul(ta ? lastTwo(a) : ref(a), tb ? lastTwo(b) : ref(b))

const A = {
  mm,
  linear: (x, w) => mm(x, w, false, true),
  add: (a, b) => (typeof b === 'number' ? ref(a).add(b) : np.add(ref(a), ref(b))),
  sub: (a, b) => np.subtract(ref(a), ref(b)),
  mul: (a, b) => np.multiply(ref(a), ref(b)),
  div: (a, b) => np.divide(ref(a), ref(b)),
  times: (a, s) => ref(a).mul(s),
  ones: (a) => ref(a).mul(0).add(1),
  reshape: (a, shape) => ref(a).reshape(shape),
  permute: (a, axes) => ref(a).transpose(axes),
  repeat: (a, n) => np.add(ref(a), np.zeros([n, 1, 1, 1])),
  columns: (u, r) => Array.from({ length: r }, (_, k) => ref(u).slice([], [k, k + 1])),
  softmax: (a) => nn.softmax(ref(a), -1),
  logSoftmax: (a) => nn.logSoftmax(ref(a), -1),
  sum: (a) => ref(a).sum(),
  mean: (a) => ref(a).mean(-1, { keepdims: true }),
  rsqrt: (a) => np.reciprocal(np.sqrt(ref(a))),
  tanh: (a) => np.tanh(ref(a)),
  silu: (a) => nn.silu(ref(a)),
  causal: (T) => array(causal(T), [T, T]),
  rotation: (T, d, theta) => rotation(T, d, theta).map((x) => array(x, [T, d / 2])),
  halves: (a) => np.split(ref(a), 2, 3),
  join: (a, b) => np.concatenate([ref(a), ref(b)], 3),
  picked: (lp, ids, vocab) => np.sum(np.multiply(ref(lp), nn.oneHot(ref(ids), vocab))),
}
const kinds = formulations(A)

/** The tensors that the formulation reads, as arrays; a step's embedding rows are found beforehand. */
const arraysOf = (c, tensors) => {
  if (c.kind !== 'step')
    return c.tensors.filter((t) => t.name !== 'ct.y').map((t) => [t.name, array(tensors[t.name], t.shape)])
  const { dim, rows, length } = c.numbers
  const ids = (name) => np.array(Int32Array.from(tensors[name]), { dtype: np.int32 })
  return [
    ...c.tensors
      .filter((t) => c.wrt.includes(t.name) || c.frozen.includes(t.name))
      .map((t) => [t.name, array(tensors[t.name], t.shape)]),
    ['embedded', array(rowsOf(tensors['model.embed_tokens.weight'], dim, tensors.tokens), [rows * length, dim])],
    ['targets', ids('targets')],
  ]
}

const prepare = (c, tensors) => {
  const f = kinds[c.kind]?.(c.numbers)
  if (f === undefined) throw new Error(`no formulation of ${c.kind}`)
  const named = arraysOf(c, tensors)
  const names = named.map(([name]) => name)
  const arrays = named.map(([, a]) => a)
  const byName = (args) => Object.fromEntries(names.map((name, i) => [name, args[i]]))
  const run = async (jitted, args) => {
    const out = jitted(...args.map(ref))
    await jax.blockUntilReady(out)
    return out
  }
  const drop = (out) => [out].flat().forEach((x) => x.dispose())
  const forward = jax.jit((...args) => f(byName(args)))
  const wrt = c.wrt.map((name) => names.indexOf(name))
  const isStep = c.kind === 'step'
  const differentiated = () => {
    const loss = (...args) => {
      const y = f(byName(args))
      return isStep ? [y, np.array([0])] : [np.sum(np.multiply(ref(y), args.at(-1))), y]
    }
    const both = jax.valueAndGrad(loss, { argnums: wrt, hasAux: true })
    return jax.jit((...args) => {
      const [[value, y], grads] = both(...args)
      return [isStep ? value : y, ...(isStep ? [ref(y)] : [value]), ...grads]
    })
  }
  const jitted = wrt.length === 0 ? undefined : differentiated()
  const given = isStep
    ? [...arrays, np.array([0])]
    : [
        ...arrays,
        ...('ct.y' in tensors ? [array(tensors['ct.y'], c.tensors.find((t) => t.name === 'ct.y').shape)] : []),
      ]
  const bothNow = () => run(jitted, given)
  return {
    forms: {
      ...(isStep
        ? { step: async () => drop(await bothNow()) }
        : { forward: async () => drop(await run(forward, arrays)) }),
      ...(jitted === undefined || isStep ? {} : { both: async () => drop(await bothNow()) }),
    },
    results: async () => {
      if (jitted === undefined) return { y: (await run(forward, arrays)).dataSync() }
      const [y, other, ...grads] = await bothNow()
      other.dispose()
      const found = [[isStep ? 'loss' : 'y', y], ...(isStep ? [] : c.wrt.map((name, i) => [`d.${name}`, grads[i]]))]
      const data = Object.fromEntries(found.map(([name, a]) => [name, Float32Array.from(a.dataSync())]))
      if (isStep) grads.forEach((g) => g.dispose())
      return data
    },
  }
}

await serve({ build: `jax-js ${version}, wasm`, prepare }, 'jax-js')
