/** Specimens: an adapter at one config on one site, at numeric sizes for tests or symbolic ones for proofs. */
import { kit } from '../../dsl/build.ts'
import { dim, evalDim, type DimLike } from '../../dsl/dim.ts'
import { topological, type Dims, type Node } from '../../dsl/node.ts'
import { keyInput } from '../../dsl/random.ts'
import { wrap, type Tensor } from '../../dsl/tensor.ts'
import {
  activationHost,
  linearHost,
  type Adapter,
  type AttentionHost,
  type AttentionInput,
  type Config,
  type Param,
  type Params,
  type SiteKind,
  type Sites,
  type SiteSizes,
  type Specimen,
} from '../adapter.ts'
import { mapParams, of } from './graph.ts'
import * as E from 'fp-ts/lib/Either.js'

// ---------------------------------------------------------------------------------------- model

type X = Sites[SiteKind]['x']
type Host = Sites[SiteKind]['host']

/** How each kind of site is made of plain tensors: one row a site. */
interface SiteRow {
  /** symbols of the site's sizes, `token` apart */
  readonly sizes: ReadonlyArray<string>
  readonly xs: ReadonlyArray<readonly [name: string, axes: Readonly<Record<string, string>>]>
  readonly withX: (xs: Params) => X
  readonly frozen: ReadonlyArray<readonly [name: string, axes: Readonly<Record<string, string>>]>
  readonly withFrozen: (frozen: Params) => Host
}

// --------------------------------------------------------------------------------- constructors

/**
 * Causal attention of one layer:  y[t] = sum_k softmax_k(q[t] k[k] / sqrt h, k <= t) v[k], heads grouped, and the
 * projections of prompts by generic weights.
 */
export const attentionHost = (wk: Node, wv: Node): AttentionHost => {
  const project = (w: Node) => (x: Tensor<'token' | 'in'>) => wrap<'token' | 'kv' | 'h'>(kit.dot(x.node, w, ['in']))
  return {
    projectKey: project(wk),
    projectValue: project(wv),
    call: ({ q, k, v }: AttentionInput) => {
      const size = (x: Node, axis: string) => x.type.dims.find((d) => d.name === axis)?.size ?? 0
      const ones = kit.broadcast(
        kit.scalar(1),
        q.node.type.dims.filter((d) => d.name === 'h'),
      )
      const scores = kit.map('mul', kit.dot(q.node, k.node, ['h']), kit.map('rsqrt', kit.reduce('sum', ones, ['h'])))
      const seen = kit.map('le', kit.iota('key', size(k.node, 'key')), kit.iota('token', size(q.node, 'token')))
      const e = kit.map('select', seen, kit.map('exp', scores), kit.scalar(0))
      const p = kit.map('div', e, kit.reduce('sum', e, ['key']))
      return wrap(kit.dot(p, v.node, ['key']))
    },
  }
}

const tensor = (p: Params, name: string): Tensor<never> => wrap(p[name]!.node)

/** key and query positions are the same tokens, so `key` has the size of `token` */
export const siteRows: Readonly<Record<SiteKind, SiteRow>> = {
  linear: {
    sizes: ['in', 'out'],
    xs: [['x', { token: 'token', in: 'in' }]],
    withX: (xs) => tensor(xs, 'x') as unknown as X,
    frozen: [
      ['weight', { out: 'out', in: 'in' }],
      ['bias', { out: 'out' }],
    ],
    withFrozen: (f) => linearHost(wrap(f['weight']!.node), f['bias'] === undefined ? undefined : wrap(f['bias'].node)),
  },
  activation: {
    sizes: ['in'],
    xs: [['x', { token: 'token', in: 'in' }]],
    withX: (xs) => tensor(xs, 'x') as unknown as X,
    frozen: [],
    withFrozen: () => activationHost,
  },
  attention: {
    sizes: ['in', 'kv', 'group', 'h'],
    xs: [
      ['q', { token: 'token', kv: 'kv', group: 'group', h: 'h' }],
      ['k', { key: 'token', kv: 'kv', h: 'h' }],
      ['v', { key: 'token', kv: 'kv', h: 'h' }],
    ],
    withX: (xs) => ({ q: tensor(xs, 'q'), k: tensor(xs, 'k'), v: tensor(xs, 'v') }) as unknown as X,
    frozen: [
      ['wk', { kv: 'kv', h: 'h', in: 'in' }],
      ['wv', { kv: 'kv', h: 'h', in: 'in' }],
    ],
    withFrozen: (f) => attentionHost(f['wk']!.node, f['wv']!.node),
  },
}

