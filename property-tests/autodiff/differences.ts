/**
 * Central differences with the tolerance derived from an error model, nothing picked.
 *
 *     D(h) = (f(x + h d) - f(x - h d)) / 2h        h = 2^-17, next to (3 eps)^(1/3) = 6.9e-6, which balances
 *     |D(h) - f'| <= |D(2h) - D(h)|                truncation: h^2 f^(3)/6, of which the difference is three times
 *                  + (e(h) + e(-h)) / 2h           rounding of f in f64, from the rows' own bounds
 *                  + (e(2h) + e(-2h)) / 4h         the same, inside the first term
 *                  + e'                            rounding of the derivative itself
 *
 * h is a power of two and x, d have few bits, so that the points x + h d are exact. The bounds of the oracle are
 * stated for f32; they are linear in the unit roundoff, so that those of f64 are 2^-29 times as large.
 */
import * as E from 'fp-ts/lib/Either.js'
import { showFaults } from '../../src/dsl/fault.ts'
import { evaluateBounded } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { Value } from '../../src/dsl/value.ts'

export type Point = Readonly<Record<string, Value>>

const TO_F64 = 2 ** -29
const h = 2 ** -17

/** The one number a program answers at a point, and how far off f64 may be. */
const at = (p: Program, x: Point): { readonly value: number; readonly error: number } => {
  const run = evaluateBounded(p, x)
  if (E.isLeft(run)) throw new Error(showFaults(run.left))
  const out = run.right.outputs['y']!
  return { value: out.value.data[0]!, error: out.bound[0]! * TO_F64 }
}

const along = (x: Point, d: Point, t: number): Point =>
  Object.fromEntries(
    Object.entries(x).map(([n, v]) => {
      const step = d[n]
      return [n, step === undefined ? v : { dims: v.dims, data: v.data.map((a, i) => a + t * step.data[i]!) }]
    }),
  )

export interface Comparison {
  readonly difference: number
  readonly derivative: number
  readonly tolerance: number
}

/** d f(x + t d) / dt at 0, by differences of `f` and from `df`; both programs have one output, `y`, without axes. */
export const compareDerivative = (f: Program, df: Program, x: Point, d: Point): Comparison => {
  const points = [h, -h, 2 * h, -2 * h].map((t) => at(f, along(x, d, t)))
  const [p, m, pp, mm] = [points[0]!, points[1]!, points[2]!, points[3]!]
  const D = (p.value - m.value) / (2 * h)
  const D2 = (pp.value - mm.value) / (4 * h)
  const exact = at(df, x)
  return {
    difference: D,
    derivative: exact.value,
    tolerance: Math.abs(D2 - D) + (p.error + m.error) / (2 * h) + (pp.error + mm.error) / (4 * h) + exact.error,
  }
}
