/**
 * Mutants: an adapter with one mutated node in one of its programs.
 *
 * Laws call an adapter's programs at many shapes, so a mutant is not one graph: each call is traced on
 * placeholders, the node is found by its place in the traversal, mutated, and the placeholders are replaced by
 * what the caller gave. The host is opaque: what it computes is not the adapter's, and is never mutated.
 */
import { kit } from '../../dsl/build.ts'
import { topological, type Node } from '../../dsl/node.ts'
import type { AnyTensor } from '../../dsl/program.ts'
import type { Adapter, Config, Params } from '../adapter.ts'
import type { Host } from '../compose.ts'
import { mutators, type Mutator } from './mutators.ts'

// ---------------------------------------------------------------------------------------- model

export type Part = 'apply' | 'weight' | 'inverse' | 'init'

/** Where and what: the index-th node of a program, in order of traversal. */
export interface Mutation {
  readonly part: Part
  readonly index: number
  readonly op: string
  readonly mutator: Mutator
}

/** A traversal in progress: placeholders and what they stand for, nodes in order, results by node. */
interface Trace {
  readonly hold: (name: string, actual: Node) => Node
  readonly resolve: (root: Node) => Node
  /** the adapter's own nodes so far */
  readonly nodes: ReadonlyArray<Node>
}

// --------------------------------------------------------------------------------- constructors

/** arguments before users, in an order that depends on structure alone; what is not `own` is left out, with all below it */
const postOrder = (root: Node, seen: Set<Node>, own: (n: Node) => boolean, visit: (n: Node) => void): void => {
  if (seen.has(root)) return
  seen.add(root)
  if (!own(root)) return
  for (const a of root.args) postOrder(a, seen, own, visit)
  visit(root)
}

const nameOf = (n: Node): string => (n.op === 'map' ? n.attrs.fn : n.op)

const tracing = (
  mutation: Pick<Mutation, 'index' | 'op' | 'mutator'> | undefined,
  own: (n: Node) => boolean,
): Trace => {
  const actual = new Map<Node, Node>()
  const seen = new Set<Node>()
  const nodes: Node[] = []
  const changed = new Map<Node, Node>()
  const resolved = (n: Node): Node => {
    const known = actual.get(n)
    if (known !== undefined) return known
    const other = changed.get(n)
    const result =
      other === undefined
        ? kit.rebuild(
            n,
            n.args.map((a) => resolved(a)),
          )
        : resolved(other)
    actual.set(n, result)
    return result
  }
  let held = 0
  return {
    nodes,
    hold: (name, node) => {
      held += 1
      const placeholder = kit.input(`#${String(held)}.${name}`, node.type.dims, node.type.dtype)
      seen.add(placeholder)
      actual.set(placeholder, node)
      return placeholder
    },
    resolve: (root) => {
      postOrder(root, seen, own, (n) => {
        if (n.op === 'input' || n.op === 'fault') return
        if (mutation !== undefined && nodes.length === mutation.index && nameOf(n) === mutation.op) {
          const other = mutation.mutator.mutate(n)
          if (other !== undefined) changed.set(n, other)
        }
        nodes.push(n)
      })
      return resolved(root)
    },
  }
}

const held = (t: Trace, p: Params): Params =>
  Object.fromEntries(Object.entries(p).map(([n, x]) => [n, { node: t.hold(n, x.node) }]))

/** the host behind placeholders: what it is called with is resolved on the spot, and what it answers is held */
const opaque = (t: Trace, host: Host): Host => {
  const through =
    (name: string, f: (x: never) => AnyTensor) =>
    (x: AnyTensor): AnyTensor => ({ node: t.hold(name, f({ node: t.resolve(x.node) } as never).node) })
  if ('projectKey' in host) {
    const attention = host
    return {
      projectKey: through('projectKey', attention.projectKey),
      projectValue: through('projectValue', attention.projectValue),
      call: (x: Params) => {
        const resolved = Object.fromEntries(Object.entries(x).map(([n, v]) => [n, { node: t.resolve(v.node) }]))
        return { node: t.hold('call', attention.call(resolved as never).node) }
      },
    } as unknown as Host
  }
  const call = through('call', host.call)
  if (!('weight' in host)) return { call } as unknown as Host
  const linear = host
  return {
    get weight() {
      return { node: t.hold('weight', linear.weight.node) }
    },
    get bias() {
      return linear.bias === undefined ? undefined : { node: t.hold('bias', linear.bias.node) }
    },
    call,
  } as unknown as Host
}

