/**
 * Graph -> Graph: what a target lacks, in terms of what it has.
 *
 * Note [Blocks]. Targets whose kernels run blocks (c, cuda) solve systems themselves, and place what is scattered
 * once its positions are known (see `scatter.ts`); running sums and positions of maxima are lowered for all.
 *
 * Note [Gathers only]. A gpu.js kernel computes one cell and may read anything, write nothing else. So a
 * scatter becomes a masked sum, a running sum too, argmax a maximum and the least index that attains it,
 * and a solve its elimination steps, each one tensor.
 */
import { kit } from '../dsl/build.ts'
import { literal, subDim } from '../dsl/dim.ts'
import { axisOf, type Axis, type Node } from '../dsl/node.ts'
import { rewrite, withOutputs, type Program } from '../dsl/program.ts'
import { eliminate, substituteTriangle } from './lower-solve.ts'
import { count, sizeAlong, sizeOf } from './sizes.ts'

// ----------------------------------------------------------------------------------- one op each

const zeroLike = (x: Node): Node => kit.scalar(0, x.type.dtype)
/** an axis name that no user writes */
export const freshAxis = (axis: string): string => `${axis}'`

/** y[i] = sum_j [j <= i] x[j] */
const lowerCumsum = (x: Node, axis: string): Node => {
  const size = axisOf(x.type, axis)!.size
  const j = freshAxis(axis)
  const mask = kit.map('le', kit.iota(j, size), kit.iota(axis, size))
  return kit.reduce('sum', kit.map('select', mask, kit.rename(x, { [axis]: j }), zeroLike(x)), [j])
}

/** above every position */
const BEYOND = 2 ** 24 - 1

/** min over i of (i where x[i] = max x, else size) */
const lowerArgmax = (x: Node, axis: string): Node => {
  const size = axisOf(x.type, axis)!.size
  const best = kit.reduce('max', x, [axis])
  const none = kit.scalar(literal(size) ?? BEYOND, 'i32')
  const found = kit.map('select', kit.map('ge', x, best), kit.iota(axis, size), none)
  return kit.reduce('min', found, [axis])
}

/** y[v] = sum over `over` of [ids = v] updates */
export const lowerScatter = (
  updates: Node,
  ids: Node,
  axis: string,
  size: Axis['size'],
  over: ReadonlyArray<string>,
): Node => {
  const here = kit.map(
    'eq',
    ids,
    ids.type.dtype === 'u32' ? kit.cast(kit.iota(axis, size), 'u32') : kit.iota(axis, size),
  )
  const masked = kit.map('select', here, updates, zeroLike(updates))
  return over.length === 0 ? masked : kit.reduce('sum', masked, over)
}

/** one concat of at most `PARTS` at a time, so that a kernel has few inputs */
const PARTS = 6
const lowerConcat = (xs: ReadonlyArray<Node>, axis: string): Node => {
  const live = xs.filter((x) => sizeAlong(x, axis) !== 0)
  const parts = live.length === 0 ? xs.slice(0, 1) : live
  if (parts.length === 1) return parts[0]!
  if (parts.length <= PARTS) return kit.concat(parts, axis)
  const groups = Array.from({ length: Math.ceil(parts.length / PARTS) }, (_, g) =>
    lowerConcat(parts.slice(g * PARTS, (g + 1) * PARTS), axis),
  )
  return lowerConcat(groups, axis)
}

/** A long reduction into few cells is done in two stages: one thread computes one cell. */
const LONG = 4096
const lowerReduce = (x: Node, fn: 'sum' | 'max' | 'min', over: ReadonlyArray<string>): Node => {
  const axes = x.type.dims.filter((d) => over.includes(d.name) && sizeOf(d) > 1)
  const cells = count(x) / axes.reduce((n, d) => n * sizeOf(d), 1)
  const [first] = axes
  if (axes.length < 2 || first === undefined || cells >= 64 || count(x) / cells < LONG) return kit.reduce(fn, x, over)
  return kit.reduce(
    fn,
    kit.reduce(
      fn,
      x,
      over.filter((o) => o !== first.name),
    ),
    [first.name],
  )
}

