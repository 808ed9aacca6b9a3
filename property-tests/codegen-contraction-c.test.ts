/** The printed contractions, compiled: at every width of vectors they keep to the oracle's bound for f32. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, it } from 'vitest'
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

const hasCompiler = E.isRight(findCompiler())
if (!hasCompiler) console.log('SKIPPED: no C compiler, the printed contractions are not run')

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
  it.each([16, 8, 4] as const)(
    'vectors of %i floats',
    (width) => {
      const jobs = Array.from({ length: 10 }, (_, i) => {
        const c = contractionCase(seed + 1000 * width + i)
        return { c, made: contractionC(c.group, { width, isFrozen: (n) => c.frozen.has(n) }) }
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
})
