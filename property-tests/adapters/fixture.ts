/** Golden fixtures as values, and the yardstick they are judged by. The formulas are those of `fixtures/README.md`. */
import * as E from 'fp-ts/lib/Either.js'
import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { layOut } from '../../src/dsl/value.ts'
import {
  evaluateBounded,
  program,
  showFaults,
  value,
  type AnyTensor,
  type Checked,
  type Value,
  type Values,
} from '../../src/dsl/index.ts'

// ---------------------------------------------------------------------------------------- model

export interface Spec {
  readonly shape: ReadonlyArray<number>
  readonly f: 'g' | 'h'
  readonly scale: number
  readonly phase: number
  readonly add: number
}

// --------------------------------------------------------------------------------- constructors

export const readFixture = <A>(name: string): A =>
  JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), 'utf8')) as A

const series = {
  g: (k: number, c: number): number => Math.sin(0.7 * (k + 1) + c),
  h: (k: number, c: number): number => Math.sin(0.7 * (k + 1) + 0.013 * (k + 1) * (k + 1) + c),
}

const numel = (shape: ReadonlyArray<number>): number => shape.reduce((n, s) => n * s, 1)

/** g(n, c) */
export const g = (n: number, c: number): ReadonlyArray<number> => Array.from({ length: n }, (_, k) => series.g(k, c))

export const numbersOf = ({ shape, f, scale, phase, add }: Spec): ReadonlyArray<number> =>
  Array.from({ length: numel(shape) }, (_, k) => add + scale * series[f](k, phase))

/** the spec's numbers over axes of these sizes; axes of size 1 that only the file has do not count */
export const valueOf = (spec: Spec, shape: Readonly<Record<string, number>>): Value => value(shape, numbersOf(spec))

export const right = <A>(c: Checked<A>): A => {
  if (E.isLeft(c)) throw new Error(showFaults(c.left))
  return c.right
}

// --------------------------------------------------------------------------------- interpreters

const F32 = 2 ** -24
const F64 = 2 ** -53

/**
 * The outputs with the error that f32 may make, its inputs rounded too. To first order the bound is proportional to
 * the format's unit roundoff, so a share of it bounds f64's error.
 */
export const bounded = (outputs: Readonly<Record<string, AnyTensor>>, inputs: Values) => {
  const p = right(program('golden', outputs))
  const rounding = Object.fromEntries(
    Object.entries(inputs).map(([name, v]) => [name, v.data.map((x) => F32 * Math.abs(x))]),
  )
  return right(evaluateBounded(p, inputs, {}, rounding)).outputs
}
export type Outcome = ReturnType<typeof bounded>[string]

/** the outcome with its axes in this order */
export const inOrder = (y: Outcome, axes: ReadonlyArray<string>): Outcome => {
  const dims = axes.map((name) => y.value.dims.find((d) => d.name === name) ?? { name, size: 1 })
  return { value: layOut(y.value, dims), bound: layOut({ dims: y.value.dims, data: y.bound }, dims).data }
}

const excess = (y: Outcome, want: ReadonlyArray<number>, tolerance: (bound: number, want: number) => number) => {
  expect(y.value.data.length).toBe(want.length)
  return want.reduce((most, w, i) => {
    const share = Math.abs(y.value.data[i]! - w) / tolerance(y.bound[i]!, w)
    return Math.max(most, Number.isNaN(share) ? Infinity : share)
  }, 0)
}

/** numbers made by float32 and printed with 6 decimals: the bound of f32 and half a unit of the last decimal */
export const expectPublished = (y: Outcome, want: ReadonlyArray<number>): void => {
  expect(excess(y, want, (bound) => bound + 5e-7)).toBeLessThanOrEqual(1)
  // the bound itself must be worth something
  expect(Math.max(...y.bound)).toBeLessThan(1e-3)
}

/** numbers made by float64 and printed with 15 digits: both sides may err by f64's share of the bound, and the print by half a digit */
export const expectExact = (y: Outcome, want: ReadonlyArray<number>): void => {
  expect(excess(y, want, (bound, w) => (2 * F64 * bound) / F32 + 5e-15 * Math.abs(w))).toBeLessThanOrEqual(1)
}
