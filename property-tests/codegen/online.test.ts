/**
 * Rows that do not fit: the maximum and the sum of e^(x - it) in one pass, chunk by chunk. One kernel whatever the length;
 * equal to the graph within its bound wherever the maximum is; and NaN or not as the graph says where there are infinities.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import type { Stage } from '../../src/codegen/fuse/group.ts'
import { onlineIn } from '../../src/codegen/fuse/online.ts'
import { verifyFused } from '../../src/codegen/fuse/verify.ts'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { legalInPlace } from '../../src/codegen/kernel/in-place.ts'
import { showKernel } from '../../src/codegen/kernel/kernel.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { widestVectors } from '../../src/codegen/runtime/c.ts'
import * as L from '../../src/dsl/index.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { Value } from '../../src/dsl/value.ts'
import { diceOf } from '../codegen-graphs.ts'
import { describeC } from '../compilers.ts'
import { compiledCases, onceEach, runAll, verdictsOf, type Case } from './compiled.ts'
import { buffersFor, madeFor, partCasesOf } from './parts.ts'
import { get, type Animal } from './zoo.ts'

// -------------------------------------------------------------------------------------- programs

type Width = number | string
const row = (name: string, y: L.AnyTensor): Program => get(L.program(name, { y }))
const rowsOf = (token: Width, width: Width) => L.input('x', { token, in: width })
const softmaxOf = (token: Width, width: Width): Program => row('softmax', pipe(rowsOf(token, width), L.softmax('in')))
const logSumExpOf = (token: Width, width: Width): Program =>
  row('log sum e^x', pipe(rowsOf(token, width), L.logSumExp('in')))
const losses = (token: number, width: Width): Program => {
  const x = rowsOf(token, width)
  const target = L.input('target', { token }, 'i32')
  return row('loss', pipe(x, L.logSumExp('in'), L.sub(pipe(x, L.take(target, 'in')))))
}

const stagesOf = (p: Program, target: 'c' | 'cuda' = 'c'): ReadonlyArray<ReadonlyArray<Stage>> => {
  const { fused } = get(blockStages(p, target, {}, simplify))
  expect(verifyFused(fused)).toEqual([])
  return fused.launches.flat().map((g) => g.stages)
}
const isOnline = (p: Program): boolean => stagesOf(p).some((s) => onlineIn(s) !== undefined)

// ---------------------------------------------------------------------------------------- values

const CHUNK = 4096

/** x[i] of a row of n numbers, u between -1 and 1 */
type Row = (i: number, n: number, u: number) => number

/** rows whose values are numbers: the largest anywhere, chunks of -inf before, between and behind */
const numbers: Readonly<Record<string, Row>> = {
  'about 0': (_i, _n, u) => 3 * u,
  'the largest last': (i, n, u) => (i === n - 1 ? 20 : u),
  'the largest first': (i, _n, u) => (i === 0 ? 20 : u),
  'rising by chunks': (i, _n, u) => 10 * Math.floor(i / CHUNK) - 40 + u,
  'falling by chunks': (i, _n, u) => 40 - 10 * Math.floor(i / CHUNK) + u,
  'first chunk -inf': (i, _n, u) => (i < CHUNK ? -Infinity : u),
  'second chunk -inf': (i, _n, u) => (Math.floor(i / CHUNK) === 1 ? -Infinity : u),
  'all but the first -inf': (i, _n, u) => (i === 0 ? u : -Infinity),
  'all but the last -inf': (i, n, u) => (i === n - 1 ? u : -Infinity),
  'far below 0': (_i, _n, u) => -3e38 + 1e37 * u,
}
/** rows without an answer: every result of theirs is what the graph's is, NaN or infinite */
const others: Readonly<Record<string, Row>> = {
  'nothing but -inf': () => -Infinity,
  'NaN first': (i, _n, u) => (i === 0 ? NaN : u),
  'NaN last': (i, n, u) => (i === n - 1 ? NaN : u),
  'NaN after -inf': (i, _n, u) => (i < CHUNK ? -Infinity : i === CHUNK ? NaN : u),
  '+inf first': (i, _n, u) => (i === 0 ? Infinity : u),
  '+inf last': (i, n, u) => (i === n - 1 ? Infinity : u),
  '+inf after -inf': (i, _n, u) => (i < CHUNK ? -Infinity : i === CHUNK ? Infinity : u),
}

