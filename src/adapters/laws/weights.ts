/** Laws of the merged weight: apply, the derived merge and the method's own `weight`. */
import { kit } from '../../dsl/build.ts'
import { axisOf, type Node } from '../../dsl/node.ts'

import {
  linearHost,
  type Adapter,
  type Claim,
  type Config,
  type Law,
  type Params,
  type SiteSizes,
  type Specimen,
} from '../adapter.ts'
import { graft } from '../compose.ts'
import { deriveMerge, mergeWeight } from '../merge.ts'
import { generic, linearHostOf, mapParams, of, onLinearSites } from './graph.ts'

/** W' W'^T by rows: (out, out') */
const gram = (w: Node): Node => kit.dot(w, kit.rename(w, { out: 'out2' }), ['in'])

/** apply(x1 + x2) - apply(x2) = apply(x1) - apply(0),  apply(a x1) - apply(0) = a (apply(x1) - apply(0)) */
export const linearInInput: Law = {
  name: 'linearInInput',
  doc: 'apply is affine in x',
  notApplicable: (a) => (a.site === 'linear' ? undefined : `no claim to be affine at site '${a.site}'`),
  claims: (s) => {
    const at = (xs: Params): Node => s.run(s.params, s.withX(xs), s.host).node
    const other = mapParams(s.xs, (x, n) => generic(`second.${n}`, x.type.dims))
    const a = generic('a', [])
    const zero = at(mapParams(s.xs, (x) => kit.map('mul', x, kit.scalar(0))))
    const one = kit.map('sub', at(s.xs), zero)
    const both = at(mapParams(s.xs, (x, n) => kit.map('add', x, other[n]!.node)))
    const scaled = at(mapParams(s.xs, (x) => kit.map('mul', x, a)))
    return [
      { kind: 'equal', label: 'sums', left: of(kit.map('sub', both, at(other))), right: of(one) },
      { kind: 'equal', label: 'multiples', left: of(kit.map('sub', scaled, zero)), right: of(kit.map('mul', one, a)) },
    ]
  },
}

/** apply(x) = x W'^T + b' for the derived W', and W' = weight(p, W) */
export const mergeEquivalent: Law = {
  name: 'mergeEquivalent',
  doc: "apply, the derived merge and the method's own weight agree",
  notApplicable: onLinearSites,
  claims: (s) => {
    const { weight, bias } = deriveMerge(s.adapter, s.config)(s.params, linearHostOf(s))
    const applied = s.run(s.params, s.x, s.host)
    const x = s.xs['x']!.node
    const through = (w: Node): Node => kit.map('add', kit.dot(x, w, ['in']), bias.node)
    const derived: Claim = {
      kind: 'equal',
      label: 'apply and derived merge',
      left: applied,
      right: of(through(weight.node)),
    }
    if (s.adapter.weight === undefined) return [derived]
    const stated = s.adapter.weight(s.config)(s.params, linearHostOf(s).weight)
    return [
      { kind: 'equal', label: 'apply and weight', left: applied, right: of(through(stated.node)) },
      { kind: 'equal', label: 'derived merge and weight', left: weight, right: stated },
      derived,
    ]
  },
}

/** one adapter grafted on another = the weights merged one after the other, from the base on, in order */
export const sequentialMerge: Law = {
  name: 'sequentialMerge',
  doc: 'two grafts in order equal two merges in order',
  notApplicable: onLinearSites,
  claims: (s) => {
    const host = linearHostOf(s)
    const second = mapParams(s.params, (p, n) => generic(`p2.${n}`, p.type.dims))
    const first = graft({ adapter: s.adapter, config: s.config, params: s.params })(host)
    const grafted = s.run(second, s.x, first)
    const w1 = mergeWeight(s.adapter, s.config)(s.params, host)
    const b1 = deriveMerge(s.adapter, s.config)(s.params, host).bias
    const merged = linearHost(w1, b1)
    const w2 = mergeWeight(s.adapter, s.config)(second, merged)
    const b2 = deriveMerge(s.adapter, s.config)(second, merged).bias
    const right = kit.map('add', kit.dot(s.xs['x']!.node, w2.node, ['in']), b2.node)
    return [{ kind: 'equal', label: 'grafts and merges', left: grafted, right: of(right) }]
  },
}

