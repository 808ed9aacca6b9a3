/**
 * The language as users write it: immutable tensors whose axes are a *union of names* in the type,
 * data-last operations for `pipe`, broadcasting by name only.
 *
 *     pipe(x, dot(A, 'in'), dot(B, 'r'), scale(2), add(y))
 *
 * Operations are total. A misuse that the types let through (sizes, dynamic names) becomes a fault node;
 * `check` reports all of them.
 */
import { kit } from './build.ts'
import { dim, divDim, productDim, type DimLike } from './dim.ts'
import type { DType } from './dtype.ts'
import { axisOf, type Dims, type Node } from './node.ts'
import type { ScalarOfArity } from './scalar.ts'

// ---------------------------------------------------------------------------------------- model

declare const axesOf: unique symbol
declare const dtypeOf: unique symbol

/** A tensor over the axes A. Invariant in A: `Tensor<'in'>` is neither wider nor narrower than `Tensor<'in' | 'r'>`. */
export interface Tensor<A extends string, D extends DType = 'f32'> {
  readonly [axesOf]: (a: A) => A
  readonly [dtypeOf]: D
  readonly node: Node
}

/** What the compiler says when an axis is missing: `MissingAxis<"inn", "token" | "in">`, the axis and those there are. */
interface MissingAxis<Axis extends string, Of extends string> {
  readonly 'no such axis': readonly [Axis, Of]
}
export type Has<O extends string, A extends string> = [O] extends [A] ? unknown : MissingAxis<Exclude<O, A>, A>

type Renamed<A extends string, M extends Readonly<Record<string, string>>> = Exclude<A, keyof M> | M[keyof M & A]

// --------------------------------------------------------------------------------- constructors

/** A tensor of a node; the caller answers for axes and dtype. */
export const wrap = <A extends string, D extends DType = 'f32'>(node: Node): Tensor<A, D> =>
  ({ node }) as unknown as Tensor<A, D>

/** An input of the program: `input('x', {token: 'T', in: 768})`. Sizes are numbers or symbols; `{token: 'token'}` is usual. */
export const input = <const S extends Readonly<Record<string, DimLike>>, D extends DType = 'f32'>(
  name: string,
  shape: S,
  dtype?: D,
): Tensor<keyof S & string, D> => wrap(kit.input(name, dimsOf(shape), dtype ?? 'f32'))

/** One number. */
export const scalar = <D extends DType = 'f32'>(x: number, dtype?: D): Tensor<never, D> =>
  wrap(kit.scalar(x, dtype ?? 'f32'))

/** 0, 1, 2, ... along an axis, of type i32. */
export const iota = <A extends string>(axis: A, size: DimLike): Tensor<A, 'i32'> => wrap(kit.iota(axis, size))

/** ones on the diagonal: `eye('in', 'out', 4)` */
export const eye = <A extends string, B extends string>(a: A, b: B, size: DimLike): Tensor<A | B> =>
  wrap(kit.map('select', kit.map('eq', kit.iota(a, size), kit.iota(b, size)), kit.scalar(1), kit.scalar(0)))

export const dimsOf = (shape: Readonly<Record<string, DimLike>>): Dims =>
  Object.entries(shape).map(([name, size]) => ({ name, size: dim(size) }))

/** The size of an axis; 0 where there is none (the operation that needs it reports the fault). */
export const sizeOf = <A extends string, D extends DType>(x: Tensor<A, D>, axis: A): DimLike =>
  axisOf(x.node.type, axis)?.size ?? 0

// ------------------------------------------------------------------------------------ pointwise

type Operand<B extends string, D extends DType> = Tensor<B, D> | number
const operand = <B extends string, D extends DType>(y: Operand<B, D>): Node =>
  typeof y === 'number' ? kit.scalar(y) : y.node

/** A scalar function of one argument, by its name in the table: `pipe(x, map('exp'))`. */
export const map =
  <K extends ScalarOfArity<1>>(fn: K) =>
  <A extends string, D extends DType>(x: Tensor<A, D>): Tensor<A, D> =>
    wrap(kit.map(fn, x.node))

type Comparison = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'

/** A scalar function of two arguments, `pipe(x, zip('max')(y))` for max(x, y). Axes that one of them lacks broadcast. */
export const zip =
  <K extends Exclude<ScalarOfArity<2>, Comparison>>(fn: K) =>
  <B extends string = never, E extends DType = DType>(y: Operand<B, E>) =>
  <A extends string, D extends E>(x: Tensor<A, D>): Tensor<A | B, D> =>
    wrap(kit.map(fn, x.node, operand(y)))

/** `pipe(x, compare('le')(y))`: x <= y, element by element. */
export const compare =
  <K extends Comparison>(fn: K) =>
  <B extends string = never, E extends DType = DType>(y: Operand<B, E>) =>
  <A extends string, D extends E>(x: Tensor<A, D>): Tensor<A | B, 'bool'> =>
    wrap(kit.map(fn, x.node, operand(y)))