const anyNode = (): boolean => true
/** no law speaks of how random numbers are distributed: in init, only how they are arranged is mutated, and what is not random */
const arranging: ReadonlySet<string> = new Set(['reshape', 'rename', 'broadcast', 'slice', 'pad', 'concat'])
const isArranged = (n: Node): boolean => arranging.has(n.op) || topological([n]).every((m) => m.op !== 'randomBits')

type Record_ = Readonly<Record<string, AnyTensor>>
const isTensor = (x: unknown): x is AnyTensor => typeof x === 'object' && x !== null && 'node' in x

/** `apply`, traced, mutated and put back; `report` gets the adapter's own nodes */
const throughApply =
  (a: Adapter, mutation: Mutation | undefined, report: (nodes: ReadonlyArray<Node>) => void): Adapter['apply'] =>
  (config) =>
  (p, x, host, ctx) => {
    const t = tracing(mutation, anyNode)
    const xs = x as unknown as AnyTensor | Record_
    const at = isTensor(xs) ? { node: t.hold('x', xs.node) } : held(t, xs)
    const y = a.apply(config)(held(t, p), at as never, opaque(t, host), ctx) as unknown as AnyTensor
    const node = t.resolve(y.node)
    report(t.nodes)
    return { node } as never
  }

type Weight = NonNullable<Adapter['weight']>
const throughWeight =
  (f: Weight, mutation: Mutation | undefined, report: (nodes: ReadonlyArray<Node>) => void): Weight =>
  (config) =>
  (p, W) => {
    const t = tracing(mutation, anyNode)
    const node = t.resolve(f(config)(held(t, p), { node: t.hold('W', W.node) } as never).node)
    report(t.nodes)
    return { node } as never
  }

const throughInit =
  (a: Adapter, mutation: Mutation | undefined, report: (nodes: ReadonlyArray<Node>) => void): Adapter['init'] =>
  (config) =>
  (key, host) => {
    const t = tracing(mutation, isArranged)
    const made = a.init(config)(key, host)
    const params = Object.fromEntries(Object.entries(made.params).map(([n, x]) => [n, { node: t.resolve(x.node) }]))
    report(t.nodes)
    return { ...made, params }
  }

const parts: ReadonlyArray<Part> = ['apply', 'weight', 'inverse', 'init']

/** The adapter with one of its programs traced; `report` is called on every trace. */
const traced = (
  a: Adapter,
  part: Part,
  mutation: Mutation | undefined,
  report: (nodes: ReadonlyArray<Node>) => void,
): Adapter => {
  switch (part) {
    case 'apply':
      return { ...a, apply: throughApply(a, mutation, report) }
    case 'weight':
      return a.weight === undefined ? a : { ...a, weight: throughWeight(a.weight, mutation, report) }
    case 'inverse':
      return a.inverse === undefined ? a : { ...a, inverse: throughWeight(a.inverse, mutation, report) }
    case 'init':
      return { ...a, init: throughInit(a, mutation, report) }
    default:
      return part satisfies never
  }
}

// --------------------------------------------------------------------------------- interpreters

/** The adapter with this mistake in it. */
export const mutant = (a: Adapter, m: Mutation): Adapter => traced(a, m.part, m, () => undefined)

/** Every mutation that fits somewhere. `exercise` runs all programs of the adapter it is given once. */
export const mutationsOf = (a: Adapter, exercise: (traced: Adapter) => void): ReadonlyArray<Mutation> =>
  parts.flatMap((part) => {
    let nodes: ReadonlyArray<Node> = []
    exercise(
      traced(a, part, undefined, (found) => {
        nodes = found
      }),
    )
    return nodes.flatMap((n, index) =>
      mutators.flatMap((mutator) => {
        const other = mutator.mutate(n)
        return other === undefined || other === n ? [] : [{ part, index, op: nameOf(n), mutator }]
      }),
    )
  })

/** `apply: drop the second addend at node 4 (add)` */
export const showMutation = (m: Mutation, config: Config): string =>
  `${m.part}: ${m.mutator.name} at node ${String(m.index)} (${m.op}), ${Object.entries(config)
    .map(([k, v]) => `${k} ${typeof v === 'number' ? String(Number(v.toPrecision(3))) : String(v)}`)
    .join(', ')}`
