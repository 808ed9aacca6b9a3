/** A rule of the simplifier, and what rules look at. */
import { kit } from '../../dsl/build.ts'
import { dim, evalDim, symbolsOf, type Dim } from '../../dsl/dim.ts'
import { hasAxis, type Dims, type Node } from '../../dsl/node.ts'
import { rowOf } from '../../dsl/primitive.ts'
import * as E from 'fp-ts/lib/Either.js'

// ---------------------------------------------------------------------------------------- model

export interface Rule {
  readonly name: string
  /** ops of the nodes that it may change */
  readonly on: ReadonlyArray<Node['op']>
  readonly doc: string
  /** `reassociates`: equal but for rounding. `finite`: equal where no NaN or infinity is about. */
  readonly tag?: 'reassociates' | 'finite'
  /** a node on which the rule fires */
  readonly example: () => Node
  /** an equal node of the same type that costs no more, or undefined */
  readonly rule: (n: Node) => Node | undefined
}

// --------------------------------------------------------------------------------- constructors

/** x with exactly the axes `dims`: broadcast along those it lacks */
export const along = (x: Node, dims: Dims): Node => kit.broadcast(x, dims)

/** x without the broadcasts on top of it */
export const bare = (x: Node): Node => (x.op === 'broadcast' ? bare(x.args[0]!) : x)

/** a matrix of axes i and j, for examples */
export const matrix = (name: string, i = 'i', j = 'j'): Node =>
  kit.input(
    name,
    [
      { name: i, size: dim(i) },
      { name: j, size: dim(j) },
    ],
    'f32',
  )

export const eyeOf = (i: string, j: string, size: Dim): Node =>
  kit.map('select', kit.map('eq', kit.iota(i, size), kit.iota(j, size)), kit.scalar(1), kit.scalar(0))

// --------------------------------------------------------------------------------- interpreters

/** the number that x is everywhere */
export const numberOf = (x: Node): number | undefined => {
  const b = bare(x)
  return b.op === 'const' ? b.attrs.value : undefined
}

export const isNumber = (x: Node, value: number): boolean => numberOf(x) === value

/** the two axes of a matrix with ones on its diagonal */
export const axesOfEye = (x: Node): readonly [string, string] | undefined => {
  if (x.op !== 'map' || x.attrs.fn !== 'select') return undefined
  const [c, yes, no] = x.args
  if (c?.op !== 'map' || c.attrs.fn !== 'eq' || !isNumber(yes!, 1) || !isNumber(no!, 0)) return undefined
  const [i, j] = c.args
  return i?.op === 'iota' && j?.op === 'iota' && i.attrs.axis !== j.attrs.axis && i.attrs.size.key === j.attrs.size.key
    ? [i.attrs.axis, j.attrs.axis]
    : undefined
}

/** a symbol that has no size yet counts as this many */
const TYPICAL = 64

/** A size as a number, for comparing costs. */
export const sizeFor = (d: Dim): number => {
  if (d.number !== undefined) return d.number
  const r = evalDim(d, Object.fromEntries(symbolsOf(d).map((s) => [s, TYPICAL])))
  return E.isRight(r) ? r.right : TYPICAL
}

export const elementsFor = (dims: Dims): number => dims.reduce((n, d) => n * sizeFor(d.size), 1)

const concrete = (n: Node): ReadonlyArray<{ readonly name: string; readonly size: number }> =>
  n.type.dims.map((d) => ({ name: d.name, size: sizeFor(d.size) }))

const flopsKnown = new WeakMap<Node, number>()

/** operations of one node */
export const flopsOf = (n: Node): number => {
  const known =
    flopsKnown.get(n) ??
    rowOf(n.op).flops(
      n.args.map((a) => concrete(a)),
      concrete(n),
      n.attrs,
    )
  flopsKnown.set(n, known)
  return known
}

export const lacks = (x: Node, axes: ReadonlyArray<string>): boolean => axes.every((a) => !hasAxis(x.type, a))
