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

/** places of one launch that meet: a result with what another call, or the same one, has */
const meetings = (
  calls: ReadonlyArray<Call>,
  rangeOf: (n: Node) => readonly [number, number] | undefined,
): ReadonlyArray<{ readonly call: Call; readonly result: Node; readonly with: Node; readonly by: Call }> =>
  calls.flatMap((call) =>
    call.results.flatMap((result) =>
      calls.flatMap((by) =>
        [...by.args.flatMap((a) => (a.kind === 'node' ? [a.node] : [])), ...by.results]
          .filter((n) => n !== result)
          .flatMap((n) => {
            const [a, b] = [rangeOf(result), rangeOf(n)]
            return a === undefined || b === undefined || a[0] >= b[1] || b[0] >= a[1]
              ? []
              : [{ call, result, with: n, by }]
          }),
      ),
    ),
  )

/**
 * In f64; `sizes` of the symbols, `given` for what no launch makes. Memory that nothing was written to yet is NaN; a value
 * is read as what lies in its place then, whoever wrote it. A result that lies exactly where an operand of its call does
 * overwrites it as the kernel goes; other places that meet within a launch are reported.
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
  const rangeOf = (n: Node): readonly [number, number] | undefined => {
    const at = offsets.get(n)
    return at === undefined ? undefined : [at, at + sizeOf(n)]
  }
  const valueOf = (n: Node): Float64Array => {
    const range = rangeOf(n)
    return range === undefined ? (results.get(n) ?? given(n)) : arena.slice(...range)
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
  for (const calls of schedule.launches) {
    const inPlace = new Map<Call, Pair[]>(calls.map((c) => [c, []]))
    for (const { call, result, with: other, by } of meetings(calls, rangeOf)) {
      const { params, outputs } = schedule.kernels[call.kernel]!
      const at = call.args.flatMap((a, i) => (a.kind === 'node' && a.node === other ? [i] : []))
      if (call === by && at.length === 1 && String(rangeOf(result)) === String(rangeOf(other)))
        inPlace.get(call)!.push({ operand: params[at[0]!]!.name, result: outputs[call.results.indexOf(result)]!.name })
      else reports.push(`${label(result)} lies across ${label(other)} in one launch`)
    }
    for (const call of calls) {
      const args = call.args.map((a) => (a.kind === 'node' ? valueOf(a.node) : panels.get(a.packed.key)!))
      run(call.kernel, args, inPlace.get(call)!).forEach((data, i) => {
        const n = call.results[i]!
        const range = rangeOf(n)
        if (range === undefined) results.set(n, data)
        else arena.set(data, range[0])
      })
    }
  }
  return { results, reports }
}
