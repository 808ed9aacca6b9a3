/** Every method's golden numbers: PEFT's outputs, merged weights and gradients, from our programs on the oracle. */
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { linearHost, type Adapter, type AttentionInput, type Config, type Params } from '../../src/adapters/adapter.ts'
import { matchesReference, runLaw, type GoldenRow } from '../../src/adapters/laws/index.ts'
import { proveEqual } from '../../src/autodiff/prove/index.ts'
import { grad } from '../../src/autodiff/index.ts'
import { dim, literal } from '../../src/dsl/dim.ts'
import {
  input,
  merge,
  mul,
  rename,
  split,
  sum,
  value,
  type AnyTensor,
  type Tensor,
  type Value,
} from '../../src/dsl/index.ts'
import { causalAttention, rope } from '../../src/models/layers.ts'
import {
  bounded,
  expectExact,
  expectPublished,
  g,
  inOrder,
  numbersOf,
  readFixture,
  valueOf,
  type Spec,
} from './fixture.ts'
import { publishedAttention, publishedLinear } from './published.ts'
import { named } from './named.ts'

const bottleneck = named('bottleneck')
const hra = named('hra')
const llamaAdapter = named('llama-adapter')
const lora = named('lora')
const oft = named('oft')

/** inputs called p.name, of the shapes that the adapter asks for, and the values for them in sorted key order */
const parametersOf = (
  a: Adapter,
  config: Config,
  sizes: Readonly<Record<string, number>>,
  spec: (param: string) => Spec,
): {
  readonly params: Params
  readonly values: Readonly<Record<string, Value>>
  /** in file order */
  readonly axes: Readonly<Record<string, ReadonlyArray<string>>>
} => {
  const shapes = Object.entries(a.params(config, sizes)).map(([name, p]) => {
    const shape = Object.fromEntries(p.axes.map((axis) => [axis, literal(dim(p.sizes[axis] ?? 0)) ?? NaN]))
    return { name, shape }
  })
  return {
    axes: Object.fromEntries(shapes.map(({ name, shape }) => [name, Object.keys(shape)])),
    params: Object.fromEntries(shapes.map(({ name, shape }) => [name, input(`p.${name}`, shape)])),
    values: Object.fromEntries(shapes.map(({ name, shape }) => [`p.${name}`, valueOf(spec(name), shape)])),
  }
}

/** sum(y * g(numel(y), 9)): the loss whose gradients the fixtures hold */
const lossOf = <A extends string>(y: Tensor<A>, weights: Tensor<A>): Tensor<never> =>
  pipe(y, mul(weights), sum(...y.node.type.dims.map((d) => d.name as A)))

interface LinearCase {
  readonly name: string
  readonly tensors: Readonly<Record<string, Spec>>
  readonly y: ReadonlyArray<number>
  readonly loss: number
  readonly grad: Readonly<Record<string, ReadonlyArray<number>>>
  readonly mergedWeight: ReadonlyArray<number>
}
interface LinearFixture {
  readonly base: Readonly<Record<'W' | 'b' | 'x', Spec>> & { readonly y: ReadonlyArray<number> }
  readonly cases: ReadonlyArray<LinearCase>
}

const linearCases: ReadonlyArray<readonly [string, Adapter, Config]> = [
  ['lora r2 alpha4', lora, { rank: 2, alpha: 4, rslora: false }],
  ['rslora r2 alpha4', lora, { rank: 2, alpha: 4, rslora: true }],
  ['oft b4 exact', oft, { block: 4, blockShare: false }],
  ['oft b4 exact block_share', oft, { block: 4, blockShare: true }],
  ['hra r3', hra, { rank: 3, orthogonality: 0 }],
  ['hra r2', hra, { rank: 2, orthogonality: 0 }],
]

