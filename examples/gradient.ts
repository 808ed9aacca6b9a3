/** Gradients are programs too: of a loss, of a gradient (Hessian times vector), and with a rule of one's own. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import {
  evaluate,
  exp,
  grad,
  hvp,
  input,
  map,
  mul,
  program,
  sigmoid,
  square,
  sum,
  value,
  withVjp,
  add,
  wrap,
} from 'scion'

const x = input('x', { i: 3 })
const loss = pipe(x, square, exp, sum('i'))
const v = input('v', { i: 3 })

// softplus with a VJP that is written down: log(1 + e^x), derivative sigmoid(x)
const softplus = withVjp(
  'softplus',
  (z) => pipe(z, exp, add(1), map('log')),
  ([z], _y, ct) => [pipe(ct, mul(sigmoid(z!)))],
)
const custom = pipe(softplus<'i'>(x), sum('i'))

const p = program('gradients', {
  loss,
  dloss: grad(loss, { x }).x,
  hessianTimesV: hvp(loss, { x }, { x: v }).x,
  dsoftplus: grad(wrap<never>(custom.node), { x }).x,
})
if (E.isRight(p)) {
  const run = evaluate(p.right, { x: value({ i: 3 }, [0, 0.5, -1]), v: value({ i: 3 }, [1, 0, 0]) })
  if (E.isRight(run)) for (const [name, t] of Object.entries(run.right.outputs)) console.log(name, [...t.data])
}