export type Shape = 'gathers' | 'blocks'

/** what every target lacks */
const lowerForAll = (n: Node, args: ReadonlyArray<Node>): Node | undefined => {
  const a = args[0]!
  switch (n.op) {
    case 'stopGrad':
      return a
    case 'cumsum':
      return lowerCumsum(a, n.attrs.axis)
    case 'argmax':
      return lowerArgmax(a, n.attrs.axis)
    default:
      return undefined
  }
}

/** a size as a number on the device: the last position along an axis, and one */
const sizeNode = (a: Axis): Node => {
  const known = literal(a.size)
  if (known !== undefined) return kit.scalar(known)
  const last = kit.reshape(kit.slice(kit.iota(a.name, a.size), a.name, subDim(a.size, 1), 1), [a.name], [])
  return kit.map('add', kit.cast(last, 'f32'), kit.scalar(1))
}

/** the sum of n equal numbers c is n c */
const sumOfEqual = (x: Node, over: ReadonlyArray<string>): Node | undefined => {
  const value = x.op === 'broadcast' ? x.args[0]! : x
  if (value.op !== 'const' || x.type.dtype !== 'f32') return undefined
  const sizes = x.type.dims.filter((d) => over.includes(d.name)).map(sizeNode)
  const left = x.type.dims.filter((d) => !over.includes(d.name))
  return kit.broadcast(
    sizes.reduce((a, b) => kit.map('mul', a, b), value),
    left,
  )
}

const lowerForBlocks = (n: Node, args: ReadonlyArray<Node>): Node => {
  const [a, b] = [args[0]!, args[1]!]
  switch (n.op) {
    case 'call':
      return rewrite(kit.inline(n.attrs.body, args), lowerNode.blocks)[0]!
    case 'dot':
      return n.attrs.over.length === 0 ? kit.map('mul', a, b) : kit.rebuild(n, args)
    case 'reduce':
      return (n.attrs.fn === 'sum' ? sumOfEqual(a, n.attrs.over) : undefined) ?? kit.rebuild(n, args)
    default:
      return lowerForAll(n, args) ?? kit.rebuild(n, args)
  }
}

const lowerForGathers = (n: Node, args: ReadonlyArray<Node>): Node => {
  const [a, b] = [args[0]!, args[1]!]
  switch (n.op) {
    case 'scatterAdd':
      return lowerScatter(a, b, n.attrs.axis, n.attrs.size, n.attrs.over)
    case 'solve':
      return eliminate(a, b, n.attrs.row, n.attrs.col)
    case 'triSolve':
      return substituteTriangle(a, b, n.attrs.row, n.attrs.col, n.attrs.lower)
    case 'concat':
      return lowerConcat(args, n.attrs.axis)
    case 'reduce':
      return lowerReduce(a, n.attrs.fn, n.attrs.over)
    case 'call':
      return rewrite(kit.inline(n.attrs.body, args), lowerNode.gathers)[0]!
    case 'dot':
      // over an axis of size 0 or none at all it is a product
      return n.attrs.over.length === 0 ? kit.map('mul', a, b) : kit.rebuild(n, args)
    default:
      return lowerForAll(n, args) ?? kit.rebuild(n, args)
  }
}

const lowerNode = { gathers: lowerForGathers, blocks: lowerForBlocks } as const

/** The program in primitives that the shape of target has; the axes of outputs keep their order. */
export const lower = (p: Program, shape: Shape): Program =>
  withOutputs(
    p,
    rewrite(
      p.outputs.map((o) => o.node),
      lowerNode[shape],
    ).map((node, i) => reorder(node, p.outputs[i]!.node)),
  )

/** The same axes in the order that the program's own node has: identity unless a rule permuted them. */
export const reorder = (node: Node, like: Node): Node => {
  const same = node.type.dims.every((d, i) => d.name === like.type.dims[i]?.name)
  if (same) return node
  // adding zeros of the wanted order: `unite` takes the order of the widest, the first on a tie
  const shape = kit.broadcast(kit.scalar(0, node.type.dtype), like.type.dims)
  return kit.map('add', shape, node)
}
