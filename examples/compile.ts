/** From a program to fused kernels: what each kernel holds, why it ends where it ends, and that it runs. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { add, compile, dot, grad, input, program, scale, showReport, square, sum } from 'scion'

const x = input('x', { token: 32, in: 64 })
const W = input('W', { out: 64, in: 64 })
const A = input('A', { r: 8, in: 64 })
const B = input('B', { out: 64, r: 8 })
const y = pipe(x, dot(W, 'in'), add(pipe(x, dot(A, 'in'), dot(B, 'r'), scale(2))))
const loss = pipe(y, square, sum('token', 'out'))
const step = program('lora', { loss, ...grad(loss, { A, B }) })

if (E.isRight(step)) {
  const compiled = await compile(step.right, { target: 'auto' })()
  if (E.isRight(compiled)) {
    const { report, run, target, reason, dispose } = compiled.right
    console.log(`target ${target}: ${reason}`)
    console.log(showReport(report))
    const ramp = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i) / 8)
    const out = await run({ x: ramp(32 * 64), W: ramp(64 * 64), A: ramp(8 * 64), B: ramp(64 * 8) })()
    if (E.isRight(out)) console.log('loss', out.right['loss']?.[0])
    dispose()
  }
}
