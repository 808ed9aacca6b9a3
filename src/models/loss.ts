/** Causal language-model loss. */
import { pipe } from 'fp-ts/lib/function.js'
import { logSumExp, sub, take, type Tensor } from '../dsl/index.ts'
import { mean, wrap } from '../dsl/tensor.ts'

/** -log softmax(logits)[target] at each position: log sum e^logits - logits[target], in nats.  logits: (token, vocab), targets: (token). */
export const tokenLoss = (logits: Tensor<'token' | 'vocab'>, targets: Tensor<'token', 'i32'>): Tensor<'token'> =>
  pipe(logits, logSumExp('vocab'), sub(pipe(logits, take(targets, 'vocab'))))

/** The mean over all positions, batch included. */
export const causalLoss = (logits: Tensor<'token' | 'vocab'>, targets: Tensor<'token', 'i32'>): Tensor<never> => {
  const each = tokenLoss(logits, targets)
  const axes = each.node.op === 'fault' ? ['token'] : each.node.type.dims.map((d) => d.name)
  return wrap(mean(...(axes as ReadonlyArray<'token'>))(each).node)
}
