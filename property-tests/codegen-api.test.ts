/** compile, run, explain: what comes back, and what is refused in words. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { compile, explain, showReport, type CompileOptions } from '../src/codegen/index.ts'
import type { Arrays, Results } from '../src/codegen/executable.ts'
import { showKernel } from '../src/codegen/kernel/kernel.ts'
import { showClusters } from '../src/codegen/gather/cluster.ts'
import { stages } from '../src/codegen/pipeline.ts'
import * as L from '../src/dsl/index.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}
const program = (outputs: Readonly<Record<string, L.AnyTensor>>): L.Program => get(L.program('p', outputs))
const faultOf = (c: E.Either<ReadonlyArray<L.Fault>, unknown>): string =>
  E.isLeft(c) ? L.showFaults(c.left) : 'no fault'

const runs = async (p: L.Program, inputs: Arrays, options: CompileOptions): Promise<Results> => {
  const executable = get(await compile(p, options)())
  const results = get(await executable.run(inputs)())
  executable.dispose()
  return results
}

const x = L.input('x', { i: 'n' })
const w = L.input('w', { i: 'n', j: 3 })
const doubled = program({ y: pipe(x, L.scale(2)), z: pipe(x, L.dot(w, 'i')) })
const inputs = { x: Float32Array.of(1, 2), w: Float32Array.of(1, 2, 3, 4, 5, 6) }

describe('targets', () => {
  test.each(['gpujs', 'oracle', 'auto'] as const)('%s gives the outputs, row-major', async (target) => {
    const out = await runs(doubled, inputs, { target, sizes: { n: 2 } })
    expect(Array.from(out['y']!)).toEqual([2, 4])
    expect(Array.from(out['z']!)).toEqual([9, 12, 15])
  })

  test.each(['gpujs', 'oracle', 'auto'] as const)('%s fills the arrays it is given', async (target) => {
    const executable = get(await compile(doubled, { target, sizes: { n: 2 } })())
    const into = { z: new Float32Array(3) }
    const out = get(await executable.run(inputs, into)())
    expect(out['z']).toBe(into.z)
    expect(Array.from(into.z)).toEqual([9, 12, 15])
    expect(Array.from(out['y']!)).toEqual([2, 4])
    expect(faultOf(await executable.run(inputs, { z: new Float32Array(2) })())).toMatch(/output 'z'.*3 numbers.*2/)
    expect(faultOf(await executable.run(inputs, { q: new Float32Array(2) })())).toMatch(/output 'q'.*one of/)
    executable.dispose()
  })

  test('a program that was disposed of says so', async () => {
    const executable = get(await compile(doubled, { target: 'auto', sizes: { n: 2 } })())
    get(executable.runNow(inputs))
    executable.dispose()
    if (executable.target === 'c') expect(faultOf(executable.runNow(inputs))).toMatch(/disposed of/)
  })

  test('the cpu backend on request, and it says so', async () => {
    const executable = get(await compile(doubled, { target: 'gpujs', mode: 'cpu', sizes: { n: 2 } })())
    expect(executable.target).toBe('gpujs (cpu)')
    expect(Array.from(get(await executable.run(inputs)())['z']!)).toEqual([9, 12, 15])
    executable.dispose()
  })

  test('threads give the same numbers', async () => {
    const big = L.input('big', { i: 'm' })
    const p = program({ y: pipe(big, L.map('exp'), L.add(big)), s: pipe(big, L.sum('i')) })
    const given = { big: Float32Array.from({ length: 20000 }, (_, i) => Math.sin(i)) }
    const one = await runs(p, given, { target: 'gpujs', sizes: { m: 20000 } })
    expect(await runs(p, given, { target: 'gpujs', threads: true, sizes: { m: 20000 } })).toEqual(one)
  })

  test('frozen inputs are captured, whatever the order of their axes', async () => {
    const frozen = { w: L.value({ j: 3, i: 2 }, [1, 4, 2, 5, 3, 6]) }
    const out = await runs(doubled, { x: inputs.x }, { target: 'gpujs', sizes: { n: 2 }, frozen })
    expect(Array.from(out['z']!)).toEqual([9, 12, 15])
  })

  test('outputs that no kernel computes: an input, a constant, a table of constants, nothing at all', async () => {
    const empty = L.input('e', { i: 0, j: 2 })
    const p = program({
      x,
      one: L.scalar(1.5),
      eye: L.eye('i', 'j', 2),
      e: pipe(empty, L.scale(2)),
      s: pipe(empty, L.sum('i')),
    })
    const out = await runs(p, { x: inputs.x, e: new Float32Array(0) }, { target: 'gpujs', sizes: { n: 2 } })
    expect(Object.fromEntries(Object.entries(out).map(([n, v]) => [n, Array.from(v)]))).toEqual({
      x: [1, 2],
      one: [1.5],
      eye: [1, 0, 0, 1],
      e: [],
      s: [0, 0],
    })
  })

  test('outputs lie in the order of the program, whatever the rules made of it', async () => {
    const ct = L.input('ct', { token: 3, out: 2 })
    const p = program({
      y: pipe(
        ct,
        L.scale(0.25),
        L.dot(pipe(L.input('x', { token: 3, in: 2 }), L.dot(L.input('a', { r: 3, in: 2 }), 'in')), 'token'),
      ),
    })
    expect(p.outputs[0]!.node.type.dims.map((d) => d.name)).toEqual(['out', 'r'])
    const ramp = (n: number) => Float32Array.from({ length: n }, (_, i) => i + 1)
    const given = { ct: ramp(6), x: ramp(6), a: ramp(6) }
    const oracle = await runs(p, given, { target: 'oracle' })
    expect(await runs(p, given, { target: 'gpujs' })).toEqual(oracle)
  })

  test("random numbers are the oracle's own, from 32-bit keys", async () => {
    const p = program({ y: pipe(L.normal(1)(L.keyInput('key'), { i: 64 }), L.mul(L.input('g', { i: 64 }))) })
    const given = { key: Uint32Array.of(0xdeadbeef, 0xfffffff1), g: new Float32Array(64).fill(3) }
    const [ours, theirs] = [await runs(p, given, { target: 'gpujs' }), await runs(p, given, { target: 'oracle' })]
    // one rounding on the way up, one in the product, one in the oracle's result
    ours['y']!.forEach((v, i) => expect(Math.abs(v - theirs['y']![i]!)).toBeLessThanOrEqual(2 ** -22 * Math.abs(v)))
  })
})

describe('refused', () => {
  test('a symbol without a size', async () => {
    expect(faultOf(await compile(doubled, { target: 'gpujs' })())).toMatch(/axis 'i' of \w+: expected a size, found n/)
  })
  test.each(['gpujs', 'oracle'] as const)('missing and short inputs, all of them at once (%s)', async (target) => {
    const executable = get(await compile(doubled, { target, sizes: { n: 2 } })())
    const faults = faultOf(await executable.run({ w: Float32Array.of(1) })())
    executable.dispose()
    expect(faults).toMatch(/input 'x': expected 2 numbers.*found nothing/)
    expect(faults).toMatch(/input 'w': expected 6 numbers.*found 1/)
  })
  test('frozen values of other sizes', async () => {
    const frozen = { w: L.value({ i: 2, j: 2 }, [1, 2, 3, 4]) }
    expect(faultOf(await compile(doubled, { target: 'gpujs', sizes: { n: 2 }, frozen })())).toMatch(
      /frozen input 'w': expected f32\[i:2, j:3\], found i:2, j:2/,
    )
  })
  test('rounding to f16, by name', async () => {
    const p = program({ y: pipe(L.input('x', { i: 2 }), L.cast('f16')) })
    expect(faultOf(await compile(p, { target: 'gpujs' })())).toMatch(
      /gpujs: cast: expected f32, for gpujs stores f32 and does not round to f16/,
    )
  })
  test('integers that f32 does not hold', async () => {
    const p = program({ y: pipe(L.input('t', { v: 2 }), L.take(L.input('ids', { i: 1 }, 'i32'), 'v')) })
    const executable = get(await compile(p, { target: 'gpujs' })())
    expect(faultOf(await executable.run({ t: Float32Array.of(1, 2), ids: Int32Array.of(2 ** 24 + 1) })())).toMatch(
      /input 'ids': expected whole numbers below 2\^24/,
    )
    executable.dispose()
  })
})

describe('read', () => {
  const a = L.input('a', { t: 4, k: 8 })
  const relu = program({ y: pipe(a, L.dot(L.input('b', { k: 8, o: 8 }), 'k'), L.relu) })

  test('the report names what was fused, why it ends there, and what it moves', () => {
    const r = get(explain(relu))
    expect(r.kernels.map((k) => [k.fused, k.boundary, k.flops, k.bytesRead, k.bytesWritten])).toEqual([
      [['dot', 'max'], 'output', 544, 384, 128],
    ])
    expect(r.minimumBytes).toBe(512)
    expect(showReport(r)).toMatch(/1 launches of 1 distinct kernels/)
  })

  test('every stage prints', () => {
    const s = get(stages(relu, {}, (p) => p))
    expect(showClusters(s.clusters)).toMatch(/\[dot const max\] output/)
    expect(s.plan.launches.map((l) => showKernel(l.kernel)).join('')).toMatchInlineSnapshot(`
      "kernel cell (a[4, 8], b[8, 8]) -> out[4, 8]
        grid y < 4
          grid x < 8
            let s0 = unit of sum
            reduce k0 < 8 unroll 8
              s0 sum= mul(a[y, k0], b[k0, x])
            out[y, x] = max(s0, 0)"
    `)
    expect(s.plan.launches.map((l) => l.printed.source).join('')).toMatchInlineSnapshot(`
      "function (a, b) {
        let s0 = 0;
        s0 += (a[this.thread.y][0] * b[0][this.thread.x]) + (a[this.thread.y][1] * b[1][this.thread.x]) + (a[this.thread.y][2] * b[2][this.thread.x]) + (a[this.thread.y][3] * b[3][this.thread.x]) + (a[this.thread.y][4] * b[4][this.thread.x]) + (a[this.thread.y][5] * b[5][this.thread.x]) + (a[this.thread.y][6] * b[6][this.thread.x]) + (a[this.thread.y][7] * b[7][this.thread.x]);
        return Math.max(s0, 0);
      }"
    `)
  })

  test('equal layers share their kernels', () => {
    const layer = (z: L.Tensor<'t' | 'k'>, i: number): L.Tensor<'t' | 'k'> =>
      pipe(z, L.dot(L.input(`b${String(i)}`, { k: 8, o: 8 }), 'k'), L.relu, L.rename({ o: 'k' }))
    const deep = (n: number): number =>
      get(explain(program({ y: Array.from({ length: n }, (_, i) => i).reduce(layer, a) }))).distinctKernels
    expect(deep(6)).toBe(deep(3))
  })
})
