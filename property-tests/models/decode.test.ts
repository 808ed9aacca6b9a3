/**
 * Decoding with kept keys is the same function as reading the whole text again: with every adapter, at sizes drawn at
 * random, in f64 under running bounds that pass through the kept rows; and the same greedy text on every target. An
 * adapter that looks from one token at another is found out, and its text is read again.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { adapter, type Adapter } from '../../src/adapters/adapter.ts'
import { registry } from '../../src/adapters/registry.ts'
import type { TargetName } from '../../src/codegen/index.ts'
import {
  add,
  cast,
  childKey,
  cumsum,
  dot,
  evaluateBounded,
  f64,
  iota,
  keyInput,
  keyWords,
  mean,
  mul,
  normal,
  program as traced,
  evaluate,
  rename,
  scale,
  showFaults,
  slice,
  softmax,
  sub,
  tanh,
  value,
  type Fault,
  type Program,
  type Value,
  type Values,
} from '../../src/dsl/index.ts'
import { topological } from '../../src/dsl/node.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { continuation, type Ready, type Speaker } from '../../src/models/continuation.ts'
import { decodeProgram, keptOf, nextTokenProgram, readProgram } from '../../src/models/decode.ts'
import { generate } from '../../src/models/generate.ts'
import { graftedParams, graftOnto, type Grafted } from '../../src/models/graft.ts'
import { hoist } from '../../src/models/hoist.ts'
import { llamaSites, llamaWeights } from '../../src/models/llama.ts'
import { whyNotTokenWise } from '../../src/models/token-wise.ts'
import { hasCompiler } from '../compilers.ts'
import { seed } from '../seed.ts'

const right = <A>(c: E.Either<ReadonlyArray<Fault>, A>): A => {
  if (E.isLeft(c)) throw new Error(showFaults(c.left))
  return c.right
}

const VOCAB = 11
const configs: fc.Arbitrary<LlamaConfig> = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 2 }),
    group: fc.integer({ min: 1, max: 3 }),
    headDim: fc.constantFrom(2, 4),
    hidden: fc.constantFrom(4, 8, 12),
    layers: fc.integer({ min: 1, max: 2 }),
    tied: fc.boolean(),
  })
  .map(({ kvHeads, group, headDim, ...rest }) => ({
    ...rest,
    ...{ kvHeads, heads: kvHeads * group, headDim, dim: 4 * kvHeads, vocab: VOCAB },
    ...{ normEps: 1e-5, ropeTheta: 100, maxPositions: 12, eos: [] },
  }))

/** sizes that fit the small models */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 2 }, hra: { rank: 2 } }

const grafted = (a: Adapter, config: LlamaConfig): Grafted => {
  const defaults = Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))
  return right(graftOnto(llamaSites(config), a, { ...defaults, ...small[a.name] }))
}

interface Shaped {
  readonly name: string
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
}

/** generic numbers: tensor number i draws from the seed's i-th child key; gains near one */
const generic = (tensors: ReadonlyArray<Shaped>, from: number): Values => {
  const key = keyInput('key')
  const made = tensors.map(({ name, axes, shape }, i) => {
    const x = normal(0.4)(childKey(key, i), Object.fromEntries(axes.map((a, j) => [a, shape[j]!])))
    return [name, name.endsWith('norm.weight') ? pipe(x, scale(0.2), add(1)) : x] as const
  })
  const { outputs } = right(
    evaluate(right(traced('generic', Object.fromEntries(made))), { key: value({ word: 2 }, keyWords(from)) }),
  )
  return Object.fromEntries(
    tensors.map(({ name, axes, shape }) => {
      const v = outputs[name]!
      expect(v.dims.map((d) => d.name)).toEqual(axes)
      return [
        name,
        { dims: axes.map((a, j) => ({ name: a, size: shape[j]! })), data: v.data.map((x) => Math.fround(x)) },
      ]
    }),
  )
}

const weightsOf = (c: LlamaConfig, g: Grafted | undefined, from: number): Values =>
  generic([...llamaWeights(c), ...(g === undefined ? [] : graftedParams(g))], from)

const only = (p: Program, values: Values): Values =>
  Object.fromEntries(p.inputs.flatMap(({ name }) => (values[name] === undefined ? [] : [[name, values[name]]])))

