/** Laws that are decided without numbers: counts, keys, files; and those of composition. */
import { axisNames, axisOf, topological, type Node } from '../../dsl/node.ts'
import { dim } from '../../dsl/dim.ts'
import type { AnyTensor } from '../../dsl/program.ts'
import type { Claim, Law, LinearHost, Specimen } from '../adapter.ts'
import { composition, graft, type Endomorphism, type Host } from '../compose.ts'
import { generic, mapParams } from './graph.ts'

const holds = (label: string, reason: string | undefined): Claim => ({ kind: 'holds', label, reason })

/** init makes exactly the parameters that are declared, with their axes and sizes */
export const paramCount: Law = {
  name: 'paramCount',
  doc: 'init makes the declared parameters, of the declared sizes',
  claims: (s) => {
    const declared = s.adapter.params(s.config, s.sizes)
    const made = Object.keys(s.initial)
    const missing = Object.keys(declared).filter((n) => !made.includes(n))
    const extra = made.filter((n) => declared[n] === undefined)
    return [
      holds(
        'names',
        missing.length + extra.length === 0
          ? undefined
          : `missing: ${missing.join(', ') || 'none'}; not declared: ${extra.join(', ') || 'none'}`,
      ),
      ...Object.entries(declared).map(([n, { axes, sizes }]) => {
        const type = s.initial[n]?.node.type
        const want = axes.map((a) => `${a}:${dim(sizes[a] ?? 0).key}`)
        const have = axes.map((a) => `${a}:${(type === undefined ? undefined : axisOf(type, a)?.size.key) ?? 'none'}`)
        const count = type === undefined ? 0 : axisNames(type).length
        return holds(
          n,
          want.join() === have.join() && count === axes.length
            ? undefined
            : `declared ${want.join(', ')}; init makes ${have.join(', ')}`,
        )
      }),
    ]
  },
}

const isChildDraw = (n: Node): boolean => n.op === 'randomBits' && n.attrs.dims.some((d) => d.name === 'child')

/**
 * No key feeds two draws: a key is either split (any number of children) or drawn from once; and no draw
 * reaches two parameters.
 */
export const keysIndependent: Law = {
  name: 'keysIndependent',
  doc: 'no random key is used twice',
  claims: (s) => {
    const draws = new Map<Node, Set<Node>>()
    const reached = new Map<Node, string[]>()
    for (const [name, p] of Object.entries(s.initial))
      for (const n of topological([p.node]))
        if (n.op === 'randomBits') {
          const key = n.args[0]!
          draws.set(key, (draws.get(key) ?? new Set<Node>()).add(n))
          if (!isChildDraw(n)) reached.set(n, [...(reached.get(n) ?? []), name])
        }
    const twice = [...draws.values()].find((ns) => {
      const direct = [...ns].filter((n) => !isChildDraw(n)).length
      return direct > 1 || (direct === 1 && ns.size > 1)
    })
    const shared = [...reached.values()].find((names) => names.length > 1)
    return [
      holds(
        'one draw a key',
        twice === undefined ? undefined : `a key feeds ${String(twice.size)} draws: split it with childKey`,
      ),
      holds(
        'one parameter a draw',
        shared === undefined ? undefined : `the same numbers go into ${shared.join(' and ')}`,
      ),
    ]
  },
}

const repeated = (names: ReadonlyArray<string>): string | undefined => names.find((n, i) => names.indexOf(n) !== i)

/** every tensor has its own key and every written config field its own name, so that reading gives back what was written */
export const checkpointRoundTrip: Law = {
  name: 'checkpointRoundTrip',
  doc: 'what is written to a checkpoint is what is read',
  notApplicable: (a) => (a.files === undefined ? 'no file format is stated' : undefined),
  claims: (s) => {
    const files = s.adapter.files
    if (files === undefined) return []
    const tensors = Object.keys({
      ...s.adapter.params(s.config, s.sizes),
      ...s.adapter.buffers?.(s.config, s.sizes),
      ...s.adapter.shared?.(s.config, s.sizes),
    })
    const lost = tensors.find((n) => files.keys[n] === undefined)
    const clash = repeated(Object.values(files.keys))
    const suffix = Object.values(files.keys).find((k) =>
      Object.values(files.keys).some((l) => l !== k && l.endsWith(`.${k}`)),
    )
    const unknown = Object.keys(files.config).find((n) => s.adapter.config[n] === undefined)
    const names = repeated([...Object.values(files.config), ...Object.keys(files.fixed ?? {})])
    return [
      holds('every tensor has a key', lost === undefined ? undefined : `tensor '${lost}' has no key`),
      holds(
        'no key twice',
        clash === undefined && suffix === undefined ? undefined : `key '${clash ?? suffix ?? ''}' fits two tensors`,
      ),
      holds(
        'config fields',
        unknown === undefined ? undefined : `'${unknown}' is written but is no field of the config`,
      ),
      holds('config names', names === undefined ? undefined : `'${names}' is written twice`),
    ]
  },
}

const seen = (s: Specimen, host: Host): ReadonlyArray<readonly [string, AnyTensor]> => [
  ['output', (host.call as (x: unknown) => AnyTensor)(s.x)],
  ...(s.adapter.site === 'linear' ? [['weight', (host as LinearHost).weight] as const] : []),
]

const agree = (s: Specimen, label: string, f: Endomorphism, g: Endomorphism): ReadonlyArray<Claim> => {
  const right = seen(s, g(s.host))
  return seen(s, f(s.host)).map(([n, left], i) => ({
    kind: 'equal',
    label: `${label}: ${n}`,
    left,
    right: right[i]![1],
  }))
}

const grafts = (s: Specimen): readonly [Endomorphism, Endomorphism, Endomorphism] => {
  const one = (prefix: string): Endomorphism =>
    graft({
      adapter: s.adapter,
      config: s.config,
      params: mapParams(s.params, (p, n) => generic(`${prefix}.${n}`, p.type.dims)),
    })
  return [one('p1'), one('p2'), one('p3')]
}

/** id . f = f = f . id, with f . id written out: apply on the untouched host */
export const composeIdentity: Law = {
  name: 'composeIdentity',
  doc: 'the identity adapter before or after changes nothing',
  claims: (s) => {
    const [f] = grafts(s)
    const { empty, concat } = composition
    return [...agree(s, 'before', concat(empty, f), f), ...agree(s, 'after', concat(f, empty), f)]
  },
}

/** (f g) h = f (g h) */
export const composeAssociative: Law = {
  name: 'composeAssociative',
  doc: 'how three adapters are grouped does not matter',
  claims: (s) => {
    const [f, g, h] = grafts(s)
    const { concat } = composition
    return agree(s, 'groupings', concat(concat(f, g), h), concat(f, concat(g, h)))
  },
}
