/** A row of the table of intrinsics: what a `call` means, and the text behind it on each target. */
import type { Index } from '../kernel.ts'

// ---------------------------------------------------------------------------------------- model

/** the elements of a buffer from a place on, row-major; every access is checked and watched by the interpreter */
export interface View {
  readonly get: (i: number) => number
  readonly set: (i: number, value: number) => void
}

/** what one thread passes */
export interface Lane {
  readonly places: ReadonlyArray<View>
  readonly ints: ReadonlyArray<number>
}

/** elements at `step` apart, `count` of them at most: indices over what the call passes */
export interface Reach {
  readonly step: Index
  readonly count: Index
}

/** a buffer that is passed; `reach`: all that is read or written of it, from the place on; none: nothing is known */
interface Passed {
  readonly name: string
  readonly access: 'read' | 'write' | 'update'
  readonly reach?: (ints: ReadonlyArray<Index>) => ReadonlyArray<Reach>
}

interface Common {
  readonly name: string
  /** what it computes, as a formula over its places and ints */
  readonly formula: string
  readonly places: ReadonlyArray<Passed>
  readonly ints: ReadonlyArray<string>
  /** source that stands above the kernels that call it */
  readonly text: { readonly c?: string; readonly cuda?: string }
  /** what stands at the beginning and at the end of a function that calls it */
  readonly around?: { readonly c: { readonly before: string; readonly after: string } }
}

/**
 * Of one thread, or of the 32 threads of a warp together: then every thread of the warp calls it at the same point,
 * and `lanes` are theirs in order.
 */
export type Intrinsic =
  | (Common & { readonly scope: 'thread'; readonly meaning: (lane: Lane) => void })
  | (Common & { readonly scope: 'warp'; readonly meaning: (lanes: ReadonlyArray<Lane>) => void })

export const WARP = 32
