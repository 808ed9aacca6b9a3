/** The row of a primitive: everything that is known about it, in one record. */
import type { Either } from 'fp-ts/lib/Either.js'
import type { Dim } from '../dim.ts'
import type { DType } from '../dtype.ts'
import type { Kit } from '../kit.ts'
import type { Attrs, Node, NodeOf, Op, Region, Type } from '../node.ts'
import type { ConcreteDims, Value } from '../value.ts'

// ---------------------------------------------------------------------------------------- model

/** why a primitive does not take these arguments */
export interface Misuse {
  readonly expected: string
  readonly actual: string
  readonly hint?: string
}

/** A value and, element by element, how far an evaluation in the target's format may be from it. */
export interface Bounded {
  readonly value: Value
  readonly bound: Float64Array
}

export interface Out {
  readonly dims: ConcreteDims
  readonly dtype: DType
}

/** what a meaning may ask of the interpreter that runs it */
export interface Run {
  readonly size: (d: Dim) => number
  readonly region: (r: Region, args: ReadonlyArray<Value>) => ReadonlyArray<Value>
  readonly boundedRegion: (r: Region, args: ReadonlyArray<Bounded>) => ReadonlyArray<Bounded>
}

/** small sizes and choices for generated tests */
export interface Gen {
  /** a size from 0 up, sometimes 1 */
  readonly size: () => number
  readonly int: (low: number, high: number) => number
  readonly pick: <A>(from: readonly [A, ...A[]]) => A
}

export interface ArgSpec {
  readonly type: Type
  /** uniform in this interval; whole numbers where the dtype is an integer */
  readonly range: readonly [number, number]
  /** for `solve`: adds this to the diagonal of these two axes, so that the system is well conditioned */
  readonly diagonal?: { readonly row: string; readonly col: string; readonly plus: number }
}

export interface Sample<K extends Op> {
  readonly args: ReadonlyArray<ArgSpec>
  readonly attrs: Attrs[K]
}

export interface Primitive<K extends Op> {
  readonly doc: string
  readonly type: (args: ReadonlyArray<Type>, attrs: Attrs[K]) => Either<Misuse, Type>
  /** cotangents of the arguments from the cotangent of the result; null: no derivative. Fitted to the argument's dims by the caller. */
  readonly vjp: (k: Kit, ct: Node, node: NodeOf<K>) => ReadonlyArray<Node | null>
  readonly meaning: (args: ReadonlyArray<Value>, attrs: Attrs[K], out: Out, run: Run) => Float64Array
  /** sup of the error of an evaluation with unit roundoff u, for any order of summation */
  readonly bound: (
    args: ReadonlyArray<Bounded>,
    attrs: Attrs[K],
    out: Out & { readonly data: Float64Array },
    u: number,
    run: Run,
  ) => Float64Array
  readonly flops: (args: ReadonlyArray<ConcreteDims>, out: ConcreteDims, attrs: Attrs[K]) => number
  readonly sample: (g: Gen) => Sample<K>
}
