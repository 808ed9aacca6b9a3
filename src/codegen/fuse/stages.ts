/** Clusters -> groups: stages in order, what is kept within, what is stored. */
import { kit } from '../../dsl/build.ts'
import type { Node, NodeOf } from '../../dsl/node.ts'
import type { Accumulator, Group, Stage, Weighted } from './group.ts'
import { kindOf, type Cluster } from './clusters.ts'
import { ownCost, isLeaf } from './costs.ts'
import type { Root } from './roots.ts'

/** scalar work from which on an ephemeral value is kept for a second reader in the same group */
const DEAR = 8

// -------------------------------------------------------------------------------- sums of dots

interface Linear {
  readonly terms: ReadonlyArray<Weighted>
}

const times = (f: Node | undefined, g: Node): Node => (f === undefined ? g : kit.map('mul', f, g))

/** n as a weighted sum of the dots, where it is nothing else */
const linearIn = (n: Node, dots: ReadonlySet<Node>): Linear | undefined => {
  if (n.op === 'dot' && dots.has(n)) return { terms: [{ dot: n, factor: undefined, sign: 1 }] }
  if (n.op !== 'map') return undefined
  const [a, b] = n.args
  const [x, y] = [a && linearIn(a, dots), b && linearIn(b, dots)]
  const negated = (l: Linear): Linear => ({ terms: l.terms.map((t) => ({ ...t, sign: t.sign === 1 ? -1 : 1 })) })
  const scaled = (l: Linear | undefined, by: Node | undefined): Linear | undefined =>
    l === undefined || by === undefined || by.type.dims.length > 0
      ? undefined
      : { terms: l.terms.map((t) => ({ ...t, factor: times(t.factor, by) })) }
  switch (n.attrs.fn) {
    case 'add':
      return x && y && { terms: [...x.terms, ...y.terms] }
    case 'sub':
      return x && y && { terms: [...x.terms, ...negated(y).terms] }
    case 'neg':
      return x && negated(x)
    case 'mul':
      return x ? scaled(x, b) : y ? scaled(y, a) : undefined
    default:
      return undefined
  }
}

/** The largest sums of dots in the expressions of `results`. A single dot stays unscaled: its factor is epilogue. */
export const accumulatorsOf = (results: ReadonlyArray<Node>, dots: ReadonlySet<Node>): ReadonlyArray<Accumulator> => {
  const kept = new Set(results)
  const found = new Map<Node, Accumulator>()
  const seen = new Set<Node>()
  const visit = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    const linear = linearIn(n, dots)
    const passesKept = (m: Node): boolean =>
      m !== n && (kept.has(m) || m.args.some((a) => !dots.has(m) && passesKept(a)))
    if (linear !== undefined && (linear.terms.length > 1 || dots.has(n)) && !passesKept(n)) {
      found.set(n, { node: n, terms: linear.terms })
      return
    }
    if (n.op !== 'input' && !isLeaf(n) && !dots.has(n)) n.args.forEach(visit)
  }
  results.forEach(visit)
  // a dot inside one sum that is read alone as well is an accumulator of its own: then nothing is summed
  const counts = new Map<Node, number>()
  for (const a of found.values()) for (const t of a.terms) counts.set(t.dot, (counts.get(t.dot) ?? 0) + 1)
  if ([...counts.values()].every((c) => c === 1)) return [...found.values()]
  return [...dots].map((d): Accumulator => ({
    node: d,
    terms: [{ dot: d as NodeOf<'dot'>, factor: undefined, sign: 1 }],
  }))
}

// -------------------------------------------------------------------------------------- stages

const stageOf = (node: Node, anchors: ReadonlyArray<Node>): Stage => {
  const [first] = anchors
  if (first === undefined) return { kind: 'map', results: [node] }
  switch (first.op) {
    case 'dot':
      return { kind: 'dot', results: [node], accumulators: accumulatorsOf([node], new Set(anchors)) }
    case 'reduce':
      return { kind: 'reduce', results: [node], reduces: anchors as ReadonlyArray<NodeOf<'reduce'>> }
    default:
      return { kind: 'solve', results: [node], solve: first as NodeOf<'solve'> }
  }
}

