/** Codegen against the oracle: every kernel in lockstep under its own bound, on random graphs and on what models are made of. */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { pipe } from 'fp-ts/lib/function.js'
import { afterAll, describe, expect, test } from 'vitest'
import { compile } from '../src/codegen/index.ts'
import { runKernel, showReport } from '../src/codegen/kernel/interpret.ts'
import { shapeOf } from '../src/codegen/kernel/layout.ts'
import { casesOf, judge } from '../src/codegen/lockstep.ts'
import { stages } from '../src/codegen/pipeline.ts'
import { printGpuJs } from '../src/codegen/print/gpujs.ts'
import { loadGpuJs } from '../src/codegen/runtime/gpujs.ts'
import { verifyKernel } from '../src/codegen/kernel/verify.ts'
import { vjpProgram } from '../src/autodiff/vjp.ts'
import { evaluate, evaluateBounded, type Values } from '../src/dsl/interpret.ts'
import * as L from '../src/dsl/index.ts'
import { literal } from '../src/dsl/dim.ts'
import type { Program } from '../src/dsl/program.ts'
import { diceOf, randomGraph } from './codegen-graphs.ts'
import { seed } from './seed.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const inputsOf = (p: Program, n: number, ids: Readonly<Record<string, number>> = {}): Values => {
  const d = diceOf(n)
  return Object.fromEntries(
    p.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const length = dims.reduce((s, a) => s * a.size, 1)
      const id = ids[name]
      return [
        name,
        {
          dims,
          data: Float64Array.from({ length }, () =>
            id === undefined ? Math.fround(d.real() * 2 - 1) : d.int(0, id - 1),
          ),
        },
      ]
    }),
  )
}

const tally = { kernels: 0, vacuous: 0, worst: 0 }

/** every kernel of the program, by the kernel interpreter and by gpu.js; the lowered graph against the program itself */
const checkLockstep = async (program: Program, inputs: Values): Promise<void> => {
  const staged = get(stages(program, {}, (p) => p))
  for (const c of get(casesOf(staged, inputs))) {
    const where = `${program.name}: ${c.launch.ops.join(' ')}`
    tally.kernels += 1
    expect(verifyKernel(c.launch.kernel), where).toEqual([])
    const { outputs, reports } = runKernel(c.launch.kernel, c.inputs)
    expect(reports.map(showReport), where).toEqual([])
    const meant = judge(c, outputs[0]!)
    expect(meant.worst, `${where} (kernel interpreter)`).toBeLessThanOrEqual(1)
    const printed = printGpuJs(c.launch.kernel)
    const loaded = get(
      loadGpuJs(
        {
          launches: [{ printed, args: c.launch.args.map((_, index) => ({ from: 'input', index }) as const) }],
          inputs: c.launch.kernel.params.map(shapeOf),
          constants: [],
          results: [0],
          threads: false,
        },
        'webasm',
      ),
    )
    const [got] = get(await loaded.run(c.inputs)())
    loaded.dispose()
    const verdict = judge(c, got!)
    expect(verdict.worst, `${where} (gpu.js)\n${printed.source}`).toBeLessThanOrEqual(1)
    if (verdict.vacuous) tally.vacuous += 1
    else tally.worst = Math.max(tally.worst, verdict.worst)
  }
  const want = get(evaluateBounded(program, inputs)).outputs
  const lowered = get(evaluate({ ...staged.lowered, inputs: staged.bound.inputs }, inputs)).outputs
  for (const [name, { value, bound }] of Object.entries(want))
    value.data.forEach((v, i) => {
      const l = lowered[name]!.data[i]!
      if (Number.isFinite(v) && !(Math.abs(l - v) <= bound[i]!))
        expect.fail(
          `${program.name}.${name}[${String(i)}]: lowered ${String(l)}, meant ${String(v)} +- ${String(bound[i])}`,
        )
    })
}

/** the compiled pipeline, all kernels in one memory, has the same shape and finite results near the oracle's */
const checkWhole = async (program: Program, inputs: Values): Promise<void> => {
  const { outputs } = get(evaluateBounded(program, inputs))
  const executable = get(await compile(program, { target: 'gpujs' })())
  const arrays = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))
  const once = get(await executable.run(arrays)())
  const twice = get(await executable.run(arrays)())
  executable.dispose()
  expect(twice).toEqual(once)
  for (const [name, { value, bound }] of Object.entries(outputs))
    value.data.forEach((v, i) => {
      if (!(Math.abs(once[name]![i]! - v) <= bound[i]!))
        expect.fail(
          `${program.name}.${name}[${String(i)}]: ${String(once[name]![i])}, oracle ${String(v)} +- ${String(bound[i])}`,
        )
    })
}

const withVjp = (name: string, outputs: Readonly<Record<string, L.AnyTensor>>, wrt: ReadonlyArray<string>): Program =>
  get(vjpProgram(get(L.program(name, outputs)), wrt))

const [T, I, O, R] = [6, 8, 12, 2]
const x = L.input('x', { token: T, in: I })

/** sizes above what is written out, a prime one and one that divides */
const long = (size: number): Program => {
  const [a, b] = [L.input('a', { t: 3, k: size }), L.input('b', { k: size, c: 4 })]
  return withVjp(`long${String(size)}`, { y: pipe(a, L.dot(b, 'k')), z: pipe(a, L.max('k')) }, ['a', 'b'])
}

