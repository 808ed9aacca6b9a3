/**
 * What fusion weighs: scalar work, sizes, users. Symbols have no size yet, so each stands for `NOMINAL`: what is fused
 * must not depend on run-time sizes, for one source serves them all.
 */
import * as E from 'fp-ts/lib/Either.js'
import { evalDim, literal, symbolsOf, type Dim } from '../../dsl/dim.ts'
import { axisOf, type Node } from '../../dsl/node.ts'
import { scalarOp } from '../../dsl/scalar.ts'

/** a size for every symbol, only to compare costs */
const NOMINAL = 256

const nominals = new Map<string, number>()

/** The size, or what it is taken for. */
export const nominal = (d: Dim): number => {
  const known = literal(d) ?? nominals.get(d.key)
  if (known !== undefined) return known
  const sizes = Object.fromEntries(symbolsOf(d).map((s) => [s, NOMINAL]))
  const made = E.getOrElse(() => NOMINAL)(evalDim(d, sizes))
  nominals.set(d.key, made)
  return made
}

export const namesOf = (n: Node): ReadonlyArray<string> => n.type.dims.map((d) => d.name)

/** nominal number of elements */
export const volume = (n: Node): number => {
  let s = 1
  for (const d of n.type.dims) s *= d.size.number ?? nominal(d.size)
  return s
}

export const isAnchor = (n: Node): boolean =>
  n.op === 'dot' || n.op === 'reduce' || n.op === 'solve' || n.op === 'triSolve'
export const isLeaf = (n: Node): boolean => n.op === 'input' || n.op === 'const' || n.op === 'iota'
export const isPointwise = (n: Node): boolean => n.op === 'map' || n.op === 'cast' || n.op === 'stopGrad'

/** terms that one element of a reduction adds up */
export const termsOf = (n: Node): number => {
  const over = n.op === 'reduce' || n.op === 'dot' ? n.attrs.over : []
  const dims = n.args.flatMap((a) => a.type.dims)
  return over.reduce((k, o) => k * nominal(dims.find((d) => d.name === o)!.size), 1)
}

/** what one element costs beyond reading its arguments */
export const ownCost = (n: Node): number => {
  switch (n.op) {
    case 'map':
      return scalarOp(n.attrs.fn)?.flops ?? 1
    case 'cast':
      return 1
    case 'pad':
      return 2
    case 'concat':
      return 2 * n.args.length
    case 'gather':
      return 4
    default:
      return 0
  }
}

export type Users = ReadonlyMap<Node, ReadonlyArray<Node>>

export const usersOf = (nodes: ReadonlyArray<Node>): Users => {
  const users = new Map<Node, Node[]>()
  for (const n of nodes) {
    users.set(n, [])
    for (const a of n.args) {
      const known = users.get(a)!
      // once for each user, however often it reads the value
      if (known.at(-1) !== n) known.push(n)
    }
  }
  return users
}

/** same axes, in any order */
export const sameAxes = (a: Node, b: Node): boolean => {
  if (a.type.dims === b.type.dims) return true
  if (a.type.dims.length !== b.type.dims.length) return false
  for (const d of a.type.dims) if (axisOf(b.type, d.name) === undefined) return false
  return true
}
