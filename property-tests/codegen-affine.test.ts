/** Index arithmetic: the normal form has the value of what it was built from, and its range holds it, for every size of the symbols. */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addDim, dim, evalDim, literal, mulDim, subDim, type Dim, type Sizes } from '../src/dsl/dim.ts'
import {
  addIndex,
  axisIndex,
  clampIndex,
  divIndex,
  flatten,
  isAtLeast,
  isAtMost,
  isWithin,
  minIndex,
  modIndex,
  rangeOf,
  scaleIndex,
  shiftIndex,
  subIndex,
  unflatten,
  whole,
} from '../src/codegen/kernel/affine.ts'
import type { Index } from '../src/codegen/kernel/kernel.ts'
import { diceOf, type Dice } from './codegen-graphs.ts'
import { seed } from './seed.ts'

// ---------------------------------------------------------------------------------------- model

type Axes = Readonly<Record<'x' | 'y' | 'z', Dim>>
interface At {
  readonly sizes: Sizes
  readonly x: number
  readonly y: number
  readonly z: number
}

/** an index and its meaning, built side by side; never below zero, as positions are not */
interface Pair {
  readonly index: Index
  readonly at: (v: At) => number
}

const sizeOf = (d: Dim, sizes: Sizes): number => E.getOrElse(() => NaN)(evalDim(d, sizes))

/** what a program's sizes look like: numbers, or products and sums of symbols */
interface World {
  readonly axes: Axes
  /** sizes to divide, scale and clamp by */
  readonly sizes: ReadonlyArray<Dim>
}

const literalWorld: World = {
  axes: { x: dim(12), y: dim(8), z: dim(5) },
  sizes: [1, 2, 3, 4, 5, 6].map(dim),
}
const [T, H, D] = [dim('T'), dim('H'), dim('D')]
const symbolic: World = {
  axes: { x: mulDim(T, H), y: D, z: mulDim(2, T) },
  sizes: [T, H, D, mulDim(T, H), mulDim(H, D), addDim(T, D), mulDim(2, H), dim(2), dim(3), dim(1)],
}

// --------------------------------------------------------------------------------- constructors

const axis = (w: World, name: 'x' | 'y' | 'z'): Pair => ({ index: axisIndex(name, w.axes[name]), at: (v) => v[name] })

const build = (w: World, d: Dice, depth: number): Pair => {
  if (depth === 0) return axis(w, d.pick(['x', 'y', 'z'] as const))
  const a = build(w, d, depth - 1)
  const size = d.pick(w.sizes)
  const n = (v: At): number => sizeOf(size, v.sizes)
  switch (d.int(0, 7)) {
    case 0: {
      const b = build(w, d, depth - 1)
      return { index: addIndex(a.index, b.index), at: (v) => a.at(v) + b.at(v) }
    }
    case 1:
      return { index: scaleIndex(size, a.index), at: (v) => n(v) * a.at(v) }
    case 2:
      return { index: shiftIndex(a.index, size), at: (v) => a.at(v) + n(v) }
    case 3:
      return { index: divIndex(a.index, size), at: (v) => Math.floor(a.at(v) / n(v)) }
    case 4:
      return { index: modIndex(a.index, size), at: (v) => a.at(v) % n(v) }
    case 5:
      return {
        index: clampIndex(a.index, 1, addDim(size, 1)),
        at: (v) => Math.min(n(v) + 1, Math.max(1, a.at(v))),
      }
    case 6: {
      const b = build(w, d, depth - 1)
      return { index: minIndex(a.index, b.index, whole(size)), at: (v) => Math.min(a.at(v), b.at(v), n(v)) }
    }
    default: {
      // split, permuted factors, put together again: the sum that recombination must not get wrong
      const [p, q] = [d.pick(w.sizes), d.pick(w.sizes)]
      const parts = unflatten(a.index, [100, p, q])
      const one = dim(1)
      const factors = d.pick([
        [mulDim(p, q), q, one],
        [q, mulDim(p, q), one],
        [mulDim(p, q), one, q],
        [mulDim(2, mulDim(p, q)), q, one],
      ])
      return {
        index: parts.map((i, k) => scaleIndex(factors[k]!, i)).reduce(addIndex, whole(0)),
        at: (v) => {
          const m = a.at(v)
          const [P, Q] = [sizeOf(p, v.sizes), sizeOf(q, v.sizes)]
          const [f, g, h] = factors.map((x) => sizeOf(x, v.sizes))
          return f! * Math.floor(m / (P * Q)) + g! * (Math.floor(m / Q) % P) + h! * (m % Q)
        },
      }
    }
  }
}

// --------------------------------------------------------------------------------- interpreters

