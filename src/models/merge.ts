/** Merging: the model whose weights are W' at every site of a grafted adapter, computed in f64 and rounded once. */
import * as E from 'fp-ts/lib/Either.js'
import { linearHost } from '../adapters/adapter.ts'
import { deriveMerge, mergeWeight } from '../adapters/merge.ts'
import { kit } from '../dsl/build.ts'
import { dim, evaluate, program, wrap, type Checked, type Value, type Values } from '../dsl/index.ts'
import { layOut } from '../dsl/value.ts'
import { graftedParams, type Grafted } from './graft.ts'

const inputOf = (name: string, v: Value): ReturnType<typeof wrap<string>> =>
  wrap(
    kit.input(
      name,
      v.dims.map((d) => ({ name: d.name, size: dim(d.size) })),
      'f32',
    ),
  )

/** Beyond this share of the weights' size, b' is no rounding error. */
const NEARLY_ZERO = 1e-9

const largest = (v: Value): number => v.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0)

/** b' = apply(0) has no place in a model without biases. */
const withoutBias = (grafted: Grafted, merged: Value, bias: Value): Checked<Value> =>
  largest(bias) <= NEARLY_ZERO * largest(merged)
    ? E.right(merged)
    : E.left([
        {
          at: `merge of ${grafted.adapter.name}`,
          expected: 'an adapter that maps 0 to 0, since the model has no biases',
          actual: `a bias of up to ${largest(bias).toPrecision(3)}`,
        },
      ])

/** W' (out, in) of one site, in f64. `params` are those of the site, by parameter name. */
const mergedWeight = (grafted: Grafted, weight: Value, params: Values): Checked<Value> => {
  const inputs = Object.fromEntries(Object.entries(params).map(([n, v]) => [n, inputOf(n, v)]))
  const host = linearHost(wrap(inputOf('weight', weight).node))
  const merged = mergeWeight(grafted.adapter, grafted.config)(inputs, host)
  const { bias } = deriveMerge(grafted.adapter, grafted.config)(inputs, host)
  return E.flatMap(program(`${grafted.adapter.name}.merge`, { merged, bias }), (p) =>
    E.flatMap(evaluate(p, { weight, ...params }), ({ outputs }) =>
      withoutBias(grafted, layOut(outputs['merged']!, weight.dims), outputs['bias']!),
    ),
  )
}

/**
 * The weights with every adapted one replaced, each number rounded once, as `rounding` says for the weight's name. Errors: an adapter that is no change
 * of linear layers' weights (other sites, not linear in its input, a bias).
 */
export const mergeInto = (
  weights: Values,
  grafted: Grafted,
  params: Values,
  rounding: (name: string) => (x: number) => number = () => Math.fround,
): Checked<Values> => {
  const { adapter } = grafted
  const why =
    adapter.site !== 'linear'
      ? `an adapter of ${adapter.site} sites`
      : adapter.fails?.['linearInInput'] === undefined
        ? undefined
        : `one that is not linear in its input: ${adapter.fails['linearInInput']}`
  if (why !== undefined)
    return E.left([
      {
        at: `merge of ${adapter.name}`,
        expected: 'an adapter of linear layers, which is a change of their weights',
        actual: why,
        hint: 'keep it as an adapter beside the model',
      },
    ])
  const all = graftedParams(grafted)
  const merged: Record<string, Value> = { ...weights }
  for (const { path } of grafted.sites) {
    const name = `${path}.weight`
    const weight = weights[name]
    if (weight === undefined) return E.left([{ at: name, expected: 'a weight of the model', actual: 'none' }])
    const own = Object.fromEntries(all.filter((p) => p.path === path).map((p) => [p.param, params[p.name]!]))
    const w = mergedWeight(grafted, weight, own)
    if (E.isLeft(w)) return w
    merged[name] = { dims: w.right.dims, data: w.right.data.map(rounding(name)) }
  }
  return E.right(merged)
}
