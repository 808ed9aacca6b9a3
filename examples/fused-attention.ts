/**
 * An attention that nobody wrote a kernel for: two softmaxes, one over the tokens and one over learned prompts, mixed by a
 * gate that each query computes for itself. It becomes one kernel that never stores its scores, at sizes left open.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { add, compileNow, dot, explain, input, map, mul, program, scale, softmax, sub } from 'scion'

const q = input('q', { token: 'T', head: 4, h: 16 })
const k = input('k', { key: 'T', head: 4, h: 16 })
const v = input('v', { key: 'T', head: 4, h: 16 })
const promptKeys = input('promptKeys', { prompt: 8, head: 4, h: 16 })
const promptValues = input('promptValues', { prompt: 8, head: 4, h: 16 })
const w = input('w', { head: 4, h: 16 })

const tokens = pipe(q, dot(k, 'h'), scale(1 / 4), softmax('key'), dot(v, 'key'))
const prompts = pipe(q, dot(promptKeys, 'h'), scale(1 / 4), softmax('prompt'), dot(promptValues, 'prompt'))
const gate = pipe(q, dot(w, 'h'), map('sigmoid'))
const y = pipe(tokens, add(pipe(prompts, sub(tokens), mul(gate))))

const attention = program('attention', { y })
if (E.isRight(attention)) {
  const report = explain(attention.right, {}, 'c')
  if (E.isRight(report)) for (const { name, fused } of report.right.kernels) console.log(`${name}: ${fused.join(' ')}`)

  // the same object for both: sizes are arguments of the kernel
  for (const T of [5, 33]) {
    const compiled = compileNow(attention.right, { target: 'auto', sizes: { T } })
    if (E.isLeft(compiled)) continue
    const ramp = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i))
    const n = T * 4 * 16
    const inputs = { q: ramp(n), k: ramp(n), v: ramp(n), promptKeys: ramp(512), promptValues: ramp(512), w: ramp(64) }
    const out = compiled.right.runNow(inputs)
    if (E.isRight(out))
      console.log(`T = ${String(T)} on ${compiled.right.target}: y[0] = ${String(out.right['y']?.[0])}`)
    compiled.right.dispose()
  }
}
