/** What laws are written with: sums, random scalar functions and their gradients, on tensors of any axes. */
import { pullback } from '../../autodiff/vjp.ts'
import { kit } from '../../dsl/build.ts'
import { literal } from '../../dsl/dim.ts'
import { axisNames, type Dims, type Node } from '../../dsl/node.ts'
import { substitute, type AnyTensor } from '../../dsl/program.ts'
import type { LinearHost, Params, Specimen } from '../adapter.ts'

export const of = (node: Node): AnyTensor => ({ node })

/** sum of all elements */
export const total = (x: Node): Node => kit.reduce('sum', x, axisNames(x.type))

/** sum_i a_i b_i */
export const inner = (a: Node, b: Node): Node => total(kit.map('mul', a, b))

/** a further generic input of the law's program, of these dims */
export const generic = (name: string, dims: Dims): Node => kit.input(name, dims, 'f32')

/** a random scalar function of the output: sum ct y, with a generic cotangent ct */
export const probe = (y: Node): Node => (y.op === 'fault' ? y : inner(y, generic('ct', y.type.dims)))

/** d loss / d p for each of p, which are inputs of the graph */
export const gradients = (loss: Node, p: Params): Params => {
  const names = Object.keys(p)
  if (loss.op === 'fault') return Object.fromEntries(names.map((n) => [n, of(loss)]))
  const cts = pullback(
    [loss],
    [kit.scalar(1)],
    names.map((n) => p[n]!.node),
  )
  return Object.fromEntries(names.map((n, i) => [n, of(cts[i]!)]))
}

/** `graphs` with the inputs `from` replaced by `to` */
export const replaceInputs = (graphs: Params, from: Params, to: Params): Params => {
  const names = Object.keys(graphs)
  const by = new Map(Object.keys(from).flatMap((n) => (to[n] === undefined ? [] : [[from[n]!.node, to[n].node]])))
  const nodes = substitute(
    names.map((n) => graphs[n]!.node),
    by,
  )
  return Object.fromEntries(names.map((n, i) => [n, of(nodes[i]!)]))
}

/** whether a tensor has elements at these sizes: blocks of size 1 have no angles */
export const hasElements = (x: Node): boolean => x.type.dims.every((d) => literal(d.size) !== 0)

export const mapParams = (p: Params, f: (x: Node, name: string) => Node): Params =>
  Object.fromEntries(Object.entries(p).map(([n, x]) => [n, of(f(x.node, n))]))

/** the host of a specimen on a linear site; laws about weights are not applicable elsewhere */
export const linearHostOf = (s: Specimen): LinearHost => s.host as LinearHost

/** why a law about weights says nothing here */
export const onLinearSites = (a: { readonly site: string }): string | undefined =>
  a.site === 'linear' ? undefined : `no weight to merge into at site '${a.site}'`
