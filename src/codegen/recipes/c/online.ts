/**
 * A maximum and the sums of e^(x - it) in one pass over memory: a chunk of the row after the other, the second look at a
 * chunk finds it in the first-level cache. What is carried from chunk to chunk is m, all of the row so far, and s:
 *
 *     m' = max(m, max of the chunk's x)      b = max(m', lowest)      s' = e^(max(m, lowest) - b) s + sum of e^(x - b)
 *
 * and at the end e^(b - m) s. With the lowest finite number below it, a chunk of -inf adds 0 and not e^(-inf + inf); only
 * a row of nothing else ends as inf 0 = NaN, which is what e^(x - m) is in it. NaN stays: max keeps it.
 */
import { addDim, dim, literal } from '../../../dsl/dim.ts'
import type { NodeOf } from '../../../dsl/node.ts'
import { axisIndex, minIndex, shiftIndex, whole } from '../../kernel/affine.ts'
import { apply, guard, number, type Position } from '../../kernel/expression.ts'
import type { Expr, Stmt } from '../../kernel/kernel.ts'
import { loopFrom, within } from '../../kernel/statements.ts'
import { LONGEST_ROW } from './dear.ts'
import { expressionsIn, innerOf, onlyOwn, type Scene } from './scene.ts'
import { cutsOf, loopsOf, spaceOf, type Make } from './space.ts'

/** floats that stay in the first-level cache, beside what else is read */
const CHUNK = 4096
const LOWEST = -3.4028234663852886e38

/** Registers of the maximum and of each sum; undefined: the row stays in the second-level cache, or is not one loop. */
export const foldOnline = (
  scene: Scene,
  max: NodeOf<'reduce'>,
  sums: ReadonlyArray<NodeOf<'reduce'>>,
  at: Position,
): { readonly stmts: ReadonlyArray<Stmt>; readonly max: Expr; readonly sums: ReadonlyArray<Expr> } | undefined => {
  const { naming, lane, tile, joins, group, width } = scene
  const x = max.args[0]!
  const axes = x.type.dims.filter((d) => max.attrs.over.includes(d.name))
  const length = axes.reduce<number>((n, a) => n * (literal(a.size) ?? Infinity), 1)
  const isPart = axes.some((a) => naming.ranges?.has(a.name)) || [max, ...sums].some((r) => joins.has(r))
  if (lane !== undefined || tile !== undefined || isPart || !(length > LONGEST_ROW) || innerOf(group, max).length > 0)
    return undefined
  const expr = expressionsIn(scene)
  const ofMax = naming.fresh('s')
  const largest: Make = (point) => [{ kind: 'fold', register: ofMax, fn: 'max', value: expr(x, onlyOwn(x, point)) }]
  const space = spaceOf(axes, at, largest, naming)
  const [side] = space.sides
  if (side === undefined || space.sides.length > 1 || cutsOf(side, largest(space.at)).length > 2) return undefined

  const carried = naming.fresh('carried')
  scene.addLocal({ name: carried, shape: [dim(1 + sums.length)], space: 'scratch', dtype: 'f32' })
  const carry = (i: number): Expr => ({ kind: 'read', buffer: carried, at: [whole(i)] })
  const store = (i: number, value: Expr): Stmt => ({ kind: 'store', buffer: carried, at: [whole(i)], value })
  const bind = (base: string, value: Expr): readonly [Stmt, Expr] => {
    const name = naming.fresh(base)
    return [
      { kind: 'let', name, value },
      { kind: 'register', name },
    ]
  }
  const finite = (m: Expr): Expr => apply('max', m, number(LOWEST))
  const exp = (a: Expr, b: Expr): Expr => apply('exp', apply('sub', a, b))

  const chunk = naming.fresh(`${side.name}_chunk`)
  const begin = axisIndex(chunk, side.size)
  const range = { from: begin, to: minIndex(shiftIndex(begin, CHUNK), whole(side.size)) }
  const along = (make: Make): ReadonlyArray<Stmt> =>
    loopsOf({ ...space, sides: [{ ...side, range }] }, make, width, naming, () => 'loop', true)

  const [old, oldMax] = bind('m', carry(0))
  const [rise, newMax] = bind('m', apply('max', oldMax, { kind: 'register', name: ofMax }))
  const [level, base] = bind('b', finite(newMax))
  const [shrink, factor] = bind('f', exp(finite(oldMax), base))
  const ofSums = sums.map(() => naming.fresh('s'))
  const summand = expressionsIn(scene, new Map([[max, () => base]]))
  const added: Make = (point) =>
    sums.map((r, i) => ({
      kind: 'fold',
      register: ofSums[i]!,
      fn: 'sum',
      value: summand(r.args[0]!, onlyOwn(r.args[0]!, point)),
    }))
  const body: ReadonlyArray<Stmt> = [
    { kind: 'unit', register: ofMax, fn: 'max' },
    ...along(largest),
    old,
    rise,
    level,
    shrink,
    ...ofSums.map((register): Stmt => ({ kind: 'unit', register, fn: 'sum' })),
    ...along(added),
    store(0, newMax),
    ...ofSums.map((name, i) =>
      store(i + 1, apply('add', apply('mul', factor, carry(i + 1)), { kind: 'register', name })),
    ),
  ]
  const [end, m] = bind('m', carry(0))
  const ends = sums.map((_, i) => {
    // the sum of nothing is 0
    const all = (): Expr => apply('mul', exp(finite(m), m), carry(i + 1))
    return bind(
      's',
      guard(whole(side.size), dim(1), addDim(side.size, 1), all, () => number(0)),
    )
  })
  return {
    stmts: [
      store(0, number(-Infinity)),
      ...sums.map((_, i) => store(i + 1, number(0))),
      ...within([loopFrom(chunk, side.size, whole(0), whole(side.size), CHUNK, 'loop')], body),
      end,
      ...ends.map(([s]) => s),
    ],
    max: m,
    sums: ends.map(([, s]) => s),
  }
}
