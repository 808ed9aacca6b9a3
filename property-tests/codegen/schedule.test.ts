/** Plans: as text; and interpreted in the one memory that they describe, where sharing places changes no bit. */
import { pipe } from 'fp-ts/lib/function.js'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { originOf } from '../../src/codegen/fuse/alias.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { runPlan, showPlan, type Plan } from '../../src/codegen/plan.ts'
import { sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import { elementsOf, livesOf, placeValues, scheduleOf } from '../../src/codegen/schedule.ts'
import { dim, type Sizes } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import { evaluate, type Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { bindSizes, type Program } from '../../src/dsl/program.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import { get } from './traced.ts'
import { inputsFor, zoo } from './zoo.ts'

const tally = { plans: 0, values: 0, inPlace: 0 }

const isFrozen = (n: Node): boolean => n.op === 'input' && (n.attrs.name === 'W' || n.attrs.name.startsWith('model.'))

/** the plan of a program, and what no launch of it makes */
const planned = (program: Program, sizes: Sizes) => {
  const { split, fused } = get(blockStages(program, 'c', sizes, simplify))
  const schedule = scheduleOf(fused, { width: 4, isFrozen })
  const outputs = new Set(fused.program.outputs.map((o) => originOf(o.node)))
  const sizeOf = (n: Node): number => sizeAt(elementsOf(n), sizes)
  const lived = livesOf(schedule, (n) => outputs.has(n), sizeOf)
  return { split, lived, sizeOf, plan: { schedule, ...placeValues(lived, schedule.takes) } satisfies Plan }
}

const expectSame = (program: Program, sizes: Sizes, inputs: Values): void => {
  const { split, lived, sizeOf, plan } = planned(program, sizes)
  const bound = bindSizes(split.random, Object.fromEntries(Object.entries(sizes).map(([k, n]) => [k, dim(n)])))
  const random = split.random.outputs.length === 0 ? {} : get(evaluate(bound, inputs)).outputs
  const values: Values = { ...inputs, ...split.constants, ...random }
  const given = (n: Node): Float64Array => {
    const found = n.op === 'input' ? values[n.attrs.name]?.data : undefined
    if (found === undefined) throw new Error(`#${String(n.id)} ${n.op} is read before it is made`)
    return found
  }
  // every value in memory of its own
  const apart: Plan = { schedule: { ...plan.schedule, takes: new Map() }, offsets: new Map(), size: 0 }
  const [shared, own] = [runPlan(plan, sizes, given, sizeOf), runPlan(apart, sizes, given, sizeOf)]
  expect([...shared.reports, ...own.reports]).toEqual([])
  for (const [n, data] of shared.results) expect(data, `${program.name} #${String(n.id)}`).toEqual(own.results.get(n))
  expect(shared.results.size + lived.length).toBe(own.results.size)
  tally.plans += 1
  tally.values += lived.length
  tally.inPlace += plan.schedule.takes.size
}

test.each(zoo.map((a) => [a.name, a] as const))('the plan of %s', { timeout: 100_000 }, (_, animal) => {
  for (const sizes of animal.sizes.slice(0, 1))
    expectSame(animal.program, sizes, inputsFor(animal.program, sizes, 4, animal.ids))
})

test('plans of random graphs', { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 3, max: 40 }), (s, length) => {
      const { program, inputs } = randomGraph(s, length)
      expectSame(program, {}, inputs)
    }),
    { numRuns: 150, seed },
  )
})

test('a plan as text', () => {
  const x = L.input('x', { token: 'T', in: 64 })
  const h = pipe(x, L.dot(L.input('W', { out: 64, in: 64 }), 'in'), L.silu, L.rename({ out: 'in' }))
  const y = pipe(h, L.dot(L.input('V', { out: 32, in: 64 }), 'in'), L.softmax('out'))
  const { plan } = planned(get(L.program('two layers', { y })), { T: 5 })
  expect(showPlan(plan).replace(/#\d+/g, '#')).toMatchInlineSnapshot(`
    "4 kernels, an arena of 480 floats
    once
      0 pack_once (W) -> panels
    launch 0
      1 dot (x, panels of W) -> #[token:T, out:64] at 0
    launch 1
      2 dot (#, V) -> #[token:T, out:32] at 320
    launch 2
      3 max_sum_div (#) -> #[token:T, out:32]"
  `)
})

afterAll(() =>
  console.log(
    `plans interpreted: ${String(tally.plans)}, ${String(tally.values)} values between launches, ${String(tally.inPlace)} of them in place of an operand`,
  ),
)
