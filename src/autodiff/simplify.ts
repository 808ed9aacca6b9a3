/**
 * The simplifier: named rules, bottom-up, to a fixpoint. The value stays the same (rules with a tag say to
 * what extent), the cost never rises. Not the prover: that has a normal form of its own (prove/).
 */
import { kit } from '../dsl/build.ts'
import { axisOf, topological, type Node } from '../dsl/node.ts'
import { withOutputs, type Program } from '../dsl/program.ts'
import { contraction } from './rules/contract.ts'
import { movement } from './rules/movement.ts'
import { pointwise } from './rules/pointwise.ts'
import { along, flopsOf, type Rule } from './rules/rule.ts'

export type { Rule } from './rules/rule.ts'

/** Every rule, in the order in which they are tried. */
export const simplifications: ReadonlyArray<Rule> = [...pointwise, ...movement, ...contraction]

/** rewrites of one node; a rule that undid another would be cut off here, and a test looks for that */
const MOST = 100

/** The type as before: a rule may leave out a broadcast or lay axes out in another order, but has the same axes. */
const fits = (old: Node, now: Node): boolean => {
  const [a, b] = [old.type, now.type]
  return (
    now.op !== 'fault' &&
    a.dtype === b.dtype &&
    a.dims.length === b.dims.length &&
    a.dims.every((d) => axisOf(b, d.name)?.size.key === d.size.key)
  )
}

/** Operations of all nodes, each once, and a little for each node; symbols without a size count as 64. */
export const costOf = (roots: ReadonlyArray<Node>): number => {
  let sum = 0
  for (const n of topological(roots)) sum += flopsOf(n) + 1
  return sum
}

const pass = (roots: ReadonlyArray<Node>, rules: ReadonlyArray<Rule>): ReadonlyArray<Node> => {
  const done = new Map<Node, Node>()
  /** the arguments of n are simple; those of what a rule makes need not be */
  const settle = (n: Node, fuel: number): Node => {
    const known = done.get(n)
    if (known !== undefined) return known
    const args = n.args.map((a) => settle(a, fuel))
    const now = kit.rebuild(n, args)
    const next = fuel === 0 ? undefined : firstOf(rules, now)
    const out = next === undefined ? now : settle(along(next, n.type.dims), fuel - 1)
    done.set(n, out)
    return out
  }
  for (const n of topological(roots)) settle(n, MOST)
  return roots.map((r) => done.get(r)!)
}

interface Known {
  /** nodes that no rule of the list changes: a rule sees the node and what is below it, and neither changes */
  readonly simple: WeakSet<Node>
  readonly on: Map<Node['op'], ReadonlyArray<Rule>>
}
const knownOf = new WeakMap<ReadonlyArray<Rule>, Known>()

const firstOf = (rules: ReadonlyArray<Rule>, n: Node): Node | undefined => {
  const known = knownOf.get(rules) ?? { simple: new WeakSet(), on: new Map() }
  knownOf.set(rules, known)
  const { simple, on } = known
  if (simple.has(n)) return undefined
  const apt = on.get(n.op) ?? rules.filter((r) => r.on.includes(n.op))
  on.set(n.op, apt)
  for (const r of apt) {
    const out = r.rule(n)
    if (out !== undefined && out !== n && fits(n, out)) return out
  }
  simple.add(n)
  return undefined
}

const fixpoint = (roots: ReadonlyArray<Node>, rules: ReadonlyArray<Rule>): ReadonlyArray<Node> => {
  let now = roots
  for (let n = 0; n < 20; n++) {
    const next = pass(now, rules)
    if (next.every((r, i) => r === now[i])) return now
    now = next
  }
  return now
}

/** The simplest form of the nodes. Where a shared part makes a rearrangement dearer, the rest of the rules stand alone. */
export const simplifyNodes = (
  roots: ReadonlyArray<Node>,
  rules: ReadonlyArray<Rule> = simplifications,
): ReadonlyArray<Node> => {
  const cost = costOf(roots)
  const all = fixpoint(roots, rules)
  if (costOf(all) <= cost) return all
  const plain = fixpoint(
    roots,
    rules.filter((r) => r.tag !== 'reassociates'),
  )
  return costOf(plain) <= cost ? plain : roots
}

/** The program with simpler outputs: the same inputs, values and types. */
export const simplify = (p: Program): Program => withOutputs(p, simplifyNodes(p.outputs.map((o) => o.node)))
