/** `npm run demo -- --compare`: the demo's own training steps on c and on gpujs, one after the other in one run. */
import * as E from 'fp-ts/lib/Either.js'
import Table from 'cli-table3'
import type { Adapter } from '../adapters/adapter.ts'
import { registry } from '../adapters/registry.ts'
import { startState, train } from '../models/train.ts'
import { graftIn, orExit, recipeOf, type Setting } from './demo-setting.ts'
import { askTarget } from './ready.ts'

// ---------------------------------------------------------------------------------------- model

interface Timing {
  /** until the first step was done: the passes, the compiler, the step */
  readonly first: number
  /** ms of a step, the median of those after the first */
  readonly step: number
  readonly loss: number
}

const STEPS = 8

// --------------------------------------------------------------------------------- interpreters

const timeSteps = async (s: Setting, adapter: Adapter, target: 'c' | 'gpujs'): Promise<Timing> => {
  const { grafted, initial } = graftIn(s, adapter)
  const recipe = recipeOf(adapter, STEPS)
  const begun = performance.now()
  const ends: number[] = []
  const state = orExit(
    await train({
      ...{ config: s.config, weights: s.weights, grafted, target, data: s.data, recipe },
      from: startState(initial, recipe.optimiser),
      onStep: () => ends.push(performance.now()),
    })(),
  )
  const steps = ends
    .slice(1)
    .map((end, i) => end - ends[i]!)
    .sort((a, b) => a - b)
  return { first: ends[0]! - begun, step: steps[Math.floor(steps.length / 2)]!, loss: state.losses.at(-1)! }
}

/** One row an adapter; the last, all of them. Where c does not run, a line that says why. */
export const compareTargets = async (s: Setting): Promise<string> => {
  const native = askTarget('c')
  if (E.isLeft(native)) return `No comparison: c does not run here. ${native.left[0].actual}`
  const table = new Table({
    head: [
      'adapter',
      'c: first step, s',
      'ms a step',
      'gpujs: first step, s',
      'ms a step',
      'times faster',
      `loss at step ${String(STEPS)}, c`,
      'gpujs',
    ],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  })
  let [sumC, sumG] = [0, 0]
  for (const adapter of registry) {
    const [c, gpujs] = [await timeSteps(s, adapter, 'c'), await timeSteps(s, adapter, 'gpujs')]
    sumC += c.step
    sumG += gpujs.step
    table.push([
      adapter.name,
      (c.first / 1000).toFixed(1),
      c.step.toFixed(1),
      (gpujs.first / 1000).toFixed(1),
      gpujs.step.toFixed(1),
      (gpujs.step / c.step).toFixed(1),
      c.loss.toFixed(5),
      gpujs.loss.toFixed(5),
    ])
  }
  table.push(['all', '', sumC.toFixed(1), '', sumG.toFixed(1), (sumG / sumC).toFixed(1), '', ''])
  return `${table.toString()}\nMedians of ${String(STEPS - 1)} steps, without compilation; one process, one after the other.`
}
