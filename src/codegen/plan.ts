/**
 * The plan of a program with blocks: its schedule, and the place of every value between launches in one memory. As text,
 * and its meaning: the calls in order, each by the kernel interpreter, on what the ones before it left in that memory.
 */
import type { Sizes } from '../dsl/dim.ts'
import type { Node } from '../dsl/node.ts'
import type { Pair } from './kernel/in-place.ts'
import { runKernel, showReport } from './kernel/interpret.ts'
import type { Argument } from './recipes/c/index.ts'
import type { Call, Schedule } from './schedule.ts'

// ---------------------------------------------------------------------------------------- model

export interface Plan {
  readonly schedule: Schedule
  /** by value, in floats; outputs have none, they lie in memory of their own */
  readonly offsets: ReadonlyMap<Node, number>
  /** of the arena, in floats */
  readonly size: number
}

export interface PlanRun {
  /** values without a place in the arena, as their launches made them */
  readonly results: ReadonlyMap<Node, Float64Array>
  /** what the kernel interpreter saw and a correct kernel never does */
  readonly reports: ReadonlyArray<string>
}

// --------------------------------------------------------------------------------- interpreters

const label = (n: Node): string => (n.op === 'input' ? n.attrs.name : `#${String(n.id)}`)

const showDims = (n: Node): string => `[${n.type.dims.map((d) => `${d.name}:${d.size.key}`).join(', ')}]`

/** A launch a paragraph, a call a line: `dots (x, panels of W) -> #12[token:T, out:64] at 128`. */
export const showPlan = ({ schedule, offsets, size }: Plan): string => {
  const { kernels, packed, takes, launches } = schedule
  const nameOf = (kernel: number): string => `${String(kernel)} ${kernels[kernel]!.name}`
  const given = (a: Argument): string =>
    a.kind === 'node' ? label(a.node) : `panels of ${a.packed.args.map(label).join(', ')}`
  const made = (n: Node): string => {
    const [at, operand] = [offsets.get(n), takes.get(n)]
    return `${label(n)}${showDims(n)}${at === undefined ? '' : ` at ${String(at)}`}${operand === undefined ? '' : `, where ${label(operand)} was`}`
  }
  const showCall = ({ kernel, args, results }: Call): string =>
    `  ${nameOf(kernel)} (${args.map(given).join(', ')}) -> ${results.map(made).join('; ')}`
  return [
    `${String(kernels.length)} kernels, an arena of ${String(size)} floats`,
    ...(packed.length === 0 ? [] : ['once']),
    ...packed.map((p) => `  ${nameOf(p.kernel)} (${p.packed.args.map(label).join(', ')}) -> panels`),
    ...launches.flatMap((calls, i) => [`launch ${String(i)}`, ...calls.map(showCall)]),
  ].join('\n')
}

/**
 * In f64; `sizes` of the symbols, `given` for what no launch makes. Memory that nothing was written to yet is NaN; a value
 * is read as what lies in its place then, whoever wrote it.
 */
export const runPlan = (
  { schedule, offsets, size }: Plan,
  sizes: Sizes,
  given: (n: Node) => Float64Array,
  sizeOf: (n: Node) => number,
): PlanRun => {
  const arena = new Float64Array(size).fill(NaN)
  const results = new Map<Node, Float64Array>()
  const reports: string[] = []
  const valueOf = (n: Node): Float64Array => {
    const at = offsets.get(n)
    return at === undefined ? (results.get(n) ?? given(n)) : arena.slice(at, at + sizeOf(n))
  }
  const run = (kernel: number, args: ReadonlyArray<Float64Array>, inPlace: ReadonlyArray<Pair>) => {
    const k = schedule.kernels[kernel]!
    const made = runKernel(k, args, sizes, undefined, inPlace)
    reports.push(...made.reports.map((r) => `${k.name}: ${showReport(r)}`))
    return made.outputs
  }
  const panels = new Map(
    schedule.packed.map(({ packed, kernel }) => [packed.key, run(kernel, packed.args.map(valueOf), [])[0]!]),
  )
  const pairsOf = ({ kernel, args, results: made }: Call): ReadonlyArray<Pair> => {
    const { params, outputs } = schedule.kernels[kernel]!
    return made.flatMap((n, j): ReadonlyArray<Pair> => {
      const operand = schedule.takes.get(n)
      const i = args.findIndex((a) => a.kind === 'node' && a.node === operand)
      return operand === undefined || i < 0 ? [] : [{ operand: params[i]!.name, result: outputs[j]!.name }]
    })
  }
  for (const call of schedule.launches.flat()) {
    const args = call.args.map((a) => (a.kind === 'node' ? valueOf(a.node) : panels.get(a.packed.key)!))
    run(call.kernel, args, pairsOf(call)).forEach((data, i) => {
      const n = call.results[i]!
      const at = offsets.get(n)
      if (at === undefined) results.set(n, data)
      else arena.set(data, at)
    })
  }
  return { results, reports }
}
