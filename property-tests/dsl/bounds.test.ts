/** The oracle's running bound: a true f32 evaluation stays inside it, and it says something. */
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import { kit } from '../../src/dsl/build.ts'
import { dtypes, isFloat } from '../../src/dsl/dtype.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import { evaluateBounded } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { substitute, trace } from '../../src/dsl/program.ts'
import { randomFrom, runF32 } from './f32.ts'
import { rows, type Case, type Draw } from './samples.ts'

/** share: error over bound, at worst; size: bound over the value's scale, at worst */
interface Judged {
  readonly share: number
  readonly size: number
}

const judge = (node: Node, c: Case, seed: number): Judged => {
  const p = trace('case', { y: { node } })
  const oracle = evaluateBounded(p, c.values)
  if (E.isLeft(oracle)) throw new Error(showFaults(oracle.left))
  const { value, bound } = oracle.right.outputs['y']!
  const given = new Map(p.inputs.map((i) => [i.node, c.values[i.name]!]))
  const found = runF32([node], given, randomFrom(seed))[0]!
  const errors = Array.from(value.data, (y, i) => Math.abs(found.data[i]! - y))
  const scale = Array.from(value.data).reduce((m, y) => Math.max(m, Math.abs(y)), 1)
  return {
    share: errors.reduce((m, e, i) => Math.max(m, e === 0 ? 0 : e / bound[i]!), 0),
    size: Array.from(bound).reduce((m, b) => Math.max(m, b / scale), 0),
  }
}

/** float arguments that carry an error already: a times 0.97, which f32 does not hold */
const inexact = (c: Case): Node =>
  substitute(
    [c.node],
    new Map(c.args.filter((a) => isFloat(a.type.dtype)).map((a) => [a, kit.map('mul', a, kit.scalar(0.97))])),
  )[0]!

const worst = (draw: (d: Draw) => Case, of: (c: Case) => Node, runs: number): Judged => {
  let found: Judged = { share: 0, size: 0 }
  fc.assert(
    fc.property(fc.gen(), fc.nat(), (g, seed) => {
      const c = draw(g)
      const j = judge(of(c), c, seed)
      expect(j.share, 'error over bound').toBeLessThanOrEqual(1)
      expect(j.size, 'bound over scale').toBeLessThan(Math.max(1e-3, 3 * dtypes[c.node.type.dtype].unitRoundoff))
      found = { share: Math.max(found.share, j.share), size: Math.max(found.size, j.size) }
    }),
    { numRuns: runs },
  )
  return found
}

/** Rows whose bound is reached to more than a half: were it halved (gamma, a row's units), this test would fail. */
const sharp = new Set(
  ['reduce', 'dot', 'cumsum', 'call', 'cast'].concat(
    ['add', 'sub', 'mul', 'div', 'pow', 'sqrt', 'rsqrt', 'exp', 'log', 'log1p', 'expm1', 'sin', 'cos', 'tanh'].map(
      (f) => `map ${f}`,
    ),
  ),
)

describe('an f32 evaluation stays within the bound, and the bound is not vacuous', () => {
  test.each(rows)('$name', ({ name, draw }) => {
    const exact = worst(draw, (c) => c.node, 60)
    const carried = name === 'call' ? exact : worst(draw, inexact, 60)
    if (sharp.has(name))
      expect(Math.max(exact.share, carried.share), 'half the bound would not do').toBeGreaterThan(0.5)
  })
})