/** inverse(p, weight(p, W)) = W */
export const unmergeInverse: Law = {
  name: 'unmergeInverse',
  doc: 'unmerging gives the base weight back',
  notApplicable: (a) => onLinearSites(a) ?? (a.inverse === undefined ? 'no `inverse` is stated' : undefined),
  claims: (s) => {
    const w = linearHostOf(s).weight
    const merged = mergeWeight(s.adapter, s.config)(s.params, linearHostOf(s))
    return [{ kind: 'equal', label: 'W', left: s.adapter.inverse?.(s.config)(s.params, merged) ?? merged, right: w }]
  },
}

/** |w'_i| = |w_i| for every row of W' */
export const normPreserving: Law = {
  name: 'normPreserving',
  onlyTested: true,
  doc: 'rows of the merged weight keep their norms',
  notApplicable: onLinearSites,
  claims: (s) => {
    const squares = (w: Node): Node => kit.reduce('sum', kit.map('mul', w, w), ['in'])
    const host = linearHostOf(s)
    const merged = mergeWeight(s.adapter, s.config)(s.params, host).node
    return [{ kind: 'equal', label: 'row norms', left: of(squares(merged)), right: of(squares(host.weight.node)) }]
  },
}

/** <w'_i, w'_j> / |w'_i||w'_j| = <w_i, w_j> / |w_i||w_j|: hyperspherical energy is kept */
export const neuronAngles: Law = {
  name: 'neuronAngles',
  onlyTested: true,
  doc: 'rows of the merged weight keep their angles',
  notApplicable: onLinearSites,
  claims: (s) => {
    const cosines = (w: Node): Node => {
      const norm = kit.map('sqrt', kit.reduce('sum', kit.map('mul', w, w), ['in']))
      return kit.map('div', gram(w), kit.map('mul', norm, kit.rename(norm, { out: 'out2' })))
    }
    const host = linearHostOf(s)
    const merged = mergeWeight(s.adapter, s.config)(s.params, host).node
    return [{ kind: 'equal', label: 'cosines', left: of(cosines(merged)), right: of(cosines(host.weight.node)) }]
  },
}

/** A square matrix by the names of its two axes; further axes are a batch of matrices. */
export interface Rotation {
  readonly matrix: { readonly node: Node }
  readonly row: string
  readonly col: string
}

/** `orthogonal((config) => (p, sizes) => ({matrix, row, col}))`:  R R^T = I, one matrix for each batch element */
export const orthogonal = <C = Config, P = Params>(
  rotation: (config: C) => (p: P, sizes: SiteSizes) => Rotation,
  domain?: { readonly params: readonly [number, number] },
): Law => ({
  name: 'orthogonal',
  doc: 'R R^T = I',
  ...(domain === undefined ? {} : { domain }),
  claims: (s) => {
    // what a law is told of an adapter's own config and parameters is what the declaration says of them
    const { matrix, row, col } = rotation(s.config as C)(s.params as P, s.sizes)
    const r = matrix.node
    const other = `${row}2`
    const product = kit.dot(r, kit.rename(r, { [row]: other }), [col])
    const n = axisOf(r.type, row)?.size ?? 0
    const ones = kit.map('select', kit.map('eq', kit.iota(row, n), kit.iota(other, n)), kit.scalar(1), kit.scalar(0))
    return [{ kind: 'equal', label: "R R'", left: of(product), right: of(kit.broadcast(ones, product.type.dims)) }]
  },
})

/**
 * rank(W' - W) <= r. M = P (W' - W) Q with generic P: (r+1, out), Q: (in, r+1), cut into its leading r x r
 * block A and the rest: M = [A b; c d] has rank r exactly where  d = c A^-1 b.
 */
