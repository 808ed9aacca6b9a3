/** The parts of the bench that are pure: statistics, the numbers handed to rivals, claims, tables, the chart. */
import fc from 'fast-check'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { cases, stepCase, stepConfig, stepRecipe } from '../bench/case.ts'
import { barsOf, draw, specification } from '../bench/chart.ts'
import { judge } from '../bench/claim.ts'
import { readTimes } from '../bench/compilation.ts'
import { fill } from '../bench/match.ts'
import type { CaseResult } from '../bench/result.ts'
import { callsPerMeasurement, deviation, median, summarise, type Summary } from '../bench/statistics.ts'
import { showCase, table } from '../bench/table.ts'

const times = fc.array(fc.double({ min: 1e-3, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 30 })
const floats = fc.array(fc.double({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 20 })

const summary = (ms: number): Summary => ({ median: ms, best: ms, wall: ms, count: 1, waited: 0 })
const result = (name: string, forms: CaseResult['forms']): CaseResult => ({
  ...{ name, title: name, flops: { forward: 2 * 512 ** 3 }, bound: 1e-5, reference: 'torch', peak: 200 },
  ...{ forms, deviations: {}, failures: {} },
})
const rivals = [
  { id: 'c', family: 'scion', build: 'cc' },
  { id: 'torch-1', family: 'torch', build: 'torch 1, OpenBLAS, AVX2 kernels' },
  { id: 'torch-2', family: 'torch', build: 'torch 2, MKL, AVX512 kernels' },
  { id: 'jax-js', family: 'jax-js', build: 'jax-js, wasm' },
]
const claim = (asked: string, found: Parameters<typeof judge>[0]) => judge(found).find((c) => c.asked.startsWith(asked))

describe('statistics', () => {
  it('the median has as many numbers above as below, in whatever order they come', () => {
    fc.assert(
      fc.property(times, (xs) => {
        const m = median(xs)
        expect(xs.filter((x) => x < m).length).toBeLessThanOrEqual(xs.length / 2)
        expect(xs.filter((x) => x > m).length).toBeLessThanOrEqual(xs.length / 2)
        expect(median([...xs].reverse())).toBe(m)
      }),
    )
  })

  it('a summary is of CPU time, and says how much of the clock was spent waiting', () => {
    expect(summarise([4, 6, 20], [3, 3, 9])).toEqual({ median: 3, best: 3, wall: 6, count: 3, waited: 0.5 })
  })

  it('a deviation is that of the worst element, and no number is infinitely far', () => {
    fc.assert(
      fc.property(floats, fc.nat(), fc.double({ min: 0.5, max: 2, noNaN: true }), (xs, at, off) => {
        const a = Float32Array.from(xs, (x) => x + 200)
        const b = a.slice()
        expect(deviation(a, b)).toBe(0)
        b[at % b.length]! += off
        expect(deviation(a, b)).toBeCloseTo(off / Math.max(...b), 4)
        b[at % b.length] = NaN
        expect(deviation(b, a)).toBe(Infinity)
        expect(deviation(a.subarray(1), a)).toBe(Infinity)
      }),
    )
  })

  it('one measurement takes a millisecond or more', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), (ms) => {
        expect(callsPerMeasurement(ms) * ms).toBeGreaterThanOrEqual(1 - 1e-9)
      }),
    )
  })

  it("reads a shell's times", () => {
    expect(readTimes('0m1.230000s 1m0.120000s')).toBeCloseTo(61350)
    expect(readTimes('')).toBe(0)
  })
})

describe('cases', () => {
  it('have different names, and every result asked for is an output or a gradient', () => {
    const made = cases.filter((c) => !c.name.includes('step')).map((c) => c.make())
    expect(new Set(cases.map((c) => c.name)).size).toBe(cases.length)
    for (const c of made) {
      const names = c.tensors.map((t) => t.name)
      for (const name of [...c.wrt, ...c.frozen]) expect(names).toContain(name)
      expect(Object.keys(c.results)).toEqual(['y', ...c.wrt.map((w) => `d.${w}`)])
    }
  })

  it('a step asks for the moments of what it trains, and freezes everything else that is a weight', () => {
    const c = stepCase('step', 'step', stepConfig(64, 2), stepRecipe(2, 8), ['torch'])
    expect(c.wrt).toHaveLength(8)
    expect(c.wrt.filter((p) => c.frozen.includes(p))).toEqual([])
    expect(c.frozen).toHaveLength(2 + 2 * 9)
    expect(c.tensors.find((t) => t.name === 'tokens')?.filling).toEqual({ below: 64 })
  })

  it('the numbers of a tensor depend on its name only, and are as normal as asked', () => {
    const spec = { name: 'x', axes: ['i'], shape: [20000], filling: { normal: 3 } }
    const x = fill(spec)
    expect(fill(spec)).toEqual(x)
    expect(fill({ ...spec, name: 'z' })).not.toEqual(x)
    const square = x.reduce((s, v) => s + v * v, 0) / x.length
    expect(Math.abs(x.reduce((s, v) => s + v, 0) / x.length)).toBeLessThan(0.1)
    expect(Math.sqrt(square)).toBeCloseTo(3, 1)
    const ids = fill({ ...spec, filling: { below: 7 } })
    expect(new Set(ids)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6]))
  })
})

