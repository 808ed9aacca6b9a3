/** Loops and buffers of the kernel IR, as recipes write them. */
import { dim, type Dim, type DimLike } from '../../dsl/dim.ts'
import { whole } from './affine.ts'
import type { Buffer, Index, Loop, Role, Space, Stmt, Storage } from './kernel.ts'

/** axis = 0, 1, ... below size */
export const loopOver = (axis: string, size: DimLike, role: Role, unroll = 1): Loop => ({
  axis,
  size: dim(size),
  from: whole(0),
  to: whole(size),
  step: 1,
  role,
  unroll,
})

/** axis = from, from + step, ... below to, where to <= size */
export const loopFrom = (axis: string, size: DimLike, from: Index, to: Index, step: number, role: Role): Loop => ({
  axis,
  size: dim(size),
  from,
  to,
  step,
  role,
  unroll: 1,
})

/** The statements inside these loops, the first outermost. */
export const within = (loops: ReadonlyArray<Loop>, body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> =>
  loops.reduceRight<ReadonlyArray<Stmt>>((inner, loop) => [{ kind: 'for', loop, body: inner }], body)

export const buffer = (
  name: string,
  shape: ReadonlyArray<Dim>,
  space: Space = 'global',
  dtype: Storage = 'f32',
): Buffer => ({ name, shape, space, dtype })
