/**
 * CUDA without a GPU. Meaning, races and bounds: every kernel runs in the kernel interpreter, at small ragged sizes, and is
 * judged under the oracle's bound. Compilation: the real compiler builds it for every architecture, without spills.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { registry } from '../src/adapters/registry.ts'
import type { Adapter } from '../src/adapters/adapter.ts'
import { keyOfKernel, type Kernel } from '../src/codegen/kernel.ts'
import { blocksAt, launchOf, printCuda, showGrid } from '../src/codegen/print/cuda.ts'
import { architectures, type CudaCompiler } from '../src/codegen/runtime/cuda-compiler.ts'
import { readCubin } from '../src/codegen/runtime/cubin.ts'
import { verifyKernel } from '../src/codegen/verify.ts'
import type { Sizes } from '../src/dsl/dim.ts'
import type { Values } from '../src/dsl/interpret.ts'
import type { Program } from '../src/dsl/program.ts'
import { randomGraph } from './codegen-graphs.ts'
import { describeCuda } from './cuda-compiler.ts'
import { casesOf, get, inputsFor, judge, kernelsOf } from './cuda-lockstep.ts'
import { adapterProgram, attentionProgram, specimens, stepOf } from './cuda-programs.ts'
import { seed } from './seed.ts'

const tally = { kernels: 0, vacuous: 0, worst: 0 }
const adapters: ReadonlyArray<Adapter> = registry

const checkLockstep = (name: string, program: Program, sizes: Sizes, inputs: Values): void => {
  for (const c of casesOf(program, sizes, inputs)) {
    const where = `${name}: ${c.recipe.kernel.name}`
    expect(verifyKernel(c.recipe.kernel), where).toEqual([])
    const { worst, isVacuous, reports } = judge(c, sizes)
    expect(reports, where).toEqual([])
    expect(worst, where).toBeLessThanOrEqual(1)
    tally.kernels += 1
    if (isVacuous) tally.vacuous += 1
    else tally.worst = Math.max(tally.worst, worst)
  }
}

describe('CUDA kernels in the kernel interpreter', () => {
  test.each(specimens.map((s) => [s.name, s] as const))('%s', (name, { program, sizes, ids }) =>
    checkLockstep(name, program, sizes, inputsFor(program, sizes, 3, ids)),
  )

  test.each(adapters.map((a) => [a.name, a] as const))('a training step with %s', (name, a) => {
    const program = stepOf(a)
    checkLockstep(name, program, {}, inputsFor(program, {}, 5, 20, 0.2))
  })

  test('random graphs', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 14 }), (s, length) => {
        const { program, inputs } = randomGraph(s, length)
        checkLockstep(`random ${String(s)}`, program, {}, inputs)
      }),
      { numRuns: 60, seed },
    )
  })

  afterAll(() => {
    console.log(
      `CUDA in lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous, worst share of the bound ${tally.worst.toFixed(3)}`,
    )
    expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
  })
})

// ------------------------------------------------------------------------------- the real compiler

/** registers a thread: at 168 a multiprocessor still holds a block of 256 threads with room to spare; 255 is the end */
const MOST_REGISTERS = 168

const distinct = (kernels: ReadonlyArray<Kernel>): ReadonlyArray<Kernel> =>
  [...new Map(kernels.map((k) => [keyOfKernel(k), k])).values()].map((k, i) => ({
    ...k,
    name: `${k.name}_${String(i)}`,
  }))

const checkBuilt = (compiler: CudaCompiler, what: string, all: ReadonlyArray<Kernel>, arch: string): void => {
  const kernels = distinct(all)
  const { kernels: built } = get(readCubin(get(compiler.compile(printCuda(kernels), arch)).cubin))
  expect(built.length).toBe(kernels.length)
  for (const k of kernels) {
    const found = built.find((b) => b.name === k.name)
    const where = `${what}: ${k.name} for ${arch}`
    expect(found, where).toBeDefined()
    expect(found!.frame, `${where}: spills, or an array that is indexed`).toBe(0)
    expect(found!.registers, where).toBeLessThanOrEqual(MOST_REGISTERS)
    const { symbols, shared } = launchOf(k)
    expect(shared, where).toBeLessThanOrEqual(48 * 1024)
    expect(found!.shared, where).toBeGreaterThanOrEqual(shared)
    // pointers first, then sizes: what a launch packs
    const pointers = k.params.length + k.outputs.length
    expect(
      [...found!.parameters].sort((a, b) => a.ordinal - b.ordinal).map((p) => [p.offset, p.size]),
      where,
    ).toEqual([
      ...Array.from({ length: pointers }, (_, i) => [8 * i, 8]),
      ...symbols.map((_, i) => [8 * pointers + 4 * i, 4]),
    ])
  }
}

describeCuda('CUDA kernels of every adapter and of the training step, built', (compiler) => {
  const wide: ReadonlyArray<readonly [string, Program]> = [
    ...adapters
      .filter((a) => a.site !== 'attention')
      .map((a) => [`${a.name}, 768`, adapterProgram(a, 768, 768)] as const),
    ['attention, 64', attentionProgram(12, 1, 64)],
    ...specimens.filter((s) => s.name === 'f16, sums f32').map((s) => [s.name, s.program] as const),
  ]
  const sizes = { B: 2, T: 8, I: 12, O: 20 }
  test.each([...wide, ...adapters.map((a) => [`a step with ${a.name}`, stepOf(a)] as const)])(
    '%s',
    (name, program) => {
      const kernels = kernelsOf(program, sizes)
      for (const arch of architectures) checkBuilt(compiler, name, kernels, arch)
    },
    300_000,
  )

  // small and ragged shapes take other paths: the oldest architecture, whose registers are the scarcest
  test.each(specimens.map((s) => [s.name, s.program] as const))(
    '%s, small',
    (name, program) => {
      const kernels = kernelsOf(program, sizes)
      checkBuilt(compiler, name, kernels, `sm_${String(Math.max(...kernels.map((k) => launchOf(k).arch)))}`)
    },
    300_000,
  )
})

describe('launches', () => {
  test('grids are expressions over sizes', () => {
    for (const k of kernelsOf(
      adapterProgram(
        adapters.find((a) => a.name === 'lora')!,
        768,
        768,
      ),
      {},
    )) {
      const { grid, symbols } = launchOf(k)
      const sizes = { B: 3, T: 70 }
      const js = `((n_B, n_T) => ${showGrid(k, 'js')})(3, 70)`

      expect((0, eval)(js), `${k.name} ${symbols.join()}`).toBe(E.toUnion(blocksAt(grid, sizes)))
    }
  })
})
