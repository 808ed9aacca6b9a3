/** What was compiled, kernel by kernel: the data behind `explain`. */
import type { Node } from '../../dsl/node.ts'
import type { Launch, Plan } from '../gather/plan.ts'
import { count } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

export interface KernelReport {
  readonly name: string
  /** which launch runs it: small independent kernels share one */
  readonly launch: number
  /** axes and sizes of the result, as `[token:128, out:64]` */
  readonly result: string
  /** operations in one kernel, in order */
  readonly fused: ReadonlyArray<string>
  /** why its result has a buffer */
  readonly boundary: string
  readonly inputs: ReadonlyArray<string>
  readonly flops: number
  /** bytes of every distinct buffer read, and of the result */
  readonly bytesRead: number
  readonly bytesWritten: number
  /** results that take the place of an operand: `dot_add for 3_mul` */
  readonly inPlace?: ReadonlyArray<string>
  /** whether some result is one of the program's */
  readonly isOutput: boolean
  /** what a block or thread needs of the machine, by name, where the target says: registers, shared memory */
  readonly resources?: Readonly<Record<string, string>>
  readonly source: string
}

export interface Report {
  readonly program: string
  readonly target: string
  readonly kernels: ReadonlyArray<KernelReport>
  readonly launches: number
  readonly distinctKernels: number
  readonly flops: number
  readonly bytesRead: number
  readonly bytesWritten: number
  /** inputs read once and outputs written once */
  readonly minimumBytes: number
  /** memory for what lies between the kernels, where the target places it */
  readonly arenaBytes?: number
}

const BYTES = 4

// --------------------------------------------------------------------------------- constructors

const label = (names: ReadonlyMap<Node, string>, n: Node): string =>
  n.op === 'input' ? n.attrs.name : (names.get(n) ?? `#${String(n.id)}`)

/** `3_dot_add`: the number of the launch and what it ends in */
const nameOf = (i: number, ops: ReadonlyArray<string>): string => {
  const telling = ops.filter((o) => !['rename', 'broadcast', 'reshape', 'slice', 'iota'].includes(o))
  return [String(i), ...new Set(telling.slice(0, 3))].join('_')
}

const sum = (xs: ReadonlyArray<number>): number => xs.reduce((a, b) => a + b, 0)

export const reportOf = (plan: Plan, target: string, sourceOf = (l: Launch) => l.printed.source): Report => {
  const names = new Map(plan.launches.map((l, i) => [l.root, nameOf(i, l.ops)]))
  const results = new Set(plan.program.outputs.map((o) => o.node))
  const kernels = plan.launches.map((l, launch): KernelReport => ({
    name: names.get(l.root)!,
    launch,
    result: `[${l.root.type.dims.map((d) => `${d.name}:${d.size.key}`).join(', ')}]`,
    fused: l.ops,
    boundary: l.reason,
    inputs: l.args.map((a) => label(names, a)),
    flops: l.flops,
    bytesRead: BYTES * sum(l.args.map(count)),
    bytesWritten: BYTES * count(l.root),
    isOutput: results.has(l.root),
    source: sourceOf(l),
  }))
  const { inputs, outputs, name } = plan.program
  return {
    program: name,
    target,
    kernels,
    launches: kernels.length,
    distinctKernels: new Set(
      plan.launches.map((l) => `${l.kernel.outputs[0]!.shape.map((d) => d.key).join('x')} ${l.printed.source}`),
    ).size,
    flops: sum(kernels.map((k) => k.flops)),
    bytesRead: sum(kernels.map((k) => k.bytesRead)),
    bytesWritten: sum(kernels.map((k) => k.bytesWritten)),
    minimumBytes: BYTES * (sum(inputs.map((i) => count(i.node))) + sum(outputs.map((o) => count(o.node)))),
  }
}

/** A target without kernels. */
export const emptyReport = (program: string, target: string): Report => ({
  program,
  target,
  kernels: [],
  launches: 0,
  distinctKernels: 0,
  flops: 0,
  bytesRead: 0,
  bytesWritten: 0,
  minimumBytes: 0,
})

// --------------------------------------------------------------------------------- interpreters

const showResources = ({ resources }: KernelReport): string =>
  resources === undefined
    ? ''
    : `; ${Object.entries(resources)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}`

const showPlaces = ({ inPlace }: KernelReport): string =>
  inPlace === undefined ? '' : `\n  in place: ${inPlace.join(', ')}`

/** The report as text, sources last where asked for. */
export const showReport = (r: Report, withSources = false): string =>
  [
    `${r.program} for ${r.target}: ${String(r.launches)} launches of ${String(r.distinctKernels)} distinct kernels, ${(r.flops / 1e6).toFixed(2)} MFLOP`,
    `bytes read ${String(r.bytesRead)}, written ${String(r.bytesWritten)}, minimum ${String(r.minimumBytes)}${r.arenaBytes === undefined ? '' : `, arena ${String(r.arenaBytes)}`}`,
    ...r.kernels.map(
      (k) =>
        `${k.name} ${k.result} <- ${k.inputs.join(', ')}${showPlaces(k)}\n  fused: ${k.fused.join(' ')}\n  boundary: ${k.boundary}; ${String(k.flops)} flop, ${String(k.bytesRead)} B in, ${String(k.bytesWritten)} B out${showResources(k)}${
          withSources ? `\n${k.source.replace(/^/gm, '  ')}` : ''
        }`,
    ),
  ].join('\n')