interface Bounded {
  readonly value: Value
  readonly bound: Float64Array
}
const bounded = (
  p: Program,
  values: Values,
  bounds: Readonly<Record<string, Float64Array>> = {},
): Readonly<Record<string, Bounded>> => right(evaluateBounded(p, only(p, values), {}, bounds, f64)).outputs

const tokens = (ids: ReadonlyArray<number>): Value => value({ batch: 1, token: ids.length }, ids)

/** logits of what follows every token from the prompt's last, one decoded token at a time */
const kept = (c: LlamaConfig, g: Grafted | undefined, weights: Values, prompt: number, ids: ReadonlyArray<number>) => {
  const capacity = c.maxPositions
  const row = c.kvHeads * c.headDim
  const rows = new Map(
    keptOf(c).map(({ name }) => [
      name,
      // behind what is there lies anything finite
      { data: new Float64Array(capacity * row).fill(17), bound: new Float64Array(capacity * row) },
    ]),
  )
  const keep = (p: Program, out: Readonly<Record<string, Bounded>>, at: number, count: number): void => {
    for (const [name, to] of rows) {
      const dims = p.outputs.find((o) => o.name === name)!.node.type.dims
      expect(dims.map((d) => d.name)).toEqual(['batch', 'token', 'kv', 'h'])
      to.data.set(out[name]!.value.data.subarray(0, count * row), at * row)
      to.bound.set(out[name]!.bound.subarray(0, count * row), at * row)
    }
  }
  const padded = [...ids.slice(0, prompt), 0, 0]
  const first = right(readProgram(c, g, 1, padded.length))
  let out = bounded(first, { ...weights, tokens: tokens(padded), at: value({}, [prompt - 1]) })
  keep(first, out, 0, prompt)
  const logits = [out['logits']!]
  const step = right(decodeProgram(c, g, 1, capacity))
  for (let at = prompt; at < ids.length; at++) {
    const past = Object.fromEntries(
      [...rows].map(([n, { data }]) => [n, value({ batch: 1, key: capacity, kv: c.kvHeads, h: c.headDim }, [...data])]),
    )
    out = bounded(
      step,
      { ...weights, ...past, tokens: tokens([ids[at]!]), at: value({}, [at]) },
      Object.fromEntries([...rows].map(([n, { bound }]) => [n, bound])),
    )
    keep(step, out, at, 1)
    logits.push(out['logits']!)
  }
  return logits
}

const tally = { cases: 0, vacuous: 0, worst: 0 }

/** both ways under the sum of their bounds */
const expectSame = (
  c: LlamaConfig,
  g: Grafted | undefined,
  from: number,
  prompt: number,
  ids: ReadonlyArray<number>,
) => {
  const weights = weightsOf(c, g, from)
  kept(c, g, weights, prompt, ids).forEach((mine, i) => {
    const length = prompt + i
    const again = bounded(right(nextTokenProgram(c, g, length)), {
      ...weights,
      tokens: value({ token: length }, ids.slice(0, length)),
      at: value({}, [length - 1]),
    })['logits']!
    const size = again.value.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
    again.value.data.forEach((x, j) => {
      const bound = mine.bound[j]! + again.bound[j]!
      tally.cases += 1
      if (!(bound <= 1e-3 * size)) tally.vacuous += 1
      tally.worst = Math.max(tally.worst, Math.abs(x - mine.value.data[j]!) / bound)
      expect(Math.abs(x - mine.value.data[j]!)).toBeLessThanOrEqual(bound)
    })
  })
}

const subjects: ReadonlyArray<readonly [string, Adapter | undefined]> = [
  ['no adapter', undefined],
  ...registry.map((a) => [a.name, a] as const),
]

describe('reading on is reading again', () => {
  test.each(subjects)('%s', (_, a) => {
    fc.assert(
      fc.property(
        configs,
        fc.array(fc.nat(VOCAB - 1), { minLength: 2, maxLength: 8 }),
        fc.nat(100),
        fc.nat(1000),
        (config, ids, cut, from) => {
          const prompt = 1 + (cut % (ids.length - 1))
          expectSame(config, a === undefined ? undefined : grafted(a, config), from, prompt, ids)
        },
      ),
      { seed, numRuns: 12 },
    )
  })

  afterAll(() => {
    console.log(
      `kept keys: ${String(tally.cases)} logits, worst share of the bound ${tally.worst.toFixed(3)}, ${String(tally.vacuous)} vacuous`,
    )
    expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.cases)
  })
})