/** ephemeral dots that the roots need, and ephemeral maps that are dear and read by more than one stage */
const inner = (c: Cluster, isKept: (n: Node) => boolean): ReadonlyArray<Node> => {
  if (c.ephemeral.size === 0) return []
  const needed = [...c.ephemeral].sort((a, b) => a.id - b.id)
  const chosen = new Set<Node>(needed.filter((n) => n.op === 'dot'))
  const readers = new Map<Node, Set<Node>>()
  const stages = [...c.roots.map((r) => r.node), ...chosen]
  const cost = new Map<Node, number>()
  const note = (stage: Node, n: Node, seen: Set<Node>): void => {
    if (seen.has(n) || (n !== stage && (isKept(n) || n.op === 'input' || chosen.has(n)))) return
    seen.add(n)
    if (n !== stage && c.ephemeral.has(n)) readers.set(n, (readers.get(n) ?? new Set()).add(stage))
    n.args.forEach((a) => note(stage, a, seen))
  }
  for (const s of stages) note(s, s, new Set())
  for (const n of needed) {
    const own = ownCost(n) + n.args.reduce((s, a) => s + (chosen.has(a) ? 0 : (cost.get(a) ?? 0)), 0)
    cost.set(n, own)
    if (n.op !== 'dot' && (readers.get(n)?.size ?? 0) > 1 && own >= DEAR) {
      chosen.add(n)
      // readers of what lies below now read this one
    }
  }
  return [...chosen]
}

/** buffers that a group reads, in order of first use */
const buffersOf = (results: ReadonlyArray<Node>, isInside: (n: Node) => boolean, isKept: (n: Node) => boolean) => {
  const found = new Set<Node>()
  const seen = new Set<Node>()
  const visit = (n: Node, top: boolean): void => {
    if (!top && isInside(n)) return
    if (!top && (n.op === 'input' || isKept(n))) return void found.add(n)
    if (seen.has(n)) return
    seen.add(n)
    n.args.forEach((a) => visit(a, false))
  }
  results.forEach((r) => visit(r, true))
  return [...found]
}

const word = (n: Node): string => (n.op === 'map' ? n.attrs.fn : n.op === 'reduce' ? n.attrs.fn : n.op.toLowerCase())

/** told by what is computed, never by a name from outside */
const nameOf = (stages: ReadonlyArray<Stage>): string => {
  const words = stages.map((s) =>
    s.kind === 'dot'
      ? s.accumulators.some((a) => a.terms.length > 1)
        ? 'dots'
        : 'dot'
      : s.kind === 'reduce'
        ? word(s.reduces[0]!)
        : word(s.results[0]!),
  )
  return [...new Set(words)]
    .slice(0, 4)
    .join('_')
    .replace(/[^A-Za-z0-9_]/g, '_')
}

export const groupOf = (
  c: Cluster,
  isKept: (n: Node) => boolean,
  isReadElsewhere: (n: Node, c: Cluster) => boolean,
): Group => {
  const kind = kindOf(c)
  const between = inner(c, isKept)
  const rootOf = new Map<Node, Root>(c.roots.map((r) => [r.node, r]))
  const nodes = [...between, ...rootOf.keys()].sort((a, b) => a.id - b.id)
  const anchorsOf = (n: Node): ReadonlyArray<Node> => rootOf.get(n)?.anchors ?? (n.op === 'dot' ? [n] : [])
  const stages: ReadonlyArray<Stage> =
    kind === 'rows'
      ? nodes.map((n) => stageOf(n, anchorsOf(n)))
      : kind === 'cells'
        ? [{ kind: 'map', results: nodes }]
        : [{ kind: 'dot', results: nodes, accumulators: accumulatorsOf(nodes, new Set(nodes.flatMap(anchorsOf))) }]
  const stored = nodes.filter((n) => rootOf.has(n) && isReadElsewhere(n, c))
  const inside = new Set(nodes)
  return {
    name: nameOf(stages),
    kind,
    outer: c.outer,
    stages,
    stored,
    locals: nodes.filter((n) => !stored.includes(n)),
    reads: buffersOf(nodes, (n) => inside.has(n), isKept),
    reason: c.roots.at(-1)!.reason,
  }
}
