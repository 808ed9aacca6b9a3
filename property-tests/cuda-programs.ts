/** What the CUDA recipes are tested on: every adapter forward and backward, attention, row groups; sizes stay symbols. */
import { pipe } from 'fp-ts/lib/function.js'
import type { Adapter, Sites } from '../src/adapters/adapter.ts'
import { activationHost, linearHost } from '../src/adapters/adapter.ts'
import { registry } from '../src/adapters/registry.ts'
import { grad } from '../src/autodiff/index.ts'
import { kit } from '../src/dsl/build.ts'
import type { Sizes } from '../src/dsl/dim.ts'
import * as L from '../src/dsl/index.ts'
import type { Program } from '../src/dsl/program.ts'
import { graftOnto } from '../src/models/graft.ts'
import { causalAttention, rmsNorm } from '../src/models/layers.ts'
import { llamaSites } from '../src/models/llama.ts'
import { causalLoss } from '../src/models/loss.ts'
import { adamW } from '../src/models/optimiser.ts'
import { stepProgram } from '../src/models/train.ts'
import { get } from './cuda-lockstep.ts'

export interface Specimen {
  readonly name: string
  readonly program: Program
  readonly sizes: Sizes
  /** ids below this */
  readonly ids: number
}

const sumOf = (y: L.AnyTensor): L.Tensor<never> =>
  L.wrap(
    kit.reduce(
      'sum',
      y.node,
      y.node.type.dims.map((d) => d.name),
    ),
  )

/** y and its gradients, the cotangent being an input */
export const backward = (y: L.AnyTensor, wrt: Readonly<Record<string, L.AnyTensor>>): Program => {
  const g = kit.input('g', y.node.type.dims, 'f32')
  const gradients = grad(sumOf({ node: kit.map('mul', y.node, g) }), wrt)
  return get(L.program('both', { y, ...Object.fromEntries(Object.entries(gradients).map(([k, v]) => [`d.${k}`, v])) }))
}

export const defaultsOf = (a: Adapter): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))

/** sizes that fit small hosts */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 } }

type Width = number | string

/** An adapter on a linear layer or an activation of these widths, forward and backward. */
export const adapterProgram = (a: Adapter, width: Width, out: Width): Program => {
  const config = { ...defaultsOf(a), ...small[a.name] }
  const params = Object.fromEntries(
    Object.entries(a.params(config, { in: width, out })).map(([k, p]) => [k, L.input(k, p.sizes)]),
  )
  const x = L.input('x', { batch: 'B', token: 'T', in: width })
  const host = a.site === 'linear' ? linearHost(L.input('W', { out, in: width })) : (activationHost as unknown as never)
  const y = a.apply(config)(params, x as Sites['linear']['x'], host, {}) as L.AnyTensor
  return backward(y, { x, ...params })
}

const heads = (kv: number, group: number, h: number) => ({
  q: L.input('q', { batch: 'B', token: 'T', kv, group, h }),
  k: L.input('k', { batch: 'B', key: 'T', kv, h }),
  v: L.input('v', { batch: 'B', key: 'T', kv, h }),
})

export const attentionProgram = (kv: number, group: number, h: number): Program => {
  const x = heads(kv, group, h)
  return backward(causalAttention(h)(x as never), x)
}

/** LLaMA-Adapter's attention: a second softmax over the prompt behind a gate */
export const promptedProgram = (a: Adapter, kv: number, group: number, h: number): Program => {
  const x = heads(kv, group, h)
  const [K, V] = [L.input('K', { prompt: 3, kv, h }), L.input('V', { prompt: 3, kv, h })]
  const gate = L.input('gate', {})
  const host = {
    projectKey: () => pipe(K, L.rename({ prompt: 'token' })),
    projectValue: () => pipe(V, L.rename({ prompt: 'token' })),
    call: causalAttention(h),
  }
  const prompt = L.input('prompt', { prompt: 3, in: kv * h })
  const y = a.apply(defaultsOf(a))({ prompt, gate }, x as never, host, {}) as L.AnyTensor
  return backward(y, { ...x, K, V, gate })
}

const normProgram = (width: Width): Program => {
  const [x, gain] = [L.input('x', { batch: 'B', token: 'T', in: width }), L.input('gain', { in: width })]
  return backward(rmsNorm(gain, 1e-5)(x as never), { x, gain })
}

const softmaxProgram = (width: Width): Program => {
  const x = L.input('x', { token: 'T', in: width })
  return backward(pipe(x, L.softmax('in')), { x })
}

const lossProgram = (): Program => {
  const x = L.input('x', { batch: 2, token: 5, in: 12 })
  const [W, gain] = [L.input('W', { vocab: 33, in: 12 }), L.input('gain', { in: 12 })]
  const logits = pipe(rmsNorm(gain, 1e-5)(x as never), L.dot(W, 'in'))
  const loss = causalLoss(logits, L.input('t', { batch: 2, token: 5 }, 'i32') as never)
  return get(L.program('loss', { loss, dx: grad(loss, { x })['x'] }))
}

const config = {
  ...{ dim: 16, hidden: 24, layers: 1, heads: 4, kvHeads: 2, headDim: 4, vocab: 20 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 16, eos: [] },
}
const recipe = { steps: 1, rows: 2, length: 6, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }

