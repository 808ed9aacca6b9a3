/**
 * The whole model against transformers and PEFT, in f64: logits, loss, and the gradient of every adapter
 * parameter, for a tied and an untied head (property-tests/fixtures, made by bench/peft/fixtures.py).
 */
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import type { Config } from '../../src/adapters/adapter.ts'
import { adapterNamed } from '../../src/adapters/registry.ts'
import { grad } from '../../src/autodiff/index.ts'
import {
  evaluate,
  input,
  program,
  showFaults,
  value,
  wrap,
  type Checked,
  type Tensor,
  type Value,
  type Values,
} from '../../src/dsl/index.ts'
import { layOut } from '../../src/dsl/value.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { asGraft, graftedParams, graftOnto, type Grafted } from '../../src/models/graft.ts'
import { llama, llamaSites, llamaWeights } from '../../src/models/llama.ts'
import { causalLoss } from '../../src/models/loss.ts'
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import { g, numbersOf, readFixture, type Spec } from '../adapters/fixture.ts'

interface Case {
  readonly name: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly tensors?: Readonly<Record<string, Spec>>
  readonly logits: ReadonlyArray<number>
  readonly loss: number
  readonly grad?: Readonly<Record<string, ReadonlyArray<number>>>
  readonly gradSummary?: Readonly<Record<string, { readonly norm: number; readonly weighed: number }>>
}
interface Fixture {
  readonly config: Readonly<Record<string, number>> & { readonly tie_word_embeddings: boolean }
  readonly ids: ReadonlyArray<ReadonlyArray<number>>
  readonly targets: ReadonlyArray<ReadonlyArray<number>>
  readonly weights: Readonly<Record<string, Spec>>
  readonly cases: ReadonlyArray<Case>
}

/** our name and config of PEFT's method */
const METHODS: Readonly<Record<string, (c: Readonly<Record<string, unknown>>) => readonly [string, Config]>> = {
  lora: (c) => ['lora', { rank: c['r'], alpha: c['alpha'], rslora: false }],
  oft: (c) => ['oft', { block: c['block'], blockShare: false }],
  hra: (c) => ['hra', { rank: c['r'], orthogonality: 0 }],
  adaption_prompt: (c) => ['llama-adapter', { length: c['len'], layers: c['layers'], gate: 'scalar', f16Gate: false }],
  bottleneck: (c) => ['bottleneck', { size: c['size'], nonlinearity: 'swish', scaling: 1, init: 'mam_adapter' }],
}

const right = <A>(c: Checked<A>): A => {
  if (E.isLeft(c)) throw new Error(showFaults(c.left))
  return c.right
}

const configOf = (f: Fixture): LlamaConfig => ({
  dim: f.config['hidden_size']!,
  hidden: f.config['intermediate_size']!,
  layers: f.config['num_hidden_layers']!,
  heads: f.config['num_attention_heads']!,
  kvHeads: f.config['num_key_value_heads']!,
  headDim: f.config['hidden_size']! / f.config['num_attention_heads']!,
  vocab: f.config['vocab_size']!,
  normEps: f.config['rms_norm_eps']!,
  ropeTheta: f.config['rope_theta']!,
  tied: f.config.tie_word_embeddings,
  maxPositions: 32,
  eos: [],
})

/** the fixture's key of one of our parameters: the same site, and the key suffix that the adapter declares */
const keyOf = (grafted: Grafted, path: string, param: string, keys: ReadonlyArray<string>): string => {
  const suffix = grafted.adapter.files?.keys[param] ?? ''
  const found = keys.find((k) => k.includes(`${path}.`) && k.endsWith(`.${suffix}`))
  if (found === undefined) throw new Error(`no key for ${path} ${param} (${suffix}) among ${keys.join(', ')}`)
  return found
}

const inOrder = (y: Value, axes: ReadonlyArray<string>): Float64Array =>
  layOut(
    y,
    axes.map((name) => y.dims.find((d) => d.name === name)!),
  ).data

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((m, x, i) => Math.max(m, Math.abs(x - b[i]!)), 0)

/**
 * A whole model: worst-case bounds explode, so the yardstick is *estimated* (design, section 3). Every
 * weight is disturbed by a relative 2^-30; a disturbance of f64's size would move the output by 2^-23 of what
 * that moves it; eight times as much is allowed, and half a digit of the print.
 */
