/**
 * Roots -> clusters: roots that one kernel computes together. Each starts alone; a root joins those that it reads where
 * every stage can keep the same axes apart, no cycle arises, and what lies between stays small.
 */
import type { Axis, Node, NodeOf } from '../../dsl/node.ts'
import { isAnchor, namesOf, nominal, sameAxes, termsOf, volume } from './costs.ts'
import { hasOnline } from './online.ts'
import type { Reads } from './reads.ts'
import type { Root } from './roots.ts'

// ---------------------------------------------------------------------------------------- model

export interface Cluster {
  /** in order of creation of their nodes */
  readonly roots: ReadonlyArray<Root>
  /** axes that no stage mixes, in the order of the first root's */
  readonly outer: ReadonlyArray<Axis>
  readonly ephemeral: ReadonlySet<Node>
}

/** elements of one result at one point of the outer axes, so that it can stay close by */
const LARGEST_ROW = 2 ** 16
/** free or contracted size up to which a contraction is pointwise work on a row */
const THIN = 16
const MOST_ACCUMULATORS = 4
/** numbers computed in one kernel, so that a norm over all parameters of a deep model is many equal kernels */
const MOST_SCALARS = 8

// ------------------------------------------------------------------------------------- analyses

const freeSize = (n: Node, other: Node): number =>
  n.type.dims.reduce((s, d) => (namesOf(other).includes(d.name) ? s : s * nominal(d.size)), 1)

const isThin = (n: NodeOf<'dot'>): boolean =>
  Math.min(freeSize(n.args[0]!, n.args[1]!), freeSize(n.args[1]!, n.args[0]!), termsOf(n)) <= THIN

/** short sums, of operands smaller than the result: as cheap to make where they are read as to read; B A of low rank in DoRA's |W + s B A| */
const isSpread = (n: NodeOf<'dot'>): boolean =>
  termsOf(n) <= THIN && volume(n) >= volume(n.args[0]!) + volume(n.args[1]!)

const isDot = (n: Node): n is NodeOf<'dot'> => n.op === 'dot'

/** what is asked of a cluster many times */
interface Facts {
  readonly dots: ReadonlyArray<NodeOf<'dot'>>
  readonly hasSolve: boolean
  readonly hasAnchors: boolean
  /** contractions that tile both operands: all but thin ones and those of ephemeral values */
  readonly isContraction: boolean
}
const factsKnown = new WeakMap<Cluster, Facts>()

const factsOf = (c: Cluster): Facts => {
  const known = factsKnown.get(c)
  if (known !== undefined) return known
  const anchors = c.roots.flatMap((r) => r.anchors)
  const dots = anchors.filter(isDot)
  const facts: Facts = {
    dots,
    hasSolve: anchors.some((a) => a.op === 'solve' || a.op === 'triSolve'),
    hasAnchors: anchors.length > 0,
    isContraction: c.ephemeral.size === 0 && dots.some((d) => !isThin(d)),
  }
  factsKnown.set(c, facts)
  return facts
}
const dotsOf = (c: Cluster): ReadonlyArray<NodeOf<'dot'>> => factsOf(c).dots
const hasSolve = (c: Cluster): boolean => factsOf(c).hasSolve
const isContraction = (c: Cluster): boolean => factsOf(c).isContraction
const hasAnchors = (c: Cluster): boolean => factsOf(c).hasAnchors

/** the axes whose points a root treats apart; of what is made of ephemeral values only axes that those have */
const outerOf = ({ node, anchors }: Root, ephemeral: ReadonlySet<Node>): ReadonlyArray<Axis> => {
  if (ephemeral.size > 0) return node.type.dims.filter((d) => [...ephemeral].every((e) => namesOf(e).includes(d.name)))
  const solve = anchors.find((a) => a.op === 'solve' || a.op === 'triSolve')
  if (solve === undefined) return node.type.dims
  const matrix = namesOf(solve.args[0]!)
  const { col } = solve.attrs
  return node.type.dims.filter((d) => (solve.op === 'solve' ? matrix.includes(d.name) : true) && d.name !== col)
}

const outerSize = (outer: ReadonlyArray<Axis>): number => outer.reduce((s, d) => s * nominal(d.size), 1)

// ------------------------------------------------------------------------------------- the pass

