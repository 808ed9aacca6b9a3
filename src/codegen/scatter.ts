/**
 * scatterAdd on targets with blocks: every result cell gathers what belongs to it.
 *
 *     y[v] = sum over p with ids[p] = v of u[p]
 *
 * Positions that are known when the program is compiled are turned round: y[v] = sum_s u[p_s(v)] for the few p_s(v) of
 * each v. Others become a contraction with [ids[p] = v], which is as fast as contractions are. There 0 times a
 * value that is not finite is NaN, so such a value reaches every v, not its own alone.
 */
import { kit } from '../dsl/build.ts'
import { literal } from '../dsl/dim.ts'
import type { Node, NodeOf } from '../dsl/node.ts'
import { rewrite, withOutputs } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import { lowerScatter } from './lower.ts'
import type { Split } from './split.ts'

/** from so many updates of one cell on it is no gather any more */
const MOST = 4

/** p_s(v) for s = 0, 1, ...; a position past the end where v has no more */
const inverse = (ids: Value, size: number): ReadonlyArray<Float64Array> | undefined => {
  const found: number[][] = Array.from({ length: size }, () => [])
  ids.data.forEach((v, p) => found[v]?.push(p))
  const most = found.reduce((m, l) => Math.max(m, l.length), 0)
  if (most > MOST) return undefined
  return Array.from({ length: most }, (_, s) => Float64Array.from(found, (l) => l[s] ?? ids.data.length))
}

const FLAT = "flat'"

export const placeScatters = (split: Split): Split => {
  const added: Record<string, Value> = {}
  const constants = (): Readonly<Record<string, Value>> => ({ ...split.constants, ...added })

  const gathers = (updates: Node, n: NodeOf<'scatterAdd'>): Node | undefined => {
    const ids = n.args[1]!
    const { axis, over } = n.attrs
    const known = ids.op === 'input' ? split.constants[ids.attrs.name] : undefined
    const size = literal(n.attrs.size)
    const isWhole = ids.type.dims.length === over.length && over.every((o) => ids.type.dims.some((d) => d.name === o))
    if (known === undefined || size === undefined || !isWhole) return undefined
    const positions = inverse(known, size)
    if (positions === undefined) return undefined
    const length = known.data.length
    const order = known.dims.map((d) => d.name)
    const flat = kit.reshape(updates, order, [{ name: FLAT, size: kit.iota(FLAT, length).type.dims[0]!.size }])
    const parts = positions.map((data) => {
      const name = `constant.${String(Object.keys(constants()).length)}`
      const dims = [{ name: axis, size }]
      added[name] = { dims, data }
      return kit.gather(flat, kit.input(name, kit.iota(axis, size).type.dims, 'i32'), FLAT)
    })
    return parts.length === 0 ? undefined : parts.reduce((a, b) => kit.map('add', a, b))
  }

  const contraction = (updates: Node, ids: Node, n: NodeOf<'scatterAdd'>): Node => {
    const { axis, size, over } = n.attrs
    if (over.length === 0 || updates.type.dims.every((d) => ids.type.dims.some((e) => e.name === d.name)))
      return lowerScatter(updates, ids, axis, size, over)
    const here = kit.map('eq', ids, kit.iota(axis, size))
    return kit.dot(kit.map('select', here, kit.scalar(1), kit.scalar(0)), updates, over)
  }

  const outputs = rewrite(
    split.device.outputs.map((o) => o.node),
    (n, args) =>
      n.op === 'scatterAdd' ? (gathers(args[0]!, n) ?? contraction(args[0]!, args[1]!, n)) : kit.rebuild(n, args),
  )
  const inputs = Object.entries(added).map(([name, { dims }]) => ({
    name,
    node: kit.input(
      name,
      dims.map((d) => kit.iota(d.name, d.size).type.dims[0]!),
      'i32',
    ),
  }))
  const device = withOutputs(split.device, outputs)
  return { ...split, device: { ...device, inputs: [...device.inputs, ...inputs] }, constants: constants() }
}