export const add = zip('add')
export const sub = zip('sub')
export const mul = zip('mul')
export const div = zip('div')
/** x times a number */
export const scale = (s: number) => mul(s)
export const neg = map('neg')
export const exp = map('exp')
export const tanh = map('tanh')
export const sigmoid = map('sigmoid')
export const rsqrt = map('rsqrt')
export const square = <A extends string, D extends DType>(x: Tensor<A, D>): Tensor<A, D> =>
  wrap(kit.map('mul', x.node, x.node))
/** x sigmoid(x), also called swish */
export const silu = <A extends string>(x: Tensor<A>): Tensor<A> =>
  wrap(kit.map('mul', x.node, kit.map('sigmoid', x.node)))
/** max(x, 0) */
export const relu = <A extends string>(x: Tensor<A>): Tensor<A> => wrap(kit.map('max', x.node, kit.scalar(0)))
/** x/2 (1 + erf(x / sqrt 2)) */
export const gelu = <A extends string>(x: Tensor<A>): Tensor<A> =>
  wrap(
    kit.map(
      'mul',
      kit.map('mul', x.node, kit.scalar(0.5)),
      kit.map('add', kit.map('erf', kit.map('mul', x.node, kit.scalar(Math.SQRT1_2))), kit.scalar(1)),
    ),
  )

/** `pipe(scores, where(mask, 0))`: x where the mask holds, else the other. */
export const where =
  <M extends string, B extends string = never, E extends DType = DType>(
    mask: Tensor<M, 'bool'>,
    otherwise: Operand<B, E>,
  ) =>
  <A extends string, D extends E>(x: Tensor<A, D>): Tensor<A | B | M, D> =>
    wrap(kit.map('select', mask.node, x.node, operand(otherwise)))

export const cast =
  <E extends DType>(dtype: E) =>
  <A extends string, D extends DType>(x: Tensor<A, D>): Tensor<A, E> =>
    wrap(kit.cast(x.node, dtype))

/** The identity, through which no cotangent passes. */
export const stopGrad = <A extends string, D extends DType>(x: Tensor<A, D>): Tensor<A, D> => wrap(kit.stopGrad(x.node))

// ---------------------------------------------------------------------------------- contraction

/** Contracts the named axes with w: `pipe(x, dot(A, 'in'))` is sum_in x A. Other shared axes are batch axes. */
export const dot =
  <B extends string, O extends string>(w: Tensor<B> & Has<O, B>, ...over: ReadonlyArray<O>) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<Exclude<A | B, O>> =>
    wrap(kit.dot(x.node, w.node, over))

/** `contract('i', 'j')(w)`, the same with the axes first. */
export const contract =
  <O extends string>(...over: ReadonlyArray<O>) =>
  <B extends string>(w: Tensor<B> & Has<O, B>) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<Exclude<A | B, O>> =>
    wrap(kit.dot(x.node, w.node, over))

const reduction =
  (fn: 'sum' | 'max' | 'min') =>
  <O extends string>(...over: ReadonlyArray<O>) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<O, A>): Tensor<Exclude<A, O>, D> =>
    wrap(kit.reduce(fn, x.node, over))

export const sum = reduction('sum')
export const max = reduction('max')
export const min = reduction('min')

/** The product of the axes' sizes as an f32 scalar: ones summed. Exact in the program for every size. */
const count = (x: Node, over: ReadonlyArray<string>): Node =>
  kit.reduce(
    'sum',
    kit.broadcast(
      kit.scalar(1),
      over.flatMap((o) => axisOf(x.type, o) ?? []),
    ),
    over,
  )

export const mean =
  <O extends string>(...over: ReadonlyArray<O>) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<Exclude<A, O>> =>
    wrap(kit.map('div', kit.reduce('sum', x.node, over), count(x.node, over)))

/** e^(x - max) / sum e^(x - max) along an axis */
export const softmax =
  <O extends string>(axis: O) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<A> => {
    const e = kit.map('exp', kit.map('sub', x.node, kit.stopGrad(kit.reduce('max', x.node, [axis]))))
    return wrap(kit.map('div', e, kit.reduce('sum', e, [axis])))
  }

/** max + log sum e^(x - max) along an axis */
export const logSumExp =
  <O extends string>(axis: O) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<Exclude<A, O>> => {
    const m = kit.stopGrad(kit.reduce('max', x.node, [axis]))
    return wrap(kit.map('add', kit.map('log', kit.reduce('sum', kit.map('exp', kit.map('sub', x.node, m)), [axis])), m))
  }

// ------------------------------------------------------------------------------------- movement

/** `rename({token: 'key'})`; all names at once, so `{i: 'j', j: 'i'}` transposes. */
export const rename =
  <const M extends Readonly<Record<string, string>>>(axes: M) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<keyof M & string, A>): Tensor<Renamed<A, M>, D> =>
    wrap(kit.rename(x.node, axes))