const evaluate = (i: Index, v: At): number =>
  i.terms.reduce(
    (sum, { factor, atom }) => {
      const f = sizeOf(factor, v.sizes)
      switch (atom.kind) {
        case 'axis':
          return sum + f * v[atom.name as 'x']
        case 'div':
          return sum + f * Math.floor(evaluate(atom.of, v) / sizeOf(atom.by, v.sizes))
        case 'mod': {
          const [e, by] = [evaluate(atom.of, v), sizeOf(atom.by, v.sizes)]
          return sum + f * (e - by * Math.floor(e / by))
        }
        case 'min':
          return sum + f * Math.min(...atom.of.map((j) => evaluate(j, v)))
        case 'clamp': {
          const [low, high] = [sizeOf(atom.low, v.sizes), sizeOf(atom.high, v.sizes)]
          return sum + f * Math.min(high, Math.max(low, evaluate(atom.of, v)))
        }
        default:
          return NaN
      }
    },
    sizeOf(i.offset, v.sizes),
  )

/** at every point of these sizes, thinned out where there are many */
const check = (w: World, { index, at }: Pair, sizes: Sizes): void => {
  const { low, high } = rangeOf(index)
  const [least, greatest] = [low, high].map((d) => (d === undefined ? undefined : sizeOf(d, sizes)))
  const extent = (name: 'x' | 'y' | 'z'): number => sizeOf(w.axes[name], sizes)
  for (let x = 0; x < extent('x'); x++)
    for (let y = 0; y < extent('y'); y += 3)
      for (let z = 0; z < extent('z'); z++) {
        const v = { sizes, x, y, z }
        const [want, got] = [at(v), evaluate(index, v)]
        if (got !== want || want < (least ?? want) || want > (greatest ?? want))
          expect.fail(
            `${index.key} at ${JSON.stringify(v)}: ${String(got)}, meant ${String(want)} in ${String([least, greatest])}`,
          )
      }
}

test('the normal form means what it was built from', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), (s, depth) =>
      check(literalWorld, build(literalWorld, diceOf(s), depth), {}),
    ),
    { numRuns: 400, seed },
  )
})

test('so it does where sizes are symbols, whatever they are', () => {
  const size = fc.integer({ min: 1, max: 5 })
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), size, size, size, (s, depth, t, h, d) =>
      check(symbolic, build(symbolic, diceOf(s), depth), { T: t, H: h, D: d }),
    ),
    { numRuns: 400, seed },
  )
})

test('a position that is taken apart and put together again is itself', () => {
  expect(flatten(unflatten(axisIndex('x', 60), [3, 4, 5]), [3, 4, 5]).key).toBe('x')
  const sizes = [T, H, D]
  expect(flatten(unflatten(axisIndex('x', mulDim(T, mulDim(H, D))), sizes), sizes).key).toBe('x')
})

test('a position that was put together is taken apart without a division', () => {
  const heads = mulDim(H, dim('(in/8)'))
  const at = [axisIndex('x', T), axisIndex('y', H), axisIndex('z', dim('(in/8)'))]
  const sizes = [T, H, dim('(in/8)')]
  expect(unflatten(flatten(at, sizes), sizes).map((i) => i.key)).toEqual(['x', 'y', 'z'])
  expect(divIndex(flatten(at, sizes), heads).key).toBe('x')
  const cached = [addDim('P', 'T'), D]
  const both = [axisIndex('x', addDim('P', 'T')), axisIndex('y', D)]
  expect(unflatten(flatten([axisIndex('z', H), ...both], [H, ...cached]), [H, ...cached]).map((i) => i.key)).toEqual([
    'z',
    'x',
    'y',
  ])
})

test('what is certain of symbols, and what is not', () => {
  const x = axisIndex('x', T)
  expect(isWithin(x, 0, subDim(T, 1))).toBe(true)
  // a slice of a longer axis: sizes cancel
  expect(isWithin(shiftIndex(x, 'P'), 0, subDim(addDim('P', T), 1))).toBe(true)
  expect(isWithin(shiftIndex(x, 1), 0, subDim(T, 1))).toBe(false)
  expect(isAtMost(x, subDim(H, 1))).toBe(false)
  // there is an x, so T is at least 1
  expect(isAtLeast(addIndex(x, whole(T)), 1)).toBe(true)
  // a size may be 0: position 0 is not certainly within
  expect(isWithin(whole(0), 0, subDim(T, 1))).toBe(false)
  // the end of a tile
  expect(isAtMost(minIndex(shiftIndex(x, 64), whole(T)), T)).toBe(true)
  expect(minIndex(shiftIndex(x, 64), x).key).toBe('x')
  expect(subIndex(shiftIndex(x, T), x).key).toBe('T')
  expect(literal(rangeOf(axisIndex('y', 8)).high!)).toBe(7)
})
