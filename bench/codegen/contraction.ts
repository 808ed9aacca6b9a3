/**
 * Plain contractions y = x W' and y = x W on a target, one thread, copies of inputs and results included:
 * GFLOP/s, best and median of 15.
 *
 *     npx tsx bench/codegen/contraction.ts --target c       # or gpujs
 */
import { parseArgs } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { compileNow } from '../../src/codegen/index.ts'
import * as L from '../../src/dsl/index.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}
const { values } = parseArgs({ options: { target: { type: 'string', default: 'c' } } })
const target = (['c', 'gpujs', 'auto'] as const).find((t) => t === values.target)
if (target === undefined) throw new Error(`--target: expected c, gpujs or auto, got ${values.target}`)

const drawn = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1013) / 1013 - 0.5)

for (const [m, k, n] of [
  [512, 512, 512],
  [256, 768, 768],
  [512, 288, 288],
  [512, 64, 64],
  [128, 1024, 8],
  [128, 8, 1024],
] as const)
  for (const [name, w] of [
    ["x W'", L.input('w', { out: n, in: k })],
    ['x W ', L.input('w', { in: k, out: n })],
  ] as const) {
    const y = pipe(L.input('x', { row: m, in: k }), L.dot(w, 'in'))
    const executable = get(compileNow(get(L.program('contraction', { y })), { target }))
    const arrays = { x: drawn(m * k), w: drawn(n * k) }
    const times = Array.from({ length: 15 }, () => {
      const begun = performance.now()
      get(executable.runNow(arrays))
      return performance.now() - begun
    }).sort((a, b) => a - b)
    const rate = (ms: number): string => ((2 * m * n * k) / ms / 1e6).toFixed(1).padStart(6)
    console.log(
      `${executable.target} ${name} ${[m, k, n].join(' x ').padEnd(16)} best ${rate(times[0]!)}, median ${rate(times[7]!)} GFLOP/s`,
    )
    executable.dispose()
  }