// ------------------------------------------------------------------------------------- the targets

if (!hasCompiler) console.warn('SKIPPED: text on the native target, for there is no C compiler')
const targets: ReadonlyArray<TargetName> = ['gpujs', ...(hasCompiler ? (['c'] as const) : [])]

const fixed: LlamaConfig = {
  ...{ dim: 16, hidden: 24, layers: 2, heads: 4, kvHeads: 2, headDim: 4, vocab: 23 },
  ...{ normEps: 1e-5, ropeTheta: 100, tied: false, maxPositions: 40, eos: [] },
}

const speakerOf = (g: Grafted | undefined, target: TargetName): Speaker => {
  const all = weightsOf(fixed, g, 3)
  const names = new Set(g === undefined ? [] : graftedParams(g).map((p) => p.name))
  const params = Object.entries(all).filter(([n]) => names.has(n))
  return {
    config: fixed,
    ...(g === undefined ? {} : { grafted: g }),
    weights: Object.fromEntries(Object.entries(all).filter(([n]) => !names.has(n))),
    params: Object.fromEntries(params.map(([n, v]) => [n, Float32Array.from(v.data)])),
    target,
  }
}

const greedy = { temperature: 0, topP: 1, seed: 0 }
const speak = async (g: Grafted | undefined, target: TargetName, reread: boolean) => {
  let ready: Ready | undefined
  const ids = right(
    await generate(speakerOf(g, target), [5, 1, 7], 12, greedy, { reread, onReady: (r) => (ready = r) })(),
  )
  return { ids, ready }
}

describe("greedy text with kept keys is the oracle's without", () => {
  test.each(subjects.flatMap(([n, a]) => targets.map((t) => [n, t, a] as const)))('%s on %s', async (_, target, a) => {
    const g = a === undefined ? undefined : grafted(a, fixed)
    const { ids, ready } = await speak(g, target, false)
    expect(ready?.rereads).toBeUndefined()
    expect(ids.length).toBe(12)
    expect(ids).toEqual((await speak(g, 'oracle', true)).ids)
  })
})

describe('beyond the first room for keys', () => {
  test.each(targets)('%s: what is kept is kept on', async (target) => {
    const long: LlamaConfig = {
      ...fixed,
      dim: 4,
      hidden: 4,
      layers: 1,
      heads: 2,
      kvHeads: 1,
      headDim: 2,
      maxPositions: 1100,
    }
    const speaker = { config: long, weights: weightsOf(long, undefined, 9), params: {}, target }
    const ids = right(await generate(speaker, [5, 1, 7], 540, { temperature: 1, topP: 1, seed: 1 })())
    expect(ids.length).toBe(540)
    const [kept, again] = [continuation(speaker, 600), continuation(speaker, 600, undefined, true)]
    const text = [5, 1, 7, ...ids]
    for (const n of [3, 511, 512, 513, 543]) {
      const [x, y] = [right(await kept.next(text.slice(0, n))), right(await again.next(text.slice(0, n)))]
      const scale = Math.max(...y.map(Math.abs))
      // a whole model of one narrow layer in f32: sums of four, and of up to 543 weights below one
      expect(Math.max(...x.map((v, i) => Math.abs(v - y[i]!)))).toBeLessThanOrEqual(543 * 2 ** -24 * scale)
    }
    kept.dispose()
    again.dispose()
  })
})

// --------------------------------------------------------------------------- what is computed once

