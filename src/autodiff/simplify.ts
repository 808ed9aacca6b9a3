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

/** What is known of a list of rules. */
interface Rules {
  readonly on: ReadonlyMap<Node['op'], ReadonlyArray<Rule>>
  /** nodes that no rule changes, nor any node below: a rule sees a node and what is below it, so that this stays true */
  readonly simple: WeakSet<Node>
}
const rulesKnown = new WeakMap<ReadonlyArray<Rule>, Rules>()

const rulesOf = (list: ReadonlyArray<Rule>): Rules => {
  const known = rulesKnown.get(list)
  if (known !== undefined) return known
  const ops = new Set(list.flatMap((r) => r.on))
  const made: Rules = {
    on: new Map([...ops].map((op) => [op, list.filter((r) => r.on.includes(op))])),
    simple: new WeakSet(),
  }
  rulesKnown.set(list, made)
  return made
}

/** nodes that are not known to be simple, arguments first */
const unsettled = (roots: ReadonlyArray<Node>, { simple }: Rules): ReadonlyArray<Node> =>
  topological(roots, (n) => simple.has(n)).filter((n) => !simple.has(n))

const pass = (roots: ReadonlyArray<Node>, rules: Rules): ReadonlyArray<Node> => {
  const { simple } = rules
  const done = new Map<Node, Node>()
  const settled = (n: Node): Node | undefined => (simple.has(n) ? n : done.get(n))
  /** the arguments of n are simple; those of what a rule makes need not be */
  const settle = (n: Node, fuel: number): Node => {
    const args = n.args.map((a) => settled(a) ?? settle(a, fuel))
    const now = kit.rebuild(n, args)
    const next = fuel === 0 || simple.has(now) ? undefined : firstOf(rules, now)
    if (next === undefined && fuel > 0 && now.args.every((a) => simple.has(a))) simple.add(now)
    const made = next === undefined ? undefined : along(next, n.type.dims)
    const out = made === undefined ? now : (settled(made) ?? settle(made, fuel - 1))
    done.set(n, out)
    return out
  }
  for (const n of unsettled(roots, rules)) if (!done.has(n)) settle(n, MOST)
  return roots.map((r) => settled(r)!)
}

const firstOf = ({ on }: Rules, n: Node): Node | undefined => {
  for (const r of on.get(n.op) ?? []) {
    const out = r.rule(n)
    if (out !== undefined && out !== n && fits(n, out)) return out
  }
  return undefined
}

const fixpoint = (roots: ReadonlyArray<Node>, list: ReadonlyArray<Rule>): ReadonlyArray<Node> => {
  const rules = rulesOf(list)
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
