/**
 * Operands of contractions in C: which elements they have, how their panels lie, and the kernel that packs those which
 * never change. A workshop keeps the names, parameters and scratch of one kernel.
 */
import { dim, literal, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node } from '../../../dsl/node.ts'
import { addIndex, axisIndex, minIndex, scaleIndex, shiftIndex, unflatten, whole } from '../../kernel/affine.ts'
import { apply, expressions, number, type Position } from '../../kernel/expression.ts'
import { volume } from '../../fuse/costs.ts'
import type { Buffer, Expr, Index, Kernel, Loop } from '../../kernel/kernel.ts'
import { ownBufferOf } from '../../kernel/layout.ts'
import { buffer, loopFrom, loopOver, within } from '../../kernel/statements.ts'
import { packPanel, type Panel, type Room, type Surroundings, type Value } from './panels.ts'
import { LONGEST, packedSize, PIECE, roomOf, type Cut, type Side, type Term, type Width } from './tiles.ts'

// ---------------------------------------------------------------------------------------- model

/** An operand that never changes, in panels: `kernel` fills the buffer once, before anything runs. */
export interface Packed {
  /** equal keys: equal contents */
  readonly key: string
  readonly buffer: Buffer
  readonly kernel: Kernel
  readonly args: ReadonlyArray<Node>
}

export type Argument =
  { readonly kind: 'node'; readonly node: Node } | { readonly kind: 'packed'; readonly packed: Packed }

/** an operand as panels along one side */
export interface Operand {
  readonly key: string
  readonly node: Node
  readonly side: 'rows' | 'columns'
  readonly over: Side
  /** folded in while packing */
  readonly factor: { readonly node: Node | undefined; readonly sign: 1 | -1 } | undefined
}

// ------------------------------------------------------------------------------------- operands

export const isZero = (d: Dim): boolean => literal(d) === 0
const keyOf = (node: Node, side: string, over: Side, factor: Operand['factor']): string =>
  [
    ...[String(node.id), side, over.axes.map((a) => a.name).join(' ')],
    factor === undefined ? '' : `${String(factor.sign)} ${String(factor.node?.id ?? '')}`,
  ].join('/')

/** factors of sums go into the smaller operand, that of a lone dot into the epilogue */
export const operandsOf = (t: Term, isAlone: boolean): { readonly rows: Operand; readonly columns: Operand } => {
  const { factor, sign } = t.weight
  const weight = isAlone || (factor === undefined && sign > 0) ? undefined : { node: factor, sign }
  const isRows = volume(t.rows) < volume(t.columns)
  const operand = (side: 'rows' | 'columns', node: Node, own: Operand['factor']): Operand => ({
    ...{ node, side, over: t.over, factor: own },
    key: keyOf(node, side, t.over, own),
  })
  return {
    rows: operand('rows', t.rows, isRows ? weight : undefined),
    columns: operand('columns', t.columns, isRows ? undefined : weight),
  }
}

// --------------------------------------------------------------------------------------- buffers

/** names, parameters and scratch of one kernel */
export const workshop = (isBuffer: (n: Node) => boolean, width: Width) => {
  const names = new Map<string, number>()
  const fresh = (name: string): string => {
    const n = names.get(name) ?? 0
    names.set(name, n + 1)
    return `${name}${String(n)}`
  }
  const params: Buffer[] = []
  const args: Argument[] = []
  const outputs: Buffer[] = []
  const locals: Buffer[] = []
  const known = new Map<Node | string, string>()
  const nodeBuffer = (node: Node): string => {
    const name = known.get(node) ?? fresh('a')
    if (!known.has(node)) {
      known.set(node, name)
      params.push(ownBufferOf(node, name))
      args.push({ kind: 'node', node })
    }
    return name
  }
  const packedBuffer = (packed: Packed): string => {
    const name = known.get(packed.key) ?? fresh('w')
    if (!known.has(packed.key)) {
      known.set(packed.key, name)
      params.push({ ...packed.buffer, name })
      args.push({ kind: 'packed', packed })
    }
    return name
  }
  const scratch = (name: string, shape: ReadonlyArray<Dim>): string => {
    const made = fresh(name)
    locals.push(buffer(made, shape, 'scratch'))
    return made
  }
  /** one scratch, as long as the longest that is asked for */
  const growing = (base: string) => {
    let made: { readonly name: string; readonly at: number } | undefined
    return (floats: number): string => {
      if (made === undefined) made = { name: scratch(base, [dim(floats)]), at: locals.length - 1 }
      const { name, at } = made
      if (literal(locals[at]!.shape[0]!)! < floats) locals[at] = buffer(name, [dim(floats)], 'scratch')
      return name
    }
  }
  const [rowsOf, panelOf] = [growing('line'), growing('panel')]
  const shapeOf = (name: string): ReadonlyArray<Dim> =>
    [...params, ...locals, ...outputs].find((b) => b.name === name)?.shape ?? []
  /** what stands in buffers */
  const read = (n: Node, at: Position): Expr | undefined =>
    n.op === 'input' || isBuffer(n)
      ? { kind: 'read', buffer: nodeBuffer(n), at: n.type.dims.map((d) => at.get(d.name)!) }
      : undefined
  const around: Surroundings = { width, fresh, shapeOf, rowsOf }
  return { fresh, params, args, outputs, locals, packedBuffer, scratch, read, around, panelOf }
}
export type Workshop = ReturnType<typeof workshop>

// ------------------------------------------------------------------------------------- positions

export const unmerged = (side: Side, i: Index): ReadonlyArray<readonly [string, Index]> => {
  const at = unflatten(
    i,
    side.axes.map((a) => a.size),
  )
  return side.axes.map((a, d) => [a.name, at[d]!])
}