export const rankAtMost = <C = Config>(bound: (config: C) => number): Law => ({
  name: 'rankAtMost',
  onlyTested: true,
  doc: 'the change of the weight has at most this rank',
  notApplicable: onLinearSites,
  claims: (s) => {
    const r = bound(s.config as C)
    const host = linearHostOf(s)
    const w = host.weight.node
    const delta = kit.map('sub', mergeWeight(s.adapter, s.config)(s.params, host).node, w)
    const wide = (axis: string, name: string): Node =>
      generic(
        name,
        kit.broadcast(
          kit.iota(axis, r + 1),
          w.type.dims.filter((d) => d.name === (axis === 'i' ? 'out' : 'in')),
        ).type.dims,
      )
    const m = kit.dot(kit.dot(wide('i', 'left'), delta, ['out']), wide('j', 'right'), ['in'])
    const part = (i: readonly [number, number], j: readonly [number, number]): Node =>
      kit.slice(kit.slice(m, 'i', i[0], i[1]), 'j', j[0], j[1])
    const x = kit.solve(part([0, r], [0, r]), kit.rename(part([0, r], [r, 1]), { j: 'one' }), 'i', 'j')
    const right = kit.rename(kit.dot(part([r, 1], [0, r]), x, ['j']), { one: 'j' })
    const small = [axisOf(w.type, 'in'), axisOf(w.type, 'out')].some((d) => d !== undefined && Number(d.size.key) <= r)
    return small ? [] : [{ kind: 'equal', label: 'd = c A^-1 b', left: of(part([r, 1], [r, 1])), right: of(right) }]
  },
})

/** `scaleZeroIsBase({config: (c) => ({...c, alpha: 0})})`, or by parameters for a gate: `{params: (p) => ...}` */
export const scaleZeroIsBase = (off: {
  readonly config?: (config: Config) => Config
  readonly params?: (p: Params) => Params
}): Law => ({
  name: 'scaleZeroIsBase',
  doc: 'switched off, the adapter is the frozen layer',
  claims: (s) => {
    const config = off.config?.(s.config) ?? s.config
    const p = off.params?.(s.params) ?? s.params
    const left: Adapter = s.adapter
    return [
      {
        kind: 'equal',
        label: 'off and base',
        left: left.apply(config)(p, s.x, s.host, {}),
        right: of((s.host.call as (x: unknown) => { readonly node: Node })(s.x).node),
      },
    ]
  },
})

type Exact<C, P> = (config: C) => (p: P, x: Specimen['x'], host: Specimen['host']) => { readonly node: Node }

/**
 * `matchesDefinition((config) => (p, x, host) => y)`: the method by its definition in the paper's letters, an
 * independent second program. The way to state a meaning where there is no merged weight.
 */
export const matchesDefinition = <C = Config, P = Params>(exact: Exact<C, P>): Law => ({
  name: 'matchesDefinition',
  doc: "apply agrees with the method's definition",
  claims: (s) => [
    {
      kind: 'equal',
      label: 'apply and definition',
      left: s.run(s.params, s.x, s.host),
      right: exact(s.config as C)(s.params as P, s.x, s.host),
    },
  ],
})

/** |apply - exact| <= within, for parameters in the domain. A tolerance above 1e-3 of the value's scale has no teeth and is vacuous. */
export const approximates = <C = Config, P = Params>(
  exact: Exact<C, P>,
  { within, params }: { readonly within: number; readonly params: readonly [number, number] },
): Law => ({
  name: 'approximates',
  doc: `apply is within ${String(within)} of the exact method for parameters in [${params.join(', ')}]`,
  domain: { params },
  claims: (s) => {
    const left = s.run(s.params, s.x, s.host)
    const slack = kit.broadcast(kit.scalar(within), left.node.type.dims)
    const right = exact(s.config as C)(s.params as P, s.x, s.host)
    return [{ kind: 'equal', label: 'apply and exact', left, right, slack: of(slack) }]
  },
})
