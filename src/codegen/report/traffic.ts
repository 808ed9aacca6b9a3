/**
 * What a program costs to launch and to move: kernels, and the bytes of every tensor that a kernel reads or writes, each
 * once a kernel. Reading a tile again within a kernel is not counted: caches are not modelled. All sizes are literal.
 */
import { topological, type Node } from '../../dsl/node.ts'
import type { Program } from '../../dsl/program.ts'
import type { Fused } from '../fuse.ts'
import { count } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

export interface Traffic {
  readonly kernels: number
  readonly bytes: number
}

const BYTES = 4

const bytesOf = (nodes: Iterable<Node>): number => {
  let total = 0
  for (const n of nodes) total += BYTES * count(n)
  return total
}

// --------------------------------------------------------------------------------- interpreters

/** the value in memory behind renamed, repeated or regrouped axes, which every library gives without a kernel */
const behind = (n: Node): Node =>
  n.op === 'rename' || n.op === 'broadcast' || n.op === 'reshape' || n.op === 'stopGrad' ? behind(n.args[0]!) : n

const isNumber = (n: Node): boolean => n.op === 'const' || n.op === 'iota'

/** Every operation its own kernel, which reads its arguments and writes its result. */
export const unfusedTraffic = (p: Program): Traffic => {
  const work = topological(p.outputs.map((o) => o.node)).filter(
    (n) => behind(n) === n && n.op !== 'input' && !isNumber(n),
  )
  const one = (n: Node): number => bytesOf([n]) + bytesOf(new Set(n.args.map(behind).filter((a) => !isNumber(a))))
  return { kernels: work.length, bytes: work.reduce((s, n) => s + one(n), 0) }
}

/** The launches that fusion makes. */
export const fusedTraffic = (f: Fused): Traffic => ({
  kernels: f.launches.length,
  bytes: f.launches.flat().reduce((s, g) => s + bytesOf(new Set(g.reads)) + bytesOf(new Set(g.stored)), 0),
})

/** Inputs read once, outputs written once: no plan moves less. */
export const leastTraffic = (p: Program): number => {
  const needed = new Set(topological(p.outputs.map((o) => o.node)))
  return (
    bytesOf(new Set(p.inputs.flatMap((i) => (needed.has(i.node) ? [i.node] : [])))) +
    bytesOf(new Set(p.outputs.map((o) => o.node)))
  )
}
