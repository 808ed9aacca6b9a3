/** No two buffers that live at once share memory, but for results in the place of operands: drawn sequences and a real step. */
import { simplify } from '../src/autodiff/simplify.ts'
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { aligned, leastArena, overlapInTime, placeInArena, type Arena, type Life } from '../src/codegen/arena.ts'
import { originOf } from '../src/codegen/fuse/alias.ts'
import { blockStages } from '../src/codegen/pipeline.ts'
import { sizeAt } from '../src/codegen/runtime/kernels-c.ts'
import { sharedLives } from '../src/codegen/in-place.ts'
import { elementsOf, livesOf, placeValues, scheduleOf } from '../src/codegen/schedule.ts'
import { adamW } from '../src/models/optimiser.ts'
import { stepProgram } from '../src/models/train.ts'
import { misplacedIn } from './codegen/places.ts'
import { seed } from './seed.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

/** pairs alive at once whose places meet, and buffers that leave the arena */
const collisions = (lives: ReadonlyArray<Life>, { offsets, size }: Arena): ReadonlyArray<string> =>
  lives.flatMap((a, i) => [
    ...(offsets[i]! + a.size > size ? [`${String(i)} leaves the arena`] : []),
    ...lives.slice(0, i).flatMap((b, j) => {
      const meet = offsets[i]! < offsets[j]! + b.size && offsets[j]! < offsets[i]! + a.size
      return overlapInTime(a, b) && meet ? [`${String(i)} and ${String(j)}`] : []
    }),
  ])

const life = fc
  .tuple(fc.integer({ min: 1, max: 200 }), fc.nat(30), fc.nat(12))
  .map(([size, from, length]): Life => ({ size, from, to: from + length }))

test('drawn sequences', () => {
  fc.assert(
    fc.property(fc.array(life, { maxLength: 40 }), (lives) => {
      const arena = placeInArena(lives)
      expect(collisions(lives, arena)).toEqual([])
      expect(arena.size).toBeLessThanOrEqual(lives.reduce((n, l) => n + aligned(l.size), 0))
    }),
    { numRuns: 500, seed },
  )
})

test('the step of a small model', () => {
  const config = {
    ...{ dim: 64, hidden: 172, layers: 3, heads: 8, kvHeads: 4, headDim: 8, vocab: 512 },
    ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 512, eos: [] },
  }
  const recipe = { steps: 1, rows: 2, length: 32, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }
  const { fused } = get(blockStages(get(stepProgram(config, undefined, recipe)), 'c', {}, simplify))
  const schedule = scheduleOf(fused, { width: 16, isFrozen: () => false })
  const results = new Set(fused.program.outputs.map((o) => originOf(o.node)))
  const lived = livesOf(
    schedule,
    (n) => results.has(n),
    (n) => sizeAt(elementsOf(n), {}),
  )
  const lives = lived.map((l) => l.life)
  const places = placeValues(lived, schedule.takes)
  expect(misplacedIn(schedule, lived, places)).toEqual([])
  const shared = sharedLives(lived, schedule.takes).map((s) => s.life)
  const [least, all] = [leastArena(shared), lives.reduce((n, l) => n + l.size, 0)]
  console.log(
    `arena ${String(places.size)} floats, at least ${String(least)}, without reuse ${String(all)}, nothing in place ${String(placeInArena(lives).size)}`,
  )
  expect(schedule.takes.size).toBeGreaterThan(10)
  expect(places.size).toBeLessThanOrEqual(1.2 * least)
})