/** `split('in', {block: 'in/8', i: 8})`: row-major. One size may be `undefined`: the rest of the axis. */
export const split =
  <O extends string, const S extends Readonly<Record<string, DimLike | undefined>>>(axis: O, into: S) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<O, A>): Tensor<Exclude<A, O> | (keyof S & string), D> => {
    const whole = axisOf(x.node.type, axis)?.size ?? dim(0)
    const known = Object.values(into).flatMap((s) => (s === undefined ? [] : [dim(s)]))
    const rest = known.reduce((w, k) => divDim(w, k), whole)
    const to = Object.entries(into).map(([name, size]) => ({ name, size: size === undefined ? rest : dim(size) }))
    return wrap(kit.reshape(x.node, [axis], to))
  }

/** `merge(['head', 'h'], 'out')`: row-major, the first axis slowest. */
export const merge =
  <O extends string, N extends string>(axes: ReadonlyArray<O>, into: N) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<O, A>): Tensor<Exclude<A, O> | N, D> => {
    const size = productDim(axes.flatMap((a) => axisOf(x.node.type, a)?.size ?? []))
    return wrap(kit.reshape(x.node, axes, [{ name: into, size }]))
  }

/** New axes along which the same numbers repeat. */
export const broadcast =
  <const S extends Readonly<Record<string, DimLike>>>(shape: S) =>
  <A extends string, D extends DType>(x: Tensor<A, D>): Tensor<A | (keyof S & string), D> =>
    wrap(kit.broadcast(x.node, dimsOf(shape)))

/** `size` positions of an axis from `start` on. */
export const slice =
  <O extends string>(axis: O, start: DimLike, size: DimLike) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<O, A>): Tensor<A, D> =>
    wrap(kit.slice(x.node, axis, start, size))

/** Zeros before and after. */
export const pad =
  <O extends string>(axis: O, before: DimLike, after: DimLike) =>
  <A extends string, D extends DType>(x: Tensor<A, D> & Has<O, A>): Tensor<A, D> =>
    wrap(kit.pad(x.node, axis, before, after))

/** x and then the others along an axis. An axis that only some of them have is broadcast to the rest. */
export const concat =
  <O extends string, B extends string, D extends DType>(axis: O, ...others: ReadonlyArray<Tensor<B, D> & Has<O, B>>) =>
  <A extends string>(x: Tensor<A, D> & Has<O, A>): Tensor<A | B, D> => {
    const nodes = [x.node, ...others.map((o) => o.node)]
    const dims = nodes.flatMap((n) => n.type.dims).filter((d) => d.name !== axis)
    const all = dims.filter((d, i) => dims.findIndex((e) => e.name === d.name) === i)
    return wrap(
      kit.concat(
        nodes.map((n) =>
          kit.broadcast(
            n,
            all.filter((d) => axisOf(n.type, d.name) === undefined),
          ),
        ),
        axis,
      ),
    )
  }

// ------------------------------------------------------------------------------------- indexing

/** `pipe(table, take(ids, 'vocab'))`: rows of a table; an id outside gives zeros. */
export const take =
  <B extends string, O extends string>(ids: Tensor<B, 'i32'>, axis: O) =>
  <A extends string, D extends DType>(table: Tensor<A, D> & Has<O, A>): Tensor<Exclude<A, O> | B, D> =>
    wrap(kit.gather(table.node, ids.node, axis))

/** The first position of the largest element. */
export const argmax =
  <O extends string>(axis: O) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<Exclude<A, O>, 'i32'> =>
    wrap(kit.argmax(x.node, axis))

/** Running sums. */
export const cumsum =
  <O extends string>(axis: O) =>
  <A extends string>(x: Tensor<A> & Has<O, A>): Tensor<A> =>
    wrap(kit.cumsum(x.node, axis))

// --------------------------------------------------------------------------------------- solves

/** X with sum_col A[row, col] X[col] = B[row]: `pipe(B, solve(A, 'row', 'col'))`. */
export const solve =
  <M extends string, R extends string, C extends string>(a: Tensor<M> & Has<R | C, M>, row: R, col: C) =>
  <A extends string>(b: Tensor<A> & Has<R, A>): Tensor<Exclude<A | M, R>> =>
    wrap(kit.solve(a.node, b.node, row, col))

/** `solve` for a triangular A; the other triangle is not read. */
export const triSolve =
  <M extends string, R extends string, C extends string>(
    a: Tensor<M> & Has<R | C, M>,
    row: R,
    col: C,
    triangle: 'lower' | 'upper',
  ) =>
  <A extends string>(b: Tensor<A> & Has<R, A>): Tensor<Exclude<A | M, R>> =>
    wrap(kit.triSolve(a.node, b.node, row, col, triangle === 'lower'))
