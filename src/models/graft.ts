/**
 * Grafting: where a model lets adapters in, and how an adapter with its parameters becomes part of the
 * model's forward pass. A site has a module path (Hugging Face's words) and a kind.
 */
import * as E from 'fp-ts/lib/Either.js'
import type {
  ActivationHost,
  Adapter,
  AttentionHost,
  Config,
  Context,
  LinearHost,
  Param,
  Params,
  SiteKind,
  Sites,
} from '../adapters/adapter.ts'
import { kit } from '../dsl/build.ts'
import { evalDim } from '../dsl/dim.ts'
import { layOut } from '../dsl/value.ts'
import {
  childKey,
  dim,
  evaluate,
  keyInput,
  keyWords,
  program,
  value,
  wrap,
  type Checked,
  type Value,
} from '../dsl/index.ts'

// ---------------------------------------------------------------------------------------- model

/** A place of a model where an adapter may sit. */
export interface Site {
  readonly kind: SiteKind
  /** the module path, e.g. `model.layers.0.self_attn.q_proj` */
  readonly path: string
  readonly sizes: Readonly<Record<string, number>>
}

/** What a model calls at its sites: the host's own behaviour, or an adapter around it. */
export interface Graft {
  readonly linear: (path: string, host: LinearHost) => LinearHost['call']
  readonly activation: (path: string, host: ActivationHost) => ActivationHost['call']
  readonly attention: (path: string, host: AttentionHost) => AttentionHost['call']
}

/** An adapter, configured, at the sites it was put on. */
export interface Grafted {
  readonly adapter: Adapter
  readonly config: Config
  readonly sites: ReadonlyArray<Site>
}

/** One trainable tensor of a grafted adapter. Its program input is called `<path>.<param>`. */
export interface GraftedParam {
  readonly name: string
  readonly path: string
  readonly param: string
  /** in file order */
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
}

// --------------------------------------------------------------------------------- constructors

/** The model as it is. */
export const ungrafted: Graft = {
  linear: (_, host) => host.call,
  activation: (_, host) => host.call,
  attention: (_, host) => host.call,
}

const matches = (path: string, target: string): boolean => path === target || path.endsWith(`.${target}`)

const layerOf = (path: string): number => Number(/\.(\d+)(\.|$)/.exec(path)?.[1] ?? -1)

/**
 * Puts an adapter on every site of its kind whose path is a target or ends in `.target` (PEFT's rule for
 * lists). A config field `layers` > 0 keeps the last so many layers (LLaMA-Adapter).
 */
export const graftOnto = (
  sites: ReadonlyArray<Site>,
  adapter: Adapter,
  config: Config,
  targets: ReadonlyArray<string> = adapter.targets,
): Checked<Grafted> => {
  const found = sites.filter((s) => s.kind === adapter.site && targets.some((t) => matches(s.path, t)))
  const last = config['layers']
  const depth = 1 + Math.max(-1, ...sites.map((s) => layerOf(s.path)))
  const kept = typeof last === 'number' && last > 0 ? found.filter((s) => layerOf(s.path) >= depth - last) : found
  return kept.length > 0
    ? E.right({ adapter, config, sites: kept })
    : E.left([
        {
          at: `adapter ${adapter.name}`,
          expected: `a ${adapter.site} site named ${targets.join(', ')}`,
          actual: `${[...new Set(sites.filter((s) => s.kind === adapter.site).map((s) => s.path.replace(/\.\d+\./, '.*.')))].join(', ') || 'none'} in the model`,
        },
      ])
}

const concreteShape = (p: Param<string>): ReadonlyArray<number> =>
  p.axes.map((a) => {
    const size = evalDim(dim(p.sizes[a] ?? 0), {})
    return E.isRight(size) ? size.right : 0
  })

/** Every trainable tensor, site by site. */
export const graftedParams = (g: Grafted): ReadonlyArray<GraftedParam> =>
  g.sites.flatMap(({ path, sizes }) =>
    Object.entries(g.adapter.params(g.config, sizes)).map(([param, p]) => ({
      name: `${path}.${param}`,
      path,
      param,
      axes: p.axes,
      shape: concreteShape(p),
    })),
  )

