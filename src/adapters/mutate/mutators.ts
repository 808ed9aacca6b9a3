/**
 * Mutators: small mistakes, one row each. A mutator looks at one node and answers what stands in its place,
 * built from the node's own arguments, or nothing where it does not fit. What comes out may be ill-typed.
 */
import { kit } from '../../dsl/build.ts'
import { addDim } from '../../dsl/dim.ts'
import { axisNames, hasAxis, type Node } from '../../dsl/node.ts'

// ---------------------------------------------------------------------------------------- model

export interface Mutator {
  readonly name: string
  readonly mutate: (n: Node) => Node | undefined
}

// --------------------------------------------------------------------------------- constructors

const arg = (n: Node, i: number): Node | undefined => n.args[i]

/** a node in the place of n: broadcast to n's axes, as the operation it replaces would */
const inPlaceOf = (n: Node, x: Node | undefined): Node | undefined =>
  x === undefined || x.type.dtype !== n.type.dtype ? undefined : kit.broadcast(x, n.type.dims)

const forFunctions = (fns: ReadonlyArray<string>, f: (n: Node) => Node | undefined) => (n: Node) =>
  n.op === 'map' && fns.includes(n.attrs.fn) ? f(n) : undefined

const siblings: Readonly<Record<string, string>> = {
  add: 'sub',
  sub: 'add',
  mul: 'add',
  div: 'mul',
  max: 'min',
  min: 'max',
  tanh: 'sigmoid',
  sigmoid: 'tanh',
  sqrt: 'rsqrt',
  rsqrt: 'sqrt',
  sin: 'cos',
  cos: 'sin',
  exp: 'tanh',
  erf: 'tanh',
  lt: 'le',
  le: 'lt',
  gt: 'ge',
  ge: 'gt',
  eq: 'ne',
  ne: 'eq',
}

const opposites: Readonly<Record<string, string>> = { lt: 'gt', gt: 'lt', le: 'ge', ge: 'le' }

const withFunction = (table: Readonly<Record<string, string>>) => (n: Node) => {
  const fn = n.op === 'map' ? table[n.attrs.fn] : undefined
  return fn === undefined ? undefined : kit.map(fn, ...n.args)
}

const constant = (f: (x: number) => number) => (n: Node) =>
  n.op !== 'const' || n.type.dtype === 'bool' || Object.is(f(n.attrs.value) + 0, n.attrs.value + 0)
    ? undefined
    : kit.scalar(f(n.attrs.value), n.type.dtype)

/** x with two axes' names exchanged: its transpose. The first pair of axes of one size. */
const transposed = (x: Node | undefined): Node | undefined => {
  if (x === undefined) return undefined
  for (const [i, a] of x.type.dims.entries())
    for (const b of x.type.dims.slice(i + 1))
      if (a.size.key === b.size.key) return kit.rename(x, { [a.name]: b.name, [b.name]: a.name })
  return undefined
}

const rebuilt = (n: Node, i: number, x: Node | undefined): Node | undefined =>
  x === undefined
    ? undefined
    : kit.rebuild(
        n,
        n.args.map((a, k) => (k === i ? x : a)),
      )

// ---------------------------------------------------------------------------------------- table

