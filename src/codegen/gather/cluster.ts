/**
 * Graph -> clusters: which nodes get a buffer of their own, and why. Everything else is inlined into
 * the kernels that read it. Movement is always an index map; a scalar function is inlined where that
 * repeats little work; a reduction never is, but takes its pointwise epilogue with it.
 */
import { topological, type Node } from '../../dsl/node.ts'
import type { Program } from '../../dsl/program.ts'
import { ownCost, usersOf } from '../fuse/costs.ts'
import { count, namesOf, sizeAlong } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

export interface Clusters {
  readonly program: Program
  /** nodes with a buffer of their own that a kernel fills, arguments first; the reason of the boundary */
  readonly roots: ReadonlyMap<Node, string>
}

/** gpu.js on WebGPU binds at most this many arrays beside the output */
export const MOST_INPUTS = 7
/** a reduction of at most this many terms is written out, so that it may stand beside another one */
const SHORT = 16
/** scalar work per element from which on recomputing it elsewhere costs more than a buffer */
const DEAR = 8
/** nodes in one kernel's expression, so that sources stay readable and compile fast */
const LARGEST = 150

const isReduction = (n: Node): boolean => n.op === 'reduce' || n.op === 'dot'
const isLeaf = (n: Node): boolean => n.op === 'input' || n.op === 'const' || n.op === 'iota'

// ------------------------------------------------------------------------------------- analyses

/** how many terms a reduction adds up */
const terms = (n: Node): number => {
  const over = n.op === 'reduce' || n.op === 'dot' ? n.attrs.over : []
  return over.reduce((k, o) => k * sizeAlong(n.args[0]!, o), 1)
}

// ------------------------------------------------------------------------------------- the pass

export const cluster = (program: Program): Clusters => {
  const outputs = new Set(program.outputs.map((o) => o.node))
  const nodes = topological([...outputs])
  const users = usersOf(nodes)
  const reasons = new Map<Node, string>()
  const give = (n: Node, why: string): void => {
    if (!reasons.has(n) && !(n.op === 'input' || n.op === 'const')) reasons.set(n, why)
  }
  for (const n of outputs) give(n, 'output')

  // a reduction and the pointwise nodes behind it, as far as they have its size and nobody else's
  const long = new Map<Node, number>()
  for (const n of nodes) {
    if (!isReduction(n)) continue
    let root = n
    const epilogue: Node[] = []
    for (;;) {
      const [next, ...more] = users.get(root)!
      const follows = next !== undefined && more.length === 0 && !reasons.has(root) && next.op === 'map'
      if (!follows || count(next) !== count(root)) break
      root = next
      epilogue.push(root)
    }
    const own = terms(n) > SHORT ? 1 : 0
    const shared = (long.get(root) ?? 0) + own
    if (shared > 1) give(n, 'another long reduction in the same cell')
    else {
      long.set(root, shared)
      give(root, n.op === 'dot' ? 'contraction' : 'reduction')
    }
  }

  // pointwise work that a consumer would repeat
  const costs = new Map<Node, number>()
  const reads = new Map<Node, number>()
  const costOf = (n: Node): number => (reasons.has(n) || isLeaf(n) ? 0 : costs.get(n)!)
  const readsOf = (n: Node): number =>
    reasons.has(n) || n.op === 'input' ? 1 : n.op === 'const' || n.op === 'iota' ? 0 : reads.get(n)!
  for (const n of nodes) {
    costs.set(n, ownCost(n) + n.args.reduce((s, a) => s + costOf(a), 0))
    reads.set(
      n,
      n.args.reduce((s, a) => s + readsOf(a), 0),
    )
    if (isLeaf(n) || reasons.has(n)) continue
    const [cost, dependsOnData] = [costOf(n), readsOf(n) > 0]
    const cells = Math.max(1, count(n))
    for (const u of users.get(n)!) {
      const steps = isReduction(u) ? count(u) * terms(u) : count(u)
      const repeats = steps / cells
      if (u.op === 'dot' && repeats > 1 && cost > 0 && dependsOnData) give(n, `operand read ${String(repeats)} times`)
      else if (u.op === 'dot' && mergesAxes(n) && repeats > 1) give(n, `merged operand read ${String(repeats)} times`)
      else if (repeats >= 2 && cost >= 4 && dependsOnData) give(n, `repeated ${String(repeats)} times by ${u.op}`)
      else if (u.op === 'gather' && u.args[1] === n && cost > 0 && dependsOnData) give(n, 'positions')
    }
    const elsewhere = users.get(n)!.filter((u) => u.op !== 'map')
    if (cost >= 2 && users.get(n)!.length > 1 && elsewhere.length > 0 && dependsOnData)
      give(n, 'read at several places')
  }

  // work that several kernels would repeat
  const sinks = new Map<Node, Set<Node>>()
  for (const n of [...nodes].reverse()) {
    const into = new Set(users.get(n)!.flatMap((u) => (reasons.has(u) ? [u] : [...sinks.get(u)!])))
    sinks.set(n, into)
    if (into.size > 1 && !isLeaf(n) && !reasons.has(n) && readsOf(n) > 0 && (costOf(n) >= DEAR || readsOf(n) > 2))
      give(n, `shared by ${String(into.size)} kernels`)
  }

  for (const n of nodes) if (reasons.has(n)) limit(n, reasons, give)
  return { program, roots: new Map(nodes.flatMap((n) => (reasons.has(n) ? [[n, reasons.get(n)!] as const] : []))) }
}

