/** Programs: named inputs, named outputs, and the one boundary `check` that reports every misuse at once. */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { substituteDim, type Dim } from './dim.ts'
import { kit } from './build.ts'
import type { Checked, Fault } from './fault.ts'
import { intern, topological, type Attrs, type Dims, type Node } from './node.ts'

// ---------------------------------------------------------------------------------------- model

export interface Port {
  readonly name: string
  readonly node: Node
}

export interface Program {
  readonly name: string
  readonly inputs: ReadonlyArray<Port>
  readonly outputs: ReadonlyArray<Port>
}

/** A tensor of any axes and dtype, where only the graph matters. */
export interface AnyTensor {
  readonly node: Node
}

// --------------------------------------------------------------------------------- constructors

/** What was traced, unchecked. Inputs are found in the graph, in order of their names. */
export const trace = (name: string, outputs: Readonly<Record<string, AnyTensor>>): Program => {
  const ports = Object.entries(outputs).map(([n, t]) => ({ name: n, node: t.node }))
  const inputs = topological(ports.map((p) => p.node)).flatMap((n) =>
    n.op === 'input' ? [{ name: n.attrs.name, node: n }] : [],
  )
  return { name, inputs: inputs.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)), outputs: ports }
}

/** All faults of a traced program, or the program. Two inputs of one name and different types are a fault too. */
export const check = (program: Program): Checked<Program> => {
  const found = topological(program.outputs.map((o) => o.node)).flatMap((n) =>
    n.op === 'fault' ? [n.attrs.fault] : [],
  )
  const faults: Fault[] = [...new Set(found)]
  const twice = program.inputs.find((p, i) => program.inputs[i + 1]?.name === p.name)
  if (twice !== undefined)
    faults.push({
      at: `input '${twice.name}'`,
      expected: 'one type',
      actual: 'two inputs of this name and different types',
    })
  return faults.length > 0 ? E.left(faults as unknown as NonEmptyArray<Fault>) : E.right(program)
}

/** `program('lora', {y})`: traced from its outputs and checked. */
export const program = (name: string, outputs: Readonly<Record<string, AnyTensor>>): Checked<Program> =>
  check(trace(name, outputs))

// ---------------------------------------------------------------------------------- combinators

/** Rebuilds a graph bottom-up; `change` sees each node with its new arguments. */
export const rewrite = (
  roots: ReadonlyArray<Node>,
  change: (old: Node, args: ReadonlyArray<Node>) => Node,
): ReadonlyArray<Node> => {
  const done = new Map<Node, Node>()
  for (const n of topological(roots)) {
    done.set(
      n,
      change(
        n,
        n.args.map((a) => done.get(a)!),
      ),
    )
  }
  return roots.map((r) => done.get(r)!)
}

/** The program on changed output nodes; inputs that nothing needs any more stay in the signature. */
export const withOutputs = (p: Program, nodes: ReadonlyArray<Node>): Program => ({
  ...p,
  outputs: p.outputs.map((o, i) => ({ name: o.name, node: nodes[i] ?? o.node })),
})

/** Replaces inputs by other nodes of the same type. */
export const substitute = (roots: ReadonlyArray<Node>, by: ReadonlyMap<Node, Node>): ReadonlyArray<Node> =>
  rewrite(roots, (n, args) => by.get(n) ?? kit.rebuild(n, args))

/** Symbols replaced by sizes (or by other dims) everywhere. */
export const bindSizes = (p: Program, by: Readonly<Record<string, Dim>>): Program => {
  if (Object.keys(by).length === 0) return p
  const dims = (ds: Dims): Dims => ds.map((d) => ({ name: d.name, size: substituteDim(d.size, by) }))
  const bindAttrs = (n: Node): Attrs[keyof Attrs] => {
    switch (n.op) {
      case 'input':
        return { ...n.attrs, dims: dims(n.attrs.dims) }
      case 'iota':
        return { ...n.attrs, size: substituteDim(n.attrs.size, by) }
      case 'randomBits':
      case 'broadcast':
        return { ...n.attrs, dims: dims(n.attrs.dims) }
      case 'reshape':
        return { ...n.attrs, to: dims(n.attrs.to) }
      case 'slice':
        return { ...n.attrs, start: substituteDim(n.attrs.start, by), size: substituteDim(n.attrs.size, by) }
      case 'pad':
        return { ...n.attrs, before: substituteDim(n.attrs.before, by), after: substituteDim(n.attrs.after, by) }
      case 'scatterAdd':
        return { ...n.attrs, size: substituteDim(n.attrs.size, by) }
      default:
        return n.attrs
    }
  }
  const rebound = (n: Node, args: ReadonlyArray<Node>): Node =>
    n.op === 'call'
      ? kit.call(n.attrs.name, bindRegion(n.attrs.body), bindRegion(n.attrs.rule), args)
      : intern(n.op, args, bindAttrs(n) as never, { dims: dims(n.type.dims), dtype: n.type.dtype })
  const bindRegion = (r: { params: ReadonlyArray<Node>; results: ReadonlyArray<Node> }) => {
    const all = rewrite([...r.params, ...r.results], rebound)
    return { params: all.slice(0, r.params.length), results: all.slice(r.params.length) }
  }
  const all = rewrite([...p.inputs.map((i) => i.node), ...p.outputs.map((o) => o.node)], rebound)
  return {
    name: p.name,
    inputs: p.inputs.map((i, k) => ({ name: i.name, node: all[k]! })),
    outputs: p.outputs.map((o, k) => ({ name: o.name, node: all[p.inputs.length + k]! })),
  }
}
