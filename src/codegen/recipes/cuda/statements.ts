/** Constructors of kernel statements: what the recipes for CUDA write again and again. */
import { dim, type Dim } from '../../../dsl/dim.ts'
import type { ReduceFn } from '../../../dsl/node.ts'
import { whole } from '../../kernel/affine.ts'
import type { Expr, Index, Loop, Role, Stmt } from '../../kernel/kernel.ts'

type Body = ReadonlyArray<Stmt>

interface Range {
  readonly from?: Index
  readonly to?: Index
  readonly step?: number
  readonly unroll?: number
}

const loopOf = (role: Role, axis: string, size: Dim, { from, to, step, unroll }: Range): Loop => ({
  axis,
  size,
  from: from ?? whole(0),
  to: to ?? whole(size),
  step: step ?? 1,
  role,
  unroll: unroll ?? 1,
})

/** for axis in from..to by step: 0 <= axis < size */
export const repeat = (role: Role, axis: string, size: Dim, body: Body, range: Range = {}): Stmt => ({
  kind: 'for',
  loop: loopOf(role, axis, size, range),
  body,
})

/** n steps written out */
export const unrolled = (axis: string, n: number, body: Body): Stmt =>
  repeat('unroll', axis, dim(n), body, { unroll: n })

export const number = (value: number): Expr => ({ kind: 'number', value })
export const register = (name: string): Expr => ({ kind: 'register', name })
export const apply = (fn: string, ...args: ReadonlyArray<Expr>): Expr => ({ kind: 'apply', fn, args })
export const read = (buffer: string, at: ReadonlyArray<Index>): Expr => ({ kind: 'read', buffer, at })
export const guard = (of: Index, low: Dim, high: Dim, then: Expr, otherwise: Expr): Expr => ({
  kind: 'guard',
  of,
  low,
  high,
  then,
  otherwise,
})

export const store = (buffer: string, at: ReadonlyArray<Index>, value: Expr): Stmt => ({
  kind: 'store',
  buffer,
  at,
  value,
})
export const assign = (name: string, value: Expr): Stmt => ({ kind: 'let', name, value })
export const unit = (name: string, fn: ReduceFn): Stmt => ({ kind: 'unit', register: name, fn })
export const fold = (name: string, fn: ReduceFn, value: Expr): Stmt => ({ kind: 'fold', register: name, fn, value })
export const when = (of: Index, low: Dim, high: Dim, body: Body): Stmt => ({ kind: 'if', of, low, high, body })
export const named = (name: string, size: Dim, value: Index): Stmt => ({ kind: 'index', name, size, value })
export const note = (text: string): Stmt => ({ kind: 'note', text })
export const barrier: Stmt = { kind: 'barrier', scope: 'block' }
export const warpBarrier: Stmt = { kind: 'barrier', scope: 'warp' }
export const call = (
  intrinsic: string,
  places: ReadonlyArray<{ readonly buffer: string; readonly at: ReadonlyArray<Index> }>,
  ints: ReadonlyArray<Index> = [],
): Stmt => ({ kind: 'call', intrinsic, places, ints })
