/** Laws against what lies outside: another implementation's numbers, and the targets that kernels run on. */
import { literal } from '../../dsl/dim.ts'
import type { Node } from '../../dsl/node.ts'
import { value } from '../../dsl/value.ts'
import type { Config, Executor, Law } from '../adapter.ts'
import { specimen } from './specimen.ts'

/** One case that another implementation computed; every tensor row-major, in the order of its declared axes. */
export interface GoldenRow {
  readonly label: string
  readonly config: Config
  /** sizes of the site's axes and of `token` */
  readonly sizes: Readonly<Record<string, number>>
  /** inputs by name: `x` (or q, k, v), `weight`, `bias`, and `p.<parameter>` */
  readonly inputs: Readonly<Record<string, ReadonlyArray<number>>>
  /** the output with its axes in order */
  readonly expected: { readonly shape: Readonly<Record<string, number>>; readonly data: ReadonlyArray<number> }
}

const shapeOf = (x: Node | undefined): Readonly<Record<string, number>> =>
  Object.fromEntries((x?.type.dims ?? []).map((d) => [d.name, literal(d.size) ?? 0]))

/** apply gives the numbers of another implementation, within the bound of f32 */
export const matchesReference = (rows: ReadonlyArray<GoldenRow>): Law => ({
  name: 'matchesReference',
  doc: "apply gives another implementation's numbers",
  claims: ({ adapter }) =>
    rows.map((row) => {
      const s = specimen(adapter, row.config, row.sizes)
      const ports = {
        ...s.xs,
        ...s.frozen,
        ...Object.fromEntries(Object.entries(s.params).map(([n, p]) => [`p.${n}`, p])),
      }
      const inputs = Object.fromEntries(
        Object.entries(row.inputs).map(([n, data]) => [n, value(shapeOf(ports[n]?.node), data)]),
      )
      const expected = value(row.expected.shape, row.expected.data)
      return { kind: 'golden', label: row.label, tensor: s.run(s.params, s.x, s.host), inputs, expected }
    }),
})

/** apply on a target, under the bound of the target's format at the inputs it was given */
export const targetsAgree = (target: string, execute: Executor): Law => ({
  name: `targetsAgree:${target}`,
  doc: `apply compiled for ${target} agrees with the oracle`,
  claims: (s) => [{ kind: 'executed', label: target, tensor: s.run(s.params, s.x, s.host), execute }],
})
