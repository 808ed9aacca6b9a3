/** Laws against what lies outside: another implementation's numbers, and the targets that kernels run on. */
import * as E from 'fp-ts/lib/Either.js'
import { compileNow, type TargetName } from '../../codegen/index.ts'
import { literal } from '../../dsl/dim.ts'
import type { Node } from '../../dsl/node.ts'
import { value } from '../../dsl/value.ts'
import type { Claim, Config, Executor, Law } from '../adapter.ts'
import { kit } from '../../dsl/build.ts'
import { generic, gradients, of, probe, total } from './graph.ts'
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

/** cases of a law for which every case is compiled */
const COMPILED_CASES = 5

/** apply and its gradients on a target, under the bound of the target's format at the inputs it was given */
export const targetsAgree = (target: string, execute: Executor): Law => ({
  name: 'targetsAgree',
  doc: `apply and its gradients, compiled for ${target}, agree with the oracle`,
  mostCases: COMPILED_CASES,
  claims: (s) => {
    const y = s.run(s.params, s.x, s.host)
    // a gradient may vanish: it is measured against the sum whose derivative it is
    const scale =
      y.node.op === 'fault' ? y : of(total(kit.map('abs', kit.map('mul', y.node, generic('ct', y.node.type.dims)))))
    return [
      { kind: 'executed', label: `${target}: y`, tensor: y, execute },
      ...Object.entries(gradients(probe(y.node), { ...s.params, ...s.xs }))
        .filter(([, g]) => g.node.op !== 'fault' && g.node.type.dims.every((d) => literal(d.size) !== 0))
        .map(([n, tensor]): Claim => ({
          kind: 'executed',
          label: `${target}: gradient of ${n}`,
          tensor,
          scale,
          execute,
        })),
    ]
  },
})

/** Runs a program on a target: f32 in, f32 out. */
export const onTarget =
  (target: TargetName): Executor =>
  (program, inputs) =>
    E.flatMap(compileNow(program, { target }), (executable) => {
      const arrays = Object.fromEntries(
        program.inputs.map(({ name, node }) => {
          const { data } = inputs[name]!
          return [name, node.type.dtype === 'u32' ? Uint32Array.from(data) : Float32Array.from(data)]
        }),
      )
      const ran = executable.runNow(arrays)
      executable.dispose()
      return E.map((out: Readonly<Record<string, Float32Array>>) =>
        Object.fromEntries(
          program.outputs.map(({ name, node }) => [
            name,
            {
              dims: node.type.dims.map((d) => ({ name: d.name, size: literal(d.size) ?? 0 })),
              data: Float64Array.from(out[name]!),
            },
          ]),
        ),
      )(ran)
    })