/** The parameters as program inputs, by site. */
const inputsAt = (g: Grafted): ReadonlyMap<string, Params> =>
  new Map(
    g.sites.map(({ path, sizes }) => [
      path,
      Object.fromEntries(
        Object.entries(g.adapter.params(g.config, sizes)).map(([name, p]) => [
          name,
          wrap<string>(
            kit.input(
              `${path}.${name}`,
              p.axes.map((a) => ({ name: a, size: dim(p.sizes[a] ?? 0) })),
              'f32',
            ),
          ),
        ]),
      ),
    ]),
  )

// ---------------------------------------------------------------------------------- combinators

/** The graft that applies the adapter at its sites, its parameters being inputs of the program; without one the model itself. */
export const asGraft = (g: Grafted | undefined, ctx: Context = {}): Graft => {
  if (g === undefined) return ungrafted
  const params = inputsAt(g)
  const apply = g.adapter.apply(g.config)
  const at =
    <K extends SiteKind>(kind: K) =>
    (path: string, host: Sites[K]['host']): ((x: Sites[K]['x']) => Sites[K]['y']) => {
      const p = g.adapter.site === kind ? params.get(path) : undefined
      const call = host.call as (x: Sites[K]['x']) => Sites[K]['y']
      // the declaration's types were checked where it was made: at a site of its kind x and host are what it takes
      return p === undefined ? call : (x) => apply(p, x, host, ctx)
    }
  return { linear: at('linear'), activation: at('activation'), attention: at('attention') }
}

/** The sum of the adapter's penalties over its sites, where it has one. */
export const penaltyOf = (g: Grafted): ReturnType<typeof wrap<never>> | undefined => {
  const penalty = g.adapter.penalty?.(g.config)
  if (penalty === undefined) return undefined
  return wrap([...inputsAt(g).values()].map((p) => penalty(p).node).reduce((a, b) => kit.map('add', a, b)))
}

// --------------------------------------------------------------------------------- interpreters

/** Initial values of all parameters, by input name: site number i draws from the seed's i-th child key. */
export const initialParams = (
  g: Grafted,
  seed: number,
  weightAt: (path: string) => Value | undefined = () => undefined,
): Checked<Readonly<Record<string, Value>>> => {
  const values: Record<string, Value> = {}
  for (const [i, { path, sizes }] of g.sites.entries()) {
    const weight = weightAt(path)
    const host =
      weight === undefined
        ? { sizes }
        : {
            sizes,
            weight: wrap<'out' | 'in'>(
              kit.input(
                'weight',
                weight.dims.map((d) => ({ name: d.name, size: dim(d.size) })),
                'f32',
              ),
            ),
          }
    const specs = g.adapter.params(g.config, sizes)
    const made = g.adapter.init(g.config)(childKey(keyInput('key'), i), host)
    const traced = program(`${g.adapter.name}.init`, made.params)
    if (E.isLeft(traced)) return traced
    const inputs = { key: value({ word: 2 }, keyWords(seed)), ...(weight === undefined ? {} : { weight }) }
    const run = evaluate(traced.right, inputs)
    if (E.isLeft(run)) return run
    for (const [name, p] of Object.entries(specs)) {
      const v = run.right.outputs[name]
      if (v === undefined)
        return E.left([
          {
            at: `${g.adapter.name}.init`,
            expected: `parameter '${name}'`,
            actual: Object.keys(run.right.outputs).join(', '),
          },
        ])
      values[`${path}.${name}`] = inFileOrder(v, p.axes)
    }
  }
  return E.right(values)
}

/** axes in file order, numbers as f32 holds them */
const inFileOrder = (v: Value, axes: ReadonlyArray<string>): Value => {
  const dims = axes.map((name) => ({ name, size: v.dims.find((d) => d.name === name)?.size ?? 0 }))
  const laid = layOut(v, dims)
  return { dims, data: laid.data.map(Math.fround) }
}
