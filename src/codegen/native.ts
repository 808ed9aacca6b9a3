/** A program on the C target: fused, scheduled, compiled, and bound to memory. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import type { Node } from '../dsl/node.ts'
import type { Program } from '../dsl/program.ts'
import { layOut, sameDims, type Value } from '../dsl/value.ts'
import { checkInto, type Arrays, type Executable, type Results } from './executable.ts'
import { originOf } from './fuse/alias.ts'
import { givensOf, type Given, type Givens } from './givens.ts'
import { checkFrozen, type concreteDims } from './oracle.ts'
import { bind, blockStages, type BlockStages } from './pipeline.ts'
import type { Argument } from './recipes/c/index.ts'
import { findCompiler } from './runtime/c.ts'
import { addressOf, behind, floats, loadKernels, sizeAt, type KernelsC } from './runtime/kernels-c.ts'
import { count } from './sizes.ts'
import { elementsOf, livesOf, placeValues, scheduleOf, type Schedule } from './schedule.ts'

// ---------------------------------------------------------------------------------------- model

export interface Native extends Pick<Executable, 'run' | 'runNow' | 'dispose'> {
  readonly stages: BlockStages
  readonly schedule: Schedule
  readonly source: KernelsC['source']
  /** floats between launches */
  readonly arena: number
  /** `runNow` with the seconds of each launch */
  readonly profile: (inputs: Arrays) => Checked<Float64Array>
}

export interface NativeOptions {
  readonly sizes?: Sizes
  readonly frozen?: Readonly<Record<string, Value>>
  readonly threads?: number
}

/** a value whose memory comes and goes with a run: where its addresses stand in the table */
interface Changing {
  readonly node: Node
  readonly at: ReadonlyArray<number>
}

// --------------------------------------------------------------------------------- constructors

/** a pass may have made a value whose axes lie in another order; the caller was promised the program's own */
const inOrder = (
  data: Float32Array,
  made: Node,
  promised: Node,
  dimsOf: (n: Node) => ReturnType<typeof concreteDims>,
): Float32Array => {
  const [from, to] = [dimsOf(made), dimsOf(promised)]
  return sameDims(from, to) ? data : Float32Array.from(layOut({ dims: from, data: Float64Array.from(data) }, to).data)
}

export const compileNative = (
  program: Program,
  { sizes = {}, frozen = {}, threads = 1 }: NativeOptions,
  simplify: (p: Program) => Program,
): Checked<Native> =>
  pipe(
    E.Do,
    E.bind('bound', () => bind(program, sizes)),
    E.bind('known', ({ bound }) => checkFrozen(bound, frozen)),
    E.bind('stages', () => blockStages(program, 'c', sizes, simplify)),
    E.bind('compiler', () => findCompiler()),
    E.let('givens', ({ bound, known, stages }) => givensOf(bound, stages.split, known, 'c', sizes)),
    E.let('schedule', ({ stages, givens, compiler }) =>
      scheduleOf(stages.fused, {
        width: compiler.widest,
        hasTiles: compiler.hasTiles,
        isShared: threads > 1,
        isFrozen: givens.isCaptured,
      }),
    ),
    E.bind('kernels', ({ schedule }) => loadKernels(schedule.kernels, { threads: threads > 1 })),
    E.map(({ bound, stages, givens, schedule, kernels }): Native => {
      const ready = bindProgram(bound, stages, givens, schedule, kernels, sizes, threads)
      return { ...ready, stages, schedule, source: kernels.source }
    }),
  )

const fault = (e: unknown): NonEmptyArray<Fault> => [
  { at: 'c', expected: 'the program to run', actual: e instanceof Error ? e.message : String(e) },
]

/** panels are filled before anything runs; what only they need is let go */
const fillPanels = (
  { packed: all }: Schedule,
  panels: ReadonlyMap<string, Float32Array>,
  givens: Givens,
  kernels: KernelsC,
  sizes: Sizes,
): void => {
  for (const { packed, kernel } of all) {
    const sources = packed.args.map(givens.captured)
    const buffers = [...sources, panels.get(packed.key)!].map(addressOf)
    kernels.bind([{ kernel, buffers }], sizes, 1).run()
    sources.length = 0 // held until here: addresses alone would let them be collected
  }
}

