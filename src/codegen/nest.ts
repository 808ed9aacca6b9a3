/**
 * Cluster -> kernel: the expression of one cell, with movement turned into index arithmetic and
 * reductions into loops. Guarded reads are clamped, so that nothing is ever read outside a buffer.
 */
import type { Node, NodeOf } from '../dsl/node.ts'
import { clampIndex, axisIndex, dataIndex, flatten, rangeOf, shiftIndex, unflatten, whole } from './affine.ts'
import { literal } from '../dsl/dim.ts'
import type { Buffer, Expr, Index, Kernel, Loop, Stmt } from './kernel.ts'
import { bufferOf, gridOf, positionIn, type Layout } from './layout.ts'
import { shareWork } from './share.ts'
import { count, namesOf, sizeAlong } from './sizes.ts'

// ---------------------------------------------------------------------------------------- model

/** position along every axis of a node */
type Position = ReadonlyMap<string, Index>

export interface Nested {
  readonly kernel: Kernel
  /** the node behind each parameter */
  readonly args: ReadonlyArray<Node>
}

const number = (value: number): Expr => ({ kind: 'number', value })
const apply = (fn: string, ...args: ReadonlyArray<Expr>): Expr => ({ kind: 'apply', fn, args })

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
  const known = new Map<string, Expr>()
  let folds = 0

  const read = (n: Node, at: Position): Expr => {
    let i = args.indexOf(n)
    if (i < 0) {
      i = args.push(n) - 1
      params.push(bufferOf(n, layouts(n), letter(i)))
    }
    return { kind: 'read', buffer: letter(i), at: positionIn(n, layouts(n), (a) => at.get(a)!) }
  }

  /** the reduction as a register, filled by loops that stand before the cell's expression */
  const reduceInto = (n: NodeOf<'reduce'> | NodeOf<'dot'>, at: Position): Expr => {
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
    const loops: Loop[] = sorted.map(({ name, size }, i) => {
      const axis = `k${String(folds)}${sorted.length > 1 ? letter(i) : ''}`
      inner.set(name, axisIndex(axis, size))
      return { axis, size, role: 'reduce', unroll: steps[i]! }
    })
    folds += 1
    const part = (a: Node): Expr => expr(a, new Map(namesOf(a).map((x) => [x, inner.get(x)!])))
    const value = n.op === 'dot' ? apply('mul', part(n.args[0]!), part(n.args[1]!)) : part(n.args[0]!)
    const fold: Stmt = { kind: 'fold', register, fn, value }
    before.push(
      { kind: 'unit', register, fn },
      ...loops
        .filter((l) => l.size !== 1)
        .reduceRight<ReadonlyArray<Stmt>>((body, loop) => [{ kind: 'for', loop, body }], [fold]),
    )
    return { kind: 'register', name: register }
  }

  /** then where low <= i < high (what is certain needs no test) */
  const guard = (of: Index, low: number, high: number, then: () => Expr, otherwise: () => Expr): Expr => {
    const [least, greatest] = rangeOf(of)
    if (least >= low && greatest < high) return then()
    if (greatest < low || least >= high) return otherwise()
    return { kind: 'guard', of, low, high, then: then(), otherwise: otherwise() }
  }

  const moved = (at: Position, axis: string, i: Index): Position => new Map([...at, [axis, i]])

  const compute = (n: Node, at: Position): Expr => {
    const sub = (a: Node, from: Position = at): Expr =>
      expr(a, new Map(namesOf(a).map((x) => [x, from.get(x) ?? whole(0)])))
    const [x] = n.args
    switch (n.op) {
      case 'const':
        return number(n.attrs.value)
      case 'iota':
        return { kind: 'index', of: at.get(n.attrs.axis)! }
      case 'map':
        return apply(n.attrs.fn, ...n.args.map((a) => sub(a)))
      case 'cast':
        return isSameNumber(n) ? sub(x!) : { kind: 'cast', dtype: n.attrs.dtype, of: sub(x!) }
      case 'reduce':
      case 'dot':
        return reduceInto(n, at)
      case 'rename':
        return sub(x!, new Map(namesOf(x!).map((a) => [a, at.get(n.attrs.axes[a] ?? a)!])))
      case 'broadcast':
      case 'stopGrad':
        return sub(x!)
      case 'slice':
        return sub(x!, moved(at, n.attrs.axis, shiftIndex(at.get(n.attrs.axis)!, literal(n.attrs.start) ?? NaN)))
      case 'reshape': {
        const to = n.attrs.to.map((d) => literal(d.size) ?? NaN)
        const m = flatten(
          n.attrs.to.map((d) => at.get(d.name)!),
          to,
        )
        const parts = unflatten(
          m,
          n.attrs.from.map((a) => sizeAlong(x!, a)),
        )
        return sub(x!, new Map([...at, ...n.attrs.from.map((a, i) => [a, parts[i]!] as const)]))
      }
      case 'pad': {
        const size = sizeAlong(x!, n.attrs.axis)
        const i = shiftIndex(at.get(n.attrs.axis)!, -(literal(n.attrs.before) ?? NaN))
        return guard(
          i,
          0,
          size,
          () => sub(x!, moved(at, n.attrs.axis, clampIndex(i, 0, size - 1))),
          () => number(0),
        )
      }
      case 'concat': {
        const i = at.get(n.attrs.axis)!
        const from = (k: number, start: number): Expr => {
          const part = n.args[k]!
          const size = sizeAlong(part, n.attrs.axis)
          const own = (): Expr =>
            sub(part, moved(at, n.attrs.axis, clampIndex(shiftIndex(i, -start), 0, Math.max(0, size - 1))))
          return k === n.args.length - 1 ? own() : guard(i, start, start + size, own, () => from(k + 1, start + size))
        }
        return from(0, 0)
      }
      case 'gather': {
        const [table, ids] = [n.args[0]!, n.args[1]!]
        const size = sizeAlong(table, n.attrs.axis)
        const id = dataIndex(sub(ids))
        return guard(
          id,
          0,
          size,
          () => sub(table, moved(at, n.attrs.axis, clampIndex(id, 0, size - 1))),
          () => number(0),
        )
      }
      default:
        // lowered before; `verify` in the pipeline says so
        return number(NaN)
    }
  }

  const expr = (n: Node, at: Position): Expr => {
    if (count(n) === 0) return number(0)
    const key = `${String(n.id)}@${[...at].map(([a, i]) => `${a}=${i.key}`).join(';')}`
    const done = known.get(key)
    if (done !== undefined) return done
    const made = n !== root && isBuffer(n) ? read(n, at) : compute(n, at)
    known.set(key, made)
    return made
  }

  const layout = layouts(root)
  const { grid, at } = gridOf(root, layout)
  const value = expr(root, at)
  const store: Stmt = { kind: 'store', at: grid.map((g) => axisIndex(g.axis, g.size)), value }
  const cell = shareWork([...before, store])
  const body = grid.reduceRight<ReadonlyArray<Stmt>>(
    (inner, g) => [{ kind: 'for', loop: { axis: g.axis, size: g.size, role: 'grid', unroll: 1 }, body: inner }],
    cell,
  )
  return { kernel: { params, output: bufferOf(root, layout, 'out'), body }, args }
}

/** every number of the one type is one of the other */
const isSameNumber = (n: NodeOf<'cast'>): boolean => {
  const from = n.args[0]!.type.dtype
  return n.attrs.dtype === 'f32' || from === n.attrs.dtype || (from === 'bool' && n.attrs.dtype !== 'bool')
}
