/**
 * Contractions on the C target, one thread: y = x W' and y = x W with W given or captured, and what LoRA adds. GFLOP/s
 * of the call as a user makes it and of the kernels alone; median and best of 25.
 *
 *     npx tsx bench/codegen/contraction.ts
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { simplify } from '../../src/autodiff/simplify.ts'
import { compileNative } from '../../src/codegen/native.ts'
import * as L from '../../src/dsl/index.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}
const drawn = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1013) / 1013 - 0.5)

interface Case {
  readonly title: string
  readonly program: L.Program
  readonly flops: number
  readonly captured: ReadonlyArray<string>
}

const sizesOf = (p: L.Program, name: string): ReadonlyArray<number> =>
  (p.inputs.find((i) => i.name === name)?.node.type.dims ?? []).map((d) => Number(d.size.key))

const plain = (m: number, k: number, n: number): ReadonlyArray<Case> =>
  (
    [
      ["x W'", L.input('w', { out: n, in: k })],
      ['x W', L.input('w', { in: k, out: n })],
    ] as const
  ).flatMap(([name, w]) => {
    const program = get(L.program('contraction', { y: pipe(L.input('x', { row: m, in: k }), L.dot(w, 'in')) }))
    const title = `${name} ${[m, k, n].join(' x ')}`
    const flops = 2 * m * n * k
    return [
      { title, program, flops, captured: [] },
      { title: `${title}, W captured`, program, flops, captured: ['w'] },
    ]
  })

/** y = x W' + 2 h B' */
const tail = (m: number, d: number, r: number): Case => {
  const [x, h] = [L.input('x', { row: m, in: d }), L.input('h', { row: m, r })]
  const [w, b] = [L.input('w', { out: d, in: d }), L.input('b', { out: d, r })]
  const y = pipe(x, L.dot(w, 'in'), L.add(pipe(h, L.dot(b, 'r'), L.mul(2))))
  const program = get(L.program('tail', { y }))
  return {
    title: `x W' + 2 h B' ${[m, d, d].join(' x ')}, rank ${String(r)}`,
    ...{ program, flops: 2 * m * d * (d + r), captured: ['w'] },
  }
}

const cases: ReadonlyArray<Case> = [
  ...plain(512, 512, 512),
  ...plain(256, 768, 768),
  tail(256, 768, 8),
  tail(256, 768, 64),
  ...[
    [512, 288, 288],
    [256, 768, 8],
    [8, 256, 768],
    [256, 8, 768],
  ].flatMap(([m, k, n]) => plain(m!, k!, n!)),
]

for (const { title, program, flops, captured } of cases) {
  const valueOf = (name: string): L.Value => {
    const sizes = sizesOf(program, name)
    const names = program.inputs.find((i) => i.name === name)?.node.type.dims.map((d) => d.name) ?? []
    return {
      dims: names.map((n, i) => ({ name: n, size: sizes[i]! })),
      data: Float64Array.from(drawn(sizes.reduce((a, b) => a * b, 1))),
    }
  }
  const frozen = Object.fromEntries(captured.map((name) => [name, valueOf(name)]))
  const native = get(compileNative(program, { frozen }, simplify))
  const arrays = Object.fromEntries(
    program.inputs.flatMap(({ name }) =>
      captured.includes(name) ? [] : [[name, drawn(sizesOf(program, name).reduce((a, b) => a * b, 1))]],
    ),
  )
  const calls: number[] = []
  const kernels: number[] = []
  for (let i = 0; i < 25; i++) {
    const begun = performance.now()
    get(native.runNow(arrays))
    calls.push(performance.now() - begun)
    kernels.push(1000 * get(native.profile(arrays)).reduce((a, b) => a + b, 0))
  }
  const rate = (times: ReadonlyArray<number>): string => {
    const sorted = [...times].sort((a, b) => a - b)
    const shown = [sorted[12]!, sorted[0]!].map((ms) => (flops / ms / 1e6).toFixed(1).padStart(6))
    return `${shown[0]!} (${shown[1]!})`
  }
  console.log(`${title.padEnd(44)} call ${rate(calls)}, kernels ${rate(kernels)} GFLOP/s`)
  native.dispose()
}
