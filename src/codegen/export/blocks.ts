/** What exports for targets with blocks share: launches of the two halves, distinct kernels with names, their manifest. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { Checked } from '../../dsl/fault.ts'
import { topological, type Node } from '../../dsl/node.ts'
import type { Program } from '../../dsl/program.ts'
import type { Fused } from '../fuse.ts'
import { originOf } from '../fuse/alias.ts'
import type { Group } from '../fuse/group.ts'
import { aliasedIn, lettingAlias, takesOf, type Takes } from '../in-place.ts'
import { keyOfKernel, symbolsOfKernel, type Kernel } from '../kernel/kernel.ts'
import type { BlockStages } from '../pipeline.ts'
import { blockPlanner } from './block-planner.ts'
import type { Exported } from './exported.ts'
import type { KernelEntry, ParameterEntry } from './manifest.ts'
import { constantsOf, planHalves, type PlannedHalves } from './plan-halves.ts'
import { sequenceOf, showSize, symbolName, symbolsIn } from './sequence.ts'

// ---------------------------------------------------------------------------------------- model

/** A kernel run on values. */
export interface Launched {
  readonly kernel: Kernel
  readonly groups: ReadonlyArray<Group>
  readonly args: ReadonlyArray<Node>
  readonly results: ReadonlyArray<Node>
  /** results that may take the place of an operand */
  readonly takes: Takes
}

/** What differs between targets. */
export interface BlockTarget {
  readonly name: 'c' | 'cuda'
  /** the kernels of one launch */
  readonly launch: (groups: ReadonlyArray<Group>) => Checked<ReadonlyArray<Omit<Launched, 'takes'>>>
  /** kernels with distinct names -> one source */
  readonly print: (kernels: ReadonlyArray<Kernel>) => string
  /** what the manifest says of a kernel beside names and parameters */
  readonly describe: (k: Kernel) => Partial<KernelEntry>
  /** bytes of a pointer and of a whole number, where the target packs parameters */
  readonly packing?: { readonly pointer: number; readonly int: number }
  readonly extension: Exported['extension']
  readonly compile: Exported['compile']
  readonly requirements: Exported['requirements']
}

// ------------------------------------------------------------------------------------- launches

/** The kernels of a fused program in order; those that run in place are to be printed for it. */
export const launchesOf = (target: BlockTarget, { program, launches }: Fused): Checked<ReadonlyArray<Launched>> =>
  E.map((made: ReadonlyArray<ReadonlyArray<Omit<Launched, 'takes'>>>): ReadonlyArray<Launched> => {
    const runs = made.flat()
    const kept = new Set(program.outputs.map((o) => originOf(o.node)))
    const takes = takesOf(
      runs.map((r) => [r]),
      (n) => kept.has(n),
    )
    return runs.map((r) => ({
      ...r,
      kernel: lettingAlias(r.kernel, new Set(aliasedIn(r, takes))),
      takes: new Map(r.results.flatMap((n) => (takes.has(n) ? [[n, takes.get(n)!] as const] : []))),
    }))
  })(E.traverseArray(target.launch)(launches))

/** Equal kernels once, under names of their own, by `keyOfKernel`. */
export const distinct = (launches: ReadonlyArray<Launched>): ReadonlyMap<string, Launched> => {
  const found = new Map<string, Launched>()
  const taken = new Set<string>()
  for (const l of launches) {
    const key = keyOfKernel(l.kernel)
    const known = found.get(key)
    if (known !== undefined) {
      const names = new Set([...(known.kernel.mayAlias ?? []), ...(l.kernel.mayAlias ?? [])])
      found.set(key, { ...known, kernel: lettingAlias(known.kernel, names) })
      continue
    }
    let name = l.kernel.name
    for (let i = 2; taken.has(name); i++) name = `${l.kernel.name}_${String(i)}`
    taken.add(name)
    found.set(key, { ...l, kernel: { ...l.kernel, name } })
  }
  return found
}

// ------------------------------------------------------------------------------------- the manifest

