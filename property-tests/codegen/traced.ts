/** Layers as results of named inputs, from which tests make programs: forward alone, or with the gradients of sum(y g). */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { activationHost, linearHost, type Adapter, type Sites } from '../../src/adapters/adapter.ts'
import { adapterNamed } from '../../src/adapters/registry.ts'
import { grad } from '../../src/autodiff/index.ts'
import { kit } from '../../src/dsl/build.ts'
import * as L from '../../src/dsl/index.ts'
import type { Program } from '../../src/dsl/program.ts'
import { causalAttention, rmsNorm } from '../../src/models/layers.ts'

// ---------------------------------------------------------------------------------------- model

/** a result, and what its gradients are wanted of */
export interface Traced {
  readonly y: L.AnyTensor
  readonly wrt: Readonly<Record<string, L.AnyTensor>>
}

export type Width = number | string

export const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

// -------------------------------------------------------------------------------------- programs

export const sumOf = (y: L.AnyTensor): L.Tensor<never> =>
  L.wrap(
    kit.reduce(
      'sum',
      y.node,
      y.node.type.dims.map((d) => d.name),
    ),
  )

export const forward = (name: string, { y }: Traced): Program => get(L.program(name, { y }))

/** forward, and the gradients of sum(y g) */
export const both = (name: string, { y, wrt }: Traced): Program => {
  const g = kit.input('g', y.node.type.dims, 'f32')
  const gradients = grad(sumOf({ node: kit.map('mul', y.node, g) }), wrt)
  return get(L.program(name, { y, ...Object.fromEntries(Object.entries(gradients).map(([k, v]) => [`d.${k}`, v])) }))
}

// ---------------------------------------------------------------------------------------- layers

/** sizes that fit small hosts */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 } }

export const defaultsOf = (a: Adapter): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))

/** the adapter's defaults, but for what does not fit small hosts */
export const smallConfigOf = (a: Adapter): Readonly<Record<string, unknown>> => ({ ...defaultsOf(a), ...small[a.name] })

/** An adapter on a linear layer, or on an activation, of these widths. */
export const adapted = (a: Adapter, width: Width, out: Width, config = smallConfigOf(a)): Traced => {
  const params = Object.fromEntries(
    Object.entries(a.params(config, { in: width, out })).map(([k, p]) => [k, L.input(k, p.sizes)]),
  )
  const x = L.input('x', { batch: 'B', token: 'T', in: width })
  const host = a.site === 'linear' ? linearHost(L.input('W', { out, in: width })) : activationHost
  const y = a.apply(config)(params, x as Sites['linear']['x'], host, {})
  return { y: y, wrt: { x, ...params } }
}

const headsOf = (kv: number, group: number, h: number) => ({
  q: L.input('q', { batch: 'B', token: 'T', kv, group, h }),
  k: L.input('k', { batch: 'B', key: 'T', kv, h }),
  v: L.input('v', { batch: 'B', key: 'T', kv, h }),
})

/** Causal attention of `kv` heads of width h, `group` queries each. */
export const attended = (kv: number, group: number, h: number): Traced => {
  const x = headsOf(kv, group, h)
  return { y: causalAttention(h)(x as never), wrt: x }
}

/** LLaMA-Adapter's attention: a second softmax over the prompt behind a gate. */
export const prompted = (kv: number, group: number, h: number, prompt: number): Traced => {
  const x = headsOf(kv, group, h)
  const adapter = get(adapterNamed('llama-adapter'))
  const [K, V] = [L.input('K', { prompt, kv, h }), L.input('V', { prompt, kv, h })]
  const gate = L.input('gate', {})
  const host = {
    projectKey: () => pipe(K, L.rename({ prompt: 'token' })),
    projectValue: () => pipe(V, L.rename({ prompt: 'token' })),
    call: causalAttention(h),
  }
  const given = { prompt: L.input('prompt', { prompt, in: 16 }), gate }
  return {
    y: adapter.apply(defaultsOf(adapter))(given, x as never, host, {}),
    wrt: { ...x, K, V, gate },
  }
}

const rowsOf = (dims: Readonly<Record<string, Width>>, width: Width): L.Tensor<'token' | 'in'> =>
  L.wrap(L.input('x', { ...dims, in: width }).node)

/** y = gain x / sqrt(mean x^2 + eps) */
export const normed = (dims: Readonly<Record<string, Width>>, width: Width): Traced => {
  const [x, gain] = [rowsOf(dims, width), L.input('gain', { in: width })]
  return { y: rmsNorm(gain, 1e-5)(x), wrt: { x, gain } }
}

export const softened = (dims: Readonly<Record<string, Width>>, width: Width): Traced => {
  const x = rowsOf(dims, width)
  return { y: pipe(x, L.softmax('in')), wrt: { x } }
}

/** y = gain (x - mean x) / sqrt(var x + eps) + bias */
export const layerNormed = (dims: Readonly<Record<string, Width>>, width: Width): Traced => {
  const [x, gain, bias] = [rowsOf(dims, width), L.input('gain', { in: width }), L.input('bias', { in: width })]
  const centred = pipe(x, L.sub(pipe(x, L.mean('in'))))
  const scaled = pipe(centred, L.mul(pipe(centred, L.square, L.mean('in'), L.add(1e-5), L.rsqrt)))
  return { y: pipe(scaled, L.mul(gain), L.add(bias)), wrt: { x, gain, bias } }
}

/** DoRA's norm, of each row:  y = |W + s B A| */
export const decomposedNorm = (width: number, out: number, rank: number): Traced => {
  const [A, B] = [L.input('a', { r: rank, in: width }), L.input('b', { out, r: rank })]
  const sum = pipe(L.input('W', { out, in: width }), L.add(pipe(B, L.dot(A, 'r'), L.scale(2))))
  return { y: pipe(sum, L.square, L.sum('in'), L.map('sqrt')), wrt: { a: A, b: B } }
}

/** y = (silu(x W1^T) x W3^T):  two products of one operand that meet */
export const gated = (width: number, out: number): Traced => {
  const x = rowsOf({ token: 'T' }, width)
  const product = (name: string): L.Tensor<'token' | 'out'> => pipe(x, L.dot(L.input(name, { out, in: width }), 'in'))
  return { y: pipe(product('W1'), L.silu, L.mul(product('W3'))), wrt: { x } }
}
