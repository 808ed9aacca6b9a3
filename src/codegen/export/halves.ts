/**
 * A program with its gradient, cut in two: what runs forward, and what runs once the gradients of the outputs are there.
 *
 *     forward (inputs)                 -> outputs, saved
 *     backward(inputs, saved, ct.*)    -> d.*
 *
 * Saved is what fusion stores anyway and the backward half reads; all else of the forward half is computed again.
 */
import { kit } from '../../dsl/build.ts'
import { topological, type Node } from '../../dsl/node.ts'
import { substitute, trace, type Port, type Program } from '../../dsl/program.ts'

// ---------------------------------------------------------------------------------------- model

export interface Halves {
  readonly forward: Program
  readonly backward: Program
  /** outputs of `forward` and inputs of `backward`, by these names */
  readonly saved: ReadonlyArray<Port>
}

// --------------------------------------------------------------------------------- constructors

const isGradient = (p: Port): boolean => p.name.startsWith('d.')
const isCotangent = (n: Node): boolean => n.op === 'input' && n.attrs.name.startsWith('ct.')

/** nodes that hold, and all that are made of them; arguments come first in `nodes` */
const marked = (nodes: ReadonlyArray<Node>, holds: (n: Node) => boolean): ReadonlySet<Node> => {
  const found = new Set<Node>()
  for (const n of nodes) if (holds(n) || n.args.some((a) => found.has(a))) found.add(n)
  return found
}

/** `joint`: outputs y..., then d.<input>; `stored`: whether a node has a buffer in the joint plan. */
export const halvesOf = (joint: Program, stored: (n: Node) => boolean): Halves => {
  const [gradients, ys] = [joint.outputs.filter(isGradient), joint.outputs.filter((o) => !isGradient(o))]
  const late = marked(topological(joint.outputs.map((o) => o.node)), isCotangent)
  const early = new Set(topological(ys.map((o) => o.node)))
  const isSaved = (n: Node): boolean =>
    n.op !== 'input' && n.op !== 'const' && stored(n) && early.has(n) && !late.has(n)
  const seen = new Set<Node>()
  const found = new Set<Node>()
  const visit = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    if (isSaved(n)) found.add(n)
    else n.args.forEach(visit)
  }
  gradients.forEach((g) => visit(g.node))
  const nameOf = (n: Node, i: number): string => ys.find((y) => y.node === n)?.name ?? `saved.${String(i)}`
  const saved = [...found].sort((a, b) => a.id - b.id).map((node, i): Port => ({ name: nameOf(node, i), node }))
  const held = new Map(saved.map(({ name, node }) => [node, kit.input(name, node.type.dims, node.type.dtype)]))
  const rest = substitute(
    gradients.map((g) => g.node),
    held,
  )
  const outputs = (ports: ReadonlyArray<Port>): Readonly<Record<string, { readonly node: Node }>> =>
    Object.fromEntries(ports.map((p) => [p.name, { node: p.node }]))
  return {
    forward: trace(`${joint.name}.forward`, outputs([...ys, ...saved.filter((s) => s.name.startsWith('saved.'))])),
    backward: trace(`${joint.name}.backward`, outputs(gradients.map((g, i) => ({ name: g.name, node: rest[i]! })))),
    saved,
  }
}