describe('claims', () => {
  it('without results nothing is measured, and nothing holds', () => {
    for (const c of judge({ cases: [], rivals: [] })) expect([c.measured, c.holds]).toEqual(['not measured', undefined])
  })

  it('hold up to their limit and not beyond it, each against its own rival', () => {
    const against = (ours: number) => ({
      rivals,
      cases: [
        result('lora-8', {
          both: { c: summary(ours), 'torch-1': summary(1), 'torch-2': summary(2), 'jax-js': summary(5) },
        }),
      ],
    })
    expect(claim('lora-8: c at most 1.3 x torch with OpenBLAS', against(1.3))?.holds).toBe(true)
    expect(claim('lora-8: c at most 1.3 x torch with OpenBLAS', against(1.31))?.holds).toBe(false)
    expect(claim("lora-8: c at most 0.7 x pip's torch", against(1.4))?.holds).toBe(true)
    expect(claim("lora-8: c at most 0.7 x pip's torch", against(1.41))?.holds).toBe(false)
    expect(claim('lora-8: c at most 0.25 x jax-js', against(1.25))?.holds).toBe(true)
    expect(claim('lora-64: c at most 1.3', against(1))?.holds).toBeUndefined()
  })

  it('a share of the peak is of the peak of that run', () => {
    const ms = (share: number): number => (2 * 512 ** 3) / (share * 200) / 1e6
    const with_ = (share: number) => ({
      rivals,
      cases: [result('contraction-512', { forward: { c: summary(ms(share)) } })],
    })
    expect(claim('contraction-512', with_(0.71))?.holds).toBe(true)
    expect(claim('contraction-512', with_(0.69))?.holds).toBe(false)
  })

  it("compiler's times are compared between depths", () => {
    const step = (layers: number, compile: number, compiler: number) => ({
      ...{ layers, launches: 1, trace: 0, compile, compiler, runs: 1 },
    })
    const found = {
      ...{ rivals, cases: [] },
      compilation: { steps: [step(6, 2000, 1000), step(24, 4000, 1200)], runsForTwoSizes: 1 },
    }
    expect(claim("the step's source", found)?.holds).toBe(true)
    expect(claim("cc's time", found)?.holds).toBe(false)
    expect(claim('total time per layer', found)?.holds).toBe(true)
    expect(claim('no recompilation', found)?.holds).toBe(true)
  })
})

describe('tables and the chart', () => {
  it('every line of a table is as wide as the others', () => {
    const word = fc.string({ maxLength: 12 })
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word, word), { maxLength: 6 }), (rows) => {
        const widths = table(['a', 'b', 'c'], rows)
          .split('\n')
          .map((l) => l.length)
        expect(new Set(widths).size).toBe(1)
        expect(widths).toHaveLength(rows.length + 2)
      }),
    )
  })

  it("a case's table has a row for everyone, and says who failed", () => {
    const shown = showCase({
      ...result('hra-8', { both: { c: summary(2), 'torch-1': summary(5) } }),
      failures: { tfjs: 'deviates' },
    })
    expect(shown).toMatch(/\| torch-1 +\| 5\.00 \(5\.00\) \| 2\.50 /)
    expect(shown).toContain('FAILED tfjs: deviates')
  })

  const found = [
    result('lora-8', { forward: { c: summary(1) }, both: { c: summary(3), 'torch-1': summary(4) } }),
    result('silu', { forward: { c: summary(0.05), tfjs: summary(2) } }),
  ]

  it('a bar for every rival of the most telling form, and the axis starts below the shortest', () => {
    const bars = barsOf({ cases: found })
    expect(bars.map((b) => b.ms)).toEqual([3, 4, 0.05, 2])
    const { scales } = specification(bars) as { scales: ReadonlyArray<{ name: string; domain: ReadonlyArray<number> }> }
    expect(scales.find((s) => s.name === 'x')?.domain[0]).toBeCloseTo(0.01)
  })

  const vega = existsSync(fileURLToPath(new URL('../bench/node_modules/vega', import.meta.url)))
  if (!vega) console.log('SKIPPED: drawing the chart, for vega is not installed (npm --prefix bench install)')
  it.skipIf(!vega)('is drawn', async () => {
    const drawn = await draw(barsOf({ cases: found }))
    expect(drawn).toHaveProperty('svg')
    expect('svg' in drawn ? drawn.svg.match(/0\.050 ms/g) : []).toHaveLength(1)
  })
})