/** `roots` in topological order */
export const clustersOf = (roots: ReadonlyMap<Node, Root>, reads: ReadonlyMap<Node, Reads>): ReadonlyArray<Cluster> => {
  const clusterOf = new Map<Node, Cluster>()
  /** kept nodes that a cluster reads: found once, for clusters do not change */
  const needs = new WeakMap<Cluster, ReadonlyArray<Node>>()
  const neededBy = (c: Cluster): ReadonlyArray<Node> => {
    const known = needs.get(c)
    if (known !== undefined) return known
    const made = [...new Set(c.roots.flatMap((r) => [...reads.get(r.node)!.intact.keys()]))].filter((n) => roots.has(n))
    needs.set(c, made)
    return made
  }
  const before = (c: Cluster): ReadonlySet<Cluster> => {
    const out = new Set(neededBy(c).flatMap((n) => clusterOf.get(n) ?? []))
    out.delete(c)
    return out
  }
  const oldest = (c: Cluster): number => c.roots[0]!.node.id

  /** whether `from` needs `to` by way of a third cluster */
  const isDetour = (from: Cluster, to: Cluster): boolean => {
    const seen = new Set<Cluster>([from, to])
    const stack = [...before(from)].filter((c) => c !== to)
    for (let c = stack.pop(); c !== undefined; c = stack.pop()) {
      if (seen.has(c)) continue
      seen.add(c)
      for (const n of neededBy(c)) {
        const d = clusterOf.get(n)!
        if (d === to) return true
        // what was made before `to` began cannot need it
        if (!seen.has(d) && d.roots[d.roots.length - 1]!.node.id > oldest(to)) stack.push(d)
      }
    }
    return false
  }

  /** axes that mean the same on every read between the two */
  const sharedOuter = (a: Cluster, b: Cluster): ReadonlyArray<Axis> => {
    let outer = a.outer.filter((d) => b.outer.some((e) => e.name === d.name && e.size.key === d.size.key))
    const restrict = (from: Cluster, to: Cluster): void => {
      for (const r of from.roots)
        for (const t of to.roots) {
          const intact = reads.get(r.node)!.intact.get(t.node)
          if (intact !== undefined) outer = outer.filter((d) => intact.has(d.name))
        }
    }
    restrict(a, b)
    restrict(b, a)
    return outer
  }

  const readsEachOther = (a: Cluster, b: Cluster): boolean =>
    a.roots.some((r) => b.roots.some((t) => reads.get(r.node)!.intact.has(t.node))) ||
    b.roots.some((r) => a.roots.some((t) => reads.get(r.node)!.intact.has(t.node)))

  const merged = (a: Cluster, b: Cluster): Cluster | undefined => {
    const outer = sharedOuter(a, b)
    const whole = outer.length === a.outer.length && outer.length === b.outer.length
    const together: Cluster = {
      roots: [...a.roots, ...b.roots].sort((r, t) => r.node.id - t.node.id),
      outer,
      ephemeral: new Set([...a.ephemeral, ...b.ephemeral]),
    }
    const [ca, cb] = [isContraction(a), isContraction(b)]
    if (ca || cb) {
      // an epilogue of equal axes; or a contraction of the same operand that meets it there
      if (!whole || a.ephemeral.size + b.ephemeral.size > 0) return undefined
      if (ca && cb) {
        const operands = new Set(dotsOf(a).flatMap((d) => d.args))
        const sibling = dotsOf(b).every((d) => d.args.some((x) => operands.has(x)))
        if (!sibling || dotsOf(together).length > MOST_ACCUMULATORS || readsEachOtherDots(a, b)) return undefined
      } else if (hasAnchors(ca ? b : a)) return undefined
    } else if (!isRow(a, b, together)) return undefined
    return isDetour(a, b) || isDetour(b, a) ? undefined : together
  }

  /** a contraction whose operand is the other one's result */
  const readsEachOtherDots = (a: Cluster, b: Cluster): boolean => {
    const made = new Set([...a.roots, ...b.roots].map((r) => r.node))
    return [...dotsOf(a), ...dotsOf(b)].some((d) => d.args.some((x) => reachesAny(x, made)))
  }
  const reachesAny = (n: Node, made: ReadonlySet<Node>): boolean =>
    made.has(n) || (n.op !== 'input' && !roots.has(n) && n.args.some((x) => reachesAny(x, made)))

  const isRow = (a: Cluster, b: Cluster, { roots: all, outer, ephemeral }: Cluster): boolean => {
    // values without axes: all of them, or none
    if (outer.length === 0) return all.length <= MOST_SCALARS && all.every((r) => volume(r.node) === 1)
    // a row of ephemeral values, never a whole matrix of them
    if (
      (a.ephemeral.size > 0 && outer.length < a.outer.length) ||
      (b.ephemeral.size > 0 && outer.length < b.outer.length)
    )
      return false
    const sharesEphemeral = [...a.ephemeral].some((n) => b.ephemeral.has(n))
    const dots = [...dotsOf(a), ...dotsOf(b)]
    if (ephemeral.size === 0 && dots.length > 0 && !dots.every(isSpread) && !hasSolve(a) && !hasSolve(b)) return false
    const rows = outerSize(outer)
    const plain = !hasAnchors(a) && !hasAnchors(b)
    // a row of any length goes by once for its statistics and once for what is made of them: none of it waits close by
    const goesBy =
      ephemeral.size === 0 &&
      hasOnline(all.flatMap((r) => r.anchors)) &&
      all.every((r) => all.every((t) => volume(t.node) / rows <= LARGEST_ROW || !reads.get(r.node)!.intact.has(t.node)))
    for (const { node } of all) {
      const inner = node.type.dims.filter((d) => !outer.some((o) => o.name === d.name))
      if (!goesBy && volume(node) / rows > LARGEST_ROW) return false
      if (inner.length > 0 && plain) return false
      const last = node.type.dims.filter((d) => nominal(d.size) > 1).at(-1)
      if (inner.length > 0 && !sharesEphemeral && last !== undefined && !inner.includes(last)) return false
    }
    // joining must not take the parallel axes of a large reduction away
    return goesBy || Math.max(outerSize(a.outer), outerSize(b.outer)) / rows <= LARGEST_ROW
  }

  let all = new Set<Cluster>()
  const replace = (old: ReadonlyArray<Cluster>, made: Cluster): void => {
    for (const c of old) all.delete(c)
    all.add(made)
    for (const r of made.roots) clusterOf.set(r.node, made)
  }
  const byEphemeral = new Map<Node, Set<Node>>()
  /** pointwise roots by what they read at every point: those that read the same go together */
  const byRead = new Map<Node, Set<Node>>()
  for (const root of roots.values()) {
    const { intact, ephemeral } = reads.get(root.node)!
    let own: Cluster = { roots: [root], outer: outerOf(root, ephemeral), ephemeral }
    replace([], own)
    for (;;) {
      const near = new Set<Cluster>()
      for (const n of intact.keys()) if (clusterOf.has(n)) near.add(clusterOf.get(n)!)
      for (const e of own.ephemeral) for (const n of byEphemeral.get(e) ?? []) near.add(clusterOf.get(n)!)
      if (root.anchors.length === 0)
        for (const n of intact.keys()) for (const m of byRead.get(n) ?? []) near.add(clusterOf.get(m)!)
      near.delete(own)
      const found = [...near]
        .sort((a, b) => oldest(b) - oldest(a))
        .map((c) => ({ c, made: readsEachOther(own, c) || sharesOuter(own, c) ? merged(own, c) : undefined }))
        .find((m) => m.made !== undefined)
      if (found?.made === undefined) break
      replace([own, found.c], found.made)
      own = found.made
    }
    if (root.anchors.length === 0)
      for (const n of intact.keys())
        if (sameAxes(n, root.node)) byRead.set(n, (byRead.get(n) ?? new Set()).add(root.node))
    for (const e of ephemeral) byEphemeral.set(e, (byEphemeral.get(e) ?? new Set()).add(root.node))
  }

  // each after those that it reads; otherwise as early as it was made
  const rest = [...all].sort((a, b) => a.roots.at(-1)!.node.id - b.roots.at(-1)!.node.id)
  const out: Cluster[] = []
  const state = new Map<Cluster, 'open' | 'done'>()
  const visit = (c: Cluster): void => {
    if (state.has(c)) return
    state.set(c, 'open')
    for (const d of before(c)) visit(d)
    state.set(c, 'done')
    out.push(c)
  }
  rest.forEach(visit)
  all = new Set()
  return out
}

const sharesOuter = (a: Cluster, b: Cluster): boolean =>
  a.outer.length === b.outer.length && a.outer.every((d) => b.outer.some((e) => e.name === d.name))

/** What kind of kernel a cluster becomes. */
export const kindOf = (c: Cluster): 'cells' | 'contraction' | 'rows' => {
  const dots = dotsOf(c)
  const rest = c.roots.some((r) => r.anchors.some((a) => isAnchor(a) && a.op !== 'dot'))
  if (c.ephemeral.size === 0 && dots.length > 0 && !rest && (isContraction(c) || c.roots.length === 1))
    return 'contraction'
  return dots.length === 0 && !rest && c.ephemeral.size === 0 ? 'cells' : 'rows'
}
