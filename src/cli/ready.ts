/** Which target computes, and why: told on stderr, and in the verbs' JSON. */
import type { Terminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

/** What `compile` answered with. */
export interface Ready {
  /** `c`, `gpujs (webasm)`, `oracle` */
  readonly target: string
  readonly reason: string
}

// --------------------------------------------------------------------------------- constructors

/** `target c: the fastest target, cc 12.2`, `target gpujs, for c needs a compiler: ...`, `target c: asked for` */
export const showReady = ({ target, reason }: Ready): string =>
  `target ${/^(c|gpujs)\b/.test(reason) ? reason : `${target}: ${reason}`}`

// --------------------------------------------------------------------------------- interpreters

/** Tells the first, and remembers it: a run compiles several programs for one target. */
export const readyTeller = ({
  err,
}: Terminal): { readonly onReady: (r: Ready) => void; readonly told: () => Ready | undefined } => {
  let first: Ready | undefined
  return {
    onReady: (ready) => {
      if (first === undefined) err.write(`${showReady(ready)}\n`)
      first ??= { target: ready.target, reason: ready.reason }
    },
    told: () => first,
  }
}
