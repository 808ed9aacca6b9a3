/**
 * What is the same at every run of a program is computed once: rotations, prompts' keys, anything that is made of
 * weights and parameters alone. The compiler sees one run and cannot know which inputs stay.
 */
import { kit } from '../dsl/build.ts'
import { topological, type Node, type Op } from '../dsl/node.ts'
import { rewrite, trace, withOutputs, type Program } from '../dsl/program.ts'

// ---------------------------------------------------------------------------------------- model

/** A program in two: `each` takes the outputs of `once` as further inputs, by the same names. */
export interface Hoisted {
  readonly once: Program
  readonly each: Program
}

/** what is worth keeping; everything else costs no more than reading it would */
const COSTLY: ReadonlySet<Op> = new Set(['reduce', 'dot', 'scatterAdd', 'solve', 'triSolve', 'cumsum', 'argmax'])

// --------------------------------------------------------------------------------- interpreters

/** nodes that depend on an input, and on none of the `changing` */
const staying = (nodes: ReadonlyArray<Node>, changing: (name: string) => boolean): ReadonlySet<Node> => {
  const [moves, stays] = [new Set<Node>(), new Set<Node>()]
  for (const n of nodes) {
    if (n.op === 'input' ? changing(n.attrs.name) : n.args.some((a) => moves.has(a))) moves.add(n)
    else if (n.op === 'input' || n.args.some((a) => stays.has(a))) stays.add(n)
  }
  return stays
}

/** The program in two, `changing` being the names of the inputs that are others at each run. */
export const hoist = (p: Program, changing: ReadonlySet<string>): Hoisted => {
  const roots = p.outputs.map((o) => o.node)
  const nodes = topological(roots)
  const stays = staying(nodes, (name) => changing.has(name))
  // the last costly ones on each path: those that something other than a costly one that stays needs
  const kept = new Map<Node, Node>()
  const keep = (n: Node): void => {
    if (!stays.has(n) || kept.has(n) || n.op === 'input') return
    if (COSTLY.has(n.op)) kept.set(n, kit.input(`once.${String(kept.size)}`, n.type.dims, n.type.dtype))
    else n.args.forEach(keep)
  }
  roots.forEach(keep)
  for (const n of nodes) if (!stays.has(n)) n.args.forEach(keep)
  const outputs = Object.fromEntries(
    [...kept].map(([n, input]) => [input.op === 'input' ? input.attrs.name : '', { node: n }]),
  )
  const rest = rewrite(roots, (n, args) => kept.get(n) ?? kit.rebuild(n, args))
  const named = Object.fromEntries(withOutputs(p, rest).outputs.map((o) => [o.name, { node: o.node }]))
  return { once: trace(`${p.name}.once`, outputs), each: trace(p.name, named) }
}
