/**
 * Whether an adapter treats every token by itself, so that tokens may be read one at a time.
 *
 * Note [Token-wise]. The site's token and key axes get symbols for sizes that nothing else has, so that an
 * axis of that size is one of them under any name. An operation mixes an axis when an element of its result depends on
 * other positions of it: sums, products contracted over it, slices, running sums, and counting its positions. What
 * mixes no such axis treats every token by itself, for all sizes. The host's own attention, handed keys and
 * values treated that way, is allowed to look back: that is what is kept.
 */
import * as E from 'fp-ts/lib/Either.js'
import type { Adapter, AttentionInput, Config, SiteKind, SiteSizes, Sites } from '../adapters/adapter.ts'
import { linearHost } from '../adapters/adapter.ts'
import { kit } from '../dsl/build.ts'
import { dim, symbolsOf } from '../dsl/dim.ts'
import { input, program, wrap, type DimLike, type Tensor } from '../dsl/index.ts'
import { topological, type Node } from '../dsl/node.ts'
import type { Params } from '../adapters/adapter.ts'
import type { Grafted } from './graft.ts'

// ---------------------------------------------------------------------------------------- model

const TOKENS = 'everyToken'
const KEYS = 'everyKey'

/** a site's x and host as inputs, and what the adapter handed to the host's attention */
interface Trial<K extends SiteKind> {
  readonly x: Sites[K]['x']
  readonly host: Sites[K]['host']
  readonly handed: () => ReadonlyArray<Node>
}

// --------------------------------------------------------------------------------- constructors

const linearTrial = (sizes: SiteSizes): Trial<'linear'> => ({
  x: input('x', { token: TOKENS, in: sizes['in'] ?? 0 }),
  host: linearHost(input('weight', { out: sizes['out'] ?? 0, in: sizes['in'] ?? 0 })),
  handed: () => [],
})

const activationTrial = (sizes: SiteSizes): Trial<'activation'> => ({
  x: input('x', { token: TOKENS, in: sizes['in'] ?? 0 }),
  host: { call: (x) => x },
  handed: () => [],
})

const attentionTrial = (sizes: SiteSizes): Trial<'attention'> => {
  const { kv = 0, group = 0, h = 0, in: width = 0 } = sizes
  const handed: AttentionInput[] = []
  const project = (name: string) => (x: Tensor<'token' | 'in'>) => {
    const weight = kit.input(
      name,
      [
        { name: 'kv', size: dim(kv) },
        { name: 'h', size: dim(h) },
        { name: 'in', size: dim(width) },
      ],
      'f32',
    )
    return wrap<'token' | 'kv' | 'h'>(kit.dot(x.node, weight, ['in']))
  }
  const heads = (name: string, tokens: Readonly<Record<string, DimLike>>) => input(name, { ...tokens, kv, h })
  return {
    x: {
      q: input('q', { token: TOKENS, kv, group, h }),
      k: heads('k', { key: KEYS }) as Tensor<'key' | 'kv' | 'h'>,
      v: heads('v', { key: KEYS }) as Tensor<'key' | 'kv' | 'h'>,
    },
    host: {
      projectKey: project('projectKey'),
      projectValue: project('projectValue'),
      call: (given) => {
        handed.push(given)
        return input(`attended.${String(handed.length)}`, { token: TOKENS, kv, group, h })
      },
    },
    handed: () => handed.flatMap(({ q, k, v }) => [q.node, k.node, v.node]),
  }
}

const trials: { readonly [K in SiteKind]: (sizes: SiteSizes) => Trial<K> } = {
  linear: linearTrial,
  activation: activationTrial,
  attention: attentionTrial,
}

// ---------------------------------------------------------------------------------- combinators

/** axes of a node's arguments (of its result, for leaves) whose positions the result mixes or counts */
const mixedAxes = (n: Node): ReadonlyArray<string> => {
  switch (n.op) {
    case 'reduce':
    case 'dot':
      return n.attrs.over
    case 'reshape':
      return [...n.attrs.from, ...n.attrs.to.map((d) => d.name)]
    case 'slice':
    case 'pad':
    case 'concat':
    case 'gather':
    case 'cumsum':
    case 'argmax':
    case 'iota':
      return [n.attrs.axis]
    case 'scatterAdd':
      return [n.attrs.axis, ...n.attrs.over]
    case 'solve':
    case 'triSolve':
      return [n.attrs.row, n.attrs.col]
    case 'randomBits':
      return n.type.dims.map((d) => d.name)
    case 'call':
      return n.args.flatMap((a) => a.type.dims.map((d) => d.name))
    case 'input':
    case 'const':
    case 'map':
    case 'cast':
    case 'rename':
    case 'broadcast':
    case 'stopGrad':
    case 'fault':
      return []
    default:
      return n satisfies never
  }
}

const isToken = (n: Node, axis: string): boolean =>
  n.type.dims.some((d) => d.name === axis && symbolsOf(d.size).some((s) => s === TOKENS || s === KEYS))

const mixes = (n: Node): boolean => mixedAxes(n).some((axis) => [n, ...n.args].some((m) => isToken(m, axis)))

/** a result must have the one token axis that it should have, under its own name, and no other */
const keeps = (n: Node, axis: string, size: string): boolean =>
  n.type.dims.every((d) => (d.name === axis ? d.size.key === dim(size).key : !isToken(n, d.name)))

// --------------------------------------------------------------------------------- interpreters

const trialOf = (adapter: Adapter, config: Config, sizes: SiteSizes): string | undefined => {
  const { x, host, handed } = trials[adapter.site](sizes)
  const params: Params = Object.fromEntries(
    Object.entries(adapter.params(config, sizes)).map(([name, p]) => [
      name,
      wrap<string>(
        kit.input(
          `param.${name}`,
          p.axes.map((a) => ({ name: a, size: dim(p.sizes[a] ?? 0) })),
          'f32',
        ),
      ),
    ]),
  )
  const y = adapter.apply(config)(params, x, host, {})
  const traced = program('trial', { y })
  if (E.isLeft(traced)) return traced.left[0].actual
  const given = handed()
  const mixing = topological([y.node, ...given]).find(mixes)
  if (mixing !== undefined) return `its ${mixing.op} looks from one token at another`
  const apart =
    keeps(y.node, 'token', TOKENS) &&
    given.every((n, i) => (i % 3 === 0 ? keeps(n, 'token', TOKENS) : keeps(n, 'key', KEYS)))
  return apart ? undefined : 'it changes which tokens there are'
}

/** Why this adapter's tokens cannot be read one at a time; absent: they can, for all sizes. */
export const whyNotTokenWise = ({ adapter, config, sites }: Grafted): string | undefined => {
  const seen = new Set<string>()
  for (const { sizes } of sites) {
    const key = JSON.stringify(sizes)
    if (seen.has(key)) continue
    seen.add(key)
    const reason = trialOf(adapter, config, sizes)
    if (reason !== undefined) return reason
  }
  return undefined
}