/** The training step of a small model with the adapter. */
export const stepOf = (a: Adapter): Program =>
  get(stepProgram(config, get(graftOnto(llamaSites(config), a, { ...defaultsOf(a), ...small[a.name] })), recipe))

/** x W^T + b with operands as halves, sums in f32: tensor cores */
const halvesProgram = (half: 'f16' | 'bf16'): Program => {
  const x = L.input('x', { batch: 'B', token: 'T', in: 50 }, half)
  const [W, b] = [L.input('W', { out: 70, in: 50 }, half), L.input('b', { out: 70 })]
  return get(L.program(half, { y: pipe(x, L.cast('f32'), L.dot(pipe(W, L.cast('f32')), 'in'), L.add(b), L.silu) }))
}

/** nothing is cast: halves in, halves out */
const halfResults = (half: 'f16' | 'bf16'): Program => {
  const [x, W] = [L.input('x', { token: 'T', in: 64 }, half), L.input('W', { out: 128, in: 64 }, half)]
  return get(L.program(half, { y: L.wrap(kit.dot(x.node, W.node, ['in'])) }))
}

const n = 5
const [square, eye] = [L.input('m', { row: n, col: n }), L.eye('row', 'col', n)]
const skew = pipe(square, L.sub(pipe(square, L.rename({ row: 'col', col: 'row' }))))

/** ones beside the diagonal, cyclically: elimination cannot start without exchanging rows */
const shifted = pipe(
  L.eye('row', 'col', n + 1),
  L.slice('row', 1, n),
  L.slice('col', 0, n),
  L.add(pipe(L.eye('row', 'col', 1), L.pad('row', 0, n - 1), L.pad('col', n - 1, 0))),
)

/** Systems: what needs no pivot and what does, both triangles, right-hand sides of unknown number. */
const systems = (): ReadonlyArray<Specimen> => {
  const rhs = L.input('rhs', { row: n, c: 3 })
  const wide = L.input('rhs', { row: n, c: 'C' })
  const triangle = pipe(square, L.add(pipe(eye, L.scale(3))))
  const of = (name: string, y: L.AnyTensor, wrt: Readonly<Record<string, L.AnyTensor>>): Specimen => ({
    name,
    program: backward(y, wrt),
    sizes: { C: 7 },
    ids: 4,
  })
  // a diagonal of zeros
  const permuted = pipe(square, L.mul(pipe(eye, L.neg, L.add(1))), L.scale(0.1), L.add(pipe(shifted, L.scale(2))))
  return [
    of('Cayley', pipe(rhs, L.solve(pipe(eye, L.add(skew)), 'row', 'col')), { m: square, rhs }),
    of('rows exchanged', pipe(rhs, L.solve(permuted, 'row', 'col')), { m: square, rhs }),
    of('lower triangle', pipe(rhs, L.triSolve(triangle, 'row', 'col', 'lower')), { m: square, rhs }),
    of('upper triangle', pipe(rhs, L.triSolve(triangle, 'row', 'col', 'upper')), { m: square, rhs }),
    of('any number of sides', pipe(wide, L.solve(permuted, 'row', 'col')), { m: square, rhs: wide }),
  ]
}

const few: Sizes = { B: 2, T: 5 }
const adapters: ReadonlyArray<Adapter> = registry

/** Small and ragged; widths literal, then symbolic. */
export const specimens: ReadonlyArray<Specimen> = [
  ...adapters
    .filter((a) => a.site !== 'attention')
    .flatMap((a): ReadonlyArray<Specimen> => [
      { name: a.name, program: adapterProgram(a, 12, 20), sizes: few, ids: 4 },
      {
        name: `${a.name}, widths unknown`,
        program: adapterProgram(a, 'I', 'O'),
        sizes: { ...few, I: 12, O: 20 },
        ids: 4,
      },
    ]),
  ...adapters
    .filter((a) => a.name === 'lora')
    .map((a): Specimen => ({
      name: 'lora, tiles',
      program: adapterProgram(a, 36, 70),
      sizes: { B: 3, T: 23 },
      ids: 4,
    })),
  ...adapters
    .filter((a) => a.name === 'llama-adapter')
    .map((a): Specimen => ({ name: a.name, program: promptedProgram(a, 2, 2, 4), sizes: few, ids: 4 })),
  { name: 'attention', program: attentionProgram(2, 2, 4), sizes: few, ids: 4 },
  { name: 'rmsNorm', program: normProgram(12), sizes: few, ids: 4 },
  { name: 'rmsNorm, width unknown', program: normProgram('I'), sizes: { ...few, I: 300 }, ids: 4 },
  { name: 'softmax', program: softmaxProgram(70), sizes: few, ids: 4 },
  { name: 'softmax, width unknown', program: softmaxProgram('I'), sizes: { T: 3, I: 301 }, ids: 4 },
  ...(['f16', 'bf16'] as const).flatMap((half): ReadonlyArray<Specimen> => [
    { name: `${half}, sums f32`, program: halvesProgram(half), sizes: { B: 3, T: 23 }, ids: 4 },
    { name: `${half} throughout`, program: halfResults(half), sizes: { T: 37 }, ids: 4 },
  ]),
  ...systems(),
  { name: 'attention, chunks', program: attentionProgram(1, 2, 8), sizes: { B: 1, T: 37 }, ids: 4 },
  { name: 'cross-entropy', program: lossProgram(), sizes: {}, ids: 33 },
]
