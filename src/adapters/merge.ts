/**
 * The derived merge. An adapter that is affine in x on a linear site has
 *
 *     b' = apply(0)        W' x = apply(x) - b'
 *
 * so W' is apply on the identity. It is *derived* from `apply`: that it agrees with the method's own
 * `weight` is a law (`mergeEquivalent`), and not an identity.
 */
import { kit } from '../dsl/build.ts'
import { axisOf } from '../dsl/node.ts'
import { eye, wrap, type Tensor } from '../dsl/tensor.ts'
import type { Adapter, Config, LinearHost, Params } from './adapter.ts'

// ---------------------------------------------------------------------------------------- model

/** A linear layer's two tensors. */
export interface Merged {
  readonly weight: Tensor<'out' | 'in'>
  readonly bias: Tensor<'out'>
}

// --------------------------------------------------------------------------------- interpreters

/** b': (out), and W': (out, in), from `apply` alone. Total: on an adapter that is not affine it is some tensor. */
export const deriveMerge =
  (adapter: Adapter, config: Config) =>
  (p: Params, host: LinearHost): Merged => {
    const size = axisOf(host.weight.node.type, 'in')?.size ?? 0
    const nothing = kit.broadcast(
      kit.scalar(0),
      host.weight.node.type.dims.filter((d) => d.name === 'in'),
    )
    const apply = (x: Tensor<'token' | 'in'>) => adapter.apply(config)(p, x, host, {}) as Tensor<'token' | 'out'>
    const bias = apply(wrap(nothing)).node
    const rows = apply(eye('token', 'in', size)).node
    return { weight: wrap(kit.rename(kit.map('sub', rows, bias), { token: 'in' })), bias: wrap(bias) }
  }

/** W' by the method's own definition where it states one, else derived. */
export const mergeWeight =
  (adapter: Adapter, config: Config) =>
  (p: Params, host: LinearHost): Tensor<'out' | 'in'> =>
    adapter.weight === undefined ? deriveMerge(adapter, config)(p, host).weight : adapter.weight(config)(p, host.weight)
