/** The printed contractions, compiled: at every width of vectors they keep to the oracle's bound for f32. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, it, vi } from 'vitest'
import { compileNow } from '../src/codegen/index.ts'
import * as L from '../src/dsl/index.ts'
import { evaluateBounded } from '../src/dsl/interpret.ts'
import type { Node } from '../src/dsl/node.ts'
import { keyOfKernel, type Kernel } from '../src/codegen/kernel/kernel.ts'
import { contractionC } from '../src/codegen/recipes/c/contraction.ts'
import { findCompiler } from '../src/codegen/runtime/c.ts'
import { addressOf, floats, loadKernels, sizeAt } from '../src/codegen/runtime/kernels-c.ts'
import { contractionCase, type ContractionCase } from './contractions.ts'
import { seed } from './seed.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

const compiler = findCompiler()
const hasCompiler = E.isRight(compiler)
const hasTiles = E.isRight(compiler) && compiler.right.hasTiles
if (!hasCompiler) console.log('SKIPPED: no C compiler, the printed contractions are not run')

if (hasCompiler && !hasTiles)
  console.log('SKIPPED: this machine has no tiles for bf16, products of split operands are not run')

/** what lies behind a result: nothing may be written there */
const BEHIND = 64
const UNTOUCHED = 12345

const dataOf = (c: ContractionCase, n: Node): Float32Array => {
  const data = Float32Array.from(n.op === 'input' ? c.inputs[n.attrs.name]!.data : [])
  const own = floats(data.length)
  own.set(data)
  return own
}

