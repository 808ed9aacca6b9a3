/** Index arithmetic: the normal form has the value of what it was built from, and its range holds it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  addIndex,
  axisIndex,
  clampIndex,
  divIndex,
  flatten,
  modIndex,
  rangeOf,
  scaleIndex,
  shiftIndex,
  unflatten,
  whole,
} from '../src/codegen/affine.ts'
import type { Index } from '../src/codegen/kernel.ts'
import { diceOf, type Dice } from './codegen-graphs.ts'

const sizes = { x: 12, y: 8, z: 5 } as const
type At = Readonly<Record<keyof typeof sizes, number>>

/** an index and its meaning, built side by side; never below zero, as positions are not */
interface Pair {
  readonly index: Index
  readonly at: (v: At) => number
}

const axis = (name: keyof typeof sizes): Pair => ({ index: axisIndex(name, sizes[name]), at: (v) => v[name] })

const build = (d: Dice, depth: number): Pair => {
  if (depth === 0) return axis(d.pick(['x', 'y', 'z'] as const))
  const a = build(d, depth - 1)
  const n = d.int(1, 6)
  switch (d.int(0, 6)) {
    case 0: {
      const b = build(d, depth - 1)
      return { index: addIndex(a.index, b.index), at: (v) => a.at(v) + b.at(v) }
    }
    case 1:
      return { index: scaleIndex(n, a.index), at: (v) => n * a.at(v) }
    case 2:
      return { index: shiftIndex(a.index, n), at: (v) => a.at(v) + n }
    case 3:
      return { index: divIndex(a.index, n), at: (v) => Math.floor(a.at(v) / n) }
    case 4:
      return { index: modIndex(a.index, n), at: (v) => a.at(v) % n }
    case 5:
      return { index: clampIndex(a.index, 1, n + 1), at: (v) => Math.min(n + 1, Math.max(1, a.at(v))) }
    default: {
      // split, permuted factors, put together again: the sum that recombination must not get wrong
      const [p, q] = [d.int(1, 4), d.int(1, 4)]
      const parts = unflatten(a.index, [100, p, q])
      const factors = d.pick([
        [p * q, q, 1],
        [q, p * q, 1],
        [p * q, 1, q],
        [2 * p * q, q, 1],
      ])
      return {
        index: parts.map((i, k) => scaleIndex(factors[k]!, i)).reduce(addIndex, whole(0)),
        at: (v) => {
          const m = a.at(v)
          return factors[0]! * Math.floor(m / (p * q)) + factors[1]! * (Math.floor(m / q) % p) + factors[2]! * (m % q)
        },
      }
    }
  }
}

const evaluate = (i: Index, v: At): number =>
  i.terms.reduce((sum, { factor, atom }) => {
    switch (atom.kind) {
      case 'axis':
        return sum + factor * v[atom.name as keyof typeof sizes]
      case 'div':
        return sum + factor * Math.floor(evaluate(atom.of, v) / atom.by)
      case 'mod': {
        const e = evaluate(atom.of, v)
        return sum + factor * (e - atom.by * Math.floor(e / atom.by))
      }
      case 'clamp':
        return sum + factor * Math.min(atom.high, Math.max(atom.low, evaluate(atom.of, v)))
      default:
        return NaN
    }
  }, i.offset)

test('the normal form means what it was built from', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), (s, depth) => {
      const { index, at } = build(diceOf(s), depth)
      const [low, high] = rangeOf(index)
      for (let x = 0; x < sizes.x; x++)
        for (let y = 0; y < sizes.y; y += 3)
          for (let z = 0; z < sizes.z; z++) {
            const want = at({ x, y, z })
            const got = evaluate(index, { x, y, z })
            if (got !== want || want < low || want > high)
              expect.fail(
                `${index.key} at ${String([x, y, z])}: ${String(got)}, meant ${String(want)} in ${String([low, high])}`,
              )
          }
    }),
    { numRuns: 400 },
  )
})

test('a position that is taken apart and put together again is itself', () => {
  const i = axisIndex('x', 60)
  expect(flatten(unflatten(i, [3, 4, 5]), [3, 4, 5]).key).toBe('x')
})
