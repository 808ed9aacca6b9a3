/** The native target in lockstep: every kernel compiled into one object, each judged under its own bound at the oracle's inputs. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { vjpProgram } from '../src/autodiff/vjp.ts'
import { compileNow } from '../src/codegen/index.ts'
import { build, findCompiler, widestVectors } from '../src/codegen/runtime/c.ts'
import type { Width } from '../src/codegen/recipes/c/index.ts'
import * as L from '../src/dsl/index.ts'
import { kit } from '../src/dsl/build.ts'
import { literal } from '../src/dsl/dim.ts'
import type { Values } from '../src/dsl/interpret.ts'
import type { Program } from '../src/dsl/program.ts'
import { compiledCases, proveCompiled, runAll, type Case } from './codegen/compiled.ts'
import { diceOf } from './codegen-graphs.ts'
import { describeC, hasCompiler } from './compilers.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const inputsOf = (p: Program, n: number): Values => {
  const d = diceOf(n)
  return Object.fromEntries(
    p.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const length = dims.reduce((s, a) => s * a.size, 1)
      const one = (): number => (node.type.dtype === 'i32' ? d.int(0, 10) : Math.fround(d.real() * 2 - 1))
      return [name, { dims, data: Float64Array.from({ length }, one) }]
    }),
  )
}

const namedCases = (program: Program, inputs: Values): ReadonlyArray<Case> =>
  compiledCases(program.name, program, {}, inputs, widestVectors())

const withVjp = (name: string, y: L.AnyTensor, wrt: ReadonlyArray<string>): Program =>
  get(vjpProgram(get(L.program(name, { y })), wrt))

/** sizes around every width and tile: whole, one more, one less, prime */
const shapes: ReadonlyArray<readonly [number, number, number]> = [
  ...([
    [1, 1, 1],
    [2, 3, 4],
    [5, 17, 16],
    [7, 31, 33],
    [12, 64, 32],
    [13, 67, 47],
  ] as const),
  ...([
    [40, 48, 96],
    [64, 8, 64],
    [37, 96, 5],
    [3, 200, 129],
  ] as const),
]

const contractions = shapes.map(([t, k, o]) =>
  withVjp(
    `linear ${String(t)} ${String(k)} ${String(o)}`,
    pipe(
      L.input('x', { batch: 2, token: t, in: k }),
      L.dot(L.input('w', { out: o, in: k }), 'in'),
      L.add(L.input('b', { out: o })),
      L.silu,
    ),
    ['x', 'w', 'b'],
  ),
)
const rows = shapes.map(([t, k]) =>
  withVjp(`softmax ${String(t)} ${String(k)}`, pipe(L.input('x', { token: t, in: k }), L.softmax('in')), ['x']),
)
/** a segment of one, of several, of none: what is outside of the lanes is folded too */
const padded = (
  [
    [1, 0],
    [0, 1],
    [1, 1],
    [1, 2],
    [3, 1],
  ] as const
).flatMap(([before, after]) => {
  const x = pipe(L.input('x', { token: 5, in: 19 }), L.sub(0.25), L.pad('in', before, after))
  const name = `padded by ${String(before)} and ${String(after)}`
  const z = pipe(x, L.exp)
  return [
    ...([L.sum, L.max, L.min] as const).map((reduce) => get(L.program(name, { y: pipe(z, reduce('in')) }))),
    get(L.program(name, { z, y: pipe(z, L.square, L.sum('in')) })),
  ]
})
const heads = (
  [
    [8, 4, 8],
    [16, 2, 16],
    [24, 3, 5],
  ] as const
).map(([t, h, d]) => {
  const part = (n: string) => pipe(L.input(n, { token: t, in: h * d }), L.split('in', { head: h, h: d }))
  const scores = pipe(part('q'), L.dot(pipe(part('k'), L.rename({ token: 'key' })), 'h'), L.softmax('key'))
  const mixed = pipe(scores, L.dot(pipe(part('v'), L.rename({ token: 'key' })), 'key'), L.merge(['head', 'h'], 'flat'))
  return withVjp(
    `heads ${String(t)} ${String(h)} ${String(d)}`,
    pipe(mixed, L.dot(L.input('o', { flat: h * d, out: 12 }), 'flat')),
    [...['q', 'k', 'v', 'o']],
  )
})

