/**
 * The row of a scalar function, and what rows are written with: meaning, derivative, rounding bound,
 * domain, spelling per dialect.
 *
 * Bounds. `bound(y, u, a, ea, b, eb, ...)` answers sup |f(a', b') - y| over |a' - a| <= ea, |b' - b| <= eb,
 * plus the rounding of the result itself in a format of unit roundoff u. `ulps` is the stated accuracy
 * of the worst dialect in units of u.
 */
import type { Kit } from '../kit.ts'
import type { Node } from '../node.ts'

// ---------------------------------------------------------------------------------------- model

export type Dialect = 'c' | 'cuda' | 'gpujs'

/** which dtypes go in, and what comes out */
export type Signature = 'float' | 'number' | 'compare' | 'logic' | 'select'

export interface ScalarOp {
  readonly arity: 1 | 2 | 3
  readonly signature: Signature
  readonly doc: string
  readonly eval: (a: number, b: number, c: number) => number
  /** cotangents of the arguments, from the cotangent ct of y = f(args); null where the derivative is zero everywhere */
  readonly vjp: (k: Kit, ct: Node, args: ReadonlyArray<Node>, y: Node) => ReadonlyArray<Node | null>
  readonly bound: (y: number, u: number, a: number, ea: number, b: number, eb: number, c: number, ec: number) => number
  /** spelling with C syntax for every dialect, or by dialect */
  readonly spell: Spelling | Readonly<Record<Dialect, Spelling>>
  /** interval to sample arguments from in generated tests, kept where f is defined and differentiable */
  readonly domain: ReadonlyArray<readonly [number, number]>
  /** kinks and jumps of the first argument, where a derivative is one-sided and generated tests stay away */
  readonly kinks?: ReadonlyArray<number>
  /** a kink or jump wherever the first two arguments are equal */
  readonly tie?: true
  readonly flops: number
}
export type Spelling = (a: string, b: string, c: string) => string

// --------------------------------------------------------------------------------- constructors

/** the accuracy claimed of the worst dialect for functions that no dialect rounds correctly (CUDA's and our own vector ones) */
export const ULPS = 4

export const arg = (args: ReadonlyArray<Node>, i: number): Node => args[i]!

/** sup over [a-ea, a+ea] of |f - y| for a monotone f, plus its own rounding; never below zero width */
export const monotone =
  (f: (x: number) => number, ulps = ULPS): ScalarOp['bound'] =>
  (y, u, a, ea) =>
    (ea === 0 ? 0 : Math.max(Math.abs(f(a + ea) - y), Math.abs(f(a - ea) - y))) + ulps * u * Math.abs(y)

export const call =
  (name: string): Spelling =>
  (a, b) =>
    b === '' ? `${name}(${a})` : `${name}(${a}, ${b})`
/** libm's name, with CUDA's f suffix */
export const libm = (js: string, c = `${js}f`): Readonly<Record<Dialect, Spelling>> => ({
  c: call(c),
  cuda: call(c),
  gpujs: call(`Math.${js}`),
})
export const infix =
  (op: string): Spelling =>
  (a, b) =>
    `(${a} ${op} ${b})`
export const line: ReadonlyArray<readonly [number, number]> = [[-3, 3]]
export const plane: ReadonlyArray<readonly [number, number]> = [
  [-3, 3],
  [-3, 3],
]
