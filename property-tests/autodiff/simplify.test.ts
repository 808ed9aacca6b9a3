/** Every rule: its example fires, the value stays, the cost never rises, a second pass changes nothing. Generated from the table. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deriveMerge } from '../../src/adapters/merge.ts'
import { linearHost } from '../../src/adapters/adapter.ts'
import { costOf, simplifications, simplifyNodes } from '../../src/autodiff/simplify.ts'
import { kit } from '../../src/dsl/build.ts'
import { addDim, dim } from '../../src/dsl/dim.ts'
import { input } from '../../src/dsl/index.ts'
import { showType, topological, type Node } from '../../src/dsl/node.ts'
import { agree, finite, generator, valuesOf } from './numbers.ts'
import { specimens } from './specimens.ts'
import { named } from '../adapters/named.ts'

const lora = named('lora')

const sizes = {
  i: 3,
  j: 4,
  k: 2,
  m: 2,
  n: 3,
  token: 3,
  in: 3,
  out: 2,
  blocks: 2,
  b: 3,
  rank: 2,
  kv: 2,
  h: 2,
  prompt: 2,
}

/** the same type but for the order of its axes, and the same numbers at three points */
const expectSame = (old: Node, now: Node): void => {
  const text = (n: Node): string =>
    showType({ ...n.type, dims: [...n.type.dims].sort((a, b) => (a.name < b.name ? -1 : 1)) })
  expect(text(now)).toBe(text(old))
  for (const s of [1, 2, 3]) {
    const [a, b] = valuesOf([old, now], sizes, s) ?? []
    if (a !== undefined && b !== undefined && finite(a)) expect(agree(a, b), 'values').toBe(true)
  }
}

test.each(simplifications)('$name: $doc', ({ rule, example }) => {
  const old = example()
  expect(old.op).not.toBe('fault')
  const now = rule(old)
  expect(now).toBeDefined()
  expect(now).not.toBe(old)
  expectSame(old, kit.broadcast(now!, old.type.dims))
  expect(costOf([now!])).toBeLessThanOrEqual(costOf([old]))
})

// ------------------------------------------------------------------------------- random graphs

const n = dim('n')
const square = [
  { name: 'i', size: n },
  { name: 'j', size: n },
]
const A = kit.input('A', square, 'f32')
const v = kit.input('v', [{ name: 'i', size: n }], 'f32')
const full = (x: Node): Node => kit.broadcast(x, square)
const eye = kit.map('select', kit.map('eq', kit.iota('i', n), kit.iota('j', n)), kit.scalar(1), kit.scalar(0))
const turn = (x: Node): Node => kit.rename(x, { i: 'j', j: 'i' })
const times = (x: Node, y: Node): Node => kit.dot(kit.rename(x, { j: 'k' }), kit.rename(y, { i: 'k' }), ['k'])

