/**
 * Fused groups -> a schedule for C: the distinct kernels, the calls of each launch, and which values need memory. Sizes
 * stay open; `placeValues` finds places in one arena for the sizes at hand.
 */
import { productDim, type Dim } from '../dsl/dim.ts'
import type { Node } from '../dsl/node.ts'
import { onceForAlike } from './alike.ts'
import { placeInArena } from './arena.ts'
import { originOf } from './fuse/alias.ts'
import { aliasedIn, lettingAlias, sharedLives, takesOf, type Lived, type Run, type Takes } from './in-place.ts'
import type { Fused } from './fuse.ts'
import type { Group } from './fuse/group.ts'
import { keyOfKernel, type Kernel } from './kernel/kernel.ts'
import { recipeC, type Argument, type Options, type Packed } from './recipes/c/index.ts'

// ---------------------------------------------------------------------------------------- model

/** A kernel run on values. Calls of one launch are independent of each other. */
export interface Call {
  /** its place among the distinct kernels */
  readonly kernel: number
  readonly group: Group
  readonly args: ReadonlyArray<Argument>
  readonly results: ReadonlyArray<Node>
}

export interface Schedule {
  /** kernels that differ in more than their names: equal ones are compiled once */
  readonly kernels: ReadonlyArray<Kernel>
  /** results that take the place of an operand */
  readonly takes: Takes
  /** panels of operands that never change, filled once */
  readonly packed: ReadonlyArray<{ readonly packed: Packed; readonly kernel: number }>
  readonly launches: ReadonlyArray<ReadonlyArray<Call>>
}

// --------------------------------------------------------------------------------- constructors

export const scheduleOf = (fused: Fused, options: Options): Schedule => {
  const kernels: Kernel[] = []
  const numbers = new Map<string, number>()
  const numberOf = (k: Kernel): number => {
    const key = keyOfKernel(k)
    const known = numbers.get(key)
    if (known !== undefined) return known
    numbers.set(key, kernels.length)
    return kernels.push(k) - 1
  }
  const packed = new Map<string, { packed: Packed; kernel: number }>()
  const recipe = onceForAlike(recipeC, options)
  const launches = fused.launches.map((groups) =>
    groups.map((group): Call => {
      const { kernel, args, results } = recipe(group)
      for (const a of args)
        if (a.kind === 'packed' && !packed.has(a.packed.key))
          packed.set(a.packed.key, { packed: a.packed, kernel: numberOf(a.packed.kernel) })
      return { kernel: numberOf(kernel), group, args, results }
    }),
  )
  const kept = new Set(fused.program.outputs.map((o) => originOf(o.node)))
  const runs = launches.map((calls) => calls.map((c) => runOf(c, kernels)))
  const takes = takesOf(runs, (n) => kept.has(n))
  const aliased = kernels.map(() => new Set<string>())
  launches.forEach((calls, i) =>
    calls.forEach((c, j) => aliasedIn(runs[i]![j]!, takes).forEach((name) => aliased[c.kernel]!.add(name))),
  )
  return { kernels: kernels.map((k, i) => lettingAlias(k, aliased[i]!)), takes, packed: [...packed.values()], launches }
}

const runOf = ({ kernel, args, results }: Call, kernels: ReadonlyArray<Kernel>): Run => ({
  kernel: kernels[kernel]!,
  args: args.map((a) => (a.kind === 'node' ? a.node : undefined)),
  results,
})

/** Elements of a value, as a size. */
export const elementsOf = (n: Node): Dim => productDim(n.type.dims.map((d) => d.size))

/** Values that are neither outputs nor inputs, with the launches they live through. */
export const livesOf = (
  { launches }: Schedule,
  isOutput: (n: Node) => boolean,
  sizeOf: (n: Node) => number,
): ReadonlyArray<Lived> => {
  const first = new Map<Node, number>()
  const last = new Map<Node, number>()
  launches.forEach((calls, i) => {
    for (const c of calls) for (const n of c.results) if (!isOutput(n)) first.set(n, i)
  })
  launches.forEach((calls, i) => {
    for (const c of calls) for (const a of c.args) if (a.kind === 'node' && first.has(a.node)) last.set(a.node, i)
  })
  return [...first].map(([node, from]) => ({
    node,
    life: { size: sizeOf(node), from, to: last.get(node) ?? from },
  }))
}

/** Where each value lies, in floats, and how large the arena is. */
export const placeValues = (
  lived: ReadonlyArray<Lived>,
  takes: Takes,
): { readonly offsets: ReadonlyMap<Node, number>; readonly size: number } => {
  const shared = sharedLives(lived, takes)
  const { offsets, size } = placeInArena(shared.map((s) => s.life))
  return { offsets: new Map(shared.flatMap((s, i) => s.nodes.map((n) => [n, offsets[i]!] as const))), size }
}
