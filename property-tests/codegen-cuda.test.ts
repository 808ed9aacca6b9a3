/**
 * CUDA without a GPU. Meaning, races and bounds: every kernel runs in the kernel interpreter, at small ragged sizes, and is
 * judged under the oracle's bound. Compilation: the real compiler builds it for every architecture, without spills.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { afterAll, describe, expect, test } from 'vitest'
import { adapterNamed, registry } from '../src/adapters/registry.ts'
import type { Adapter } from '../src/adapters/adapter.ts'
import { runKernel, showReport } from '../src/codegen/kernel/interpret.ts'
import { keyOfKernel, type Kernel } from '../src/codegen/kernel/kernel.ts'
import { judgeAll } from '../src/codegen/lockstep.ts'
import { blocksAt, launchOf, printCuda, showGrid } from '../src/codegen/print/cuda.ts'
import { architectures, type CudaCompiler } from '../src/codegen/runtime/cuda-compiler.ts'
import { readCubin } from '../src/codegen/runtime/cubin.ts'
import { verifyKernel } from '../src/codegen/kernel/verify.ts'
import * as L from '../src/dsl/index.ts'
import type { Sizes } from '../src/dsl/dim.ts'
import type { Values } from '../src/dsl/interpret.ts'
import type { Program } from '../src/dsl/program.ts'
import { randomGraph } from './codegen-graphs.ts'
import { describeCuda } from './compilers.ts'
import { buffersFor, madeFor, partCasesOf } from './codegen/parts.ts'
import { adapted, attended, both, defaultsOf, get } from './codegen/traced.ts'
import { stepOf, stepInputs, tiny } from './codegen/training.ts'
import { inputsFor, type Animal } from './codegen/zoo.ts'
import { specimens } from './cuda-programs.ts'
import { seed } from './seed.ts'

const tally = { kernels: 0, vacuous: 0, undecided: 0, worst: 0 }
const adapters: ReadonlyArray<Adapter> = registry

/** kernels are run by their interpreter, and judged under the bounds of f32: halves are rounded as they are stored */
const checkLockstep = (animal: Animal, sizes: Sizes, inputs: Values): void => {
  for (const c of partCasesOf(animal, 'cuda', sizes, inputs, 'own')) {
    const { kernel } = c.part
    const where = `${animal.name}: ${kernel.name}`
    expect(verifyKernel(kernel), where).toEqual([])
    const { outputs, reports } = runKernel(kernel, buffersFor(c, sizes), sizes)
    expect(reports.map(showReport), where).toEqual([])
    const { worst, vacuous } = judgeAll(c.wanted, outputs)
    tally.kernels += 1
    if (c.undecided) tally.undecided += 1
    else expect(worst, where).toBeLessThanOrEqual(1)
    if (vacuous) tally.vacuous += 1
    else if (!c.undecided) tally.worst = Math.max(tally.worst, worst)
  }
}

describe('CUDA kernels in the kernel interpreter', () => {
  test.each(specimens.map((s) => [s.name, s] as const))('%s', (_, animal) => {
    for (const sizes of animal.sizes) checkLockstep(animal, sizes, inputsFor(animal.program, sizes, 2, animal.ids))
  })

  test.each(adapters.map((a) => [a.name, a] as const))('a training step with %s', (name, a) => {
    const program = stepOf(a)
    const animal = { name, program, sizes: [{}], large: [], ids: tiny.vocab }
    checkLockstep(animal, {}, stepInputs(program, tiny.vocab, 5))
  })

  test('random graphs', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 14 }), (s, length) => {
        const { program, inputs } = randomGraph(s, length)
        checkLockstep({ name: `random ${String(s)}`, program, sizes: [{}], large: [], ids: 4 }, {}, inputs)
      }),
      { numRuns: 60, seed },
    )
  })

  afterAll(() => {
    console.log(
      `CUDA in lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous, ${String(tally.undecided)} undecided, worst share of the bound ${tally.worst.toFixed(3)}`,
    )
    expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
    expect(tally.undecided).toBeLessThanOrEqual(0.05 * tally.kernels)
  })
})

// ------------------------------------------------------------------------------- the real compiler

const kernelsOf = (program: Program, sizes: Sizes): ReadonlyArray<Kernel> =>
  madeFor({ name: program.name, program, sizes: [sizes], large: [], ids: 4 }, 'cuda', sizes).made.map((m) => m.kernel)

/** registers a thread: at 168 a multiprocessor still holds a block of 256 threads with room to spare; 255 is the end */
const MOST_REGISTERS = 168

const distinct = (kernels: ReadonlyArray<Kernel>): ReadonlyArray<Kernel> =>
  [...new Map(kernels.map((k) => [keyOfKernel(k), k])).values()].map((k, i) => ({
    ...k,
    name: `${k.name}_${String(i)}`,
  }))

