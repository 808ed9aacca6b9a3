/**
 * Whole programs as `compile` runs them, all launches in one memory. Random graphs: within the bounds of the program and of
 * what its passes made of it. Training steps, whose worst-case bounds say nothing: no further from f64 than eight times
 * what plain f32 arithmetic is (estimated, from sums in several random orders).
 */
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { registry } from '../../src/adapters/registry.ts'
import { simplify } from '../../src/autodiff/simplify.ts'
import { compileNow, type Arrays, type Results, type TargetName } from '../../src/codegen/index.ts'
import { judge } from '../../src/codegen/lockstep.ts'
import { blockStages, stages } from '../../src/codegen/pipeline.ts'
import type { Split } from '../../src/codegen/split.ts'
import { evaluate, evaluateBounded, type Values } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import { layOut, type Value } from '../../src/dsl/value.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { describeC, hasCompiler } from '../compilers.ts'
import { randomFrom, runF32 } from '../dsl/f32.ts'
import { seed } from '../seed.ts'
import { get } from './traced.ts'
import { stepInputs, stepOf, tiny } from './training.ts'

const targets = (['c', 'gpujs'] as const).filter((t) => t !== 'c' || hasCompiler)
// without one, this is where it is said
describeC('whole programs on c', () => test('run below', () => expect(targets).toContain('c')))

const arraysOf = (inputs: Values): Arrays =>
  Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))

/** the same twice: nothing that a run leaves behind is read by the next */
const runTwice = (program: Program, target: TargetName, inputs: Values): Results => {
  const executable = get(compileNow(program, { target }))
  const first = get(executable.runNow(arraysOf(inputs)))
  expect(get(executable.runNow(arraysOf(inputs)))).toEqual(first)
  executable.dispose()
  return first
}

// --------------------------------------------------------------------------------- random graphs

/** the program as the target's passes left it: other sums in other orders */
const passedBy = (program: Program, target: 'c' | 'gpujs'): { readonly split: Split; readonly program: Program } => {
  if (target === 'gpujs') {
    const { split } = get(stages(program, {}, simplify))
    return { split, program: split.device }
  }
  const { split, fused } = get(blockStages(program, target, {}, simplify))
  return { split, program: fused.program }
}

const inOrder = (data: Float64Array, from: Value['dims'], to: Value['dims']): Float64Array =>
  layOut({ dims: from, data }, to).data

const tally = { programs: 0, undecided: 0 }

const expectWithin = (program: Program, target: 'c' | 'gpujs', inputs: Values): void => {
  const got = runTwice(program, target, inputs)
  const wanted = get(evaluateBounded(program, inputs))
  tally.programs += 1
  if (wanted.undecided) {
    tally.undecided += 1
    return
  }
  const { split, program: passed } = passedBy(program, target)
  const random = split.random.outputs.length === 0 ? {} : get(evaluate(split.random, inputs)).outputs
  const own = get(evaluateBounded(passed, { ...inputs, ...split.constants, ...random })).outputs
  for (const [name, { value, bound }] of Object.entries(wanted.outputs)) {
    const more = inOrder(own[name]!.bound, own[name]!.value.dims, value.dims)
    const { worst } = judge({ value: value.data, bound: bound.map((b, i) => b + more[i]!) }, got[name]!)
    expect(worst, `${program.name} ${target} ${name}`).toBeLessThanOrEqual(1)
  }
}

describe.each(targets)('random graphs on %s', (target) => {
  test('within the bounds', { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 3, max: 40 }), (s, length) => {
        const { program, inputs } = randomGraph(s, length)
        expectWithin(program, target, inputs)
      }),
      { numRuns: 60, seed, endOnFailure: true },
    )
  })
})

// ---------------------------------------------------------------------------------------- steps

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((m, x, i) => Math.max(m, Math.abs(x - b[i]!)), 0)

/** by output: how far plain f32 arithmetic is from f64, the furthest of several orders of summation */
const yardsticks = (program: Program, inputs: Values, exact: Values): Readonly<Record<string, number>> => {
  const given = new Map(program.inputs.map((i) => [i.node, inputs[i.name]!]))
  const runs = [1, 2, 3].map((n) =>
    runF32(
      program.outputs.map((o) => o.node),
      given,
      randomFrom(n),
    ),
  )
  return Object.fromEntries(
    program.outputs.map(({ name }, i) => {
      const { dims, data } = exact[name]!
      return [name, Math.max(...runs.map((r) => furthest(inOrder(r[i]!.data, r[i]!.dims, dims), data)))]
    }),
  )
}

const shares: Record<string, number> = {}

describe.each(registry.map((a) => [a.name, a] as const))('a training step with %s', (name, adapter) => {
  const program = stepOf(adapter)
  const inputs = stepInputs(program, tiny.vocab, 5)
  const exact = get(evaluate(program, inputs)).outputs
  const allowed = yardsticks(program, inputs, exact)

  test.each(targets)('on %s: within eight times what f32 is from f64', { timeout: 120_000 }, (target) => {
    const got = runTwice(program, target, inputs)
    for (const [output, { data }] of Object.entries(exact)) {
      const scale = data.reduce((s, x) => Math.max(s, Math.abs(x)), 0)
      // what is exact in f32 is still stored once
      const most = 8 * Math.max(allowed[output]!, scale * 2 ** -25)
      const apart = furthest(got[output]!, data)
      shares[target] = Math.max(shares[target] ?? 0, apart / most)
      expect(apart, `${name}.${output}, of ${String(scale)}`).toBeLessThanOrEqual(most)
    }
  })
})

afterAll(() => {
  const worst = Object.entries(shares).map(([t, s]) => `${t} ${s.toFixed(2)}`)
  console.log(
    `whole programs: ${String(tally.programs)} random, ${String(tally.undecided)} undecided; steps: worst share of what is allowed: ${worst.join(', ')}`,
  )
  expect(tally.undecided).toBeLessThanOrEqual(0.25 * tally.programs)
})
