/**
 * Composition. At each site an adapter with its parameters is an endomorphism of the host: it makes a
 * host of a host. Endomorphisms are a monoid: `identityAdapter` is its unit, `compose` its product.
 *
 *     (g . f)(host) = g(f(host))       compose(f, g): f is grafted first, next to the base
 */
import type { Monoid } from 'fp-ts/lib/Monoid.js'
import type { Adapter, AttentionHost, Config, Context, LinearHost, Params, Sites } from './adapter.ts'
import { deriveMerge, mergeWeight } from './merge.ts'

// ---------------------------------------------------------------------------------------- model

export type Host = Sites[keyof Sites]['host']
export type Endomorphism = (host: Host) => Host

/** An adapter with its config and parameters: what is grafted onto one site. */
export interface Graft {
  readonly adapter: Adapter
  readonly config: Config
  readonly params: Params
  readonly context?: Context
}

// --------------------------------------------------------------------------------- constructors

/**
 * The host as the adapter makes it. On a linear site its weight is `weight(p, W)` (or the derived merge)
 * and its bias b' = apply(0); both are built when somebody asks for them.
 */
export const graft =
  ({ adapter, config, params, context = {} }: Graft): Endomorphism =>
  (host) => {
    const call = (x: Sites[keyof Sites]['x']) => adapter.apply(config)(params, x, host, context)
    if (adapter.site !== 'linear') return { ...(host as AttentionHost), call } as unknown as Host
    const base = host as LinearHost
    return {
      get weight() {
        return mergeWeight(adapter, config)(params, base)
      },
      get bias() {
        return deriveMerge(adapter, config)(params, base).bias
      },
      call,
    } as unknown as Host
  }

/** The unit: the host as it is. */
export const identityAdapter: Endomorphism = (host) => host

// ---------------------------------------------------------------------------------- combinators

/** f next to the base, then g. */
export const compose =
  (f: Endomorphism, g: Endomorphism): Endomorphism =>
  (host) =>
    g(f(host))

export const composition: Monoid<Endomorphism> = { empty: identityAdapter, concat: compose }