const DISTURBANCE = 2 ** -30
const expectEqual = (y: ArrayLike<number>, disturbed: ArrayLike<number>, want: ReadonlyArray<number>): void => {
  expect(y.length).toBe(want.length)
  const yardstick = furthest(y, disturbed) * (2 ** -53 / DISTURBANCE)
  const scale = Math.max(...want.map(Math.abs))
  expect(yardstick).toBeLessThan(1e-9 * scale)
  expect(furthest(y, want)).toBeLessThanOrEqual(8 * yardstick + 5e-15 * scale)
}

describe.each(['tiny-llama-tied', 'tiny-llama-untied'])('%s', (name) => {
  const f = readFixture<Fixture>(name)
  const config = configOf(f)
  const [rows, length] = [f.ids.length, f.ids[0]!.length]
  const ints = (n: string): Tensor<'token', 'i32'> => wrap(input(n, { batch: rows, token: length }, 'i32').node)
  const data: Values = {
    tokens: value({ batch: rows, token: length }, f.ids.flat()),
    targets: value({ batch: rows, token: length }, f.targets.flat()),
    ...Object.fromEntries(
      llamaWeights(config).map((w) => [
        w.name,
        value(Object.fromEntries(w.axes.map((a, i) => [a, w.shape[i]!])), numbersOf(f.weights[w.name]!)),
      ]),
    ),
  }

  test.each(f.cases.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const method = METHODS[c.name]?.(c.config ?? {})
    const grafted =
      method === undefined ? undefined : right(graftOnto(llamaSites(config), right(adapterNamed(method[0])), method[1]))
    const logits = llama(config, asGraft(grafted))(ints('tokens'))
    const loss = causalLoss(logits, ints('targets'))
    const params = grafted === undefined ? [] : graftedParams(grafted)
    const trained = grafted === undefined ? llamaWeights(config) : params
    const wrt = Object.fromEntries(
      trained.map((p) => [
        p.name,
        wrap<string>(
          kit.input(
            p.name,
            p.axes.map((a, i) => ({ name: a, size: dim(p.shape[i]!) })),
            'f32',
          ),
        ),
      ]),
    )
    const grads = Object.fromEntries(Object.entries(grad(loss, wrt)).map(([n, t]) => [`d.${n}`, t]))
    const keys = Object.keys(c.tensors ?? {})
    const values = Object.fromEntries(
      params.map((p) => [
        p.name,
        value(
          Object.fromEntries(p.axes.map((a, i) => [a, p.shape[i]!])),
          numbersOf(c.tensors![keyOf(grafted!, p.path, p.param, keys)]!),
        ),
      ]),
    )
    const model = right(program('model', { logits, loss, ...grads }))
    const inputs: Values = { ...data, ...values }
    const disturb = (v: Value, seed: number): Value => ({
      dims: v.dims,
      data: v.data.map((x, i) => x * (1 + DISTURBANCE * Math.sin(1 + seed + 12.9898 * i) * Math.SQRT2)),
    })
    const { outputs } = right(evaluate(model, inputs))
    const moved = right(
      evaluate(
        model,
        Object.fromEntries(
          Object.entries(inputs).map(([n, v], i) => [n, n === 'tokens' || n === 'targets' ? v : disturb(v, i)]),
        ),
      ),
    ).outputs
    const expectOutput = (output: string, axes: ReadonlyArray<string>, want: ReadonlyArray<number>): void =>
      expectEqual(inOrder(outputs[output]!, axes), inOrder(moved[output]!, axes), want)

    expectOutput('logits', ['batch', 'token', 'vocab'], c.logits)
    expectOutput('loss', [], [c.loss])
    expect(params.length).toBe(keys.length)
    for (const p of params) expectOutput(`d.${p.name}`, p.axes, c.grad![keyOf(grafted!, p.path, p.param, keys)]!)
    for (const [key, { norm, weighed }] of Object.entries(c.gradSummary ?? {})) {
      const { axes } = llamaWeights(config).find((w) => w.name === key)!
      const summary = (y: Value): ReadonlyArray<number> => {
        const d = inOrder(y, axes)
        const weights = g(d.length, 9)
        return [Math.sqrt(d.reduce((s, x) => s + x * x, 0)), d.reduce((s, x, i) => s + x * weights[i]!, 0)]
      }
      expectEqual(summary(outputs[`d.${key}`]!), summary(moved[`d.${key}`]!), [norm, weighed])
    }
  })
})