const unary: ReadonlyArray<(x: Node) => Node> = [
  turn,
  (x) => kit.map('neg', x),
  (x) => kit.map('mul', x, kit.scalar(1)),
  (x) => kit.map('mul', x, kit.scalar(0.5)),
  (x) => kit.map('mul', kit.map('mul', x, kit.scalar(2)), kit.scalar(3)),
  (x) => kit.map('add', x, full(kit.scalar(0))),
  (x) => kit.map('sub', kit.map('add', x, v), x),
  (x) => kit.map('tanh', x),
  (x) => full(kit.reduce('sum', kit.reduce('sum', x, ['i']), ['j'])),
  (x) => full(kit.reduce('sum', kit.map('mul', x, A), ['j'])),
  (x) => full(kit.reduce('max', x, ['j'])),
  (x) => kit.reduce('sum', kit.broadcast(x, [{ name: 'k', size: dim(3) }]), ['k']),
  (x) => kit.slice(kit.pad(x, 'i', 1, 2), 'i', 1, n),
  (x) => kit.slice(kit.concat([x, A], 'j'), 'j', n, n),
  (x) => times(x, eye),
  (x) => times(full(kit.scalar(1)), x),
  (x) => kit.map('select', kit.map('lt', kit.scalar(1), kit.scalar(0)), x, A),
  (x) => full(kit.dot(times(A, x), kit.rename(v, { i: 'j' }), ['j'])),
  // near misses: what a rule must leave alone, or take in another way
  (x) => full(kit.reduce('max', kit.reduce('sum', x, ['i']), ['j'])),
  (x) => full(kit.reduce('sum', kit.reduce('max', x, ['j']), ['i'])),
  (x) => kit.slice(kit.pad(x, 'i', 1, 2), 'i', 2, n),
  // padded along one axis, sliced along the other with the same numbers: A is 1 wider than it is read
  (x) => kit.slice(kit.slice(kit.pad(kit.pad(x, 'j', 2, 0), 'i', 1, 1), 'j', 1, n), 'i', 0, n),
  (x) => kit.slice(kit.slice(kit.pad(x, 'i', 2, 2), 'i', 1, addDim(n, 2)), 'i', 1, n),
  (x) => kit.slice(kit.slice(kit.pad(kit.pad(x, 'i', 1, 1), 'j', 1, 1), 'i', 2, n), 'j', 0, n),
  (x) => kit.slice(kit.concat([x, A], 'j'), 'j', 0, n),
  (x) => kit.slice(kit.concat([x, A], 'j'), 'j', 1, n),
  (x) => kit.map('mul', x, kit.pad(kit.slice(full(kit.scalar(1)), 'i', 0, addDim(n, -1)), 'i', 1, 0)),
  (x) => kit.map('sub', kit.scalar(0), x),
  (x) => kit.map('div', kit.scalar(1), kit.map('add', kit.map('mul', x, x), kit.scalar(1))),
  (x) => kit.map('div', kit.map('div', x, kit.scalar(2)), kit.scalar(3)),
  (x) => kit.map('select', kit.map('lt', x, kit.scalar(0)), x, A),
  (x) => kit.map('mul', kit.reduce('sum', kit.map('mul', x, kit.broadcast(v, square)), ['j']), A),
  (x) => full(kit.reduce('max', kit.map('mul', x, A), ['j'])),
  (x) => full(kit.reduce('max', kit.broadcast(x, [{ name: 'k', size: dim(3) }]), ['k', 'j'])),
  (x) => kit.map('mul', eye, x),
  (x) => kit.dot(kit.rename(x, { j: 'k' }), kit.broadcast(kit.rename(v, { i: 'k' }), [{ name: 'j', size: n }]), ['k']),
  // by 6 I + tanh x, and by its transpose: what cancels is S^-1 S only
  ...[true, false].flatMap((isSame) => [
    (x: Node): Node => {
      const S = kit.rename(kit.map('add', kit.map('tanh', x), kit.map('mul', eye, kit.scalar(6))), { j: 'k' })
      const B = isSame ? kit.rename(S, { k: 'j' }) : kit.rename(S, { i: 'j', k: 'i' })
      return kit.rename(kit.solve(S, B, 'i', 'k'), { k: 'i' })
    },
  ]),
]
/** a reshape to pairs and one back in the other order is no round trip */
const pairs = (x: Node): Node => {
  const parts = kit.reshape(
    x,
    ['q'],
    [
      { name: 'a', size: dim(2) },
      { name: 'b', size: dim(2) },
    ],
  )
  return kit.reshape(parts, ['b', 'a'], [{ name: 'q', size: dim(4) }])
}
const binary: ReadonlyArray<(x: Node, y: Node) => Node> = [
  (x, y) => kit.map('add', x, y),
  (x, y) => kit.map('sub', x, y),
  (x, y) => kit.map('mul', x, y),
  times,
]
const draw = (random: () => number, depth: number): Node => {
  const pick = <T>(xs: ReadonlyArray<T>): T => xs[Math.floor(random() * xs.length)]!
  if (depth === 0) return pick([A, turn(A), full(v), eye, full(kit.scalar(0)), full(kit.scalar(1))])
  return random() < 0.65
    ? pick(unary)(draw(random, depth - 1))
    : pick(binary)(draw(random, depth - 1), draw(random, depth - 1))
}

test('random graphs: same value, cost never rises, fixpoint', () => {
  let smaller = 0
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), (seed, depth) => {
      const old = draw(generator(seed), depth)
      expect(old.op === 'fault' ? old.attrs.fault : undefined).toBeUndefined()
      const [now] = simplifyNodes([old])
      expectSame(old, now!)
      expect(costOf([now!])).toBeLessThanOrEqual(costOf([old]))
      // a list of its own, of which nothing is known yet
      expect(simplifyNodes([now!], [...simplifications])[0]).toBe(now)
      const elsewhere = simplifications.flatMap((r) =>
        topological([old, now!]).flatMap((n) =>
          r.on.includes(n.op) || r.rule(n) === undefined ? [] : [`${r.name} on ${n.op}`],
        ),
      )
      expect(elsewhere).toEqual([])
      if (costOf([now!]) < costOf([old])) smaller += 1
    }),
    { numRuns: 600 },
  )
  expect(smaller).toBeGreaterThan(200)
})

test('a reshape back in another order stays', () => {
  const old = pairs(kit.input('x', [{ name: 'q', size: dim(4) }], 'f32'))
  expectSame(old, simplifyNodes([old])[0]!)
})

test.each(specimens)('$name: same value, cost never rises', ({ left }) => {
  const [now] = simplifyNodes([left])
  expectSame(left, now!)
  expect(costOf([now!])).toBeLessThanOrEqual(costOf([left]))
})

test("LoRA's derived merge is W + s B A", () => {
  const W = input('W', { out: 'out', in: 'in' })
  const p = { a: input('a', { r: 4, in: 'in' }), b: input('b', { out: 'out', r: 4 }) }
  const host = linearHost(W, input('bias', { out: 'out' }))
  const derived = deriveMerge(lora, { rank: 4, alpha: 6, rslora: true })(p, host).weight.node
  const [now] = simplifyNodes([derived])
  const [a, b] = [p.a.node, p.b.node]
  const expected = [kit.dot(a, b, ['r']), kit.dot(b, a, ['r'])].map((BA) =>
    kit.map('add', W.node, kit.map('mul', BA, kit.scalar(3))),
  )
  expect(expected).toContain(now)
})
