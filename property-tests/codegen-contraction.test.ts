/** Contractions for C, tile by tile: the interpreter runs what is printed, and the oracle's own bound judges it. */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { kit } from '../src/dsl/build.ts'
import { dim } from '../src/dsl/dim.ts'
import { evaluateBounded, f64 } from '../src/dsl/interpret.ts'
import type { Node, NodeOf } from '../src/dsl/node.ts'
import type { Group } from '../src/codegen/fuse/group.ts'
import { runKernel, showReport } from '../src/codegen/kernel/interpret.ts'
import { showKernel, type Stmt, bodyOf } from '../src/codegen/kernel/kernel.ts'
import { contractionC, type ContractionC } from '../src/codegen/recipes/c/contraction.ts'
import { recipeC } from '../src/codegen/recipes/c/index.ts'
import { verifyKernel } from '../src/codegen/kernel/verify.ts'
import { contractionCase, type ContractionCase } from './contractions.ts'
import { seed } from './seed.ts'

const nameOf = (n: Node): string => (n.op === 'input' ? n.attrs.name : '')

/** what the interpreter makes of the kernel, operands packed beforehand included; what it reports */
const run = (c: ContractionCase, r: ContractionC) => {
  const reports: string[] = []
  const data = (n: Node): ArrayLike<number> => c.inputs[nameOf(n)]!.data
  const call = (k: ContractionC['kernel'], args: ReadonlyArray<ArrayLike<number>>): ReadonlyArray<Float64Array> => {
    expect(verifyKernel(k)).toEqual([])
    const made = runKernel(k, args, c.sizes)
    reports.push(...made.reports.map(showReport))
    return made.outputs
  }
  const args = r.args.map((a) =>
    a.kind === 'node' ? data(a.node) : call(a.packed.kernel, a.packed.args.map(data))[0]!,
  )
  return { outputs: call(r.kernel, args), reports }
}

/** worst share of the bound that an f64 evaluation in any order keeps to */
const worstOf = (c: ContractionCase, outputs: ReadonlyArray<ArrayLike<number>>): number => {
  const want = evaluateBounded(c.program, c.inputs, c.sizes, {}, f64)
  if (E.isLeft(want)) throw new Error(JSON.stringify(want.left))
  let worst = 0
  outputs.forEach((got, i) => {
    const { value, bound } = want.right.outputs[`y${String(i)}`]!
    expect(got.length).toBe(value.data.length)
    value.data.forEach((v, x) => {
      const error = Math.abs(got[x]! - v)
      worst = Math.max(worst, error === 0 ? 0 : Number.isNaN(error) ? Infinity : error / bound[x]!)
    })
  })
  return worst
}