const silent: ReadonlySet<string> = new Set(['const', 'input', 'iota', 'rename', 'reshape', 'broadcast', 'stopGrad'])

/** operations between what a group reads and what it stores, in order */
const opsOf = (g: Group): ReadonlyArray<string> => {
  const reads = new Set(g.reads)
  const inside = new Set<Node>()
  const visit = (n: Node): void => {
    if (inside.has(n) || reads.has(n)) return
    inside.add(n)
    n.args.forEach(visit)
  }
  g.stored.forEach(visit)
  return topological(g.stored).flatMap((n) =>
    !inside.has(n) || silent.has(n.op) ? [] : [n.op === 'map' || n.op === 'reduce' ? n.attrs.fn : n.op],
  )
}

const parametersOf = (k: Kernel, packing: BlockTarget['packing']): ReadonlyArray<ParameterEntry> => {
  const pointers = [...k.params, ...k.outputs].map((b, i) => ({
    name: b.name,
    kind: 'pointer' as const,
    dtype: b.dtype,
    access: i < k.params.length ? ('read' as const) : ('write' as const),
    shape: b.shape.map(showSize),
  }))
  const ints = symbolsOfKernel(k).map((s) => ({
    name: symbolName(s),
    kind: 'int' as const,
    dtype: 'i32' as const,
    access: 'read' as const,
    shape: [],
  }))
  if (packing === undefined) return [...pointers, ...ints]
  return [
    ...pointers.map((p, i) => ({ ...p, offset: i * packing.pointer, size: packing.pointer })),
    ...ints.map((p, i) => ({ ...p, offset: pointers.length * packing.pointer + i * packing.int, size: packing.int })),
  ]
}

const entryOf = ({ kernel, groups }: Launched, target: BlockTarget): KernelEntry => ({
  name: kernel.name,
  fused: groups.flatMap(opsOf),
  boundary: [...new Set(groups.map((g) => g.reason))].join('; '),
  parameters: parametersOf(kernel, target.packing),
  ...target.describe(kernel),
})

// ------------------------------------------------------------------------------------- the export

interface Half {
  readonly stages: BlockStages
  readonly launches: ReadonlyArray<Launched>
}

const halfOf = (target: BlockTarget, stages: BlockStages): Checked<Half> =>
  E.map((launches: ReadonlyArray<Launched>): Half => ({ stages, launches }))(launchesOf(target, stages.fused))

export const exportBlocks = (target: BlockTarget, joint: Program, header: string): Checked<Exported> =>
  pipe(
    E.Do,
    E.bind('halves', () => planHalves(blockPlanner(target.name), joint)),
    E.bind('forward', ({ halves }) => halfOf(target, halves.forward)),
    E.bind('backward', ({ halves }) => halfOf(target, halves.backward)),
    E.map(({ halves, forward, backward }) => assembled(target, joint, header, halves, [forward, backward])),
  )

const assembled = (
  target: BlockTarget,
  joint: Program,
  header: string,
  { saved, constants }: PlannedHalves<BlockStages>,
  halves: readonly [Half, Half],
): Exported => {
  const kernels = distinct(halves.flatMap((h) => h.launches))
  const nameOf = (k: Kernel): string => kernels.get(keyOfKernel(k))?.kernel.name ?? k.name
  const sequence = ({ stages, launches }: Half) =>
    sequenceOf({
      program: stages.fused.program,
      launches: launches.map((l) => ({
        kernel: nameOf(l.kernel),
        args: l.args,
        results: l.results,
        sizes: symbolsOfKernel(l.kernel).map(symbolName),
        takes: l.takes,
      })),
      constants: constantsOf(constants, stages.split),
      originOf,
    })
  const all = [...kernels.values()]
  return {
    source: `${header}\n\n${target.print(all.map((l) => l.kernel))}`,
    extension: target.extension,
    kernels: all.map((l) => entryOf(l, target)),
    forward: sequence(halves[0]),
    backward: sequence(halves[1]),
    saved: saved.map((s) => s.name),
    symbols: symbolsIn([joint]),
    compile: target.compile,
    requirements: target.requirements,
  }
}
