/** What the type rules share: naming what is wrong with an argument, and suggesting what was meant. */
import * as E from 'fp-ts/lib/Either.js'
import { sameDim } from '../dim.ts'
import { axisIn, axisNames, axisOf, showType, type Axis, type Dims, type Type } from '../node.ts'
import type { Misuse } from './row.ts'

/** edit distance, for suggestions */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    row = next
  }
  return row[b.length]!
}

/** `did you mean 'token'?`, for the nearest name within half the word */
export const suggest = (name: string, from: ReadonlyArray<string>): string | undefined => {
  const near = from
    .map((n) => ({ n, d: distance(name.toLowerCase(), n.toLowerCase()) }))
    .sort((a, b) => a.d - b.d)
    .find(({ n, d }) => d <= Math.max(1, Math.floor(Math.max(n.length, name.length) / 2)))
  return near === undefined ? undefined : `did you mean '${near.n}'?`
}

export const misuse = (expected: string, actual: string, hint?: string): Misuse =>
  hint === undefined ? { expected, actual } : { expected, actual, hint }

export const missingAxis = (name: string, t: Type): Misuse =>
  misuse(`axis '${name}'`, showType(t), suggest(name, axisNames(t)))

export const findAxis = (t: Type, name: string): E.Either<Misuse, Axis> => {
  const a = axisOf(t, name)
  return a === undefined ? E.left(missingAxis(name, t)) : E.right(a)
}

/** The first axis of `names` that t lacks. */
export const needAxes = (t: Type, names: ReadonlyArray<string>): Misuse | undefined => {
  const lacking = names.find((n) => axisOf(t, n) === undefined)
  return lacking === undefined ? undefined : missingAxis(lacking, t)
}

/** All axes of the arguments, each once; the widest argument's order first. An axis in two arguments has one size. */
export const unite = (types: ReadonlyArray<Type>): E.Either<Misuse, Dims> => {
  let widest: Dims = []
  for (const t of types) if (t.dims.length > widest.length) widest = t.dims
  const more: Axis[] = []
  for (const { dims } of types) {
    if (dims === widest) continue
    for (const d of dims) {
      const known = axisIn(widest, d.name) ?? axisIn(more, d.name)
      if (known === undefined) more.push(d)
      else if (!sameDim(known.size, d.size))
        return E.left(misuse(`axis '${d.name}' to have one size`, `${known.size.key} and ${d.size.key}`))
    }
  }
  return E.right(more.length === 0 ? widest : [...widest, ...more])
}

export const without = (dims: Dims, names: ReadonlyArray<string>): Dims => dims.filter((d) => !names.includes(d.name))

/** Axis names must differ. */
export const distinct = (dims: Dims): E.Either<Misuse, Dims> => {
  const twice = dims.find((d, i) => dims.findIndex((e) => e.name === d.name) !== i)
  return twice === undefined ? E.right(dims) : E.left(misuse('axis names that differ', `'${twice.name}' twice`))
}
