/** The language: tensors with named axes, sizes as symbols, misuse reported all at once, and the f64 oracle. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { add, dot, evaluateBounded, input, print, program, scale, showFaults, sum, value, wrap } from 'scion'

// sizes are symbols: this program is for every number of tokens and every width
const x = input('x', { token: 'token', in: 'in' })
const W = input('W', { out: 'out', in: 'in' })
const A = input('A', { r: 2, in: 'in' })
const B = input('B', { out: 'out', r: 2 })

const y = pipe(x, dot(W, 'in'), add(pipe(x, dot(A, 'in'), dot(B, 'r'), scale(2))))
const lora = program('lora', { y })
if (E.isRight(lora)) {
  console.log(print(lora.right))
  const numbers = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => Math.sin(i))
  const run = evaluateBounded(lora.right, {
    x: value({ token: 1, in: 3 }, numbers(3)),
    W: value({ out: 2, in: 3 }, numbers(6)),
    A: value({ r: 2, in: 3 }, numbers(6)),
    B: value({ out: 2, r: 2 }, numbers(4)),
  })
  if (E.isRight(run)) {
    const { value: result, bound } = run.right.outputs['y'] ?? { value: value({}, []), bound: [] }
    console.log('y =', [...result.data].join(', '), '  an f32 evaluation may differ by', [...bound].join(', '))
  }
}

// what the types let through (here a dynamic name) becomes a fault; check reports every one, with its line
const dynamic = wrap<string>(x.node)
const wrong = program('wrong', { a: pipe(dynamic, sum('tokn')), b: pipe(dynamic, dot(wrap<string>(A.node), 'out')) })
if (E.isLeft(wrong)) console.log(showFaults(wrong.left))