describe('on a linear layer', () => {
  const fixture = readFixture<LinearFixture>('linear')
  const shapes = { W: { out: 6, in: 8 }, b: { out: 6 }, x: { token: 2, in: 8 }, weights: { token: 2, out: 6 } }
  const [W, b, x] = [input('W', shapes.W), input('b', shapes.b), input('x', shapes.x)]
  const weights = input('weights', shapes.weights)
  const values = {
    W: valueOf(fixture.base.W, shapes.W),
    b: valueOf(fixture.base.b, shapes.b),
    x: valueOf(fixture.base.x, shapes.x),
    weights: value(shapes.weights, g(12, 9)),
  }

  test('the base', () => {
    const { y } = bounded({ y: linearHost(W, b).call(x) }, { W: values.W, b: values.b, x: values.x })
    expectPublished(y!, publishedLinear['base']!)
    expectExact(y!, fixture.base.y)
  })

  test.each(linearCases)('%s: output, merged weight, gradients', (name, a, config) => {
    const found = fixture.cases.find((c) => c.name === name)!
    const key = (param: string): string => `base_model.model.lin.${a.files!.keys[param]!}`
    const p = parametersOf(a, config, { in: 8, out: 6 }, (param) => found.tensors[key(param)]!)
    const y = a.apply(config)(p.params, x, linearHost(W, b), {}) as Tensor<'token' | 'out'>
    const loss = lossOf(y, weights)
    const slopes = grad(loss, { ...p.params, x })
    const inputs = { ...values, ...p.values }
    const merged = a.weight!(config)(p.params, W)
    const got = bounded({ y, loss, ...prefixed('grad.', slopes) }, inputs)
    const { W2 } = bounded({ W2: merged }, { W: values.W, ...p.values })
    if (publishedLinear[name] !== undefined) expectPublished(got['y']!, publishedLinear[name])
    expectExact(got['y']!, found.y)
    expectExact(got['loss']!, [found.loss])
    expectExact(inOrder(W2!, ['out', 'in']), found.mergedWeight)
    expectExact(got['grad.x']!, found.grad['x']!)
    for (const param of Object.keys(p.params))
      expectExact(inOrder(got[`grad.${param}`]!, p.axes[param]!), found.grad[key(param)]!)
    expect(Object.keys(found.grad)).toHaveLength(Object.keys(p.params).length + 1)
  })

  test.each(linearCases)('%s: as a law, which one wrong number refutes', (name, a, config) => {
    const found = fixture.cases.find((c) => c.name === name)!
    const key = (param: string): string => `base_model.model.lin.${a.files!.keys[param]!}`
    const row = (y: ReadonlyArray<number>): GoldenRow => ({
      label: name,
      config,
      sizes: { in: 8, out: 6, token: 2 },
      inputs: {
        ...{ x: numbersOf(fixture.base.x), weight: numbersOf(fixture.base.W), bias: numbersOf(fixture.base.b) },
        ...Object.fromEntries(
          Object.keys(a.params(config, { in: 8, out: 6 })).map((p) => [`p.${p}`, numbersOf(found.tensors[key(p)]!)]),
        ),
      },
      expected: { shape: { token: 2, out: 6 }, data: y },
    })
    const verdict = (y: ReadonlyArray<number>) =>
      runLaw(a, matchesReference([row(y)]), { runs: 1, seed: 0, prover: proveEqual }).verdict
    expect(verdict(found.y)).toBe('tested')
    expect(verdict(found.y.map((v, i) => (i === 3 ? v + 1e-4 : v)))).toBe('refuted')
  })
})

const prefixed = (prefix: string, tensors: Readonly<Record<string, AnyTensor>>): Readonly<Record<string, AnyTensor>> =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [prefix + name, t]))

describe('behind a sublayer', () => {
  interface BlockCase {
    readonly name: string
    readonly x: Spec
    readonly tensors: Readonly<Record<string, Spec>>
    readonly y: ReadonlyArray<number>
    readonly loss: number
    readonly grad: Readonly<Record<string, ReadonlyArray<number>>>
  }
  const { cases } = readFixture<{ readonly cases: ReadonlyArray<BlockCase> }>('bottleneck')

  test.each(cases.map((c) => [c.name, c] as const))('%s: output and gradients', (_, found) => {
    const [tokens, width] = [found.x.shape[0]!, found.x.shape[1]!]
    const size = found.tensors['adapter_down.0.bias']!.shape[0]!
    const config = { size, nonlinearity: 'swish', scaling: 1, init: 'mam_adapter' }
    const key = (param: string): string => bottleneck.files!.keys[param]!
    const p = parametersOf(bottleneck, config, { in: width }, (param) => found.tensors[key(param)]!)
    const shape = { token: tokens, in: width }
    const x = input('x', shape)
    const y = bottleneck.apply(config)(p.params, x, { call: (h: typeof x) => h }, {}) as Tensor<'token' | 'in'>
    const loss = lossOf(y, input('weights', shape))
    const inputs = { x: valueOf(found.x, shape), weights: value(shape, g(tokens * width, 9)), ...p.values }
    const got = bounded({ y, loss, ...prefixed('grad.', grad(loss, { ...p.params, x })) }, inputs)
    expectExact(got['y']!, found.y)
    expectExact(got['loss']!, [found.loss])
    expectExact(got['grad.x']!, found.grad['x']!)
    for (const param of Object.keys(p.params))
      expectExact(inOrder(got[`grad.${param}`]!, p.axes[param]!), found.grad[key(param)]!)
  })
})

