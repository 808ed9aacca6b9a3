/** Optimisers in the language: one update of every parameter, as part of the compiled step. */
import { kit } from '../dsl/build.ts'
import type { Node } from '../dsl/node.ts'
import { wrap, type Tensor } from '../dsl/tensor.ts'

// ---------------------------------------------------------------------------------------- model

type Tensors = Readonly<Record<string, Tensor<string>>>

/** What an optimiser keeps beside a parameter: so many tensors of its shape, by name. */
export interface Optimiser {
  readonly name: 'adamw' | 'sgd'
  readonly state: ReadonlyArray<string>
  /** numbers of step t, from 1, beside the learning rate */
  readonly numbers: (t: number) => Readonly<Record<string, number>>
  /** p' and the new state of one parameter, from its gradient g and the step's numbers */
  readonly update: (
    p: Node,
    g: Node,
    state: Readonly<Record<string, Node>>,
    step: StepNumbers,
  ) => { readonly param: Node; readonly state: Readonly<Record<string, Node>> }
}

/** Numbers that change with the step, `lr` among them: inputs of the program, so that one compiled step serves all. */
export type StepNumbers = Readonly<Record<string, Node>>

/** AdamW's constants, in torch's words. */
export interface AdamW {
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
}

// --------------------------------------------------------------------------------- constructors

/** torch's, without decay. */
export const adamWDefaults: AdamW = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 }

const k = kit
const times = (a: Node, x: number): Node => k.map('mul', a, k.scalar(x))
const plus = (a: Node, b: Node): Node => k.map('add', a, b)

/**
 * m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g^2,
 * p' = p - lr (m'/c1 / (sqrt(v'/c2) + eps) + wd p),  c_i = 1 - b_i^t.
 * Loshchilov and Hutter 2017, arXiv 1711.05101; torch.optim.AdamW.
 */
export const adamW = ({ beta1, beta2, eps, weightDecay }: AdamW = adamWDefaults): Optimiser => ({
  name: 'adamw',
  state: ['m', 'v'],
  numbers: (t) => ({ correction1: 1 - beta1 ** t, correction2: 1 - beta2 ** t }),
  update: (p, g, { m, v }, { lr, correction1, correction2 }) => {
    const m1 = plus(times(m ?? g, beta1), times(g, 1 - beta1))
    const v1 = plus(times(v ?? g, beta2), times(k.map('mul', g, g), 1 - beta2))
    const root = plus(k.map('sqrt', k.map('div', v1, correction2!)), k.scalar(eps))
    const direction = k.map('div', k.map('div', m1, correction1!), root)
    const decayed = weightDecay === 0 ? direction : plus(direction, times(p, weightDecay))
    return { param: k.map('sub', p, k.map('mul', lr!, decayed)), state: { m: m1, v: v1 } }
  },
})

/** p' = p - lr g */
export const sgd: Optimiser = {
  name: 'sgd',
  state: [],
  numbers: () => ({}),
  update: (p, g, _, { lr }) => ({ param: k.map('sub', p, k.map('mul', lr!, g)), state: {} }),
}

// ---------------------------------------------------------------------------------- combinators

/** sqrt of the sum of squares over all tensors */
export const globalNorm = (grads: Tensors): Tensor<never> => {
  const squares = Object.values(grads).map(({ node }) =>
    k.reduce(
      'sum',
      k.map('mul', node, node),
      node.type.dims.map((d) => d.name),
    ),
  )
  return wrap(k.map('sqrt', squares.reduce(plus, k.scalar(0))))
}

/** g min(1, most / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ */
export const clipByGlobalNorm = (grads: Tensors, norm: Tensor<never>, most: number): Tensors => {
  const factor = k.map('min', k.scalar(1), k.map('div', k.scalar(most), plus(norm.node, k.scalar(1e-6))))
  return Object.fromEntries(Object.entries(grads).map(([n, g]) => [n, wrap(k.map('mul', g.node, factor))]))
}
