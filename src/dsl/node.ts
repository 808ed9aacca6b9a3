/**
 * The graph IR: immutable, hash-consed nodes over *named* axes. Equality is `===`, common
 * subexpressions are shared for free. An axis has a name and a size; the order of a node's dims is its
 * default layout and never a meaning (see docs/decisions/named-axes-in-the-graph.md).
 */
import type { DType } from './dtype.ts'
import type { Dim } from './dim.ts'
import type { Fault } from './fault.ts'

// ---------------------------------------------------------------------------------------- model

export interface Axis {
  readonly name: string
  readonly size: Dim
}
export type Dims = ReadonlyArray<Axis>

export interface Type {
  readonly dims: Dims
  readonly dtype: DType
}

export type ReduceFn = 'sum' | 'max' | 'min'

/** A function of its params, closed over nothing: the body of a `call` and of its custom VJP. */
export interface Region {
  /** `input` nodes */
  readonly params: ReadonlyArray<Node>
  readonly results: ReadonlyArray<Node>
}

/** Attributes, per primitive. */
export interface Attrs {
  readonly input: { readonly name: string; readonly dims: Dims; readonly dtype: DType }
  readonly const: { readonly value: number; readonly dtype: DType }
  readonly iota: { readonly axis: string; readonly size: Dim }
  readonly randomBits: { readonly dims: Dims }
  readonly map: { readonly fn: string }
  readonly cast: { readonly dtype: DType }
  readonly reduce: { readonly fn: ReduceFn; readonly over: ReadonlyArray<string> }
  readonly dot: { readonly over: ReadonlyArray<string> }
  readonly reshape: { readonly from: ReadonlyArray<string>; readonly to: Dims }
  readonly rename: { readonly axes: Readonly<Record<string, string>> }
  readonly broadcast: { readonly dims: Dims }
  readonly slice: { readonly axis: string; readonly start: Dim; readonly size: Dim }
  readonly pad: { readonly axis: string; readonly before: Dim; readonly after: Dim }
  readonly concat: { readonly axis: string }
  readonly gather: { readonly axis: string }
  readonly scatterAdd: { readonly axis: string; readonly size: Dim; readonly over: ReadonlyArray<string> }
  readonly solve: { readonly row: string; readonly col: string }
  readonly triSolve: { readonly row: string; readonly col: string; readonly lower: boolean }
  readonly cumsum: { readonly axis: string }
  readonly argmax: { readonly axis: string }
  readonly call: { readonly name: string; readonly body: Region; readonly rule: Region }
  readonly stopGrad: Readonly<Record<never, never>>
  /** a misuse, carried along so that `check` can report every one of them */
  readonly fault: { readonly fault: Fault }
}

export type Op = keyof Attrs

export interface NodeOf<K extends Op> {
  readonly op: K
  readonly args: ReadonlyArray<Node>
  readonly attrs: Attrs[K]
  readonly type: Type
  /** creation order; arguments always have smaller ids */
  readonly id: number
}

export type Node = { readonly [K in Op]: NodeOf<K> }[Op]

// --------------------------------------------------------------------------------- constructors

/** Weak: a node that nothing else holds may go, and its key with the next sweep. Property tests make millions. */
const table = new Map<string, WeakRef<Node>>()
const FIRST_SWEEP = 2 ** 16
let nextSweep = FIRST_SWEEP
let nextId = 0

/** keys of nodes that are gone; twice as many may come before it is done again, so that each key costs a constant */
const sweep = (): void => {
  for (const [key, ref] of table) if (ref.deref() === undefined) table.delete(key)
  nextSweep = Math.max(FIRST_SWEEP, 2 * table.size)
}

/** with its length in front: where it ends is certain, whatever it holds */
const word = (s: string): string => `${String(s.length)}:${s}`
const words = (ss: ReadonlyArray<string>): string => {
  let text = ''
  for (const s of ss) text += word(s)
  return text
}
const axes = (dims: Dims): string => {
  let text = ''
  for (const d of dims) text += word(d.name) + word(d.size.key)
  return text
}
const ids = (nodes: ReadonlyArray<Node>): string => {
  let text = ''
  for (const n of nodes) text += `${String(n.id)},`
  return text
}
const region = ({ params, results }: Region): string => `${ids(params)};${ids(results)};`

