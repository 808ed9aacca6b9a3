/**
 * Which results of a plan take the place of an operand: the operand is a value between launches that nothing reads after
 * this launch, nothing else of this launch reads it, and the kernel makes it legal (see `kernel/in-place.ts`).
 *
 *     takes : result -> operand        of each launch as many as can be: a largest matching of the pairs that are legal
 *
 * Inputs, captured values and panels are never operands, and outputs never results: their memory is not the arena's.
 */
import type { Node } from '../dsl/node.ts'
import type { Life } from './arena.ts'
import { alikeIn, isLegalInPlace, type Pair } from './kernel/in-place.ts'
import type { Kernel } from './kernel/kernel.ts'

// ---------------------------------------------------------------------------------------- model

/** a kernel run on values, in order of its parameters and outputs; none: a panel that was packed beforehand */
export interface Run {
  readonly kernel: Kernel
  readonly args: ReadonlyArray<Node | undefined>
  readonly results: ReadonlyArray<Node>
}

/** result -> the operand whose place it takes */
export type Takes = ReadonlyMap<Node, Node>

/** A value between launches: written in one, read last in another. */
export interface Lived {
  readonly node: Node
  readonly life: Life
}

/** Values that lie in one place, one after the other in it: what takes an operand's place lives on in it. */
export interface Shared {
  readonly nodes: ReadonlyArray<Node>
  readonly life: Life
}

// ------------------------------------------------------------------------------------- analyses

interface Edge {
  readonly operand: Node
  readonly result: Node
  readonly isLegal: () => boolean
}

/** A largest matching, by augmenting paths; whether a pair is legal is asked when it is needed. */
const matching = (edges: ReadonlyArray<Edge>): ReadonlyArray<Edge> => {
  const taken = new Map<Node, Edge>()
  const settle = (result: Node, tried: Set<Node>): boolean =>
    edges.some((e) => {
      if (e.result !== result || tried.has(e.operand) || !e.isLegal()) return false
      tried.add(e.operand)
      const other = taken.get(e.operand)
      if (other !== undefined && !settle(other.result, tried)) return false
      taken.set(e.operand, e)
      return true
    })
  for (const r of new Set(edges.map((e) => e.result))) settle(r, new Set())
  return [...taken.values()]
}

/** first and last launch of every value that a launch makes */
const livesIn = (launches: ReadonlyArray<ReadonlyArray<Run>>) => {
  const [first, last] = [new Map<Node, number>(), new Map<Node, number>()]
  launches.forEach((runs, i) => {
    for (const n of runs.flatMap((r) => r.results)) first.set(n, i)
    for (const n of runs.flatMap((r) => r.args)) if (n !== undefined) last.set(n, i)
  })
  return { first, last }
}

// --------------------------------------------------------------------------------- constructors

/** `isKept`: outputs of the program, whose memory is the caller's. Runs of one launch are independent of each other. */
export const takesOf = (launches: ReadonlyArray<ReadonlyArray<Run>>, isKept: (n: Node) => boolean): Takes => {
  const { first, last } = livesIn(launches)
  const takes = new Map<Node, Node>()
  launches.forEach((runs, i) => {
    const read = runs.flatMap((r) => r.args)
    const dies = (n: Node | undefined): n is Node =>
      n !== undefined &&
      !isKept(n) &&
      (first.get(n) ?? i) < i &&
      last.get(n) === i &&
      read.indexOf(n) === read.lastIndexOf(n)
    for (const { kernel, args, results } of runs) {
      if (!args.some(dies)) continue
      const operands = new Map(kernel.params.map((b, j) => [b.name, args[j]]))
      const made = new Map(kernel.outputs.map((b, j) => [b.name, results[j]!]))
      const isOpen = ({ operand, result }: Pair): boolean => dies(operands.get(operand)) && !isKept(made.get(result)!)
      const edges = alikeIn(kernel)
        .filter(isOpen)
        .map((pair): Edge => ({
          operand: operands.get(pair.operand)!,
          result: made.get(pair.result)!,
          isLegal: () => isLegalInPlace(kernel, pair),
        }))
      for (const { operand, result } of matching(edges)) takes.set(result, operand)
    }
  })
  return takes
}

/** Names of a run's buffers that lie where another of them does. */
export const aliasedIn = ({ kernel, args, results }: Run, takes: Takes): ReadonlyArray<string> =>
  results.flatMap((r, j) => {
    const operand = takes.get(r)
    return operand === undefined ? [] : [kernel.params[args.indexOf(operand)]!.name, kernel.outputs[j]!.name]
  })

/** The kernel, to be printed for launches that let these buffers alias. */
export const lettingAlias = (k: Kernel, names: ReadonlySet<string>): Kernel =>
  names.size === 0 ? k : { ...k, mayAlias: names }

/** The value whose place it is in the end: a result may take the place of what took another's. */
export const placeOf = (n: Node, takes: Takes): Node => {
  const operand = takes.get(n)
  return operand === undefined ? n : placeOf(operand, takes)
}

/** The lives of places: those of all values that lie in one, put together. */
export const sharedLives = (lived: ReadonlyArray<Lived>, takes: Takes): ReadonlyArray<Shared> => {
  const places = new Map<Node, Shared>()
  for (const { node, life } of lived) {
    const place = placeOf(node, takes)
    const known = places.get(place)
    places.set(place, {
      nodes: [...(known?.nodes ?? []), node],
      life: {
        size: life.size,
        from: Math.min(known?.life.from ?? life.from, life.from),
        to: Math.max(known?.life.to ?? life.to, life.to),
      },
    })
  }
  return [...places.values()]
}
