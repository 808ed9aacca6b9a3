/** Every adapter's whole training step (forward, backward, clipping, update), kernel by kernel, each under its own bound. */
import { afterAll, describe, expect, test } from 'vitest'
import { registry } from '../../src/adapters/registry.ts'
import { simplify } from '../../src/autodiff/simplify.ts'
import { shapeOf } from '../../src/codegen/kernel/layout.ts'
import { casesOf, judge } from '../../src/codegen/lockstep.ts'
import { stages } from '../../src/codegen/pipeline.ts'
import { widestVectors } from '../../src/codegen/runtime/c.ts'
import { loadGpuJs } from '../../src/codegen/runtime/gpujs.ts'
import { describeC } from '../compilers.ts'
import { compiledCases, runAll, verdictsOf } from './compiled.ts'
import { get } from './traced.ts'
import { stepInputs, stepOf, tiny } from './training.ts'

const tally = { kernels: 0, vacuous: 0 }

describe('gpujs', () => {
  test.each(registry.map((a) => [a.name, a] as const))('%s', async (name, adapter) => {
    const program = stepOf(adapter)
    const inputs = stepInputs(program, tiny.vocab, 5)
    for (const c of get(casesOf(get(stages(program, {}, simplify)), inputs))) {
      const { kernel, printed, ops, args } = c.launch
      const source = {
        launches: [{ printed, args: args.map((_, index) => ({ from: 'input', index }) as const) }],
        inputs: kernel.params.map(shapeOf),
      }
      const loaded = get(loadGpuJs({ ...source, constants: [], results: [0], threads: false }, 'webasm'))
      const [got] = get(await loaded.run(c.inputs)())
      loaded.dispose()
      const verdict = judge(c, got!)
      expect(verdict.worst, `${name}: ${ops.join(' ')}\n${printed.source}`).toBeLessThanOrEqual(1)
      tally.kernels += 1
      if (verdict.vacuous) tally.vacuous += 1
    }
  })
})

describeC('c', () => {
  test.each(registry.map((a) => [a.name, a] as const))('%s', (name, adapter) => {
    const program = stepOf(adapter)
    const cases = compiledCases(name, program, {}, stepInputs(program, tiny.vocab, 5), widestVectors())
    const { wrong, vacuous } = verdictsOf(cases, runAll(cases, widestVectors()))
    expect(wrong).toBe('')
    tally.kernels += cases.length
    tally.vacuous += vacuous
  })
})

afterAll(() => {
  console.log(`training steps in lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous`)
  expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
})
