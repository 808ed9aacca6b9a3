/**
 * Cluster -> kernel in gather form: the expression of one cell, with reductions as loops that stand before it.
 */
import type { Node, NodeOf } from '../../dsl/node.ts'
import { axisIndex } from '../kernel/affine.ts'
import { apply, expressions, type At, type Position } from '../kernel/expression.ts'
import type { Buffer, Expr, Kernel, Stmt } from '../kernel/kernel.ts'
import { bufferOf, gridOf, positionIn, type Layout } from '../kernel/layout.ts'
import { shareWork } from '../kernel/share.ts'
import { count, namesOf, sizeAlong } from '../sizes.ts'
import { loopOver, within } from '../kernel/statements.ts'

// ---------------------------------------------------------------------------------------- model

export interface Nested {
  readonly kernel: Kernel
  /** the node behind each parameter */
  readonly args: ReadonlyArray<Node>
}

const letter = (i: number): string => String.fromCharCode(97 + i)

// --------------------------------------------------------------------------------- loop unrolling

/**
 * Note [Written out]. gpu.js counts loops in f32 and truncates the counter at every access, so terms
 * written out with literal indices run about 1.5 times as fast as a loop (2.3 against 1.5 GFLOP/s at
 * 512 x 64 x 64). But every term is parsed and assembled once a launch, so it is done where a kernel has much to do.
 */
const MUCH = 2 ** 19
const LONGEST = { much: 192, little: 8 } as const
const STEP = { much: 16, little: 4 } as const

/** How many steps of each loop are written out, innermost last; a loop around one that stays a loop is not unrolled. */
const unrolls = (sizes: ReadonlyArray<number>, cells: number): ReadonlyArray<number> => {
  const total = sizes.reduce((a, b) => a * b, 1)
  const effort = cells * total >= MUCH ? 'much' : 'little'
  let room: number = LONGEST[effort]
  const out: number[] = []
  for (const size of [...sizes].reverse()) {
    const step = Math.max(1, Math.min(room, Math.floor(STEP[effort] / (LONGEST[effort] / room))))
    const divisor = Array.from({ length: step }, (_, i) => step - i).find((u) => size % u === 0) ?? 1
    const unroll = size <= room ? size : divisor > 1 ? divisor : Math.min(step, 4)
    out.unshift(unroll)
    room = size <= room ? Math.floor(room / size) : 1
  }
  return out
}

// ------------------------------------------------------------------------------------- the pass

export const nest = (root: Node, isBuffer: (n: Node) => boolean, layouts: (n: Node) => Layout): Nested => {
  const params: Buffer[] = []
  const args: Node[] = []
  const before: Stmt[] = []
  let folds = 0

  const read = (n: Node, at: Position): Expr | undefined => {
    if (n === root || !isBuffer(n)) return undefined
    let i = args.indexOf(n)
    if (i < 0) {
      i = args.push(n) - 1
      params.push(bufferOf(n, layouts(n), letter(i)))
    }
    return { kind: 'read', buffer: letter(i), at: positionIn(n, layouts(n), (a) => at.get(a)!) }
  }

  /** the reduction as a register, filled by loops that stand before the cell's expression */
  const reduceInto = (n: NodeOf<'reduce'> | NodeOf<'dot'>, at: Position, expr: At<Expr>): Expr => {
    const register = `s${String(folds)}`
    const axes = n.attrs.over.map((name) => ({ name, size: sizeAlong(n.args[0]!, name) }))
    const order = namesOf(n.args[0]!)
    const sorted = [...axes].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
    const fn = n.op === 'dot' ? 'sum' : n.attrs.fn
    const inner = new Map(at)
    const steps = unrolls(
      sorted.map((a) => a.size),
      count(root),
    )
    const loops = sorted.map(({ name, size }, i) => {
      const axis = `k${String(folds)}${sorted.length > 1 ? letter(i) : ''}`
      inner.set(name, axisIndex(axis, size))
      return { size, loop: loopOver(axis, size, 'reduce', steps[i]) }
    })
    folds += 1
    const part = (a: Node): Expr => expr(a, new Map(namesOf(a).map((x) => [x, inner.get(x)!])))
    const value = n.op === 'dot' ? apply('mul', part(n.args[0]!), part(n.args[1]!)) : part(n.args[0]!)
    const long = loops.flatMap((l) => (l.size === 1 ? [] : [l.loop]))
    before.push({ kind: 'unit', register, fn }, ...within(long, [{ kind: 'fold', register, fn, value }]))
    return { kind: 'register', name: register }
  }

  const layout = layouts(root)
  const { grid, at } = gridOf(root, layout)
  const value = expressions(read, reduceInto)(root, at)
  const output = bufferOf(root, layout, 'out')
  const store: Stmt = { kind: 'store', buffer: 'out', at: grid.map((g) => axisIndex(g.axis, g.size)), value }
  const body = within(
    grid.map((g) => loopOver(g.axis, g.size, 'grid')),
    shareWork([...before, store]),
  )
  return { kernel: { name: 'cell', params, outputs: [output], locals: [], body }, args }
}
