/** Rules of pointwise arithmetic: folding, neutral elements, cancellation, choices that are made. */
import { kit } from '../../dsl/build.ts'
import type { Node } from '../../dsl/node.ts'
import { scalarOp } from '../../dsl/scalar.ts'
import { along, bare, isNumber, matrix, numberOf, type Rule } from './rule.ts'

/** the arguments of a map of this function */
const argsOf = (n: Node, fn: string): ReadonlyArray<Node> | undefined =>
  n.op === 'map' && n.attrs.fn === fn ? n.args : undefined

interface Term {
  readonly node: Node
  readonly isMinus: boolean
}

/** the terms of a chain of additions, subtractions and negations */
const terms = (n: Node, isMinus = false): ReadonlyArray<Term> => {
  const b = bare(n)
  if (b.op !== 'map') return [{ node: b, isMinus }]
  const [x, y] = b.args
  switch (b.attrs.fn) {
    case 'add':
      return [...terms(x!, isMinus), ...terms(y!, isMinus)]
    case 'sub':
      return [...terms(x!, isMinus), ...terms(y!, !isMinus)]
    case 'neg':
      return terms(x!, !isMinus)
    default:
      return [{ node: b, isMinus }]
  }
}

const total = (ts: ReadonlyArray<Term>, like: Node): Node => {
  const sorted = [...ts.filter((t) => !t.isMinus), ...ts.filter((t) => t.isMinus)]
  const [first, ...rest] = sorted
  if (first === undefined) return along(kit.scalar(0, like.type.dtype), like.type.dims)
  const start = first.isMinus ? kit.map('neg', first.node) : first.node
  return along(
    rest.reduce((acc, t) => kit.map(t.isMinus ? 'sub' : 'add', acc, t.node), start),
    like.type.dims,
  )
}

/** terms of both signs cancel in pairs */
const cancelled = (ts: ReadonlyArray<Term>): ReadonlyArray<Term> => {
  if (!ts.some((t) => t.isMinus)) return ts
  const i = ts.findIndex((t, k) => ts.some((u, l) => l > k && u.node === t.node && u.isMinus !== t.isMinus))
  if (i < 0) return ts
  const j = ts.findIndex((u, l) => l > i && u.node === ts[i]!.node && u.isMinus !== ts[i]!.isMinus)
  return cancelled(ts.filter((_, k) => k !== i && k !== j))
}

const A = (): Node => matrix('A')

