/** Laws of the start of training: what holds at init, and what is trained. */
import { kit } from '../../dsl/build.ts'
import { dim } from '../../dsl/dim.ts'
import { axisNames, topological, type Node } from '../../dsl/node.ts'
import type { AnyTensor } from '../../dsl/program.ts'
import type { Config, Law, Params, Specimen } from '../adapter.ts'
import { generic, gradients, hasElements, inner, mapParams, of, probe, replaceInputs, total } from './graph.ts'

const baseOutput = (s: Specimen): AnyTensor => (s.host.call as (x: unknown) => AnyTensor)(s.x)

/** the same law, only for the configs that `when` accepts; elsewhere it is not applicable, with the reason */
export const onlyWhen = (law: Law, when: (config: Config) => boolean, reason: string): Law => ({
  ...law,
  notApplicable: (a, config) => law.notApplicable?.(a, config) ?? (when(config) ? undefined : reason),
})

/** apply(init, x) = base(x). `identityAtInit({when: ({rank}) => rank % 2 === 0, reason: 'an odd number of reflections'})` */
export const identityAtInit = <C = Config>(
  options: { readonly when?: (config: C) => boolean; readonly reason?: string } = {},
): Law =>
  onlyWhen(
    {
      name: 'identityAtInit',
      doc: 'a fresh adapter leaves the output as it was',
      claims: (s) => [
        { kind: 'equal', label: 'apply and base', left: s.run(s.initial, s.x, s.initialHost), right: baseOutput(s) },
      ],
    },
    (config) => options.when?.(config as C) ?? true,
    options.reason ?? 'not claimed for this config',
  )

/** init gives no base, or one on which the fresh adapter is the frozen layer */
export const baseUntouched: Law = {
  name: 'baseUntouched',
  doc: 'init leaves the frozen weight as it is, or gives a base on which the fresh adapter is the frozen layer',
  claims: (s) =>
    s.initialHost === s.host
      ? [{ kind: 'holds', label: 'no other base', reason: undefined }]
      : [{ kind: 'equal', label: 'on its base', left: s.run(s.initial, s.x, s.initialHost), right: baseOutput(s) }],
}

const RATE = 0.5

/** g(p0) /= 0 for some parameter; p1 = p0 - g(p0)/2, p2 = p1 - g(p1)/2: g(p2) /= 0 for every parameter */
export const aliveAtInit: Law = {
  name: 'aliveAtInit',
  doc: 'some gradient is not zero at init, and after two steps every parameter has one',
  claims: (s) => {
    const names = Object.keys(s.params)
    const gradient = gradients(probe(s.run(s.params, s.x, s.initialHost).node), s.params)
    const at = (p: Params): Params => replaceInputs(gradient, s.params, p)
    const step = (p: Params): Params => {
      const g = at(p)
      return mapParams(p, (x, n) => kit.map('sub', x, kit.map('mul', g[n]!.node, kit.scalar(RATE))))
    }
    const first = at(s.initial)
    const last = at(step(step(s.initial)))
    const squares = names.map((n) => inner(first[n]!.node, first[n]!.node)).reduce((a, b) => kit.map('add', a, b))
    const trained = names.filter((n) => hasElements(s.params[n]!.node))
    if (trained.length === 0) return []
    return [
      { kind: 'nonzero', label: 'gradient at init', tensor: of(squares) },
      ...trained.map((n) => ({
        kind: 'nonzero' as const,
        label: `gradient of ${n} after two steps`,
        tensor: last[n]!,
      })),
    ]
  },
}

/** d(probe)/d p_i /= 0 at some point, for every element */
export const everyParameterMatters: Law = {
  name: 'everyParameterMatters',
  doc: 'every element of every parameter changes the output somewhere',
  claims: (s) =>
    Object.entries(gradients(probe(s.run(s.params, s.x, s.host).node), s.params)).map(([n, tensor]) => ({
      kind: 'nonzero' as const,
      label: `gradient of ${n}`,
      tensor,
      each: true,
    })),
}

/** Steps of the difference quotients: the small one is compared, the large one says how far it may be off. */
const [SMALL, LARGE] = [2 ** -22, 2 ** -14]

/**
 * <g, v> = D(h) = (f(p + h v) - f(p - h v)) / 2h along a generic v. D at two steps differ by more than the error
 * of the smaller one, wherever f is smooth or has a kink between them; that difference is the slack.
 */
