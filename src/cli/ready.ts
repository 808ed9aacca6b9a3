/** Which target computes, and why: told on stderr, and in the verbs' JSON. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { compileNow, type TargetName } from '../codegen/index.ts'
import { add, input, program, type Checked } from '../dsl/index.ts'
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

/** What a target's name means on this machine, found out with one addition. */
export const askTarget = (target: TargetName): Checked<Ready> =>
  pipe(
    program('addition', { y: pipe(input('x', { i: 4 }), add(1)) }),
    E.flatMap((p) => compileNow(p, { target })),
    E.map((executable) => {
      executable.dispose()
      return { target: executable.target, reason: executable.reason }
    }),
  )

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