/** a merge of axes that do not lie side by side in its argument's own buffer */
const mergesAxes = (n: Node): boolean => {
  if (n.op !== 'reshape' || n.attrs.from.length < 2) return false
  const names = namesOf(n.args[0]!)
  const at = names.indexOf(n.attrs.from[0]!)
  return n.args[0]!.op !== 'input' || n.attrs.from.some((f, i) => names[at + i] !== f)
}

/** buffers that the kernel of `root` reads, and the nodes inlined in it, arguments first */
const coneOf = (
  root: Node,
  isBuffer: (n: Node) => boolean,
): { readonly inlined: ReadonlyArray<Node>; readonly inputs: ReadonlyArray<Node> } => {
  const seen = new Set<Node>()
  const inputs = new Set<Node>()
  const stack: Node[] = [root]
  for (let n = stack.pop(); n !== undefined; n = stack.pop()) {
    if (seen.has(n) || inputs.has(n)) continue
    if (n !== root && isBuffer(n)) {
      inputs.add(n)
      continue
    }
    seen.add(n)
    stack.push(...n.args)
  }
  const byId = (a: Node, b: Node): number => a.id - b.id
  return { inlined: [...seen].sort(byId), inputs: [...inputs].sort(byId) }
}

export const membersOf = ({ roots }: Clusters, root: Node) => coneOf(root, (n) => n.op === 'input' || roots.has(n))

/** cuts a cone with too many inputs or nodes at the inlined node that takes most away within the limit */
const limit = (root: Node, reasons: ReadonlyMap<Node, string>, give: (n: Node, why: string) => void): void => {
  const isBuffer = (n: Node): boolean => n.op === 'input' || reasons.has(n)
  for (;;) {
    const { inlined, inputs } = coneOf(root, isBuffer)
    if (inputs.length <= MOST_INPUTS && inlined.length <= LARGEST) return
    const why = inputs.length > MOST_INPUTS ? `more than ${String(MOST_INPUTS)} inputs` : 'a large expression'
    const candidates = inlined
      .filter((n) => n !== root && n.op !== 'const' && n.op !== 'iota')
      .map((n) => ({ n, cone: coneOf(n, isBuffer) }))
      .filter(
        ({ cone }) => cone.inputs.length <= MOST_INPUTS && cone.inlined.length <= LARGEST && cone.inputs.length > 0,
      )
      .sort((a, b) => b.cone.inputs.length - a.cone.inputs.length || b.cone.inlined.length - a.cone.inlined.length)
    const cut = candidates.find(({ cone }) => cone.inputs.length > 1 || cone.inlined.length > 1)?.n
    if (cut === undefined) return
    give(cut, why)
  }
}

/** One line a kernel: what is in it and why it ends where it does. */
export const showClusters = (c: Clusters): string =>
  [...c.roots]
    .map(([n, why]) => {
      const ops = membersOf(c, n).inlined.map((m) => (m.op === 'map' ? m.attrs.fn : m.op))
      return `#${String(n.id)} [${ops.join(' ')}] ${why}`
    })
    .join('\n')
