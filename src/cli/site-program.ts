/** An adapter on one site with its gradient, as a program of given sizes: what `explain` shows. */
import * as E from 'fp-ts/lib/Either.js'
import type { Adapter, Config } from '../adapters/index.ts'
import { siteRows, specimen } from '../adapters/laws/specimen.ts'
import { vjpProgram } from '../autodiff/index.ts'
import { program, type AnyTensor, type Checked, type Program } from '../dsl/index.ts'

// ---------------------------------------------------------------------------------------- model

/** Sizes that a user may give; the rest is typical. */
export interface AskedSizes {
  readonly in: number
  readonly out: number
  readonly tokens: number
}

// --------------------------------------------------------------------------------- constructors

/** The adapter's config where nothing is asked for. */
export const defaultsOf = (adapter: Adapter): Config =>
  Object.fromEntries(Object.entries(adapter.config).map(([name, field]) => [name, field.default]))

/** a head's width where the model's is a multiple of it */
const headWidth = (width: number): number => [64, 32, 16, 8, 4, 2].find((h) => width % h === 0 && width > h) ?? width

/** Sizes of all axes of the adapter's site. Attention: heads of 64 or less that fill the width, each its own key head. */
export const typicalSizes = (adapter: Adapter, asked: AskedSizes): Readonly<Record<string, number>> => {
  const h = headWidth(asked.in)
  const all: Readonly<Record<string, number>> = { in: asked.in, out: asked.out, kv: asked.in / h, group: 1, h }
  return {
    token: asked.tokens,
    ...Object.fromEntries(siteRows[adapter.site].sizes.map((name) => [name, all[name] ?? 1])),
  }
}

// ---------------------------------------------------------------------------------- combinators

const isTensor = (y: unknown): y is AnyTensor => typeof y === 'object' && y !== null && 'node' in y

/** y = apply(p, x, host), and from ct.y the gradients of all parameters and of x. */
export const siteProgram = (
  adapter: Adapter,
  config: Config,
  sizes: Readonly<Record<string, number>>,
): Checked<Program> => {
  const s = specimen(adapter, config, sizes)
  // the types say so, but a user's file may be JavaScript, or may have cast them away
  const y: unknown = s.run(s.params, s.x, s.host)
  if (!isTensor(y))
    return E.left([
      { at: `adapter ${adapter.name}: apply`, expected: 'a tensor', actual: y === undefined ? 'nothing' : typeof y },
    ])
  return E.flatMap(program(adapter.name, { y }), (forward) => {
    const trained = new Set([...Object.keys(s.initial).map((name) => `p.${name}`), ...Object.keys(s.xs)])
    return vjpProgram(
      forward,
      forward.inputs.flatMap(({ name }) => (trained.has(name) ? [name] : [])),
    )
  })
}