/** Attributes as text: equal texts of one op are equal attributes. */
const attrsText: { readonly [K in Op]: (a: Attrs[K]) => string } = {
  input: ({ name, dims, dtype }) => `${dtype} ${word(name)}${axes(dims)}`,
  const: ({ value, dtype }) => `${dtype} ${Object.is(value, -0) ? '-0' : String(value)}`,
  iota: ({ axis, size }) => word(axis) + size.key,
  randomBits: ({ dims }) => axes(dims),
  map: ({ fn }) => fn,
  cast: ({ dtype }) => dtype,
  reduce: ({ fn, over }) => `${fn} ${words(over)}`,
  dot: ({ over }) => words(over),
  reshape: ({ from, to }) => `${words(from)};${axes(to)}`,
  rename: ({ axes: by }) => words(Object.entries(by).flat()),
  broadcast: ({ dims }) => axes(dims),
  slice: ({ axis, start, size }) => words([axis, start.key, size.key]),
  pad: ({ axis, before, after }) => words([axis, before.key, after.key]),
  concat: ({ axis }) => axis,
  gather: ({ axis }) => axis,
  scatterAdd: ({ axis, size, over }) => words([axis, size.key, ...over]),
  solve: ({ row, col }) => words([row, col]),
  triSolve: ({ row, col, lower }) => `${String(lower)} ${words([row, col])}`,
  cumsum: ({ axis }) => axis,
  argmax: ({ axis }) => axis,
  call: ({ name, body, rule }) => `${word(name)}${region(body)}${region(rule)}`,
  stopGrad: () => '',
  fault: () => '',
}

/** The complete identity of a node as text: op, attrs and the ids of args. Equal keys are equal nodes, no hash is trusted. */
const keyOf = <K extends Op>(op: K, args: ReadonlyArray<Node>, attrs: Attrs[K]): string =>
  `${op}(${ids(args)})${attrsText[op](attrs)}`

/**
 * The one node of this op, args and attrs; its type is asked for when it is new, and follows from them.
 * `fault` nodes are never shared: each misuse is reported.
 */
export const intern = <K extends Op>(op: K, args: ReadonlyArray<Node>, attrs: Attrs[K], type: Type): Node =>
  internAs(op, args, attrs, () => type)!

/** The same with a type rule: nothing where it has no type. */
export const internAs = <K extends Op>(
  op: K,
  args: ReadonlyArray<Node>,
  attrs: Attrs[K],
  typeOf: () => Type | undefined,
): Node | undefined => {
  const key = keyOf(op, args, attrs)
  const known = op === 'fault' ? undefined : table.get(key)?.deref()
  if (known !== undefined) return known
  const type = typeOf()
  if (type === undefined) return undefined
  nextId += 1
  const node = Object.freeze({ op, args, attrs, type, id: nextId } as unknown as Node)
  if (op === 'fault') return node
  if (table.size >= nextSweep) sweep()
  table.set(key, new WeakRef(node))
  return node
}

// ---------------------------------------------------------------------------------- combinators

export const axisNames = (t: Type): ReadonlyArray<string> => t.dims.map((d) => d.name)
export const axisIn = (dims: Dims, name: string): Axis | undefined => {
  for (const d of dims) if (d.name === name) return d
  return undefined
}
export const axisOf = (t: Type, name: string): Axis | undefined => axisIn(t.dims, name)
export const hasAxis = (t: Type, name: string): boolean => axisOf(t, name) !== undefined

/** Every node that `roots` need, arguments before users, each once; nothing that only nodes need where it stops. */
export const topological = (roots: ReadonlyArray<Node>, stops?: (n: Node) => boolean): ReadonlyArray<Node> => {
  const found = new Map<number, Node>()
  for (const n of reachable(roots, stops)) found.set(n.id, n)
  return Array.from(Float64Array.from(found.keys()).sort(), (id) => found.get(id)!)
}

/** The same axes in the same order, and the same dtype. */
export const sameType = (a: Type, b: Type): boolean => {
  if (a === b) return true
  if (a.dtype !== b.dtype || a.dims.length !== b.dims.length) return false
  for (let i = 0; i < a.dims.length; i++) {
    const [d, e] = [a.dims[i]!, b.dims[i]!]
    if (d.name !== e.name || d.size.key !== e.size.key) return false
  }
  return true
}

/** Every node that `roots` need, each once, in no order; nothing that only nodes need where it stops. */
export const reachable = (roots: ReadonlyArray<Node>, stops?: (n: Node) => boolean): ReadonlySet<Node> => {
  const seen = new Set<Node>(roots)
  for (const n of seen) if (stops?.(n) !== true) for (const a of n.args) seen.add(a)
  return seen
}

/** `f32[token:T, in:8]` */
export const showType = (t: Type): string =>
  `${t.dtype}[${t.dims.map((d) => (d.size.key === d.name ? d.name : `${d.name}:${d.size.key}`)).join(', ')}]`
