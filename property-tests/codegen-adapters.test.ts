/** Every adapter's whole training step (forward, backward, clipping, update) in lockstep: kernel by kernel, each under its own bound. */
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, expect, test } from 'vitest'
import { registry } from '../src/adapters/registry.ts'
import { shapeOf } from '../src/codegen/kernel/layout.ts'
import { casesOf, judge } from '../src/codegen/lockstep.ts'
import { stages } from '../src/codegen/pipeline.ts'
import { loadGpuJs } from '../src/codegen/runtime/gpujs.ts'
import { literal } from '../src/dsl/dim.ts'
import { adamW } from '../src/models/optimiser.ts'
import { graftOnto } from '../src/models/graft.ts'
import { llamaSites } from '../src/models/llama.ts'
import { stepProgram } from '../src/models/train.ts'
import { diceOf } from './codegen-graphs.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const config = {
  dim: 16,
  hidden: 24,
  layers: 1,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  vocab: 20,
  normEps: 1e-5,
  ropeTheta: 10000,
  tied: true,
  maxPositions: 16,
  eos: [],
}
const recipe = { steps: 1, rows: 2, length: 6, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }
/** sizes that fit the small model */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 } }

const tally = { kernels: 0, vacuous: 0 }

test.each(registry.map((a) => [a.name, a] as const))('%s', async (name, adapter) => {
  const defaults = Object.fromEntries(Object.entries(adapter.config).map(([k, f]) => [k, f.default]))
  const grafted = get(graftOnto(llamaSites(config), adapter, { ...defaults, ...small[name] }))
  const program = get(stepProgram(config, grafted, recipe))
  const d = diceOf(5)
  const inputs = Object.fromEntries(
    program.inputs.map((i) => {
      const dims = i.node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const one = (): number =>
        i.node.type.dtype === 'i32'
          ? d.int(0, config.vocab - 1)
          : dims.length === 0
            ? Math.fround(0.9)
            : Math.fround(i.name.startsWith('v.') ? d.real() : 0.4 * d.real() - 0.2)
      return [i.name, { dims, data: Float64Array.from({ length: dims.reduce((s, a) => s * a.size, 1) }, one) }]
    }),
  )
  for (const c of get(casesOf(get(stages(program, {}, (p) => p)), inputs))) {
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

afterAll(() => {
  console.log(`training steps in lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous`)
  expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
})