/** the rows one below the other; `below` stands for -inf */
const valueOf = (rows: ReadonlyArray<Row>, n: number, below = -Infinity): Value => {
  const d = diceOf(n)
  const data = rows.flatMap((r) =>
    Array.from({ length: n }, (_, i) => {
      const x = Math.fround(r(i, n, 2 * d.real() - 1))
      return x === -Infinity ? below : x
    }),
  )
  return {
    dims: [
      { name: 'token', size: rows.length },
      { name: 'in', size: n },
    ],
    data: Float64Array.from(data),
  }
}
const targetsOf = (rows: number, n: number): Value => ({
  dims: [{ name: 'token', size: rows }],
  data: Float64Array.from({ length: rows }, (_, i) => (i * 977) % n),
})

/** one more, one less, several chunks, a tail of one and of less than a vector */
const lengths = [CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK + 5] as const
/** a row that is known to be long: e^(x - max) is computed again */
const LONG = 2 ** 17 + 3

// ----------------------------------------------------------------------------------------- tests

describe('what is found', () => {
  test.each(['c', 'cuda'] as const)('%s: one kernel, a row of any length', (target) => {
    for (const n of [512, 2 ** 16, 2 ** 16 + 1, 200_000, 4_000_000])
      for (const p of [softmaxOf(8, n), logSumExpOf(8, n), losses(8, n)]) expect(stagesOf(p, target).length).toBe(1)
  })

  test('rows that have to wait close by are still kept short', () => {
    const x = rowsOf(8, 200_000)
    const y = pipe(x, L.div(pipe(x, L.square, L.sum('in'))))
    expect(stagesOf(row('by its squares', y)).length).toBe(2)
  })

  test('from the graph: the same x, the same axes, its maximum and nothing else', () => {
    const [x, z] = [rowsOf(8, 9000), L.input('z', { token: 8, in: 9000 })]
    const m = pipe(x, L.max('in'))
    const e = pipe(x, L.sub(m), L.exp)
    expect(isOnline(logSumExpOf(8, 9000))).toBe(true)
    expect(isOnline(row('sum', pipe(e, L.sum('in'), L.add(m))))).toBe(true)
    for (const y of [
      pipe(z, L.sub(m), L.exp, L.sum('in'), L.add(m)),
      pipe(x, L.sub(pipe(x, L.min('in'))), L.exp, L.sum('in')),
      pipe(e, L.max('in'), L.add(m)),
      pipe(e, L.mul(z), L.sum('in'), L.add(m)),
      pipe(x, L.sub(m), L.square, L.sum('in')),
      pipe(m, L.sub(x), L.exp, L.sum('in')),
    ])
      expect(isOnline(row('other', y))).toBe(false)
  })
})

describe('interpreted', () => {
  const animal = (program: Program): Animal => ({ name: program.name, program, sizes: [{}], large: [], ids: 4 })
  const prove = (program: Program, n: number, rows: ReadonlyArray<Row>): void => {
    const sizes = { D: n }
    const [only, ...more] = partCasesOf(animal(program), 'c', sizes, { x: valueOf(rows, n, -1e30) })
    expect(more).toEqual([])
    const { kernel } = only!.part
    expect(verifyKernel(kernel)).toEqual([])
    expect(showKernel(kernel)).toContain('carried')
    const { outputs, reports } = runKernel(kernel, buffersFor(only!, sizes), sizes)
    expect(reports.map(showReport)).toEqual([])
    expect(judgeAll(only!.wanted, outputs).worst).toBeLessThanOrEqual(1)
  }
  const all = Object.values(numbers)

  test('a length that is not known: none, one, a chunk, one more', () => {
    const program = logSumExpOf(all.length, 'D')
    for (const n of [0, 1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5]) prove(program, n, all)
  })
  test('softmax of a long row', () => prove(softmaxOf(2, LONG), LONG, all.slice(3, 5)))

  test('cuda: a block goes along a row of any length', () => {
    const [only, ...more] = partCasesOf(animal(softmaxOf(2, LONG)), 'cuda', {}, { x: valueOf(all.slice(3, 5), LONG) })
    expect(more).toEqual([])
    const { outputs, reports } = runKernel(only!.part.kernel, buffersFor(only!, {}), {})
    expect([...verifyKernel(only!.part.kernel), ...reports.map(showReport)]).toEqual([])
    expect(judgeAll(only!.wanted, outputs).worst).toBeLessThanOrEqual(1)
  })

  test('short rows are done as before', () => {
    const { made } = madeFor(animal(logSumExpOf(8, 2 ** 17)), 'c', {})
    expect(made.map((m) => showKernel(m.kernel)).join()).not.toContain('carried')
  })
})