/** every value's address, and what a run has to change */
const bindProgram = (
  bound: Program,
  { fused }: BlockStages,
  givens: Givens,
  schedule: Schedule,
  kernels: KernelsC,
  sizes: Sizes,
  threads: number,
): Omit<Native, 'stages' | 'schedule' | 'source'> => {
  const { outputs } = fused.program
  const sizeOf = (n: Node): number => sizeAt(elementsOf(n), sizes)
  const dimsOf = (n: Node) => n.type.dims.map((d) => ({ name: d.name, size: sizeAt(d.size, sizes) }))
  const results = [...new Set(outputs.map((o) => originOf(o.node)).filter((n) => n.op !== 'input' && n.op !== 'const'))]
  const isResult: ReadonlySet<Node> = new Set(results)
  const lived = livesOf(schedule, (n) => isResult.has(n), sizeOf)
  const { offsets, size } = placeValues(lived, schedule.takes)

  // memory that stays: the arena, captured values, panels
  const arena = floats(size)
  const captured = new Map<Node, Float32Array>()
  const panels = new Map<string, Float32Array>()
  for (const { packed } of schedule.packed)
    panels.set(packed.key, floats(packed.buffer.shape.reduce((n, d) => n * sizeAt(d, sizes), 1)))
  const capturedAt = (n: Node): Float32Array => {
    const known = captured.get(n) ?? givens.captured(n)
    captured.set(n, known)
    return known
  }

  const changing = new Map<Node, number[]>()
  const table: bigint[] = []
  const base = addressOf(arena)
  const enter = (a: Argument): void => {
    const at = table.length
    if (a.kind === 'packed') return void table.push(addressOf(panels.get(a.packed.key)!))
    const { node } = a
    const offset = offsets.get(node)
    if (offset !== undefined) return void table.push(behind(base, offset))
    if (node.op === 'input' && givens.isCaptured(node)) return void table.push(addressOf(capturedAt(node)))
    changing.set(node, [...(changing.get(node) ?? []), at])
    table.push(0n)
  }
  const launches = schedule.launches.flat().map(({ kernel, args, results: made }) => {
    const from = table.length
    args.forEach(enter)
    made.forEach((node) => enter({ kind: 'node', node }))
    return { kernel, buffers: table.slice(from) }
  })
  fillPanels(schedule, panels, givens, kernels, sizes)
  const main = kernels.bind(launches, sizes, threads)
  const uploads = [...changing].filter(([n]) => n.op === 'input').map(([node, at]): Changing => ({ node, at }))
  const made = [...changing].filter(([n]) => n.op !== 'input').map(([node, at]): Changing => ({ node, at }))
  // addresses in the tables do not keep what they point to: this does, until the program is disposed of
  let memory: ReadonlyArray<Float32Array> | undefined = [arena, ...captured.values(), ...panels.values()]

  /** the caller's array for a value that is an output as it lies */
  const straight = new Map<Node, string>()
  outputs.forEach(({ name, node }, i) => {
    const origin = originOf(node)
    if (isResult.has(origin) && !straight.has(origin) && sameDims(dimsOf(node), dimsOf(bound.outputs[i]!.node)))
      straight.set(origin, name)
  })
  const straightInto = (n: Node, into: Results): Float32Array | undefined => into[straight.get(n) ?? '']
  const lengths = Object.fromEntries(bound.outputs.map((o) => [o.name, count(o.node)]))

  const execute = (given: Given, into: Results = {}, seconds?: Float64Array): Results => {
    const enterAll = ({ at }: Changing, data: Float32Array): Float32Array => {
      const address = addressOf(data)
      for (const i of at) main.addresses[i] = address
      return data
    }
    const arrays = new Map(uploads.map((u) => [u.node, enterAll(u, given(u.node))] as const))
    for (const m of made)
      arrays.set(m.node, enterAll(m, straightInto(m.node, into) ?? new Float32Array(sizeOf(m.node))))
    main.run(seconds)
    const taken = new Set<Node>()
    return Object.fromEntries(
      outputs.map(({ name, node }, i): readonly [string, Float32Array] => {
        if (node.op === 'const') return [name, Float32Array.of(node.attrs.value)]
        const origin = originOf(node)
        const data = isResult.has(origin) ? arrays.get(origin)! : given(origin)
        const target = into[name]
        const ordered = inOrder(data, node, promised[i]!, dimsOf)
        if (target === data) return [name, target]
        if (target !== undefined) {
          target.set(ordered)
          return [name, target]
        }
        const isShared = !isResult.has(origin) || taken.has(origin)
        taken.add(origin)
        return [name, ordered === data && isShared ? data.slice() : ordered]
      }),
    )
  }
  const promised = bound.outputs.map((o) => o.node)
  const attempt = <A>(f: () => A): Checked<A> =>
    memory === undefined ? E.left(fault('it was disposed of')) : E.tryCatch(f, fault)
  const runNow = (inputs: Arrays, into?: Results): Checked<Results> =>
    E.flatMap(checkInto(lengths, into), (arrays) =>
      E.flatMap(givens.of(inputs), (g) => attempt(() => execute(g, arrays))),
    )
  return {
    arena: size,
    runNow,
    run: (inputs, into) => TE.fromIOEither(() => runNow(inputs, into)),
    profile: (inputs) =>
      E.flatMap(givens.of(inputs), (g) =>
        attempt(() => {
          const seconds = new Float64Array(launches.length)
          execute(g, {}, seconds)
          return seconds
        }),
      ),
    // the object stays: another executable may have loaded it
    dispose: () => {
      memory = undefined
    },
  }
}