export const mutators: ReadonlyArray<Mutator> = [
  { name: 'drop the first addend', mutate: forFunctions(['add', 'sub'], (n) => inPlaceOf(n, arg(n, 1))) },
  { name: 'drop the second addend', mutate: forFunctions(['add', 'sub'], (n) => inPlaceOf(n, arg(n, 0))) },
  { name: 'drop the first factor', mutate: forFunctions(['mul'], (n) => inPlaceOf(n, arg(n, 1))) },
  { name: 'drop the second factor', mutate: forFunctions(['mul', 'div'], (n) => inPlaceOf(n, arg(n, 0))) },
  {
    name: 'swap operands',
    mutate: forFunctions(['sub', 'div'], (n) => kit.map(n.op === 'map' ? n.attrs.fn : '', n.args[1]!, n.args[0]!)),
  },
  {
    name: 'drop a function',
    mutate: (n) => (n.op === 'map' && n.args.length === 1 ? inPlaceOf(n, arg(n, 0)) : undefined),
  },
  { name: 'sibling function', mutate: withFunction(siblings) },
  { name: 'opposite comparison', mutate: withFunction(opposites) },
  {
    name: 'swap branches',
    mutate: forFunctions(['select'], (n) => kit.map('select', n.args[0]!, n.args[2]!, n.args[1]!)),
  },
  { name: 'double a constant', mutate: constant((x) => 2 * x) },
  { name: 'negate a constant', mutate: constant((x) => -x) },
  { name: 'constant plus one', mutate: constant((x) => x + 1) },
  {
    name: 'sibling reduction',
    mutate: (n) =>
      n.op === 'reduce' ? kit.reduce(n.attrs.fn === 'max' ? 'min' : 'max', n.args[0]!, n.attrs.over) : undefined,
  },
  {
    name: 'reduce over another axis',
    mutate: (n) => {
      if (n.op !== 'reduce') return undefined
      const other = axisNames(n.args[0]!.type).find((a) => !n.attrs.over.includes(a))
      return other === undefined ? undefined : kit.reduce(n.attrs.fn, n.args[0]!, [other])
    },
  },
  {
    name: 'transpose the first operand',
    mutate: (n) => (n.op === 'dot' || n.op === 'map' ? rebuilt(n, 0, transposed(arg(n, 0))) : undefined),
  },
  {
    name: 'transpose the second operand',
    mutate: (n) => (n.op === 'dot' || n.op === 'map' ? rebuilt(n, 1, transposed(arg(n, 1))) : undefined),
  },
  {
    name: 'contract another axis',
    mutate: (n) => {
      if (n.op !== 'dot') return undefined
      const [a, b] = [n.args[0]!, n.args[1]!]
      const shared = axisNames(a.type).filter((x) => hasAxis(b.type, x) && !n.attrs.over.includes(x))
      return shared.length === 0 ? undefined : kit.dot(a, b, shared.slice(0, 1))
    },
  },
  {
    name: 'swap the sides of a solve',
    mutate: (n) => {
      if (n.op !== 'solve' && n.op !== 'triSolve') return undefined
      const { row, col } = n.attrs
      const flipped = kit.rename(n.args[0]!, { [row]: col, [col]: row })
      return n.op === 'solve'
        ? kit.solve(flipped, n.args[1]!, row, col)
        : kit.triSolve(flipped, n.args[1]!, row, col, n.attrs.lower)
    },
  },
  {
    name: 'the other triangle',
    mutate: (n) =>
      n.op === 'triSolve' ? kit.triSolve(n.args[0]!, n.args[1]!, n.attrs.row, n.attrs.col, !n.attrs.lower) : undefined,
  },
  {
    name: 'multiply instead of solving',
    mutate: (n) =>
      n.op === 'solve' || n.op === 'triSolve'
        ? kit.rename(
            kit.dot(kit.rename(n.args[0]!, { [n.attrs.row]: n.attrs.col, [n.attrs.col]: n.attrs.row }), n.args[1]!, [
              n.attrs.row,
            ]),
            {},
          )
        : undefined,
  },
  {
    name: 'forget a transposition',
    mutate: (n) =>
      n.op === 'rename' && Object.keys(n.attrs.axes).every((a) => Object.values(n.attrs.axes).includes(a))
        ? n.args[0]
        : undefined,
  },
  {
    name: 'slice one later',
    mutate: (n) =>
      n.op === 'slice' ? kit.slice(n.args[0]!, n.attrs.axis, addDim(n.attrs.start, 1), n.attrs.size) : undefined,
  },
  {
    name: 'slice one earlier',
    mutate: (n) =>
      n.op === 'slice' ? kit.slice(n.args[0]!, n.attrs.axis, addDim(n.attrs.start, -1), n.attrs.size) : undefined,
  },
  {
    name: 'pad on the other side',
    mutate: (n) => (n.op === 'pad' ? kit.pad(n.args[0]!, n.attrs.axis, n.attrs.after, n.attrs.before) : undefined),
  },
  {
    name: 'reverse a concatenation',
    mutate: (n) =>
      n.op === 'concat' && n.args.length > 1 ? kit.concat([...n.args].reverse(), n.attrs.axis) : undefined,
  },
  {
    name: 'merge axes in another order',
    mutate: (n) =>
      n.op === 'reshape' && n.attrs.from.length > 1
        ? kit.reshape(n.args[0]!, [...n.attrs.from].reverse(), n.attrs.to)
        : undefined,
  },
]
