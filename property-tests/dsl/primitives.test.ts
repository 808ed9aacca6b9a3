/** What every row must satisfy, generated: type and meaning agree; an axis more is a run more; small sizes. */
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import { kit, make } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import { isFloat } from '../../src/dsl/dtype.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import { evaluate } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { trace } from '../../src/dsl/program.ts'
import { elements, layOut, tabulate, type ConcreteDims, type Value } from '../../src/dsl/value.ts'
import { concreteDims, drawArgument, rows, type Case, type Draw } from './samples.ts'

const run = (node: Node, values: Readonly<Record<string, Value>>): Value => {
  const done = evaluate(trace('case', { y: { node } }), values)
  if (E.isLeft(done)) throw new Error(showFaults(done.left))
  return done.right.outputs['y']!
}

const forEachCase = (draw: (d: Draw) => Case, runs: number, check: (c: Case, g: Draw) => void): void => {
  fc.assert(
    fc.property(fc.gen(), (g) => {
      check(draw(g), g)
    }),
    { numRuns: runs },
  )
}

const typeAgrees = (c: Case): void => {
  const y = run(c.node, c.values)
  const dims = concreteDims(c.node.type.dims)
  expect(y.dims).toEqual(dims)
  expect(y.data.length).toBe(elements(dims))
  const whole = !isFloat(c.node.type.dtype)
  expect(Array.from(y.data).every((x) => Number.isFinite(x) && (!whole || Number.isInteger(x)))).toBe(true)
}

describe('the value has the dims and the dtype of the type', () => {
  test.each(rows)('$name', ({ draw }) => {
    forEachCase(draw, 40, typeAgrees)
  })
  test.each(rows)('$name, every free size 0, every free size 1', ({ draw }) => {
    for (const size of [0, 1]) forEachCase((d) => draw(d, size), 6, typeAgrees)
  })
})

// ------------------------------------------------------------------------------- the extra axis

/**
 * Where an extra axis on these arguments must be refused (never computed wrong): a key is one key; a region's params
 * have fixed types; at the level of nodes, concat takes equal axes and scatterAdd updates with all of the ids' axes.
 */
const refuses = (c: Case, which: ReadonlyArray<number>): boolean =>
  c.op === 'randomBits' ||
  c.op === 'call' ||
  (c.op === 'concat' && which.length < c.args.length) ||
  (c.op === 'scatterAdd' && which.includes(1) && !which.includes(0))

const EXTRA = 2

/** `c` with an axis `extra` on the arguments `which`, at a drawn place, against one run for each of its positions. */
const extraAxisHolds = (c: Case, which: ReadonlyArray<number>, g: Draw): void => {
  const extra = { name: 'extra', size: dim(EXTRA) }
  const wide = c.args.map((a, k) => {
    if (!which.includes(k)) return a
    const at = g(fc.integer, { min: 0, max: a.type.dims.length })
    const dims = [...a.type.dims.slice(0, at), extra, ...a.type.dims.slice(at)]
    return kit.input(`a${String(k)}`, dims, a.type.dtype)
  })
  const node = make(c.op, wide, c.attrs)
  expect(node.op === 'fault').toBe(refuses(c, which))
  if (node.op === 'fault') return
  const slices = [c.values, Object.fromEntries(c.args.map((_, k) => [`a${String(k)}`, drawArgument(g, c, k)]))]
  const values = c.args.map((a, k) => {
    const name = `a${String(k)}`
    if (!which.includes(k)) return [name, c.values[name]!] as const
    const n = c.values[name]!.data.length
    const stacked: ConcreteDims = [{ name: 'extra', size: EXTRA }, ...concreteDims(a.type.dims)]
    return [name, tabulate(stacked, (i) => slices[Math.floor(i / n)]![name]!.data[i % n]!)] as const
  })
  const found = run(node, Object.fromEntries(values))
  const dims = concreteDims(c.node.type.dims)
  const byPosition = layOut(found, [{ name: 'extra', size: EXTRA }, ...dims])
  slices.forEach((slice, e) => {
    const alone = Object.fromEntries(
      c.args.map((_, k) => [`a${String(k)}`, (which.includes(k) ? slice : c.values)[`a${String(k)}`]!]),
    )
    const n = elements(dims)
    expect(Array.from(byPosition.data.subarray(e * n, (e + 1) * n))).toEqual(Array.from(run(c.node, alone).data))
  })
}

describe('an axis more is a run more: vmap needs no transform', () => {
  const withArgs = rows.filter((r) => !['input', 'const', 'iota'].includes(r.name))
  test.each(withArgs)('$name', ({ draw }) => {
    forEachCase(draw, 20, (c, g) => {
      c.args.forEach((_, k) => extraAxisHolds(c, [k], g))
      const floats = c.args.flatMap((a, k) => (isFloat(a.type.dtype) ? [k] : []))
      if (floats.length > 1) extraAxisHolds(c, floats, g)
    })
  })
})

describe('gather', () => {
  const input = (name: string, axes: ReadonlyArray<string>, dtype: 'f32' | 'i32' = 'f32'): Node =>
    kit.input(
      name,
      axes.map((a) => ({ name: a, size: dim(2) })),
      dtype,
    )
  test.each([
    ['row', ['row', 'in'], ['token'], ['token', 'in']],
    ['pair', ['block', 'pair'], ['i', 'j'], ['block', 'i', 'j']],
    ['v', ['a', 'v', 'b'], ['t', 'a'], ['a', 't', 'b']],
  ])("the ids' own axes stand where %s was", (axis, table, ids, order) => {
    const y = kit.gather(input('table', table), input('ids', ids, 'i32'), axis)
    expect(y.type.dims.map((d) => d.name)).toEqual(order)
  })
})
