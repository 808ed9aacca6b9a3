/**
 * Graph node at a position -> expression: movement becomes index arithmetic, what is absent becomes guards, and guarded
 * reads are clamped, so that nothing is ever read outside a buffer. Sizes may be symbols.
 */
import { addDim, subDim, type Dim } from '../../dsl/dim.ts'
import type { Node, NodeOf } from '../../dsl/node.ts'
import { clampIndex, dataIndex, flatten, isAtLeast, isAtMost, shiftIndex, unflatten, whole } from './affine.ts'
import type { Expr, Index } from './kernel.ts'
import { dimAlong, isEmpty, namesOf } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

/** position along every axis of a node */
export type Position = ReadonlyMap<string, Index>

/** a node at a position */
export type At<A> = (n: Node, at: Position) => A

/** what a reduction is at a position; `expr`: its operands at theirs */
export type Reduction = (n: NodeOf<'reduce'> | NodeOf<'dot'>, at: Position, expr: At<Expr>) => Expr

// --------------------------------------------------------------------------------- constructors

export const number = (value: number): Expr => ({ kind: 'number', value })
export const apply = (fn: string, ...args: ReadonlyArray<Expr>): Expr => ({ kind: 'apply', fn, args })

/** then where low <= of < high (what is certain needs no test) */
export const guard = (of: Index, low: Dim, high: Dim, then: () => Expr, otherwise: () => Expr): Expr => {
  if (isAtLeast(of, low) && isAtMost(of, subDim(high, 1))) return then()
  if (isAtMost(of, subDim(low, 1)) || isAtLeast(of, high)) return otherwise()
  return { kind: 'guard', of, low, high, then: then(), otherwise: otherwise() }
}

/** every number of the one type is one of the other */
const isSameNumber = (n: NodeOf<'cast'>): boolean => {
  const from = n.args[0]!.type.dtype
  return n.attrs.dtype === 'f32' || from === n.attrs.dtype || (from === 'bool' && n.attrs.dtype !== 'bool')
}

const ZERO = subDim(0, 0)
const moved = (at: Position, axis: string, i: Index): Position => new Map([...at, [axis, i]])

// ------------------------------------------------------------------------------------- the pass

/**
 * The expression of a node at a position. `read` answers what stands in a buffer, local or register, and undefined for
 * what is to be computed in place. A node at a position is one shared object, so that `share.ts` finds what is used twice.
 */
export const expressions = (read: At<Expr | undefined>, reduce: Reduction = () => number(NaN)): At<Expr> => {
  const known = new Map<string, Expr>()

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
        return reduce(n, at, expr)
      case 'rename':
        return sub(x!, new Map(namesOf(x!).map((a) => [a, at.get(n.attrs.axes[a] ?? a)!])))
      case 'broadcast':
      case 'stopGrad':
        return sub(x!)
      case 'slice':
        return sub(x!, moved(at, n.attrs.axis, shiftIndex(at.get(n.attrs.axis)!, n.attrs.start)))
      case 'reshape': {
        const m = flatten(
          n.attrs.to.map((d) => at.get(d.name)!),
          n.attrs.to.map((d) => d.size),
        )
        const parts = unflatten(
          m,
          n.attrs.from.map((a) => dimAlong(x!, a)),
        )
        return sub(x!, new Map([...at, ...n.attrs.from.map((a, i) => [a, parts[i]!] as const)]))
      }
      case 'pad': {
        const size = dimAlong(x!, n.attrs.axis)
        const i = shiftIndex(at.get(n.attrs.axis)!, subDim(0, n.attrs.before))
        return guard(
          i,
          ZERO,
          size,
          () => sub(x!, moved(at, n.attrs.axis, clampIndex(i, 0, subDim(size, 1)))),
          () => number(0),
        )
      }
      case 'concat': {
        const i = at.get(n.attrs.axis)!
        const parts = n.args.filter((a) => !isEmpty(a))
        const from = (k: number, start: Dim): Expr => {
          const part = parts[k]!
          const size = dimAlong(part, n.attrs.axis)
          const end = addDim(start, size)
          const own = (): Expr =>
            sub(part, moved(at, n.attrs.axis, clampIndex(shiftIndex(i, subDim(0, start)), 0, subDim(size, 1))))
          return k === parts.length - 1 ? own() : guard(i, start, end, own, () => from(k + 1, end))
        }
        return from(0, ZERO)
      }
      case 'gather': {
        const [table, ids] = [n.args[0]!, n.args[1]!]
        const size = dimAlong(table, n.attrs.axis)
        const id = dataIndex(sub(ids))
        return guard(
          id,
          ZERO,
          size,
          () => sub(table, moved(at, n.attrs.axis, clampIndex(id, 0, subDim(size, 1)))),
          () => number(0),
        )
      }
      default:
        // lowered before, or answered by `read`
        return number(NaN)
    }
  }

  const expr = (n: Node, at: Position): Expr => {
    if (isEmpty(n)) return number(0)
    const key = `${String(n.id)}@${[...at].map(([a, i]) => `${a}=${i.key}`).join(';')}`
    const done = known.get(key)
    if (done !== undefined) return done
    const made = read(n, at) ?? compute(n, at)
    known.set(key, made)
    return made
  }
  return expr
}