const dimsFrom = (axes: Readonly<Record<string, string>>, sizes: Readonly<Record<string, DimLike>>): Dims =>
  Object.entries(axes).map(([name, size]) => ({ name, size: dim(sizes[size] ?? size) }))

const paramInputs = (params: Readonly<Record<string, Param<string>>>): Params =>
  Object.fromEntries(
    Object.entries(params).map(([n, { axes, sizes }]) => [
      n,
      of(
        kit.input(
          `p.${n}`,
          axes.map((name) => ({ name, size: dim(sizes[name] ?? 0) })),
          'f32',
        ),
      ),
    ]),
  )

/** The specimen at these sizes: numbers, or symbols where a size is left out. */
export const specimen = (adapter: Adapter, config: Config, given: Readonly<Record<string, number>> = {}): Specimen => {
  const row = siteRows[adapter.site]
  const all: Readonly<Record<string, DimLike>> = given
  const sizes: SiteSizes = Object.fromEntries(row.sizes.map((s) => [s, all[s] ?? s]))
  const inputs = (ports: SiteRow['xs']): Params =>
    Object.fromEntries(ports.map(([n, axes]) => [n, of(kit.input(n, dimsFrom(axes, all), 'f32'))]))
  const [xs, frozen] = [inputs(row.xs), inputs(row.frozen)]
  const key = keyInput('key')
  const [x, host] = [row.withX(xs), row.withFrozen(frozen)]
  const weight = frozen['weight'] === undefined ? {} : { weight: wrap<'out' | 'in'>(frozen['weight'].node) }
  const made = adapter.init(config)(key, { sizes, ...weight })
  return {
    adapter,
    config,
    sizes,
    key,
    x,
    host,
    xs,
    frozen,
    withX: row.withX,
    withFrozen: row.withFrozen,
    params: paramInputs({
      ...adapter.params(config, sizes),
      ...adapter.buffers?.(config, sizes),
      ...adapter.shared?.(config, sizes),
    }),
    initial: mapParams(made.params, (n) => n),
    initialHost: made.base === undefined ? host : row.withFrozen({ ...frozen, weight: made.base }),
    run: (p, at, on) => adapter.apply(config)(p, at, on, {}),
  }
}

// --------------------------------------------------------------------------------- interpreters

/** Whether every size in these graphs is a whole number, and no misuse stands in them because of a size. */
const wellSized = (nodes: ReadonlyArray<Node>): boolean =>
  topological(nodes).every(
    (n) =>
      n.op !== 'fault' &&
      n.type.dims.every((d) => {
        const size = evalDim(d.size, {})
        return E.isRight(size) && size.right >= 0
      }),
  )

/** Whether the adapter can stand at these sizes: a block size may ask for multiples of it. */
export const fits = (s: Specimen): boolean =>
  wellSized([
    ...Object.values(s.params).map((p) => p.node),
    ...Object.values(s.initial).map((p) => p.node),
    s.run(s.params, s.x, s.host).node,
  ])

/** Sizes of the axes: drawn ones, with `in` and `out` raised until the adapter can stand there. */
export const fittingSpecimen = (
  adapter: Adapter,
  config: Config,
  drawn: Readonly<Record<string, number>>,
): Specimen => {
  for (let more = 0; more < 12; more++) {
    const s = specimen(adapter, config, { ...drawn, in: (drawn['in'] ?? 2) + more })
    if (fits(s)) return s
  }
  return specimen(adapter, config, drawn)
}
