/**
 * Every kernel of every adapter forward and backward, and of a step, as its recipe made it: well-formed, without a report
 * of the interpreter, and equal to its part of the graph within the bound of an evaluation in f64.
 */
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { showKernel } from '../../src/codegen/kernel/kernel.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import { buffersFor, casesFor, madeFor, type Target } from './parts.ts'
import { zoo } from './zoo.ts'

const tally = { kernels: 0, undecided: 0, notNumbers: 0 }

describe.each(['c', 'cuda'] as const satisfies ReadonlyArray<Target>)('kernels for %s', (target) => {
  test.each(zoo.map((a) => [a.name, a] as const))('%s', { timeout: 100_000 }, (_, animal) => {
    const wrong: string[] = []
    for (const sizes of animal.sizes)
      for (const c of casesFor(animal, target, sizes, 1)) {
        const { kernel } = c.part
        const faults = verifyKernel(kernel).map((f) => `${f.at}: expected ${f.expected}, found ${f.actual}`)
        const { outputs, reports } = runKernel(kernel, buffersFor(c, sizes), sizes)
        const { worst } = judgeAll(c.wanted, outputs)
        tally.kernels += 1
        if (c.wanted.some((w) => w.value.some(Number.isNaN))) tally.notNumbers += 1
        if (c.undecided) tally.undecided += 1
        const all = [
          ...faults,
          ...reports.map(showReport),
          ...(worst > 1 && !c.undecided ? [`${String(worst)} of the bound`] : []),
        ]
        if (all.length > 0)
          wrong.push(
            `${JSON.stringify(sizes)} ${kernel.name}:\n  ${all.join('\n  ')}\n${process.env['SHOW_KERNEL'] === undefined ? '' : showKernel(kernel)}`,
          )
      }
    expect(wrong.join('\n')).toBe('')
  })

  test('random graphs: well-formed', { timeout: 200_000 }, () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 20, max: 40 }), (s, length) => {
        const { program } = randomGraph(s, length)
        const { made } = madeFor({ name: program.name, program, sizes: [{}], large: [], ids: 4 }, target, {})
        expect(made.flatMap(({ kernel }) => verifyKernel(kernel))).toEqual([])
      }),
      { numRuns: 300, seed, endOnFailure: true },
    )
  })
})

afterAll(() => {
  console.log(
    `recipes: ${String(tally.kernels)} kernels, ${String(tally.undecided)} undecided, ${String(tally.notNumbers)} without a number`,
  )
  expect(tally.notNumbers).toBe(0)
  expect(tally.undecided).toBeLessThanOrEqual(0.05 * tally.kernels)
})
