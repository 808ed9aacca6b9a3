/** Fusion: what is computed together. Every value is there before it is read, and the kernels are as few as promised. */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import type { Adapter, Sites } from '../src/adapters/adapter.ts'
import { linearHost } from '../src/adapters/adapter.ts'
import { adapterNamed, registry } from '../src/adapters/registry.ts'
import { grad } from '../src/autodiff/index.ts'
import { simplify } from '../src/autodiff/simplify.ts'
import { originOf } from '../src/codegen/fuse/alias.ts'
import type { Fused } from '../src/codegen/fuse.ts'
import { resultsOf } from '../src/codegen/fuse/group.ts'
import { blockStages } from '../src/codegen/pipeline.ts'
import { kit } from '../src/dsl/build.ts'
import * as L from '../src/dsl/index.ts'
import type { Node } from '../src/dsl/node.ts'
import type { Program } from '../src/dsl/program.ts'
import { graftOnto } from '../src/models/graft.ts'
import { causalAttention, rmsNorm } from '../src/models/layers.ts'
import { llamaSites } from '../src/models/llama.ts'
import { tokenLoss } from '../src/models/loss.ts'
import { adamW } from '../src/models/optimiser.ts'
import { stepProgram } from '../src/models/train.ts'
import { randomGraph } from './codegen-graphs.ts'
import { seed } from './seed.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const fused = (p: Program, sizes = {}): Fused => get(blockStages(p, 'c', sizes, simplify)).fused

/** what a fused program must be, whatever it computes */
const expectSound = (f: Fused): void => {
  const made = new Set<Node>()
  const isThere = (n: Node): boolean => n.op === 'input' || made.has(n)
  for (const launch of f.launches) {
    for (const g of launch) {
      for (const n of g.reads) expect(isThere(n), `${g.name} reads #${String(n.id)} before it is made`).toBe(true)
      const results = resultsOf(g)
      expect(new Set([...g.stored, ...g.locals])).toEqual(new Set(results))
      expect(g.stored.length + g.locals.length).toBe(results.length)
      for (const n of results)
        for (const a of g.outer)
          expect(n.type.dims.some((d) => d.name === a.name && d.size.key === a.size.key)).toBe(true)
      // what is inlined on the way to a result ends in buffers that are named, or results that came before
      const before = new Set<Node>()
      const visit = (n: Node, top: boolean, seen: Set<Node>): void => {
        if (seen.has(n) || (!top && before.has(n))) return
        if (!top && (n.op === 'input' || g.reads.includes(n))) return expect(g.reads.includes(n)).toBe(true)
        seen.add(n)
        n.args.forEach((a) => visit(a, false, seen))
      }
      for (const s of g.stages) {
        for (const n of s.results) {
          visit(n, true, new Set())
          before.add(n)
        }
      }
    }
    for (const g of launch)
      for (const n of g.stored) {
        expect(made.has(n), 'stored once').toBe(false)
        made.add(n)
      }
  }
  for (const { node } of f.program.outputs) {
    const n = originOf(node)
    expect(isThere(n) || n.op === 'const').toBe(true)
  }
}

// --------------------------------------------------------------------------------- the programs

const sumOf = (y: L.AnyTensor): L.Tensor<never> =>
  L.wrap(
    kit.reduce(
      'sum',
      y.node,
      y.node.type.dims.map((d) => d.name),
    ),
  )

const backward = (y: L.AnyTensor, wrt: Readonly<Record<string, L.AnyTensor>>): Program => {
  const g = kit.input('g', y.node.type.dims, 'f32')
  const gradients = grad(sumOf({ node: kit.map('mul', y.node, g) }), wrt)
  return get(L.program('both', { y, ...Object.fromEntries(Object.entries(gradients).map(([k, v]) => [`d.${k}`, v])) }))
}

const defaultsOf = (a: Adapter) => Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))

const linear = (name: string) => {
  const adapter = get(adapterNamed(name))
  const config = defaultsOf(adapter)
  const sizes = { in: 768, out: 768 }
  const params = Object.fromEntries(
    Object.entries(adapter.params(config, sizes)).map(([k, p]) => [k, L.input(k, p.sizes)]),
  )
  const x = L.input('x', { batch: 'B', token: 'T', in: 768 })
  const host = linearHost(L.input('W', { out: 768, in: 768 }))
  const y = adapter.apply(config)(params, x as Sites['linear']['x'], host, {}) as L.AnyTensor
  return { forward: get(L.program('forward', { y })), both: backward(y, { x, ...params }) }
}

