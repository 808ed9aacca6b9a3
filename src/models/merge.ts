/** Merging: the model whose weights are W' at every site of a grafted adapter, computed in f64 and rounded once. */
import * as E from 'fp-ts/lib/Either.js'
import { linearHost } from '../adapters/adapter.ts'
import { mergeWeight } from '../adapters/merge.ts'
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

/** W' (out, in) of one site, in f64. `params` are those of the site, by parameter name. */
const mergedWeight = (grafted: Grafted, weight: Value, params: Values): Checked<Value> => {
  const inputs = Object.fromEntries(Object.entries(params).map(([n, v]) => [n, inputOf(n, v)]))
  const host = linearHost(wrap(inputOf('weight', weight).node))
  const merged = mergeWeight(grafted.adapter, grafted.config)(inputs, host)
  return E.flatMap(program(`${grafted.adapter.name}.merge`, { merged }), (p) =>
    E.map((run: { readonly outputs: Values }) => layOut(run.outputs['merged']!, weight.dims))(
      evaluate(p, { weight, ...params }),
    ),
  )
}

/** The weights with every adapted one replaced. An adapter that does not sit on linear layers cannot be merged: a fault. */
export const mergeInto = (weights: Values, grafted: Grafted, params: Values): Checked<Values> => {
  if (grafted.adapter.site !== 'linear')
    return E.left([
      {
        at: `merge of ${grafted.adapter.name}`,
        expected: 'an adapter of linear layers, which is a change of their weights',
        actual: `an adapter of ${grafted.adapter.site} sites`,
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
    merged[name] = { dims: w.right.dims, data: w.right.data.map(Math.fround) }
  }
  return E.right(merged)
}