const checkBuilt = (compiler: CudaCompiler, all: ReadonlyArray<Kernel>, arch: string): void => {
  const kernels = distinct(all)
  const { kernels: built } = get(readCubin(get(compiler.compile(printCuda(kernels), arch)).cubin))
  expect(built.length).toBe(kernels.length)
  for (const k of kernels) {
    const found = built.find((b) => b.name === k.name)
    const where = `${k.name} for ${arch}`
    expect(found, where).toBeDefined()
    expect(found!.frame, `${where}: spills, or an array that is indexed`).toBe(0)
    expect(found!.registers, where).toBeLessThanOrEqual(MOST_REGISTERS)
    const { symbols, shared } = launchOf(k)
    expect(shared, where).toBeLessThanOrEqual(48 * 1024)
    expect(found!.shared, where).toBeGreaterThanOrEqual(shared)
    // pointers first, then sizes: what a launch packs
    const pointers = k.params.length + k.outputs.length
    const offsets = [...found!.parameters].sort((x, y) => x.ordinal - y.ordinal).map((p) => [p.offset, p.size])
    expect(offsets, where).toEqual([
      ...Array.from({ length: pointers }, (_, i) => [8 * i, 8]),
      ...symbols.map((_, i) => [8 * pointers + 4 * i, 4]),
    ])
  }
}

describeCuda('CUDA kernels, built', (compiler) => {
  const sizes = { B: 2, T: 8, I: 12, O: 20, C: 7 }
  const kernelsIn = (programs: ReadonlyArray<Program>): ReadonlyArray<Kernel> =>
    programs.flatMap((p) => kernelsOf(p, sizes))

  test.each(architectures)(
    'every adapter, attention and the training step with each adapter, for %s',
    (arch) => {
      const halves = specimens.filter((s) => s.name.startsWith('f16')).map((s) => s.program)
      const linear = adapters
        .filter((a) => a.site !== 'attention')
        .map((a) => both(a.name, adapted(a, 768, 768, defaultsOf(a))))
      const kernels = kernelsIn([
        ...linear,
        both('attention', attended(12, 1, 64)),
        ...halves,
        ...adapters.map((a) => stepOf(a)),
      ])
      checkBuilt(compiler, kernels, arch)
    },
    300_000,
  )

  // they take other paths: the oldest architecture that takes them, whose registers are the scarcest
  test.each([75, 80] as const)(
    'small and ragged shapes whose least architecture is %s',
    (arch) => {
      const kernels = kernelsIn(specimens.map((s) => s.program)).filter((k) => launchOf(k).arch === arch)
      checkBuilt(compiler, kernels, `sm_${String(arch)}`)
    },
    300_000,
  )
})

describe('CUDA source', () => {
  test('reads well', () => {
    const x = L.input('x', { token: 'T', in: 96 })
    const kernels = kernelsOf(get(L.program('softmax', { y: pipe(x, L.softmax('in')) })), {})
    expect(printCuda(kernels)).toMatchInlineSnapshot(`
      "static __device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

      static __device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }

      static __device__ __forceinline__ float warp_sum(float x) {
        for (int lanes = 16; lanes > 0; lanes /= 2) {
          const float y = __shfl_xor_sync(0xffffffffu, x, lanes);
          x = x + y;
        }
        return x;
      }

      static __device__ __forceinline__ float warp_max(float x) {
        for (int lanes = 16; lanes > 0; lanes /= 2) {
          const float y = __shfl_xor_sync(0xffffffffu, x, lanes);
          x = larger(x, y);
        }
        return x;
      }

      extern "C" __global__ void __launch_bounds__(256, 1) max_sum_div(const float *__restrict__ a, float *__restrict__ out, int n_T) {
        float acc;
        float acc1;
        const int first_row = blockIdx.x * 8;
        const int thread = threadIdx.x;
        // a warp a row: max, sum, div
        const int lane = (thread % 32);
        const int row = least((thread / 32) + first_row, n_T - 1);
        acc = __int_as_float(0xff800000);
        for (int step = lane; step < 96; step += 32) {
          acc = larger(acc, a[(long long)row * 96 + step]);
        }
        acc = warp_max(acc);
        const float r = acc;
        acc1 = 0.0f;
        for (int step1 = lane; step1 < 96; step1 += 32) {
          acc1 = (acc1 + expf((a[(long long)row * 96 + step1] - r)));
        }
        acc1 = warp_sum(acc1);
        const float r1 = acc1;
        for (int cell = lane; cell < 96; cell += 32) {
          if ((thread / 32) + first_row < n_T) {
            out[cell + (long long)row * 96] = (expf((a[cell + (long long)row * 96] - r)) / r1);
          }
        }
      }

      "
    `)
  })
})

describe('launches', () => {
  test('grids are expressions over sizes', () => {
    for (const k of kernelsOf(both('lora', adapted(get(adapterNamed('lora')), 768, 768)), {})) {
      const { grid, symbols } = launchOf(k)
      const sizes = { B: 3, T: 70 }
      const js = `((n_B, n_T) => ${showGrid(k, 'js')})(3, 70)`

      expect((0, eval)(js), `${k.name} ${symbols.join()}`).toBe(E.toUnion(blocksAt(grid, sizes)))
    }
  })
})
