/**
 * The table of intrinsics: operations of a target that the kernel IR has no statement for. A row is its template and
 * its meaning, so that the interpreter runs what the printer prints. Each target's rows stand in a file of their own.
 */
import { intrinsicsC } from './intrinsics/c.ts'
import { intrinsicsCuda } from './intrinsics/cuda.ts'
import type { Intrinsic } from './intrinsics/row.ts'
import { intrinsicsRowsC } from './intrinsics/rows-c.ts'
import { intrinsicsSolveC } from './intrinsics/solve-c.ts'
import { intrinsicsSplitC } from './intrinsics/split-c.ts'

export type { Intrinsic, Lane, View } from './intrinsics/row.ts'

export const intrinsics: ReadonlyArray<Intrinsic> = [
  ...intrinsicsC,
  ...intrinsicsRowsC,
  ...intrinsicsSolveC,
  ...intrinsicsSplitC,
  ...intrinsicsCuda,
]

const byName = new Map(intrinsics.map((i) => [i.name, i]))
export const intrinsic = (name: string): Intrinsic | undefined => byName.get(name)
