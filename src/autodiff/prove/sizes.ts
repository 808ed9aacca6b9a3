/** Products of powers of symbolic sizes, the second part of a monomial. */
import { dim, type Dim } from '../../dsl/dim.ts'

/** powers of size symbols, by name, none zero */
export type Sizes = ReadonlyMap<string, number>

/** the empty product */
export const noSizes: Sizes = new Map()

/** powers add */
export const timesSizes = (a: Sizes, b: Sizes): Sizes => {
  if (b.size === 0) return a
  const out = new Map(a)
  for (const [s, n] of b) {
    const total = (out.get(s) ?? 0) + n
    if (total === 0) out.delete(s)
    else out.set(s, total)
  }
  return out
}

/** the top-level `/` of a quotient's name `(num/den)` */
export const splitQuotient = (name: string): readonly [Dim, Dim] | undefined => {
  let depth = 0
  for (let i = 1; i < name.length - 1; i++) {
    if (name[i] === '(') depth += 1
    if (name[i] === ')') depth -= 1
    if (name[i] === '/' && depth === 0) return [dim(name.slice(1, i)), dim(name.slice(i + 1, -1))]
  }
  return undefined
}