const heads = () => ({
  q: L.input('q', { batch: 'B', token: 'T', kv: 12, group: 1, h: 64 }),
  k: L.input('k', { batch: 'B', key: 'T', kv: 12, h: 64 }),
  v: L.input('v', { batch: 'B', key: 'T', kv: 12, h: 64 }),
})

const prompted = () => {
  const x = heads()
  const adapter = get(adapterNamed('llama-adapter'))
  const [K, V] = [L.input('K', { prompt: 10, kv: 12, h: 64 }), L.input('V', { prompt: 10, kv: 12, h: 64 })]
  const gate = L.input('gate', {})
  const host = {
    projectKey: () => pipe(K, L.rename({ prompt: 'token' })),
    projectValue: () => pipe(V, L.rename({ prompt: 'token' })),
    call: causalAttention(64),
  }
  const prompt = L.input('prompt', { prompt: 10, in: 768 })
  const y = adapter.apply(defaultsOf(adapter))({ prompt, gate }, x as never, host, {}) as L.AnyTensor
  return { forward: get(L.program('forward', { y })), both: backward(y, { ...x, K, V, gate }) }
}

const attention = () => {
  const x = heads()
  const y = causalAttention(64)(x as never)
  return { forward: get(L.program('forward', { y })), both: backward(y, x) }
}

const config = {
  ...{ dim: 16, hidden: 24, layers: 2, heads: 4, kvHeads: 2, headDim: 4, vocab: 20 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 16, eos: [] },
}
const recipe = { steps: 1, rows: 2, length: 6, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }

// ---------------------------------------------------------------------------------------- tests

const launches = (p: Program): number => fused(p).launches.length

describe('fusion', () => {
  test('of random graphs is sound', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 3, max: 40 }), (s, length) =>
        expectSound(fused(randomGraph(s, length).program)),
      ),
      { numRuns: 200, seed },
    )
  })

  test.each(registry.map((a) => [a.name, a] as const))('of the training step with %s is sound', (name, adapter) => {
    const small = name === 'oft' ? { block: 4 } : {}
    const grafted = get(graftOnto(llamaSites(config), adapter, { ...defaultsOf(adapter), ...small }))
    expectSound(fused(get(stepProgram(config, grafted, recipe))))
  })

  test('of the training step of the whole model is sound', () => {
    expectSound(fused(get(stepProgram(config, undefined, recipe))))
  })

  test('LoRA: 2 kernels forward, 3 backward', () => {
    const { forward, both } = linear('lora')
    expect(launches(forward)).toBeLessThanOrEqual(2)
    expect(launches(both)).toBeLessThanOrEqual(5)
    expectSound(fused(both))
  })

  test.each(['hra', 'oft'])('%s: 3 kernels forward', (name) => {
    const { forward, both } = linear(name)
    expect(launches(forward)).toBeLessThanOrEqual(3)
    expectSound(fused(both))
  })

  test('attention, with or without prompts: 1 kernel forward, 3 backward, no scores stored', () => {
    for (const { forward, both } of [attention(), prompted()]) {
      expect(launches(forward)).toBe(1)
      expect(launches(both)).toBeLessThanOrEqual(4)
      expectSound(fused(both))
      for (const g of fused(both).launches.flat())
        for (const n of g.stored)
          expect(n.type.dims.some((d) => d.name === 'token') && n.type.dims.some((d) => d.name === 'key')).toBe(false)
    }
  })

  test('softmax and RMSNorm: 1 kernel', () => {
    const x = L.input('x', { token: 'T', in: 'D' })
    expect(launches(get(L.program('softmax', { y: pipe(x, L.softmax('in')) })))).toBe(1)
    const gain = L.input('gain', { in: 'D' })
    expect(launches(get(L.program('norm', { y: rmsNorm(gain, 1e-5)(x) })))).toBe(1)
  })

  test('a linear layer and cross-entropy over a large vocabulary, with its backward: no logits stored', () => {
    const x = L.input('x', { token: 512, in: 288 })
    const W = L.input('W', { vocab: 32000, in: 288 })
    const targets = L.input('targets', { token: 512 }, 'i32')
    const loss = tokenLoss(pipe(x, L.dot(W, 'in')), targets)
    const gradient = grad(sumOf(loss), { x })['x']
    const f = fused(get(L.program('loss', { loss, gradient })))
    expectSound(f)
    expect(f.launches.length).toBe(1)
    expect(
      f.launches
        .flat()
        .flatMap((g) => g.stored)
        .some((n) => n.type.dims.some((d) => d.name === 'vocab')),
    ).toBe(false)
  })
})