export const pointwise: ReadonlyArray<Rule> = [
  {
    name: 'fold',
    on: ['map'],
    doc: 'a function of numbers is a number',
    example: () => kit.map('add', kit.scalar(1), kit.scalar(2)),
    rule: (n) => {
      if (n.op !== 'map' || n.type.dtype === 'bool' || n.args.some((a) => a.type.dtype === 'bool')) return undefined
      const [a, b, c] = n.args.map(numberOf)
      if (n.args.length > [a, b, c].filter((x) => x !== undefined).length) return undefined
      const value = scalarOp(n.attrs.fn)?.eval(a ?? 0, b ?? 0, c ?? 0)
      return value === undefined || !Number.isFinite(value)
        ? undefined
        : along(kit.scalar(value, n.type.dtype), n.type.dims)
    },
  },
  {
    name: 'addZero',
    on: ['map'],
    doc: 'x + 0 = 0 + x = x - 0 = x',
    example: () => kit.map('add', A(), kit.scalar(0)),
    rule: (n) => {
      const [x, y] = argsOf(n, 'add') ?? argsOf(n, 'sub') ?? []
      if (x === undefined || y === undefined) return undefined
      if (isNumber(y, 0)) return along(x, n.type.dims)
      return isNumber(x, 0) && argsOf(n, 'add') !== undefined ? along(y, n.type.dims) : undefined
    },
  },
  {
    name: 'mulOne',
    on: ['map'],
    doc: 'x 1 = 1 x = x / 1 = x',
    example: () => kit.map('mul', kit.scalar(1), A()),
    rule: (n) => {
      const [x, y] = argsOf(n, 'mul') ?? argsOf(n, 'div') ?? []
      if (x === undefined || y === undefined) return undefined
      if (isNumber(y, 1)) return along(x, n.type.dims)
      return isNumber(x, 1) && argsOf(n, 'mul') !== undefined ? along(y, n.type.dims) : undefined
    },
  },
  {
    name: 'mulZero',
    on: ['map'],
    doc: 'x 0 = 0',
    tag: 'finite',
    example: () => kit.map('mul', A(), kit.scalar(0)),
    rule: (n) =>
      argsOf(n, 'mul')?.some((a) => isNumber(a, 0)) === true
        ? along(kit.scalar(0, n.type.dtype), n.type.dims)
        : undefined,
  },
  {
    name: 'cancelTerms',
    on: ['map'],
    doc: '(x + y) - x = y, anywhere in a chain of additions',
    tag: 'finite',
    example: () => kit.map('sub', kit.map('add', A(), matrix('B')), A()),
    rule: (n) => {
      if (argsOf(n, 'add') === undefined && argsOf(n, 'sub') === undefined) return undefined
      const all = terms(n)
      const left = cancelled(all)
      return left.length === all.length ? undefined : total(left, n)
    },
  },
  {
    name: 'negNeg',
    on: ['map'],
    doc: '--x = x',
    example: () => kit.map('neg', kit.map('neg', A())),
    rule: (n) => {
      const [x] = argsOf(n, 'neg') ?? []
      return x === undefined ? undefined : argsOf(x, 'neg')?.[0]
    },
  },
  {
    name: 'mulMul',
    on: ['map'],
    doc: '(x a) b = x (a b) for numbers a, b',
    tag: 'reassociates',
    example: () => kit.map('mul', kit.map('mul', A(), kit.scalar(2)), kit.scalar(3)),
    rule: (n) => {
      const [x, y] = argsOf(n, 'mul') ?? []
      const b = y === undefined ? undefined : numberOf(y)
      const [z, w] = x === undefined ? [] : (argsOf(x, 'mul') ?? [])
      const a = w === undefined ? undefined : numberOf(w)
      return a === undefined || b === undefined || !Number.isFinite(a * b)
        ? undefined
        : along(kit.map('mul', z!, kit.scalar(a * b, n.type.dtype)), n.type.dims)
    },
  },
  {
    name: 'selectSame',
    on: ['map'],
    doc: 'a choice between two equals',
    example: () => kit.map('select', kit.map('lt', A(), kit.scalar(0)), A(), A()),
    rule: (n) => {
      const [c, x, y] = argsOf(n, 'select') ?? []
      return c !== undefined && x === y ? along(x!, n.type.dims) : undefined
    },
  },
  {
    name: 'selectKnown',
    on: ['map'],
    doc: 'a choice whose condition compares two numbers',
    example: () => kit.map('select', kit.map('lt', kit.scalar(0), kit.scalar(1)), A(), kit.scalar(0)),
    rule: (n) => {
      const [c, x, y] = argsOf(n, 'select') ?? []
      if (c?.op !== 'map') return undefined
      const [a, b] = c.args.map(numberOf)
      const row = scalarOp(c.attrs.fn)
      if (a === undefined || b === undefined || row?.signature !== 'compare') return undefined
      return along(row.eval(a, b, 0) !== 0 ? x! : y!, n.type.dims)
    },
  },
  {
    name: 'mapBroadcast',
    on: ['map'],
    doc: 'pointwise functions broadcast by themselves',
    example: () => kit.map('mul', A(), kit.broadcast(kit.scalar(2), A().type.dims)),
    rule: (n) => {
      if (n.op !== 'map' || !n.args.some((a) => a.op === 'broadcast')) return undefined
      const inner = kit.map(n.attrs.fn, ...n.args.map(bare))
      return inner.op === 'fault' ? undefined : along(inner, n.type.dims)
    },
  },
]
