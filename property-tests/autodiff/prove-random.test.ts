/** Soundness on random graphs: what is proved equal has equal values at random points. */
import { expect, test } from 'vitest'
import { seed } from '../seed.ts'
import { proveEqual } from '../../src/autodiff/prove/prove.ts'
import { kit } from '../../src/dsl/build.ts'
import { addDim, dim } from '../../src/dsl/dim.ts'
import type { Node } from '../../src/dsl/node.ts'
import { agree, finite, generator, valuesOf } from './numbers.ts'

const n = dim('m*2')
const square = [
  { name: 'i', size: n },
  { name: 'j', size: n },
]
const A = kit.input('A', square, 'f32')
const B = kit.input('B', square, 'f32')
const v = kit.input('v', [{ name: 'i', size: n }], 'f32')
const eye = kit.map('select', kit.map('eq', kit.iota('i', n), kit.iota('j', n)), kit.scalar(1), kit.scalar(0))
const turn = (x: Node): Node => kit.rename(x, { i: 'j', j: 'i' })
const full = (x: Node): Node => kit.broadcast(x, square)
const times = (x: Node, y: Node): Node =>
  kit.rename(kit.dot(kit.rename(x, { j: 'k' }), kit.rename(y, { i: 'k' }), ['k']), {})
const order = (fn: string): Node => kit.map(fn, kit.iota('i', n), kit.iota('j', n))

/** every operation takes and gives matrices (i, j) */
const unary: ReadonlyArray<(x: Node) => Node> = [
  turn,
  (x) => kit.map('neg', x),
  (x) => kit.map('exp', x),
  (x) => kit.map('mul', x, x),
  (x) => kit.map('mul', x, kit.scalar(2)),
  (x) => kit.map('sub', x, x),
  (x) => full(kit.reduce('sum', x, ['i'])),
  (x) => full(kit.reduce('sum', x, ['j'])),
  (x) => full(kit.reduce('max', x, ['j'])),
  (x) => kit.map('select', order('lt'), x, kit.scalar(0)),
  (x) => kit.map('select', order('ge'), x, kit.scalar(0)),
  (x) => kit.map('mul', x, eye),
  (x) => kit.map('add', x, eye),
  // into pairs and back, and back to front
  (x) => {
    const parts = kit.reshape(
      x,
      ['i'],
      [
        { name: 'a', size: dim('m') },
        { name: 'b', size: dim(2) },
      ],
    )
    return kit.reshape(parts, ['a', 'b'], [{ name: 'i', size: n }])
  },
  (x) => {
    const parts = kit.reshape(
      x,
      ['i'],
      [
        { name: 'a', size: dim('m') },
        { name: 'b', size: dim(2) },
      ],
    )
    return kit.reshape(parts, ['b', 'a'], [{ name: 'i', size: n }])
  },
  (x) => kit.slice(kit.pad(x, 'i', 1, 0), 'i', 0, n),
  (x) => kit.slice(kit.pad(x, 'i', 1, 0), 'i', 1, n),
  (x) => kit.pad(kit.slice(x, 'j', 1, addDim(n, -1)), 'j', 1, 0),
  (x) => kit.slice(kit.concat([x, x], 'i'), 'i', n, n),
  (x) => kit.gather(kit.rename(x, { i: 'row' }), kit.iota('i', n), 'row'),
  (x) => kit.map('mul', x, v),
  (x) => kit.map('div', x, kit.map('add', kit.map('mul', v, v), kit.scalar(1))),
  (x) => kit.cumsum(x, 'i'),
  // (x + 9 I)^-1 A
  (x) => {
    const dominant = kit.map('add', kit.map('tanh', x), kit.map('mul', eye, kit.scalar(9)))
    return kit.rename(kit.solve(kit.rename(dominant, { j: 'k' }), A, 'i', 'k'), { k: 'i' })
  },
  (x) => kit.stopGrad(x),
]
const binary: ReadonlyArray<(x: Node, y: Node) => Node> = [
  (x, y) => kit.map('add', x, y),
  (x, y) => kit.map('sub', x, y),
  (x, y) => kit.map('mul', x, y),
  times,
  (x, y) => times(turn(x), y),
  (x, y) => kit.map('select', kit.map('lt', x, y), x, y),
]

const draw = (random: () => number, depth: number): Node => {
  const pick = <T>(xs: ReadonlyArray<T>): T => xs[Math.floor(random() * xs.length)]!
  if (depth === 0) return pick([A, B, eye, full(v), full(kit.scalar(1)), full(kit.scalar(0))])
  return random() < 0.6
    ? pick(unary)(draw(random, depth - 1))
    : pick(binary)(draw(random, depth - 1), draw(random, depth - 1))
}

test('proved equal is equal', () => {
  const random = generator(seed)
  const pool: Node[] = []
  // small graphs first: those have many equal pairs
  for (let k = 0; pool.length < 260 && k < 2000; k++) {
    const x = draw(random, k % 3 === 0 ? 1 : k % 3 === 1 ? 2 : 3)
    if (x.op !== 'fault' && x.type.dims.length === 2 && !pool.includes(x)) pool.push(x)
  }
  const runs = [
    { sizes: { m: 1 }, seed: 1 },
    { sizes: { m: 2 }, seed: 2 },
    { sizes: { m: 3 }, seed: 3 },
  ].map(({ sizes, seed: s }) => valuesOf(pool, sizes, s)!)
  const same = (i: number, j: number): boolean => runs.every((r) => agree(r[i]!, r[j]!))
  const [counts, wrong] = [{ pairs: 0, equal: 0, proved: 0 }, [] as string[]]
  for (let i = 0; i < pool.length; i++)
    for (let j = i + 1; j < pool.length; j++) {
      const isEqual = same(i, j)
      // all equal pairs, and a share of the others
      if (!isEqual && (i * 31 + j * 17) % 12 !== 0) continue
      const proof = proveEqual(pool[i]!, pool[j]!)
      counts.pairs += 1
      if (isEqual) counts.equal += 1
      if (proof.verdict !== 'proved') continue
      counts.proved += 1
      const isNumber = runs.every((r) => finite(r[i]!) && finite(r[j]!))
      if (!isEqual && (isNumber || proof.assumes.length === 0)) wrong.push(`${i} and ${j}`)
    }
  console.info(`random pairs: ${JSON.stringify(counts)}`)
  expect(wrong).toEqual([])
  // teeth: the prover finds most of what is equal
  expect(counts.proved).toBeGreaterThan(counts.equal / 2)
}, 120_000)
