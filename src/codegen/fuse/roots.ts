/**
 * Roots: which values are computed once and kept, in a buffer or within a group; all others are inlined where they are
 * read. An anchor (contraction, reduction, solve) takes the pointwise nodes behind it along as its epilogue, and two
 * contractions that meet there are one root: LoRA's  x W^T + s (x A^T) B^T.
 */
import type { Node } from '../../dsl/node.ts'
import { originOf } from './alias.ts'
import { isAnchor, isLeaf, isPointwise, ownCost, sameAxes, termsOf, volume, type Users } from './costs.ts'

/** A kept value: its node and the anchors in its expression. */
export interface Root {
  readonly node: Node
  readonly anchors: ReadonlyArray<Node>
  /** why it is kept */
  readonly reason: string
}

/** scalar work per element from which on computing it twice costs more than keeping it */
const DEAR = 24
/** anchors that may share an epilogue */
const MOST_ANCHORS = 8

/** where an anchor's epilogue ends: the last of the pointwise nodes that only it leads to */
const climb = (from: Node, users: Users, stop: (n: Node) => boolean): Node => {
  let at = from
  for (;;) {
    const [next, ...more] = users.get(at)!
    if (next === undefined || more.length > 0 || stop(at) || !isPointwise(next) || !sameAxes(next, at)) return at
    at = next
  }
}

const isJoinable = (a: Node, b: Node): boolean => {
  if (a.op === 'dot') return b.op === 'dot'
  if (a.op === 'reduce' && b.op === 'reduce')
    return sameAxes(a.args[0]!, b.args[0]!) && a.attrs.over.every((o) => b.attrs.over.includes(o))
  return false
}

export const rootsOf = (
  nodes: ReadonlyArray<Node>,
  users: Users,
  outputs: ReadonlySet<Node>,
  ephemeral: ReadonlySet<Node>,
): ReadonlyMap<Node, Root> => {
  const anchors = new Map<Node, Node[]>()
  const reasons = new Map<Node, string>()
  const give = (value: Node, why: string): void => {
    const n = originOf(value)
    if (!reasons.has(n) && n.op !== 'input' && n.op !== 'const' && !ephemeral.has(n)) reasons.set(n, why)
  }
  for (const n of outputs) give(n, 'output')
  for (const n of nodes) if (n.op === 'gather' && ephemeral.has(n.args[0]!)) give(n, 'picked from a row')

  for (const n of nodes) {
    if (!isAnchor(n) || ephemeral.has(n)) continue
    const top = climb(n, users, (m) => outputs.has(m) || ephemeral.has(users.get(m)![0]!))
    const there = anchors.get(top) ?? []
    const joins = there.length < MOST_ANCHORS && there.every((a) => isJoinable(a, n))
    const root = joins ? top : n
    anchors.set(root, [...(anchors.get(root) ?? []), n])
    give(root, n.op === 'dot' ? 'contraction' : n.op === 'reduce' ? 'reduction' : 'solution')
  }

  // pointwise work that readers would repeat
  const costs = new Map<Node, number>()
  const reads = new Map<Node, number>()
  const isKept = (n: Node): boolean => reasons.has(n)
  const costOf = (n: Node): number => (isKept(n) || isLeaf(n) || isAnchor(n) ? 0 : costs.get(n)!)
  const readsOf = (n: Node): number =>
    isKept(n) || n.op === 'input' ? 1 : n.op === 'const' || n.op === 'iota' ? 0 : reads.get(n)!
  for (const n of nodes) {
    costs.set(n, ownCost(n) + n.args.reduce((s, a) => s + costOf(a), 0))
    reads.set(
      n,
      n.args.reduce((s, a) => s + readsOf(a), 0),
    )
    if (isLeaf(n) || isKept(n) || isAnchor(n) || ephemeral.has(n) || readsOf(n) === 0) continue
    const cost = costOf(n)
    for (const u of users.get(n)!) {
      const steps = volume(u) * termsOf(u)
      const repeats = steps / Math.max(1, volume(n))
      if (u.op === 'dot' && repeats > 1 && cost >= 2) give(n, 'operand that is packed or staged several times')
      else if (u.op !== 'dot' && repeats >= 2 && cost >= 4) give(n, `repeated by ${u.op}`)
      else if (u.op === 'gather' && u.args[1] === n && cost > 0) give(n, 'positions')
    }
  }

  // work that several roots would repeat
  const sinks = new Map<Node, ReadonlySet<Node>>()
  for (const n of [...nodes].reverse()) {
    const into = new Set(users.get(n)!.flatMap((u) => (isKept(u) ? [u] : [...sinks.get(u)!])))
    sinks.set(n, into)
    if (into.size > 1 && !isLeaf(n) && !isKept(n) && readsOf(n) > 0 && (costOf(n) >= DEAR || readsOf(n) > 2))
      give(n, `shared by ${String(into.size)} kernels`)
  }
  return new Map(
    nodes.flatMap((n) => {
      const reason = reasons.get(n)
      return reason === undefined ? [] : [[n, { node: n, anchors: anchors.get(n) ?? [], reason }] as const]
    }),
  )
}