/** sizes around four pivots and every width, with and without pivoting */
const systems = [1, 3, 4, 5, 8, 18, 33].flatMap((n) => {
  const m = L.input('m', { batch: 3, row: n, col: n })
  const [eye, rhs] = [L.eye('row', 'col', n), L.input('rhs', { batch: 3, row: n, c: 5 })]
  const skew = pipe(m, L.sub(pipe(m, L.rename({ row: 'col', col: 'row' }))))
  return [
    withVjp(`cayley ${String(n)}`, pipe(rhs, L.solve(pipe(eye, L.add(skew)), 'row', 'col')), ['m', 'rhs']),
    withVjp(`solve ${String(n)}`, pipe(rhs, L.solve(pipe(m, L.add(pipe(eye, L.scale(n + 1)))), 'row', 'col')), [
      'm',
      'rhs',
    ]),
  ]
})

describeC("native kernels under each kernel's own bound", () => {
  test.each([
    ['contractions', contractions],
    ['rows', rows],
    ['rows, padded', padded],
    ['attention', heads],
    ['systems', systems],
  ] as const)('%s', (title, programs) => {
    const all = programs.flatMap((p, i) => namedCases(p, inputsOf(p, i + 1)))
    proveCompiled(title, all, widestVectors())
  })
})

describeC('threads', () => {
  test('one, two and three give the same bits', () => {
    const program = heads[0]!
    const inputs = inputsOf(program, 7)
    const arrays = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))
    const [one, two, three] = [1, 2, 3].map((threads) =>
      get(get(compileNow(program, { target: 'c', threads })).runNow(arrays)),
    )
    expect(two).toEqual(one)
    expect(three).toEqual(one)
  })
})

/** the environment's compiler replaced for a moment */
const withCompiler = <A>(command: string, body: () => A): A => {
  const before = process.env['CC']
  process.env['CC'] = command
  try {
    return body()
  } finally {
    if (before === undefined) delete process.env['CC']
    else process.env['CC'] = before
  }
}

describe('without a compiler', () => {
  const doubled = get(L.program('doubled', { y: pipe(L.input('x', { i: 3 }), L.scale(2)) }))
  const x = Float32Array.of(1, 2, 3)

  test('c is one fault that says what to do', () => {
    const faults = withCompiler('/nowhere/cc', () => compileNow(doubled, { target: 'c' }))
    expect(E.isLeft(faults) && faults.left).toMatchObject([
      { at: 'c', expected: 'a C compiler', actual: expect.stringContaining('/nowhere/cc') as string },
    ])
  })

  test('auto is gpujs, and says why', () => {
    const executable = withCompiler('/nowhere/cc', () => get(compileNow(doubled, { target: 'auto' })))
    expect(executable.target).toBe('gpujs (webasm)')
    expect(executable.reason).toMatch(/gpujs, for c needs a compiler: .*nowhere/)
    expect(get(executable.runNow({ x }))['y']).toEqual(Float32Array.of(2, 4, 6))
    executable.dispose()
  })

  test.skipIf(!hasCompiler)('a word may stand before the compiler', () => {
    const command = `env ${process.env['CC'] ?? 'cc'}`
    const executable = withCompiler(command, () => get(compileNow(doubled, { target: 'c' })))
    expect(get(executable.runNow({ x }))['y']).toEqual(Float32Array.of(2, 4, 6))
  })

  test.skipIf(!hasCompiler)('auto is c where there is one; what does not compile is a fault', () => {
    const executable = get(compileNow(doubled, { target: 'auto' }))
    expect(executable.target).toBe('c')
    expect(get(executable.runNow({ x }))['y']).toEqual(Float32Array.of(2, 4, 6))
    const broken = build(get(findCompiler()), 'this is no C')
    expect(E.isLeft(broken) && broken.left[0].actual).toMatch(/error/)
  })
})

