/**
 * Dear values that several stages of a row read get a stage of their own: e^(x - max), which is added up and then divided
 * by the sum, is computed once and waits in scratch, a row of it.
 */
import { literal } from '../../../dsl/dim.ts'
import type { Node } from '../../../dsl/node.ts'
import { isAnchor, ownCost } from '../../fuse/costs.ts'
import { resultsOf, type Group, type Stage } from '../../fuse/group.ts'
import { innerOf } from './scene.ts'

/** scalar work that costs more than a store and a load */
const DEAR = 8
/** Floats of a row that stays in the second-level cache. */
export const LONGEST_ROW = 2 ** 17

/** what a stage evaluates */
const rootsOf = (s: Stage): ReadonlyArray<Node> => [
  ...s.results.flatMap((n) => n.args),
  ...(s.kind === 'reduce' ? s.reduces.flatMap((r) => r.args) : []),
  ...(s.kind === 'dot' ? s.accumulators.flatMap((a) => a.terms.flatMap((t) => t.dot.args)) : []),
  ...(s.kind === 'solve' ? s.solve.args : []),
]

const isDear = (g: Group, n: Node): boolean => {
  if (n.op !== 'map' || ownCost(n) < DEAR) return false
  const inner = innerOf(g, n)
  return inner.length > 0 && inner.reduce((k, d) => k * (literal(d.size) ?? 1), 1) <= LONGEST_ROW
}

/** Dear values that an expression computes where it stands: not those that are results or in memory. */
export const dearIn = (g: Group, root: Node): ReadonlyArray<Node> => {
  const done = new Set([...g.reads, ...resultsOf(g)])
  const found: Node[] = []
  const seen = new Set<Node>()
  const visit = (n: Node): void => {
    if (seen.has(n) || done.has(n)) return
    seen.add(n)
    if (isDear(g, n)) found.push(n)
    if (!isAnchor(n)) n.args.forEach(visit)
  }
  visit(root)
  return found
}

/** The group with a stage before their first reader for dear values that stages would compute again. */
export const keepDear = (g: Group): Group => {
  const stageOf = new Map(g.stages.flatMap((s, i) => s.results.map((n) => [n, i] as const)))
  const reads = new Set(g.reads)
  const readers = new Map<Node, number[]>()
  g.stages.forEach((s, i) => {
    const found = new Set(rootsOf(s).flatMap((r) => dearIn(g, r)))
    found.forEach((n) => readers.set(n, [...(readers.get(n) ?? []), i]))
  })
  /** made by earlier stages and from memory alone */
  const isKnownBefore = (n: Node, stage: number): boolean =>
    reads.has(n) ||
    (stageOf.has(n) ? stageOf.get(n)! < stage : !isAnchor(n) && n.args.every((a) => isKnownBefore(a, stage)))
  const kept = [...readers].filter(([n, at]) => at.length > 1 && n.args.every((a) => isKnownBefore(a, at[0]!)))
  if (kept.length === 0) return g
  const stages = g.stages.flatMap((s, i): ReadonlyArray<Stage> => [
    ...kept.flatMap(([n, at]): ReadonlyArray<Stage> => (at[0] === i ? [{ kind: 'map', results: [n] }] : [])),
    s,
  ])
  return { ...g, stages, locals: [...g.locals, ...kept.map(([n]) => n)] }
}