export const gradMatchesDifferences: Law = {
  name: 'gradMatchesDifferences',
  doc: 'gradients (custom rules included) agree with central differences',
  claims: (s) => {
    const both: Params = { ...s.params, ...s.xs }
    const names = Object.keys(both).filter((n) => hasElements(both[n]!.node))
    const run = (all: Params): Node => {
      const pick = (of: Params): Params => Object.fromEntries(Object.keys(of).map((n) => [n, all[n]!]))
      return probe(s.run(pick(s.params), s.withX(pick(s.xs)), s.host).node)
    }
    const loss = run(both)
    const g = gradients(loss, both)
    const y = s.run(s.params, s.x, s.host).node
    const scale = y.op === 'fault' ? y : total(kit.map('abs', kit.map('mul', y, generic('ct', y.type.dims))))
    return names.map((n) => {
      const x = both[n]!.node
      const v = generic(`direction.${n}`, x.type.dims)
      const moved = (h: number): Node => run({ ...both, [n]: of(kit.map('add', x, kit.map('mul', v, kit.scalar(h)))) })
      const quotient = (h: number): Node => kit.map('mul', kit.map('sub', moved(h), moved(-h)), kit.scalar(1 / (2 * h)))
      const [fine, coarse] = [quotient(SMALL), quotient(LARGE)]
      return {
        kind: 'equal' as const,
        label: `along ${n}`,
        left: of(inner(g[n]!.node, v)),
        right: of(fine),
        slack: of(kit.map('abs', kit.map('sub', fine, coarse))),
        scale: of(scale),
      }
    })
  },
}

/** gradients are the same with the host behind stopGrad, and nothing reaches the host then */
export const frozenGetsNoGradient: Law = {
  name: 'frozenGetsNoGradient',
  doc: 'parameters are trained without any gradient of the frozen tensors',
  claims: (s) => {
    const closed = probe(s.run(s.params, s.x, s.withFrozen(mapParams(s.frozen, (x) => kit.stopGrad(x)))).node)
    const open = gradients(probe(s.run(s.params, s.x, s.host).node), s.params)
    return [
      ...Object.entries(gradients(closed, s.params)).map(([n, left]) => ({
        kind: 'equal' as const,
        label: `gradient of ${n}`,
        left,
        right: open[n]!,
      })),
      ...Object.entries(gradients(closed, s.frozen)).map(([n, tensor]) => ({
        kind: 'zero' as const,
        label: `gradient of the frozen ${n}`,
        tensor,
      })),
    ]
  },
}

/** apply(batch of x)_i = apply(x_i), along a further axis, and along `token` where tokens do not meet */
export const batchIndependent: Law = {
  name: 'batchIndependent',
  doc: 'each row of a batch is adapted by itself',
  claims: (s) => {
    const run = (xs: Params): Node => s.run(s.params, s.withX(xs), s.host).node
    const second = (axis: string) => (x: Node) => kit.reduce('sum', kit.slice(x, axis, 1, 1), [axis])
    const batched = mapParams(s.xs, (x, n) =>
      generic(`batched.${n}`, [{ name: 'batch', size: dim(2) }, ...x.type.dims]),
    )
    const along = (axis: string, xs: Params) => ({
      kind: 'equal' as const,
      label: `along ${axis}`,
      left: of(second(axis)(run(xs))),
      right: of(run(mapParams(xs, second(axis)))),
    })
    const rows = along('batch', batched)
    return s.adapter.site === 'attention' || !axisNames(s.xs['x']!.node.type).includes('token')
      ? [rows]
      : [rows, along('token', s.xs)]
  },
}

/** the same key gives the same parameters, and nothing but the key and the weight goes into them */
export const deterministicInit: Law = {
  name: 'deterministicInit',
  doc: 'init is a function of its key and the frozen weight',
  claims: (s) => {
    const again = s.adapter.init(s.config)(s.key, {
      sizes: s.sizes,
      ...(s.adapter.site === 'linear' ? { weight: (s.host as unknown as { weight: never }).weight } : {}),
    }).params
    const differs = Object.keys(again).find((n) => again[n]!.node !== s.initial[n]?.node)
    const known = new Set<Node>([s.key.node, ...Object.values(s.frozen).map((f) => f.node)])
    const foreign = topological(Object.values(again).map((t) => t.node)).find((n) => n.op === 'input' && !known.has(n))
    return [
      {
        kind: 'holds',
        label: 'twice the same',
        reason: differs === undefined ? undefined : `two calls give two graphs for '${differs}'`,
      },
      {
        kind: 'holds',
        label: 'nothing else goes in',
        reason: foreign?.op === 'input' ? `input '${foreign.attrs.name}' goes into init` : undefined,
      },
    ]
  },
}