describeC('special values and accuracy', () => {
  const answers = (y: L.AnyTensor, x: Float32Array) => {
    const p = get(L.program('one', { y }))
    return {
      c: get(get(compileNow(p, { target: 'c' })).runNow({ x }))['y']!,
      oracle: get(get(compileNow(p, { target: 'oracle' })).runNow({ x }))['y']!,
    }
  }
  const x = L.input('x', { i: 10 })
  const points = Float32Array.of(NaN, Infinity, -Infinity, 0, -0, 1, 1e-40, -200, 200, 3e38)

  test.each(['exp', 'tanh', 'sigmoid', 'relu', 'sign', 'abs', 'floor', 'round', 'sqrt', 'log', 'erf'] as const)(
    '%s',
    (fn) => {
      const { c, oracle } = answers(fn === 'relu' ? L.relu(x) : { node: kit.map(fn, x.node) }, points)
      c.forEach((y, i) => {
        const [want, at] = [oracle[i]!, `${fn}(${String(points[i])})`]
        if (Number.isFinite(want)) expect(Math.abs(y - want), at).toBeLessThanOrEqual(1e-6 * Math.abs(want) + 2e-45)
        else expect(y, at).toBe(want)
      })
    },
  )

  test.each([19, 64])('NaN wins in maxima, minima and sums of rows of %i', (k) => {
    const x = Float32Array.from({ length: 4 * k }, (_, i) => (i === k + 3 || i === 4 * k - 1 ? NaN : Math.sin(i)))
    for (const reduce of [L.max, L.min, L.sum] as const) {
      const { c, oracle } = answers(pipe(L.input('x', { i: 4, k }), reduce('k')), x)
      expect(Array.from(c, Number.isNaN)).toEqual([false, true, false, true])
      c.forEach((y, i) => (Number.isNaN(y) ? undefined : expect(y).toBeCloseTo(oracle[i]!, 4)))
    }
  })

  /** by the vectors of a width, at numbers between; what is below the normal range is off by steps of 2^-149 */
  const vectorsOf = (fn: 'exp' | 'tanh', width: Width, low: number, high: number) => {
    const size = 100_003
    const data = Float64Array.from({ length: size }, (_, i) => Math.fround(low + ((high - low) * i) / (size - 1)))
    const p = get(L.program('one', { y: L[fn](L.input('x', { i: size })) }))
    const all = compiledCases(fn, p, {}, { x: { dims: [{ name: 'i', size }], data } }, width)
    const y = runAll(all, width)[0]![0]!
    return data.reduce((worst, a, i) => {
      const exact = Math[fn](a)
      const unit = Math.max(Math.abs(exact) * 2 ** -24, 2 ** -149)
      return Math.max(worst, Math.abs(y[i]! - exact) / unit)
    }, 0)
  }
  const widths = ([16, 8, 4] as const).filter((w) => w <= widestVectors())

  /** the rows promise 4 units of roundoff, u = 2^-24 */
  describe.each(widths)('vectors of %d', (width) => {
    test.each([
      ['exp', -87, 88],
      ['exp', -104, -87],
      ['tanh', -12, 12],
      ['tanh', -1, 1],
    ] as const)('%s on [%d, %d] within 4 u', (fn, low, high) => {
      const worst = vectorsOf(fn, width, low, high)
      console.log(`${fn} on [${String(low)}, ${String(high)}], ${String(width)} lanes: ${worst.toFixed(2)} u`)
      expect(worst).toBeGreaterThan(0)
      expect(worst).toBeLessThanOrEqual(4)
    })
  })
})
