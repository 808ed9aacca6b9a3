/**
 * Every kernel of every adapter forward and backward, and of a step, as its recipe made it: well-formed, without a report
 * of the interpreter, and equal to its part of the graph within the bound of an evaluation in f64.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { showKernel } from '../../src/codegen/kernel/kernel.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { buffersFor, casesFor, type Target } from './parts.ts'
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
})

afterAll(() => {
  console.log(
    `recipes: ${String(tally.kernels)} kernels, ${String(tally.undecided)} undecided, ${String(tally.notNumbers)} without a number`,
  )
  expect(tally.notNumbers).toBe(0)
  expect(tally.undecided).toBeLessThanOrEqual(0.05 * tally.kernels)
})