const programs: ReadonlyArray<readonly [Program, Readonly<Record<string, number>>]> = [
  [
    withVjp(
      'lora',
      {
        y: pipe(
          x,
          L.dot(L.input('w', { out: O, in: I }), 'in'),
          L.add(
            pipe(x, L.dot(L.input('a', { r: R, in: I }), 'in'), L.dot(L.input('b', { out: O, r: R }), 'r'), L.scale(2)),
          ),
        ),
      },
      ['x', 'a', 'b'],
    ),
    {},
  ],
  [withVjp('softmax', { y: pipe(x, L.softmax('in')) }, ['x']), {}],
  [
    withVjp(
      'rmsNorm',
      { y: pipe(x, L.mul(pipe(x, L.square, L.mean('in'), L.add(1e-5), L.rsqrt)), L.mul(L.input('g', { in: I }))) },
      ['x', 'g'],
    ),
    {},
  ],
  [
    withVjp(
      'embedding',
      {
        y: pipe(L.input('table', { vocab: 11, in: I }), L.take(L.input('ids', { batch: 2, token: T }, 'i32'), 'vocab')),
      },
      ['table'],
    ),
    { ids: 11 },
  ],
  [long(67), {}],
  [long(1100), {}],
  [
    withVjp(
      'heads',
      {
        y: pipe(
          x,
          L.split('in', { head: 2, h: 4 }),
          L.mul(L.input('s', { head: 2 })),
          L.merge(['head', 'h'], 'flat'),
          L.dot(L.input('w', { flat: I, out: O }), 'flat'),
        ),
      },
      ['x', 's', 'w'],
    ),
    {},
  ],
]

const n = 5
const square = L.input('m', { row: n, col: n })
const skew = pipe(square, L.sub(pipe(square, L.rename({ row: 'col', col: 'row' }))))
const eye = L.eye('row', 'col', n)
const rhs = L.input('rhs', { row: n, c: 3 })
const solves: ReadonlyArray<Program> = [
  withVjp('cayley', { y: pipe(rhs, L.solve(pipe(eye, L.add(skew)), 'row', 'col')) }, ['m', 'rhs']),
  withVjp('solve', { y: pipe(rhs, L.solve(pipe(square, L.add(pipe(eye, L.scale(3)))), 'row', 'col')) }, ['m', 'rhs']),
  withVjp(
    'diagonal',
    { y: pipe(rhs, L.solve(pipe(eye, L.mul(L.input('d', { row: n })), L.add(pipe(eye, L.scale(3)))), 'row', 'col')) },
    ['d'],
  ),
  withVjp(
    'permuted',
    { y: pipe(rhs, L.solve(pipe(square, L.scale(0.1), L.add(pipe(shiftedEye(), L.scale(2)))), 'row', 'col')) },
    ['rhs'],
  ),
  withVjp('lower', { y: pipe(rhs, L.triSolve(pipe(square, L.add(pipe(eye, L.scale(3)))), 'row', 'col', 'lower')) }, [
    'm',
    'rhs',
  ]),
  withVjp('upper', { y: pipe(rhs, L.triSolve(pipe(square, L.add(pipe(eye, L.scale(3)))), 'row', 'col', 'upper')) }, [
    'm',
    'rhs',
  ]),
]

/** ones where col = row + 1 (mod n): a matrix that elimination cannot start on without exchanging rows */
function shiftedEye(): L.Tensor<'row' | 'col'> {
  return pipe(
    L.eye('row', 'col', n + 1),
    L.slice('row', 1, n),
    L.slice('col', 0, n),
    L.add(pipe(L.eye('row', 'col', 1), L.pad('row', 0, n - 1), L.pad('col', n - 1, 0))),
  )
}

/** t + t with t = x.b h: what is shared stands after the sum that it reads, also where the loop is written out */
const sharedAfterSum = get(
  L.program('shared after a sum', {
    y: pipe(
      L.input('x', { token: 2, in: 2 }),
      L.dot(L.input('b', { in: 2 }), 'in'),
      L.mul(L.input('h', { token: 2 })),
      (t) => pipe(t, L.add(t)),
    ),
  }),
)

describe("lockstep under each kernel's own bound", () => {
  test('what is shared after a sum', async () => {
    await checkLockstep(sharedAfterSum, inputsOf(sharedAfterSum, 4))
    await checkWhole(sharedAfterSum, inputsOf(sharedAfterSum, 5))
  })

  test.each(programs.map(([p, ids]) => [p.name, p, ids] as const))('%s', async (_, p, ids) => {
    await checkLockstep(p, inputsOf(p, 1, ids))
    await checkWhole(p, inputsOf(p, 2, ids))
  })

  test.each(solves.map((p) => [p.name, p] as const))('%s', async (_, p) => checkLockstep(p, inputsOf(p, 3)))

  test('random graphs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 14 }), async (s, length) => {
        const { program, inputs } = randomGraph(s, length)
        await checkLockstep(program, inputs)
      }),
      { numRuns: 150, seed },
    )
  })

  afterAll(() => {
    console.log(
      `lockstep: ${String(tally.kernels)} kernels, ${String(tally.vacuous)} vacuous, worst share of the bound ${tally.worst.toFixed(3)}`,
    )
    expect(tally.vacuous).toBeLessThanOrEqual(0.05 * tally.kernels)
  })
})