export const batchAt = (batch: ReadonlyArray<Axis>): ReadonlyArray<readonly [string, Index]> =>
  batch.map((a, i) => [a.name, axisIndex(`b${String(i)}`, a.size)])
export const batchLoops = (batch: ReadonlyArray<Axis>): ReadonlyArray<Loop> =>
  batch.flatMap((a, i) => (literal(a.size) === 1 ? [] : [loopOver(`b${String(i)}`, a.size, 'block')]))

export const scaled = (factor: NonNullable<Operand['factor']>, expr: (n: Node) => Expr, of: Expr): Expr => {
  const by = factor.node === undefined ? number(1) : expr(factor.node)
  if (by.kind === 'number') return by.value * factor.sign === 1 ? of : apply('mul', number(by.value * factor.sign), of)
  return factor.sign > 0 ? apply('mul', by, of) : apply('neg', apply('mul', by, of))
}

/** the operand's elements, where the batch axes are loops around */
export const valueOf = (o: Operand, cut: Pick<Cut, 'batch' | 'rows' | 'columns'>, w: Workshop): Value => {
  const expr = expressions(w.read)
  const side = o.side === 'rows' ? cut.rows : cut.columns
  return (i, k) => {
    const at = new Map<string, Index>([
      ...batchAt(cut.batch),
      ...unmerged(side, i),
      ...o.over.axes.map((a, d) => [a.name, k[d]!] as const),
    ])
    const value = expr(o.node, new Map(o.node.type.dims.map((d) => [d.name, at.get(d.name)!])))
    return o.factor === undefined ? value : scaled(o.factor, (n) => expr(n, new Map()), value)
  }
}

// ------------------------------------------------------------------------------- packed beforehand

/** leaves that hold data */
export const leavesOf = (n: Node, isBuffer: (n: Node) => boolean): ReadonlyArray<Node> => {
  const found = new Set<Node>()
  const seen = new Set<Node>()
  const visit = (x: Node): void => {
    if (seen.has(x)) return
    seen.add(x)
    if (x.op === 'input' || isBuffer(x)) found.add(x)
    else x.args.forEach(visit)
  }
  visit(n)
  return [...found]
}

export const panelSize = (o: Operand, cut: Cut, width: Width): number =>
  o.side === 'rows' ? cut.tile.rows : cut.tile.vectors * width

/** how an operand is split where it is */
export const splitOf = (o: Operand, { tile }: Cut, { panelOf }: Workshop): Pick<Panel, 'split'> =>
  tile.isSplit === true ? { split: { side: o.side, panelOf } } : {}

/** the place of a prepared panel among all, from a step of k on */
export const panelAt = (o: Operand, cut: Cut, size: number, first: Index, k0: Index): Index =>
  addIndex(scaleIndex(depthRoom(o, cut), first), scaleIndex((roomOf(cut.tile, PIECE) / PIECE) * size, k0))

/** floats of an element's numbers */
const depthRoom = (o: Operand, { tile }: Cut): Dim => {
  const depth = literal(o.over.size)
  return depth === undefined ? o.over.size : dim(roomOf(tile, depth))
}

/** All panels of an operand, one behind the other: panel, k, element. */
export const prepare = (o: Operand, cut: Cut, width: Width, isBuffer: (n: Node) => boolean): Packed => {
  const w = workshop(isBuffer, width)
  const own = cut.batch.filter((a) => o.node.type.dims.some((d) => d.name === a.name))
  const side = o.side === 'rows' ? cut.rows : cut.columns
  const size = panelSize(o, cut, width)
  const shape = [...own.map((a) => a.size), packedSize(side.size, size, depthRoom(o, cut))]
  const out = buffer('out', shape)
  w.outputs.push(out)
  const first = axisIndex('panel', side.size)
  const pieces = pieceOf(o.over, w)
  const to: Room = (i) => ({
    buffer: 'out',
    at: [
      ...own.map((a) => axisIndex(`b${String(cut.batch.indexOf(a))}`, a.size)),
      addIndex(panelAt(o, cut, size, first, pieces.k0), i),
    ],
  })
  const value = valueOf(o, cut, w)
  const panel: Panel = { to, size, first, extent: side.size, over: o.over, value, ...pieces, ...splitOf(o, cut, w) }
  const body = within(
    [
      ...batchLoops(cut.batch).filter((l) => own.some((a) => l.axis === `b${String(cut.batch.indexOf(a))}`)),
      loopFrom('panel', side.size, whole(0), whole(side.size), size, 'block'),
    ],
    within(pieces.loops, packPanel(w.around, panel)),
  )
  const kernel: Kernel = { name: 'pack_once', params: w.params, outputs: [out], locals: w.locals, body }
  const places = own.map((a) => a.name).join(' ')
  const form = cut.tile.isSplit === true ? 'split' : String(size)
  const key = `${o.key}/${side.axes.map((a) => a.name).join(' ')}/${places}/${form} ${String(size)}`
  return { key, buffer: out, kernel, args: w.args.flatMap((a) => (a.kind === 'node' ? [a.node] : [])) }
}

export interface Pieces {
  readonly k0: Index
  readonly k1: Index
  readonly longest: number
  readonly loops: ReadonlyArray<Loop>
}

/** the reduced axes at once, or piece by piece */
export const pieceOf = (over: Side, w: Workshop, always = false): Pieces => {
  const k = literal(over.size)
  if (!always && k !== undefined && k <= LONGEST) return { k0: whole(0), k1: whole(k), longest: k, loops: [] }
  const name = w.fresh('piece')
  const k0 = axisIndex(name, over.size)
  const k1 = minIndex(shiftIndex(k0, PIECE), whole(over.size))
  return { k0, k1, longest: PIECE, loops: [loopFrom(name, over.size, whole(0), whole(over.size), PIECE, 'loop')] }
}