describe('in attention', () => {
  interface AttentionCase {
    readonly name: string
    readonly rope: 'halves' | 'pairs'
    readonly gate: ReadonlyArray<number> | null
    readonly squash?: string | null
    readonly y: ReadonlyArray<number>
    readonly grad?: Readonly<Record<string, ReadonlyArray<number>>>
  }
  interface AttentionFixture {
    readonly weights: Readonly<Record<'q' | 'k' | 'v' | 'o', Spec>>
    readonly inputs: Readonly<Record<'x' | 'prompt', Spec>>
    readonly cases: ReadonlyArray<AttentionCase>
  }
  const fixture = readFixture<AttentionFixture>('llama-adapter-attention')
  const [heads, h, d] = [2, 4, 8]

  const attend = (found: AttentionCase, f16Gate: boolean) => {
    const x = input('x', { token: 3, in: d })
    const W = (name: string): Tensor<'out' | 'in'> => input(name, { out: d, in: d })
    const project = (name: string) => (z: Tensor<'token' | 'in'>) =>
      pipe(linearHost(W(name)).call(z), split('out', { kv: heads, h }))
    const turn = rope(h, 10000, found.rope === 'halves' ? 'halves' : 'interleaved')
    const xs: AttentionInput = {
      q: pipe(linearHost(W('q')).call(x), split('out', { kv: heads, group: 1, h }), turn),
      k: pipe(project('k')(x), turn, rename({ token: 'key' })),
      v: pipe(project('v')(x), rename({ token: 'key' })),
    }
    const host = { projectKey: project('k'), projectValue: project('v'), call: causalAttention(h) }
    const tanhGate = found.squash?.startsWith('tanh') === true
    const config = {
      length: 2,
      layers: 0,
      gate: tanhGate ? 'tanh' : 'scalar',
      f16Gate,
    }
    const gate = { shape: [], f: 'g', scale: 0, phase: 0, add: 0 } as const
    const p = parametersOf(llamaAdapter, config, { in: d, kv: heads, group: 1, h }, (param) =>
      param === 'prompt' ? fixture.inputs.prompt : gate,
    )
    const a = (found.gate === null ? host.call(xs) : llamaAdapter.apply(config)(p.params, xs, host, {})) as Tensor<
      'token' | 'kv' | 'group' | 'h'
    >
    const y = pipe(a, merge(['kv', 'group', 'h'], 'in'), linearHost(W('o')).call)
    const gateShape: Readonly<Record<string, number>> = tanhGate ? { kv: heads, group: 1 } : {}
    const values = {
      x: valueOf(fixture.inputs.x, { token: 3, in: d }),
      ...Object.fromEntries(
        (['q', 'k', 'v', 'o'] as const).map((n) => [n, valueOf(fixture.weights[n], { out: d, in: d })]),
      ),
      ...(found.gate === null ? {} : { ...p.values, 'p.gate': value(gateShape, found.gate) }),
    }
    return { x, y, values, params: found.gate === null ? {} : p.params, axes: { ...p.axes, x: ['token', 'in'] } }
  }

  test.each(fixture.cases.map((c) => [c.name, c] as const))('%s: output and gradients', (name, found) => {
    const { x, y, values, params, axes } = attend(found, false)
    // rounding to f16 is a step, which no bound sees through: its numbers are judged by the bound without it
    const rounded = found.squash === 'tanh then float16' ? attend(found, true).y : y
    const got = { value: bounded({ y: rounded }, values)['y']!.value, bound: bounded({ y }, values)['y']!.bound }
    const published = publishedAttention[name]
    if (published !== undefined) expectPublished(got, published)
    expectExact(got, found.y)
    if (found.grad === undefined) return
    const shape = { token: 3, out: d }
    const loss = lossOf(y, input('weights', shape))
    const slopes = bounded(grad(loss, { x, ...params }), { ...values, weights: value(shape, g(24, 9)) })
    const keys: Readonly<Record<string, string>> = { adaption_gate: 'gate', adaption_prompt: 'prompt' }
    for (const [key, want] of Object.entries(found.grad)) {
      const name = keys[key] ?? key
      expectExact(inOrder(slopes[name]!, axes[name as keyof typeof axes]), want)
    }
  })

  test('every published case is in the fixture', () => {
    for (const name of Object.keys(publishedAttention)) expect(fixture.cases.map((c) => c.name)).toContain(name)
  })
})

test('specs make the numbers that the formula says', () => {
  expect(numbersOf({ shape: [2], f: 'g', scale: 0.5, phase: 1, add: 2 })).toEqual([
    2 + 0.5 * Math.sin(1.7),
    2 + 0.5 * Math.sin(2.4),
  ])
})
