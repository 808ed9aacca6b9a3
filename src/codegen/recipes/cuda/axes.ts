/** Which axes of a contraction are rows, columns, batch; undefined where its dots disagree. */
import { literal, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf } from '../../../dsl/node.ts'
import type { Accumulator, Group } from '../../fuse/group.ts'
import { extentOf } from './draft.ts'

// ---------------------------------------------------------------------------------------- model

/** sum over k of left[m, k] right[k, n], scaled: one part of an accumulator */
export interface Product {
  readonly left: Node
  readonly right: Node
  readonly over: ReadonlyArray<Axis>
  readonly factor: Node | undefined
  readonly sign: 1 | -1
  /** the accumulator's number */
  readonly into: number
}

export interface Contraction {
  /** in both operands of every dot */
  readonly batch: ReadonlyArray<Axis>
  /** in the left operands only */
  readonly m: ReadonlyArray<Axis>
  /** in the right operands only; the results' fastest axis is among them */
  readonly n: ReadonlyArray<Axis>
  readonly accumulators: ReadonlyArray<Accumulator>
  readonly products: ReadonlyArray<Product>
}

// --------------------------------------------------------------------------------- constructors

const has = (n: Node, a: Axis): boolean => n.type.dims.some((d) => d.name === a.name)
const same = (a: ReadonlyArray<Axis>, b: ReadonlyArray<Axis>): boolean =>
  a.length === b.length && a.every((x) => b.some((y) => x.name === y.name))

interface Sides {
  readonly both: ReadonlyArray<Axis>
  readonly left: ReadonlyArray<Axis>
  readonly right: ReadonlyArray<Axis>
}

const sidesOf = (d: NodeOf<'dot'>, outer: ReadonlyArray<Axis>): Sides | undefined => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  if (!same(d.type.dims, outer)) return undefined
  return {
    both: outer.filter((x) => has(a, x) && has(b, x)),
    left: outer.filter((x) => has(a, x) && !has(b, x)),
    right: outer.filter((x) => !has(a, x) && has(b, x)),
  }
}

const overOf = (d: NodeOf<'dot'>): ReadonlyArray<Axis> =>
  d.args[0]!.type.dims.filter((x) => d.attrs.over.includes(x.name))

export const contractionOf = (g: Group): Contraction | undefined => {
  const [stage] = g.stages
  if (g.kind !== 'contraction' || g.stages.length !== 1 || stage?.kind !== 'dot') return undefined
  const results = stage.results
  // the results' own order, in which they lie in memory
  const outer = results[0]!.type.dims
  if (!results.every((r) => same(r.type.dims, outer))) return undefined
  const terms = stage.accumulators.flatMap((a, into) => a.terms.map((t) => ({ ...t, into })))
  const sides = terms.map((t) => sidesOf(t.dot, outer))
  const [first] = sides
  if (first === undefined || first.left.length === 0 || first.right.length === 0) return undefined
  const fastest = outer.filter((a) => !first.both.includes(a)).at(-1)!
  const [m, n] = first.right.includes(fastest) ? [first.left, first.right] : [first.right, first.left]
  const products: Product[] = []
  for (const [i, t] of terms.entries()) {
    const s = sides[i]
    if (s === undefined || !same(s.both, first.both)) return undefined
    const [a, b] = [t.dot.args[0]!, t.dot.args[1]!]
    const common = { over: overOf(t.dot), factor: t.factor, sign: t.sign, into: t.into }
    if (same(s.left, m) && same(s.right, n)) products.push({ left: a, right: b, ...common })
    else if (same(s.left, n) && same(s.right, m)) products.push({ left: b, right: a, ...common })
    else return undefined
  }
  return { batch: first.both, m, n, accumulators: stage.accumulators, products }
}

// ----------------------------------------------------------------------------------------- tiles

export interface Tile {
  readonly m: number
  readonly n: number
  /** cells of a thread: mr rows, nr columns */
  readonly mr: number
  readonly nr: number
}

/** threads of a block */
export const THREADS = 256

const tile = (m: number, n: number, mr: number, nr: number): Tile => ({ m, n, mr, nr })

/** up to this many results in all a row of threads computes each: a tile would leave most blocks idle */
const FEW = 1024

/**
 * A tile by literal sizes, of 256 threads: 64 x 64, or 128 x 64 where both extents are large; narrow ones where one
 * extent is no more than 32. Undefined: too few results for tiles.
 */
export const tileFor = ({ m, n, accumulators }: Contraction): Tile | undefined => {
  const size = (axes: ReadonlyArray<Axis>): number => literal(extentOf(axes)) ?? Infinity
  const [rows, columns] = [size(m), size(n)]
  if (rows * columns <= FEW) return undefined
  const narrow = (extent: number): 8 | 16 | 32 | undefined =>
    extent <= 8 ? 8 : extent <= 16 ? 16 : extent <= 32 ? 32 : undefined
  const [thin, slim] = [narrow(columns), narrow(rows)]
  if (thin !== undefined) return { 8: tile(64, 8, 2, 1), 16: tile(64, 16, 2, 2), 32: tile(64, 32, 4, 2) }[thin]
  if (slim !== undefined) return { 8: tile(8, 64, 1, 2), 16: tile(16, 64, 2, 2), 32: tile(32, 64, 2, 4) }[slim]
  const isLarge = rows >= 1024 && rows < Infinity && columns >= 1024 && accumulators.length === 1
  return isLarge ? tile(128, 64, 8, 4) : tile(64, 64, 4, 4)
}

/** steps of a contraction that lie in shared memory at a time */
export const depthFor = (extent: Dim): number => {
  const n = literal(extent)
  return n === undefined || n > 8 ? 16 : n > 4 ? 8 : 4
}