describe.skipIf(!hasCompiler)('contractions in C', () => {
  it.each([[16, false], [8, false], [4, false], ...(hasTiles ? [[16, 'always'] as const] : [])] as const)(
    'vectors of %i floats, products of split operands: %s',
    (width, tiles) => {
      const jobs = Array.from({ length: 10 }, (_, i) => {
        const c = contractionCase(seed + 1000 * width + i)
        return { c, made: contractionC(c.group, { width, hasTiles: tiles, isFrozen: (n) => c.frozen.has(n) }) }
      })
      const kernels: Kernel[] = []
      const numbers = new Map<string, number>()
      const numberOf = (k: Kernel): number => {
        const key = keyOfKernel(k)
        if (!numbers.has(key)) numbers.set(key, kernels.push(k) - 1)
        return numbers.get(key)!
      }
      for (const { made } of jobs) {
        numberOf(made.kernel)
        for (const a of made.args) if (a.kind === 'packed') numberOf(a.packed.kernel)
      }
      const loaded = get(loadKernels(kernels, { width }))
      for (const { c, made } of jobs) {
        const room = (k: Kernel): ReadonlyArray<Float32Array> =>
          k.outputs.map((b) => floats(b.shape.reduce((n, d) => n * sizeAt(d, c.sizes), 1) + BEHIND).fill(UNTOUCHED))
        const call = (k: Kernel, args: ReadonlyArray<Float32Array>): ReadonlyArray<Float32Array> => {
          const outputs = room(k)
          const buffers = [...args, ...outputs].map(addressOf)
          loaded.bind([{ kernel: numberOf(k), buffers }], c.sizes, 1).run()
          return outputs
        }
        const args = made.args.map((a) =>
          a.kind === 'node'
            ? dataOf(c, a.node)
            : call(
                a.packed.kernel,
                a.packed.args.map((n) => dataOf(c, n)),
              )[0]!,
        )
        const outputs = call(made.kernel, args)
        const want = get(evaluateBounded(c.program, c.inputs, c.sizes))
        made.results.forEach((_, i) => {
          const { value, bound } = want.outputs[`y${String(i)}`]!
          const got = outputs[i]!
          const wrong = [...value.data].findIndex((v, x) => !(Math.abs(got[x]! - v) <= bound[x]!))
          expect({ group: c.program.inputs.map((p) => p.name), wrong }).toEqual({
            group: c.program.inputs.map((p) => p.name),
            wrong: -1,
          })
          expect(got.subarray(value.data.length, value.data.length + BEHIND).every((v) => v === UNTOUCHED)).toBe(true)
        })
      }
    },
    120_000,
  )

  it('panels too deep for the first-level cache, captured or not, at the edges of tiles', () => {
    const [x, w, b] = [L.input('x', { i: 90, k: 700 }), L.input('w', { k: 700, j: 70 }), L.input('b', { j: 70 })]
    const program = get(L.program('deep', { y: pipe(x, L.dot(w, 'k'), L.add(b)) }))
    const wave = (name: string, dims: Readonly<Record<string, number>>, step: number) => [
      name,
      L.value(
        dims,
        Array.from({ length: Object.values(dims).reduce((n, d) => n * d, 1) }, (_, n) =>
          Math.fround(Math.sin(step * n)),
        ),
      ),
    ]
    const values = Object.fromEntries([
      wave('x', { i: 90, k: 700 }, 0.37),
      wave('w', { k: 700, j: 70 }, 0.91),
      wave('b', { j: 70 }, 1.3),
    ]) as L.Values
    const { value, bound } = get(evaluateBounded(program, values)).outputs['y']!
    for (const names of [[], ['w'], ['x'], ['x', 'w']]) {
      const frozen = Object.fromEntries(Object.entries(values).filter(([n]) => names.includes(n)))
      const given = Object.fromEntries(
        Object.entries(values).flatMap(([n, v]) =>
          names.includes(n) ? [] : [[n, Float32Array.from(v.data)] as const],
        ),
      )
      const y = get(get(compileNow(program, { target: 'c', frozen })).runNow(given))['y']!
      expect(
        [...value.data].findIndex((v, n) => !(Math.abs(y[n]! - v) <= bound[n]!)),
        names.join(),
      ).toBe(-1)
    }
  })

  it.skipIf(!hasTiles)('what no three bf16 numbers hold, and what is not finite, comes out as in plain float32', () => {
    const [m, n, k] = [250, 190, 90]
    const [x, w] = [L.input('x', { i: m, k }), L.input('w', { j: n, k })]
    const program = get(L.program('odd', { y: pipe(x, L.dot(w, 'k')) }))
    const wave = (length: number, step: number): Float32Array =>
      Float32Array.from({ length }, (_, i) => Math.sin(step * i))
    const [a, b] = [wave(m * k, 0.37), wave(n * k, 0.91)]
    const row = (i: number, f: (v: number, at: number) => number): void => {
      for (let c = 0; c < k; c++) a[i * k + c] = f(a[i * k + c]!, c)
    }
    row(3, (v, c) => (c === 7 ? Infinity : v))
    row(4, (v, c) => (c === 9 ? NaN : v))
    row(5, (v) => v * 1e-36)
    row(40, (v) => v * 2 ** -113)
    row(41, (v) => v * 2 ** 126)
    row(42, (_, c) => (c === 30 ? 2 ** 127 : c === 31 ? -(2 ** 127) * (2 - 2 ** -23) : 0))
    row(69, (v) => v * 2 ** -60)
    row(70, () => 0)
    row(71, (v) => v * 2 ** -52)
    for (let c = 0; c < k; c++) b[17 * k + c] = b[17 * k + c]! * 2 ** -60
    for (const isFrozen of [false, true]) {
      const frozen = isFrozen ? { w: L.value({ j: n, k }, Array.from(b)) } : {}
      const given = isFrozen ? { x: a } : { x: a, w: b }
      const made = get(compileNow(program, { target: 'c', frozen }))
      expect(made.report.kernels.map((r) => r.source).join('\n')).toContain('mma_split(')
      const y = get(made.runNow(given))['y']!
      const wrong: string[] = []
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let [sum, size] = [0, 0]
          for (let c = 0; c < k; c++) {
            const p = a[i * k + c]! * b[j * k + c]!
            sum += p
            size += Math.abs(p)
          }
          const got = y[i * n + j]!
          const bound = (k * 2 ** -24 * size) / (1 - k * 2 ** -24) + k * 2 ** -149
          const isRight = Number.isNaN(sum)
            ? Number.isNaN(got)
            : Number.isFinite(sum) && Math.abs(sum) < 2 ** 127
              ? Math.abs(got - sum) <= bound
              : Math.fround(sum) === got || size > 2 ** 127
          if (!isRight) wrong.push(`${String(i)} ${String(j)}: ${String(got)} for ${String(sum)}`)
        }
      expect(wrong.slice(0, 5)).toEqual([])
    }
  })

  it.skipIf(!hasTiles)(
    'products of split operands: the same bits whatever the threads, none where they are off',
    () => {
      const [x, w, a, b] = [
        L.input('x', { i: 256, k: 160 }),
        L.input('w', { k: 160, j: 192 }),
        L.input('a', { k: 160, r: 8 }),
        L.input('b', { r: 8, j: 192 }),
      ]
      const low = pipe(x, L.dot(a, 'k'), L.dot(b, 'r'))
      const program = get(L.program('threads', { y: pipe(x, L.dot(w, 'k'), L.add(low)) }))
      const noise = (length: number, step: number): Float32Array =>
        Float32Array.from({ length }, (_, i) => Math.sin(step * i * i))
      const given = { x: noise(256 * 160, 0.37), w: noise(160 * 192, 0.91), a: noise(1280, 0.3), b: noise(1536, 0.7) }
      const run = (threads: number): { readonly y: Float32Array; readonly source: string } => {
        const made = get(compileNow(program, { target: 'c', threads }))
        return { y: get(made.runNow(given))['y']!, source: made.report.kernels.map((r) => r.source).join('\n') }
      }
      const one = run(1)
      expect(one.source).toContain('mma_split(')
      for (const threads of [2, 3]) expect(Buffer.from(run(threads).y.buffer)).toEqual(Buffer.from(one.y.buffer))
      vi.stubEnv('SCION_TILES', 'off')
      try {
        const without = run(1)
        expect(without.source).not.toContain('mma_split(')
        const furthest = one.y.reduce((m, v, i) => Math.max(m, Math.abs(v - without.y[i]!)), 0)
        expect(furthest).toBeGreaterThan(0)
        expect(furthest).toBeLessThan(2 * 168 * 2 ** -24 * 160)
      } finally {
        vi.unstubAllEnvs()
      }
    },
  )
})
