/** Hash-consing: equal attributes are one node, others are not, whatever their texts hold. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dim, type Dim } from '../../src/dsl/dim.ts'
import { intern, type Attrs, type Node, type Op, type Type } from '../../src/dsl/node.ts'

const type: Type = { dims: [], dtype: 'f32' }

/** names that could be taken for the marks between them */
const name = fc.string({ unit: fc.constantFrom('a', 'b', '1', '2', ':', ';', ' ', '/'), maxLength: 4 })
const names = fc.array(name, { maxLength: 3 })
const size = fc.constantFrom(0, 1, 2, 12, 'n', 'n1', 'a*b', '(n/2)').map(dim)
const dims = fc.array(fc.record({ name, size }), { maxLength: 3 })
const dtype = fc.constantFrom('f32', 'f16', 'i32', 'u32', 'bool')
const value = fc.oneof(fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1, 1e21), fc.double())
const axis = name

const attrs: { readonly [K in Exclude<Op, 'fault' | 'call' | 'stopGrad'>]: fc.Arbitrary<Attrs[K]> } = {
  input: fc.record({ name, dims, dtype }),
  const: fc.record({ value, dtype }),
  iota: fc.record({ axis, size }),
  randomBits: fc.record({ dims }),
  map: fc.record({ fn: name }),
  cast: fc.record({ dtype }),
  reduce: fc.record({ fn: fc.constantFrom('sum', 'max', 'min'), over: names }),
  dot: fc.record({ over: names }),
  reshape: fc.record({ from: names, to: dims }),
  rename: fc.record({ axes: fc.dictionary(name, name, { maxKeys: 3 }) }),
  broadcast: fc.record({ dims }),
  slice: fc.record({ axis, start: size, size }),
  pad: fc.record({ axis, before: size, after: size }),
  concat: fc.record({ axis }),
  gather: fc.record({ axis }),
  scatterAdd: fc.record({ axis, size, over: names }),
  solve: fc.record({ row: name, col: name }),
  triSolve: fc.record({ row: name, col: name, lower: fc.boolean() }),
  cumsum: fc.record({ axis }),
  argmax: fc.record({ axis }),
}

/** attributes as nested lists of values that `Object.is` tells apart */
const plain = (v: unknown): unknown =>
  Array.isArray(v)
    ? v.map(plain)
    : typeof v === 'object' && v !== null
      ? 'toJSON' in v
        ? (v as unknown as Dim).key
        : Object.entries(v).map(([k, x]) => [k, plain(x)])
      : v

const isSame = (a: unknown, b: unknown): boolean =>
  Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((x, i) => isSame(x, b[i])) : Object.is(a, b)

test.each(Object.keys(attrs) as ReadonlyArray<keyof typeof attrs>)('%s: one node for equal attributes only', (op) => {
  const arbitrary: fc.Arbitrary<Attrs[Op]> = attrs[op]
  fc.assert(
    fc.property(fc.array(arbitrary, { minLength: 30, maxLength: 60 }), (all) => {
      const node = (x: Attrs[Op]): Node => intern(op, [], x as never, type)
      const made = all.map((x) => ({ node: node(x), text: plain(x) }))
      all.forEach((x, i) => expect(node({ ...x })).toBe(made[i]!.node))
      const wrong = made.flatMap((x) => made.filter((y) => (x.node === y.node) !== isSame(x.text, y.text)))
      expect(wrong.map((w) => w.text)).toEqual([])
    }),
    { numRuns: 30 },
  )
})

test('arguments count, and their order', () => {
  const [a, b] = [intern('map', [], { fn: 'a' }, type), intern('map', [], { fn: 'b' }, type)]
  const of = (...args: ReadonlyArray<Node>): Node => intern('map', args, { fn: 'f' }, type)
  expect(of(a, b)).toBe(of(a, b))
  expect(new Set([of(), of(a), of(b), of(a, b), of(b, a), of(a, a)]).size).toBe(6)
})

test('regions are told apart by their nodes', () => {
  const [p, q] = ['p', 'q'].map((fn) => intern('map', [], { fn }, type)) as [Node, Node]
  const call = (params: ReadonlyArray<Node>, results: ReadonlyArray<Node>): Node =>
    intern('call', [], { name: 'f', body: { params, results }, rule: { params, results } }, type)
  expect(call([p], [q])).toBe(call([p], [q]))
  expect(new Set([call([p], [q]), call([q], [p]), call([p, q], []), call([], [p, q])]).size).toBe(4)
})

test('a fault is never shared', () => {
  const fault = { at: 'here', expected: 'a', actual: 'b' }
  expect(intern('fault', [], { fault }, type)).not.toBe(intern('fault', [], { fault }, type))
})
