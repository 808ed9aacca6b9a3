/**
 * The scalar functions, one row each. Printers, tests, documentation and the FEATURES table are
 * generated from these rows.
 */
import type { DType } from './dtype.ts'
import { arithmetic } from './scalar/arithmetic.ts'
import { elementary } from './scalar/elementary.ts'
import type { ScalarOp, Signature } from './scalar/row.ts'

export type { Dialect, ScalarOp, Spelling } from './scalar/row.ts'

export const scalarOps = { ...elementary, ...arithmetic }

export type ScalarName = keyof typeof scalarOps
export type ScalarOfArity<N extends number> = {
  [K in ScalarName]: (typeof scalarOps)[K]['arity'] extends N ? K : never
}[ScalarName]

// --------------------------------------------------------------------------------- interpreters

const rows: Readonly<Record<string, ScalarOp>> = scalarOps

/** The row of a function by name, where there is one. */
export const scalarOp = (name: string): ScalarOp | undefined => (Object.hasOwn(rows, name) ? rows[name] : undefined)

/** The dtype of f(args), or undefined where f does not take them. */
export const resultDType = (s: Signature, args: ReadonlyArray<DType>): DType | undefined => {
  const same = (from: number): DType | undefined => {
    for (let i = from + 1; i < args.length; i++) if (args[i] !== args[from]) return undefined
    return args[from]
  }
  const all = same(0)
  switch (s) {
    case 'float':
      return all === 'f32' || all === 'f16' || all === 'bf16' ? all : undefined
    case 'number':
      return all === 'bool' ? undefined : all
    case 'compare':
      return all === undefined ? undefined : 'bool'
    case 'logic':
      return all === 'bool' ? 'bool' : undefined
    case 'select':
      return args[0] === 'bool' ? same(1) : undefined
    default:
      return s satisfies never
  }
}