describeC('compiled', () => {
  const width = widestVectors()
  const casesOf = (n: number, rows: ReadonlyArray<Row>, below?: number) => {
    // a row that is known to be shorter is not done by chunks
    const known = n < LONG ? 'D' : n
    const programs = [logSumExpOf, losses, softmaxOf].map((make) => make(rows.length, known))
    const inputs: Values = { x: valueOf(rows, n, below), target: targetsOf(rows.length, n) }
    return programs.flatMap((p) => compiledCases(`${p.name} ${String(n)}`, p, { D: n }, inputs, width))
  }

  /**
   * The bound of a sum of n numbers in any order, n u, says little of long rows. Of this order: lanes of a chunk, one after
   * the other and then together; three roundings a chunk; and e^(x - m), whose argument is rounded, log n u on average.
   *     |log s - got| <= (chunk / width + log2 width + 3 chunks + log n + 8) u        u = 2^-24
   */
  const ownBound = (n: number, value: number): number => {
    const [lanes, chunks] = [CHUNK / width + Math.log2(width), Math.ceil(n / CHUNK)]
    return (lanes + 3 * chunks + Math.log(n) + 8 + 2 * Math.abs(value)) * 2 ** -24
  }
  const prove = (n: number, all: ReadonlyArray<Case>): void => {
    const got = runAll(all, width)
    expect(verdictsOf(all, got).wrong).toBe('')
    all.forEach(({ where, case: c }, i) => {
      if (!where.startsWith('log')) return
      const wanted = c.wanted[0]!.value[0]!
      const share = Math.abs(got[i]![0]![0]! - wanted) / ownBound(n, wanted)
      expect([where, share <= 1, share]).toEqual([where, true, share])
    })
  }

  test.each([...lengths, LONG, 200_000])('%d: within the bounds of f32, wherever the maximum is', (n) => {
    // one row at a time, that a bound is of numbers of one size
    prove(
      n,
      Object.values(numbers).flatMap((r) => casesOf(n, [r], -1e30)),
    )
  })

  test.each([...lengths, LONG])('%d: -inf adds what a number far below adds, to the bit', (n) => {
    const [far, infinite] = [-1e30, -Infinity].map((below) => {
      const all = casesOf(n, Object.values(numbers), below)
      // the loss of a target at -inf is infinite, which is not of the sum
      return runAll(all, width).flatMap((made, i) => (all[i]!.where.startsWith('loss') ? [] : made))
    })
    expect(infinite!.every((y) => y.every(Number.isFinite))).toBe(true)
    expect(infinite!.every((y, i) => y.every((v, j) => Object.is(v, far![i]![j])))).toBe(true)
  })

  test('softmax of a long row in the place of its operand', () => {
    const all = casesOf(LONG, Object.values(numbers).slice(0, 4)).filter((c) => c.where.startsWith('softmax'))
    const [apart, within] = [runAll(all, width), runAll(all, width, 1, (k) => onceEach(legalInPlace(k)))]
    expect(legalInPlace(all[0]!.case.part.kernel).length).toBe(1)
    expect(within[0]![0]!.every((v, i) => Object.is(v, apart[0]![0]![i]))).toBe(true)
  })

  test.each([...lengths, LONG])('%d: infinities and NaN are the graph’s', (n) => {
    const all = casesOf(n, Object.values(others))
    const got = runAll(all, width)
    all.forEach(({ where, case: c }, i) => {
      expect(c.wanted[0]!.value.some((v) => !Number.isFinite(v))).toBe(true)
      const kind = (v: number): string => (Number.isFinite(v) ? 'finite' : String(v))
      expect([where, Array.from(got[i]![0]!, kind)]).toEqual([where, Array.from(c.wanted[0]!.value, kind)])
    })
  })
})
