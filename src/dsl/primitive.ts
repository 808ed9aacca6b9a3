/** The table of primitives: one row each. Printers, the interpreter, autodiff, generated tests and FEATURES read it. */
import type { Op } from './node.ts'
import { dot, reduce } from './primitives/contract.ts'
import { argmax, cumsum, gather, scatterAdd } from './primitives/indexing.ts'
import { constant, input, iota, randomBits } from './primitives/leaf.ts'
import { broadcast, concat, pad, rename, reshape, slice } from './primitives/movement.ts'
import { cast, map, stopGrad } from './primitives/pointwise.ts'
import { call, fault } from './primitives/region.ts'
import type { Primitive } from './primitives/row.ts'
import { solve, triSolve } from './primitives/solve.ts'

export type { ArgSpec, Bounded, Gen, Misuse, Primitive, Sample } from './primitives/row.ts'

export const primitives: { readonly [K in Op]: Primitive<K> } = {
  input,
  const: constant,
  iota,
  randomBits,
  map,
  cast,
  reduce,
  dot,
  reshape,
  rename,
  broadcast,
  slice,
  pad,
  concat,
  gather,
  scatterAdd,
  solve,
  triSolve,
  cumsum,
  argmax,
  call,
  stopGrad,
  fault,
}

/** The row of an op, typed for nodes of that op: the one place where the union of nodes meets the union of rows. */
export const rowOf = (op: Op): Primitive<Op> => primitives[op] as unknown as Primitive<Op>