describe('what no token changes is computed once', () => {
  test.each(subjects)('%s: the very same numbers', (name, a) => {
    const g = a === undefined ? undefined : grafted(a, fixed)
    const whole = right(decodeProgram(fixed, g, 1, 8))
    const rows = Object.fromEntries(
      keptOf(fixed).map((k, i) => [
        k.name,
        value(
          { batch: 1, key: 8, kv: 2, h: 4 },
          Array.from({ length: 64 }, (_, j) => Math.sin(i + j)),
        ),
      ]),
    )
    const changing = { ...rows, tokens: tokens([7]), at: value({}, [5]) }
    const { once, each } = hoist(whole, new Set(Object.keys(changing)))
    const inputs = { ...weightsOf(fixed, g, 3), ...changing }
    const outputs = (p: Program, given: Values) => right(evaluate(p, only(p, given))).outputs
    expect(once.inputs.filter((i) => i.name in changing)).toEqual([])
    expect(outputs(each, { ...inputs, ...outputs(once, inputs) })).toEqual(outputs(whole, inputs))
    const ops = (p: Program) => topological(p.outputs.map((o) => o.node)).map((n) => n.op)
    const dear = (p: Program): number =>
      ops(p).filter((op) => op === 'dot' || op === 'solve' || op === 'triSolve').length
    // two layers: rotations of OFT, keys and values of prompts, HRA's U'U; LoRA's products all need the token
    expect([name, ops(once).filter((op) => op === 'solve').length, ops(each).includes('solve')]).toEqual([
      name,
      name === 'oft' ? 4 : 0,
      false,
    ])
    if (name === 'lora' || name === 'no adapter') expect(dear(once)).toBe(0)
    if (name === 'llama-adapter') expect(dear(once)).toBe(4)
  })
})

// ------------------------------------------------------------------- adapters that look at other tokens

const nothing = { config: {}, params: () => ({}), init: () => () => ({ params: {} }), doc: 'for a test' } as const
const linear = (name: string, apply: Parameters<typeof adapter<'linear', unknown, Record<never, never>>>[0]['apply']) =>
  adapter({ ...nothing, name, site: 'linear', targets: ['q_proj', 'v_proj'], apply })
const attention = (
  name: string,
  apply: Parameters<typeof adapter<'attention', unknown, Record<never, never>>>[0]['apply'],
) => adapter({ ...nothing, name, site: 'attention', targets: ['self_attn'], apply })

const looking: ReadonlyArray<Adapter> = [
  linear('mean of the tokens', () => (_, x, host) => pipe(host.call(x), sub(pipe(host.call(x), mean('token'))))),
  linear('running sum', () => (_, x, host) => host.call(pipe(x, cumsum('token')))),
  linear('position', () => (_, x, host) => {
    const { size } = x.node.type.dims.find((d) => d.name === 'token')!
    return pipe(host.call(x), mul(pipe(iota('token', size), cast('f32'))))
  }),
  linear(
    'first token',
    () => (_, x, host) => pipe(host.call(x), add(pipe(host.call(x), slice('token', 0, 1), mean('token')))),
  ),
  attention(
    'attention of its own',
    () =>
      (_, { q, k, v }) =>
        pipe(q, dot(k, 'h'), softmax('key'), dot(v, 'key')),
  ),
  attention('mean of the keys', () => (_, x, host) => pipe(host.call(x), add(pipe(x.v, mean('key'))))),
]

const apart: ReadonlyArray<Adapter> = [
  linear('of each token', () => (_, x, host) => pipe(host.call(x), add(pipe(host.call(x), tanh)))),
  attention(
    'queries and keys scaled',
    () =>
      (_, { q, k, v }, host) =>
        pipe(host.call({ q: pipe(q, scale(2)), k: pipe(k, scale(0.5)), v: pipe(v, tanh) }), scale(0.9)),
  ),
  linear(
    'under another name',
    () => (_, x, host) =>
      pipe(host.call(pipe(x, rename({ token: 'other' }), tanh, rename({ other: 'token' })) as typeof x), scale(2)),
  ),
]

describe("adapters of one's own", () => {
  test.each(looking.map((a) => [a.name, a] as const))('%s: read again, and said why', async (_, a) => {
    const g = grafted(a, fixed)
    expect(whyNotTokenWise(g)).toMatch(/token/)
    const { ids, ready } = await speak(g, 'oracle', false)
    expect(ready?.rereads).toMatch(/token/)
    expect(ids).toEqual((await speak(g, 'oracle', true)).ids)
  })

  test.each(apart.map((a) => [a.name, a] as const))('%s: keys are kept', (_, a) => {
    expect(whyNotTokenWise(grafted(a, fixed))).toBeUndefined()
    expectSame(fixed, grafted(a, fixed), 1, 2, [3, 1, 4, 1, 5])
  })
})
