/**
 * Ephemeral values: products of two operands that are larger than both and die in reductions, such as attention's
 * scores, or the logits behind a loss. They get no buffer: every group that needs some computes them again.
 *
 *     s = q . k        p = f(s, statistics of s's rows)        uses: reductions and contractions of p only
 */
import { kit } from '../../dsl/build.ts'
import { rewrite } from '../../dsl/program.ts'
import type { Node, NodeOf } from '../../dsl/node.ts'
import { isPointwise, namesOf, sameAxes, volume, type Users } from './costs.ts'

/** pointwise descendants of a dot that have its axes, itself first */
const descendants = (r: Node, users: Users): ReadonlySet<Node> => {
  const found = new Set<Node>([r])
  const stack: Node[] = [r]
  for (let n = stack.pop(); n !== undefined; n = stack.pop())
    for (const u of users.get(n)!)
      if (!found.has(u) && isPointwise(u) && sameAxes(u, r)) {
        found.add(u)
        stack.push(u)
      }
  return found
}

/** kept axes that both operands have */
const isBatched = (r: NodeOf<'dot'>): boolean => {
  const [a, b] = [namesOf(r.args[0]!), namesOf(r.args[1]!)]
  return namesOf(r).some((n) => a.includes(n) && b.includes(n))
}

/** axes that come from one operand only */
const bornIn = (r: NodeOf<'dot'>): ReadonlyArray<string> => {
  const [a, b] = [namesOf(r.args[0]!), namesOf(r.args[1]!)]
  return namesOf(r).filter((n) => a.includes(n) !== b.includes(n))
}

const isExit = (u: Node, of: Node): boolean =>
  u.op === 'reduce' || u.op === 'dot' || (u.op === 'gather' && u.args[0] === of && u.args[1] !== of)

/** Nodes without a buffer of their own, dots and what is made of them pointwise. */
export const ephemeralNodes = (
  nodes: ReadonlyArray<Node>,
  users: Users,
  outputs: ReadonlySet<Node>,
): ReadonlySet<Node> => {
  const isLarge = (r: NodeOf<'dot'>): boolean => isBatched(r) || volume(r) >= volume(r.args[0]!) + volume(r.args[1]!)
  let candidates = nodes.flatMap((n) =>
    n.op === 'dot' && n.attrs.over.length > 0 && !outputs.has(n) && isLarge(n)
      ? [{ root: n, all: descendants(n, users) }]
      : [],
  )
  // each one may lean on others: those that fail are taken out until none does
  for (;;) {
    const union = new Set(candidates.flatMap((c) => [...c.all]))
    const holds = ({ root, all }: (typeof candidates)[number]): boolean => {
      const born = bornIn(root)
      let dies = false
      for (const n of all) {
        if (outputs.has(n)) return false
        if (n !== root && n.args.some((a) => sameAxes(a, root) && !union.has(a) && !isSpread(a, root))) return false
        for (const u of users.get(n)!) {
          if (all.has(u)) continue
          if (!isExit(u, n)) return false
          if (u.op === 'reduce' && u.attrs.over.length > 0 && u.attrs.over.every((o) => born.includes(o))) dies = true
        }
      }
      return dies
    }
    const kept = candidates.filter(holds)
    if (kept.length === candidates.length) return union
    candidates = kept
  }
}

/** made pointwise of values with fewer axes: as cheap to make again as to read */
const isSpread = (a: Node, root: Node): boolean =>
  !sameAxes(a, root) ||
  a.op === 'const' ||
  a.op === 'iota' ||
  (isPointwise(a) && a.args.every((b) => isSpread(b, root)))

/** Contractions of an ephemeral value have it first, so that its axes lead in the result. */
export const ephemeralFirst = (roots: ReadonlyArray<Node>, ephemeral: ReadonlySet<Node>): ReadonlyArray<Node> => {
  const swaps = (n: Node): boolean =>
    n.op === 'dot' && !ephemeral.has(n) && !ephemeral.has(n.args[0]!) && ephemeral.has(n.args[1]!)
  return rewrite(roots, (n, args) =>
    n.op === 'dot' && swaps(n) ? kit.dot(args[1]!, args[0]!, n.attrs.over) : kit.rebuild(n, args),
  )
}
