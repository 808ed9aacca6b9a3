/**
 * Graph -> groups: what is computed together on targets with blocks (c, cuda).
 *
 *     ephemeral   values too large to keep, computed again where they are needed: attention's scores, a loss's logits
 *     roots       values that are computed once, with the pointwise work behind them
 *     clusters    roots in one kernel: rows of reductions, an epilogue with several results, siblings
 *     stages      a cluster's steps in order; what stays within, what is stored
 *     launches    small independent groups in one launch
 *
 * No decision looks at a run-time size, so that one source serves all of them.
 */
import { kit } from '../dsl/build.ts'
import { literal } from '../dsl/dim.ts'
import { axisOf, topological, type Node } from '../dsl/node.ts'
import { rewrite, withOutputs, type Program } from '../dsl/program.ts'
import { originOf } from './fuse/alias.ts'
import { clustersOf, type Cluster } from './fuse/clusters.ts'
import { usersOf } from './fuse/costs.ts'
import { ephemeralFirst, ephemeralNodes } from './fuse/ephemeral.ts'
import { horizontal } from './fuse/horizontal.ts'
import { readsOf } from './fuse/reads.ts'
import { rootsOf } from './fuse/roots.ts'
import { groupOf } from './fuse/stages.ts'
import { showGroup, type Group } from './fuse/group.ts'
import { reorder } from './lower.ts'

export interface Fused {
  readonly program: Program
  /** launches in order; the groups of one are independent of each other */
  readonly launches: ReadonlyArray<ReadonlyArray<Group>>
}

/** what has to be computed: outputs, but for those that are inputs, numbers, or other values in another shape */
const computed = (p: Program): ReadonlySet<Node> =>
  new Set(p.outputs.map((o) => originOf(o.node)).filter((n) => n.op !== 'input' && n.op !== 'const'))

/** names that axes of a renamed operand had, where only contracted axes were renamed */
const contractedNames = (
  x: Node,
  other: Node,
  over: ReadonlyArray<string>,
): Readonly<Record<string, string>> | undefined => {
  if (x.op !== 'rename') return undefined
  const pairs = Object.entries(x.attrs.axes)
  const isFree = (name: string): boolean => axisOf(x.type, name) === undefined && axisOf(other.type, name) === undefined
  return pairs.every(([from, to]) => over.includes(to) && isFree(from))
    ? Object.fromEntries(pairs.map(([from, to]) => [to, from]))
    : undefined
}

/**
 * Contractions in one form. The name of a contracted axis is free: a renamed operand is read as it was, the other one
 * is renamed instead where it is a buffer. And a . b where an operand has no axis of its own is a reduction, for
 * there is nothing to tile.
 */
const canonical = (n: Node, args: ReadonlyArray<Node>): Node => {
  if (n.op !== 'dot') return kit.rebuild(n, args)
  const [a, b] = [args[0]!, args[1]!]
  for (const [x, y, isFirst] of [
    [a, b, true],
    [b, a, false],
  ] as const) {
    const back = originOf(y).op === 'input' ? contractedNames(x, y, n.attrs.over) : undefined
    if (back === undefined) continue
    const [own, other] = [x.args[0]!, kit.rename(y, back)]
    const over = n.attrs.over.map((o) => back[o] ?? o)
    return canonical(kit.dot(isFirst ? own : other, isFirst ? other : own, over), isFirst ? [own, other] : [other, own])
  }
  const hasOwn = (x: Node, y: Node): boolean =>
    x.type.dims.some((d) => axisOf(y.type, d.name) === undefined && literal(d.size) !== 1)
  return hasOwn(a, b) && hasOwn(b, a)
    ? kit.dot(a, b, n.attrs.over)
    : kit.reduce('sum', kit.map('mul', a, b), n.attrs.over)
}

const ephemeralIn = (outputs: ReadonlySet<Node>): ReadonlySet<Node> => {
  const nodes = topological([...outputs])
  return ephemeralNodes(nodes, usersOf(nodes), outputs)
}

export const fuse = (given: Program): Fused => {
  const nodesOf = (p: Program): ReadonlyArray<Node> => p.outputs.map((o) => o.node)
  const plain = withOutputs(given, rewrite(nodesOf(given), canonical))
  const made = ephemeralFirst(nodesOf(plain), ephemeralIn(computed(plain)))
  // a kernel that writes axes in the promised order costs nothing, a copy afterwards does
  const program = withOutputs(
    plain,
    made.map((n, i) => reorder(n, given.outputs[i]!.node)),
  )
  const outputs = computed(program)
  const nodes = topological([...outputs])
  const users = usersOf(nodes)
  const ephemeral = ephemeralIn(outputs)
  const roots = rootsOf(nodes, users, outputs, ephemeral)
  const isKept = (n: Node): boolean => roots.has(n)
  const reads = new Map([...roots.keys()].map((n) => [n, readsOf(n, isKept, ephemeral)]))
  const clusters = clustersOf(roots, reads)
  const readers = new Map<Node, Set<Cluster>>()
  for (const c of clusters)
    for (const r of c.roots)
      for (const n of reads.get(r.node)!.intact.keys()) readers.set(n, (readers.get(n) ?? new Set()).add(c))
  const isReadElsewhere = (n: Node, c: Cluster): boolean =>
    outputs.has(n) || [...(readers.get(n) ?? [])].some((d) => d !== c)
  return { program, launches: horizontal(clusters.map((c) => groupOf(c, isKept, isReadElsewhere))) }
}

/** Launches as text. */
export const showFused = (f: Fused): string =>
  f.launches.map((gs, i) => `launch ${String(i)}\n${gs.map(showGroup).join('\n')}`).join('\n\n')
