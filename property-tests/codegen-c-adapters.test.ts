/** Every adapter's whole training step on the native target: kernel by kernel under its own bound, and end to end against the oracle. */
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, describe, expect, test } from 'vitest'
import { registry } from '../src/adapters/registry.ts'
import { compileNow } from '../src/codegen/index.ts'
import { findCompiler, widestVectors } from '../src/codegen/runtime/c.ts'
import { literal } from '../src/dsl/dim.ts'
import { evaluate, type Values } from '../src/dsl/interpret.ts'
import type { Program } from '../src/dsl/program.ts'
import { adamW } from '../src/models/optimiser.ts'
import { graftOnto } from '../src/models/graft.ts'
import { llamaSites } from '../src/models/llama.ts'
import { stepProgram } from '../src/models/train.ts'
import { compiledCases, runAll, verdictsOf } from './codegen/compiled.ts'
import { diceOf } from './codegen-graphs.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const hasCompiler = E.isRight(findCompiler())
if (!hasCompiler) console.warn('SKIPPED: the native target, for there is no C compiler')

const config = {
  ...{ dim: 16, hidden: 24, layers: 1, heads: 4, kvHeads: 2, headDim: 4, vocab: 20 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 16, eos: [] },
}
const recipe = { steps: 1, rows: 2, length: 6, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }
/** sizes that fit the small model */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 } }

const inputsOf = (program: Program): Values => {
  const d = diceOf(5)
  return Object.fromEntries(
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
}

const tally = { kernels: 0, vacuous: 0, apart: 0 }

describe.skipIf(!hasCompiler)('training steps on the native target', () => {
  test.each(registry.map((a) => [a.name, a] as const))('%s', (name, adapter) => {
    const defaults = Object.fromEntries(Object.entries(adapter.config).map(([k, f]) => [k, f.default]))
    const grafted = get(graftOnto(llamaSites(config), adapter, { ...defaults, ...small[name] }))
    const program = get(stepProgram(config, grafted, recipe))
    const inputs = inputsOf(program)

    const cases = compiledCases(name, program, {}, inputs, widestVectors())
    const { wrong, vacuous } = verdictsOf(cases, runAll(cases, widestVectors()))
    expect(wrong).toBe('')
    tally.kernels += cases.length
    tally.vacuous += vacuous

    // all launches in one arena: what the whole step answers, in f32, against f64
    const executable = get(compileNow(program, { target: 'c' }))
    const arrays = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))
    const once = get(executable.runNow(arrays))
    expect(get(executable.runNow(arrays))).toEqual(once)
    for (const [n, { data }] of Object.entries(get(evaluate(program, inputs)).outputs)) {
      const scale = data.reduce((s, x) => Math.max(s, Math.abs(x)), 1e-3)
      const apart = data.reduce((m, x, i) => Math.max(m, Math.abs(once[n]![i]! - x)), 0) / scale
      tally.apart = Math.max(tally.apart, apart)
      expect(apart, `${name}.${n}`).toBeLessThanOrEqual(1e-3)
    }
    executable.dispose()
  })

  afterAll(() => {
    console.log(
      `native steps in lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous; whole steps within ${tally.apart.toExponential(1)} of their scale`,
    )
    expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
  })
})
