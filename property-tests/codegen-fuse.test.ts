/** Fusion: what is computed together. Every value is there before it is read, and the kernels are as few as promised. */
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { adapterNamed, registry } from '../src/adapters/registry.ts'
import { grad } from '../src/autodiff/index.ts'
import { simplify } from '../src/autodiff/simplify.ts'
import type { Fused } from '../src/codegen/fuse.ts'
import { verifyFused } from '../src/codegen/fuse/verify.ts'
import { blockStages } from '../src/codegen/pipeline.ts'
import * as L from '../src/dsl/index.ts'
import type { Program } from '../src/dsl/program.ts'
import { tokenLoss } from '../src/models/loss.ts'
import { randomGraph } from './codegen-graphs.ts'
import {
  adapted,
  attended,
  both,
  decomposedNorm,
  defaultsOf,
  forward,
  gated,
  get,
  layerNormed,
  normed,
  prompted,
  softened,
  sumOf,
  type Traced,
} from './codegen/traced.ts'
import { stepOf, tiny } from './codegen/training.ts'
import { seed } from './seed.ts'

/** a fused program, well-formed */
const fused = (p: Program): Fused => {
  const { fused: f } = get(blockStages(p, 'c', {}, simplify))
  expect(verifyFused(f)).toEqual([])
  return f
}
const launches = (p: Program): number => fused(p).launches.length
const counts = (t: Traced) => ({ forward: launches(forward('forward', t)), both: launches(both('both', t)) })

const adapter = (name: string): Traced => {
  const a = get(adapterNamed(name))
  return adapted(a, 768, 768, defaultsOf(a))
}

const axesOf = (f: Fused): ReadonlyArray<ReadonlyArray<string>> =>
  f.launches.flat().flatMap((g) => g.stored.map((n) => n.type.dims.map((d) => d.name)))

describe('fusion', () => {
  test('of random graphs is well-formed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 3, max: 40 }), (s, length) => {
        fused(randomGraph(s, length).program)
      }),
      { numRuns: 200, seed },
    )
  })

  test.each([...registry.map((a) => [a.name, a] as const), ['the whole model', undefined] as const])(
    'of the training step with %s is well-formed',
    (_, a) => void fused(stepOf(a, { ...tiny, layers: 2 })),
  )

  test('LoRA: 2 kernels forward, 3 backward', () => {
    const c = counts(adapter('lora'))
    expect(c.forward).toBeLessThanOrEqual(2)
    expect(c.both).toBeLessThanOrEqual(5)
  })

  test.each(['hra', 'oft'])('%s: 3 kernels forward', (name) => {
    expect(counts(adapter(name)).forward).toBeLessThanOrEqual(3)
  })

  test.each([
    ['attention', attended(12, 1, 64)],
    ['attention with prompts', prompted(12, 1, 64, 10)],
  ] as const)('%s: 1 kernel forward, 3 backward, no scores stored', (_, traced) => {
    const c = counts(traced)
    expect(c.forward).toBe(1)
    expect(c.both).toBeLessThanOrEqual(4)
    for (const axes of axesOf(fused(both('both', traced))))
      expect(axes.includes('token') && axes.includes('key')).toBe(false)
  })

  test.each([
    ['softmax', softened({ token: 'T' }, 'D')],
    ['RMSNorm', normed({ token: 'T' }, 'D')],
    ['LayerNorm', layerNormed({ token: 'T' }, 'D')],
    ['the norm of a weight and a product of low rank', decomposedNorm(768, 768, 8)],
    ['two products of one operand that meet', gated(768, 2048)],
  ] as const)('%s: 1 kernel', (_, traced) => expect(counts(traced).forward).toBe(1))

  test('a linear layer and cross-entropy over a large vocabulary, with its backward: no logits stored', () => {
    const x = L.input('x', { token: 512, in: 288 })
    const W = L.input('W', { vocab: 32000, in: 288 })
    const targets = L.input('targets', { token: 512 }, 'i32')
    const loss = tokenLoss(pipe(x, L.dot(W, 'in')), targets)
    const f = fused(get(L.program('loss', { loss, gradient: grad(sumOf(loss), { x })['x'] })))
    expect(f.launches.length).toBe(1)
    for (const axes of axesOf(f)) expect(axes).not.toContain('vocab')
  })
})