const prove = (seedOf: number, width: 16 | 8 | 4, hasTiles: false | 'always' = false): ContractionC => {
  const c = contractionCase(seedOf, width === 16 ? 15 : 13)
  const r = contractionC(c.group, { width, hasTiles, isFrozen: (n) => c.frozen.has(n) })
  const { outputs, reports } = run(c, r)
  expect({ seedOf, width, reports }).toEqual({ seedOf, width, reports: [] })
  expect({ seedOf, width, isRight: worstOf(c, outputs) <= 1 }).toEqual({ seedOf, width, isRight: true })
  return r
}
const stmtsOf = (body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => body.flatMap((s) => [s, ...stmtsOf(bodyOf(s))])
const callsOf = (r: ContractionC, intrinsic: string): number =>
  stmtsOf(r.kernel.body).filter((s) => s.kind === 'call' && s.intrinsic === intrinsic).length

describe('contractions for C', () => {
  it('compute what the oracle computes: any axes, sizes from 0, sums of dots, producers, two results', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 30 }),
        fc.constantFrom(16 as const, 8 as const, 4 as const),
        (s, w) => {
          prove(s, w)
        },
      ),
      { seed, numRuns: 60 },
    )
  }, 120_000)

  it('compute it as well with operands that are split in bf16 numbers', () => {
    let [runs, split] = [0, 0]
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (s) => {
        runs += 1
        split += callsOf(prove(s, 16, 'always'), 'mma_split') > 0 ? 1 : 0
      }),
      { seed, numRuns: 60 },
    )
    expect(split).toBeGreaterThan(runs / 6)
  }, 120_000)

  /** y[m, n] = sum over k of x[m, k] w[n, k], and everything about it literal or a symbol */
  const plain = (m: number | string, n: number | string, k: number | string) => {
    const x = kit.input(
      'x',
      [
        { name: 'm', size: dim(m) },
        { name: 'k', size: dim(k) },
      ],
      'f32',
    )
    const w = kit.input(
      'w',
      [
        { name: 'n', size: dim(n) },
        { name: 'k', size: dim(k) },
      ],
      'f32',
    )
    const dot = kit.dot(x, w, ['k']) as NodeOf<'dot'>
    const group: Group = {
      name: 'plain',
      kind: 'contraction',
      outer: dot.type.dims,
      stages: [
        { kind: 'dot', results: [dot], accumulators: [{ node: dot, terms: [{ dot, factor: undefined, sign: 1 }] }] },
      ],
      ...{ stored: [dot], locals: [], reads: [x, w], reason: '' },
    }
    return { x, w, dot, group }
  }

  it('long reductions go piece by piece, whether their length is known or not', () => {
    for (const [k, hasTiles] of [
      [1500, false],
      ['K', false],
      [1500, 'always'],
    ] as const) {
      const { x, w, dot, group } = plain(5, 7, k)
      const values = (n: number) => Float64Array.from({ length: n }, (_, i) => ((i * 7919) % 13) - 6)
      const dims = (name: string, size: number) => [
        { name, size },
        { name: 'k', size: 1500 },
      ]
      const c: ContractionCase = {
        group,
        program: {
          name: 'p',
          inputs: [
            { name: 'x', node: x },
            { name: 'w', node: w },
          ],
          outputs: [{ name: 'y0', node: dot }],
        },
        inputs: { x: { dims: dims('m', 5), data: values(7500) }, w: { dims: dims('n', 7), data: values(10500) } },
        sizes: { K: 1500 },
        frozen: new Set(),
      }
      for (const frozen of [[], [w], [x, w]]) {
        const r = contractionC(group, { width: 16, hasTiles, isFrozen: (n) => frozen.includes(n) })
        expect(callsOf(r, 'mma_split') > 0).toBe(hasTiles === 'always')
        expect(showKernel(r.kernel)).toContain('step 512')
        const { outputs, reports } = run(c, r)
        expect(reports).toEqual([])
        expect(worstOf(c, outputs)).toBe(0)
      }
    }
  })

  it('an operand that never changes is packed by a kernel of its own, once for all who use it alike', () => {
    const { w, group } = plain('T', 96, 64)
    const frozen = { width: 16 as const, isFrozen: (n: Node) => n === w }
    const [r, again] = [contractionC(group, frozen), contractionC(group, frozen)]
    // rows are read where they lie
    expect(callsOf(r, 'pack')).toBe(0)
    expect(callsOf(contractionC(group, { width: 16, isFrozen: () => false }), 'pack')).toBe(1)
    const packed = r.args.flatMap((a) => (a.kind === 'packed' ? [a.packed] : []))
    expect(packed.map((p) => p.args)).toEqual([[w]])
    expect(packed[0]!.buffer.shape.map((d) => d.key)).toEqual([String(96 * 64)])
    expect(again.args.flatMap((a) => (a.kind === 'packed' ? [a.packed.key] : []))).toEqual([packed[0]!.key])
  })

  it('siblings that share an operand pack it once', () => {
    const { x, w, dot, group } = plain(24, 32, 16)
    const v = kit.input('v', w.type.dims, 'f32')
    const other = kit.dot(x, v, ['k']) as NodeOf<'dot'>
    const both = kit.map('mul', dot, other)
    const accumulators = [dot, other].map((d) => ({
      node: d,
      terms: [{ dot: d, factor: undefined, sign: 1 as const }],
    }))
    const stages = [{ kind: 'dot' as const, results: [both], accumulators }]
    const r = contractionC({ ...group, stages, stored: [both], reads: [x, w, v] }, { width: 16, isFrozen: () => false })
    expect(callsOf(r, 'pack')).toBe(2)
    expect(callsOf(r, 'mmaRows')).toBe(2)
  })

  it('a number a point, and a vector times a matrix that lies along the reduced axis, need no tile', () => {
    const { x, group } = plain(24, 1, 64)
    const options = { width: 16 as const, isFrozen: () => false }
    const other = kit.input('other', x.type.dims, 'f32')
    const rows = kit.dot(x, other, ['k']) as NodeOf<'dot'>
    const stages = [
      {
        kind: 'dot' as const,
        results: [rows],
        accumulators: [{ node: rows, terms: [{ dot: rows, factor: undefined, sign: 1 as const }] }],
      },
    ]
    const pairs = { ...group, outer: rows.type.dims, stages, stored: [rows], reads: [x, other] }
    for (const g of [group, pairs]) {
      expect(stmtsOf(recipeC(g, options).kernel.body).some((s) => s.kind === 'call')).toBe(false)
    }
    const tiled = stmtsOf(recipeC(plain(24, 9, 64).group, options).kernel.body)
    expect(tiled.some((s) => s.kind === 'call' && s.intrinsic === 'mmaRows')).toBe(true)
  })
})
