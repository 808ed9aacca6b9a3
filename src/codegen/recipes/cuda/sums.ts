/**
 * Reductions and contractions of rows. Few results: all lanes of the team share a sum, warps are reduced by shuffles,
 * and what several warps have is added up in shared memory, in a fixed order. Many results: a lane a result.
 */
import { dim } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf, ReduceFn } from '../../../dsl/node.ts'
import { axisIndex, divIndex, modIndex, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { axesBeside, extentOf, joined, pointAt, smallExtent } from './draft.ts'
import { keepFor, settle, type Keep, type Result } from './keep.ts'
import { apply, call, fold, number, read, register, repeat, store, unit, unrolled, when } from './statements.ts'
import { overCells, overLanes, together, type Place } from './team.ts'

// ---------------------------------------------------------------------------------------- model

type Sum = NodeOf<'reduce'> | NodeOf<'dot'>

/** results whose sums are shared by all lanes */
const FEW = 16

// --------------------------------------------------------------------------------- constructors

const fnOf = (n: Sum): ReduceFn => (n.op === 'dot' ? 'sum' : n.attrs.fn)
const UNIT: Readonly<Record<ReduceFn, number>> = { sum: 0, max: -Infinity, min: Infinity }
const STEP: Readonly<Record<ReduceFn, string>> = { sum: 'add', max: 'max', min: 'min' }

/** the axes that are summed over, in the order of the operand that has most of them */
const overOf = (n: Sum): ReadonlyArray<Axis> => n.args[0]!.type.dims.filter((d) => n.attrs.over.includes(d.name))

const termOf = (n: Sum, values: ReadonlyArray<Expr>): Expr => (n.op === 'dot' ? apply('mul', ...values) : values[0]!)

const groupBy = <A>(xs: ReadonlyArray<A>, key: (x: A) => string): ReadonlyArray<ReadonlyArray<A>> => {
  const groups = new Map<string, A[]>()
  for (const x of xs) groups.set(key(x), [...(groups.get(key(x)) ?? []), x])
  return [...groups.values()]
}

const keyOf = (axes: ReadonlyArray<Axis>): string => axes.map((a) => a.name).join()

/** a lane adds up a whole sum: plain loops, one an axis */
export const serially = (place: Place, n: Sum, at: Position, name: string): ReadonlyArray<Stmt> => {
  const over = overOf(n)
  const names = over.map(() => place.draft.fresh('step'))
  const here = joined(at, new Map(over.map((a, i) => [a.name, axisIndex(names[i]!, a.size)])))
  const body = place.draft.evaluate(
    n.args.map((node) => ({ node, at: here })),
    (vs) => [fold(name, fnOf(n), termOf(n, vs))],
  )
  return [
    unit(name, fnOf(n)),
    ...over.reduceRight<ReadonlyArray<Stmt>>((b, a, i) => [repeat('reduce', names[i]!, a.size, b)], body),
  ]
}

/** Every result at one position, from the sums that stand in registers there. */
const finish = (
  place: Place,
  at: Position,
  sums: ReadonlyArray<{ readonly node: Node; readonly value: Expr }>,
  keeps: ReadonlyArray<Keep>,
): ReadonlyArray<Stmt> => {
  for (const s of sums) place.draft.settle(s.node, () => s.value)
  const own = new Map(sums.map((s) => [s.node, s.value]))
  const wanted = keeps.filter((k) => !own.has(k.node))
  return [
    ...keeps.flatMap((k) => (own.has(k.node) ? k.write(at, own.get(k.node)!) : [])),
    ...place.draft.evaluate(
      wanted.map((k) => ({ node: k.node, at })),
      (vs) => wanted.flatMap((k, i) => k.write(at, vs[i]!)),
    ),
  ]
}

const sharedByLanes = (
  place: Place,
  inner: ReadonlyArray<Axis>,
  cells: number,
  sums: ReadonlyArray<Sum>,
  keeps: ReadonlyArray<Keep>,
): ReadonlyArray<Stmt> => {
  const { draft, team, lane, slot } = place
  const parts = team.lanes / team.shuffled
  const each = (body: (c: Index) => ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
    if (cells === 1) return body(whole(0))
    const name = draft.fresh('cell')
    return [unrolled(name, cells, body(axisIndex(name, cells)))]
  }
  const accs = new Map(sums.map((n) => [n, draft.local('acc', 'register', [dim(cells)])] as const))
  const at = (c: Index): Position => joined(place.at, pointAt(inner, c))
  const out: Stmt[] = []
  for (const n of sums) out.push(...each((c) => [store(accs.get(n)!, [c], number(UNIT[fnOf(n)]))]))
  for (const same of groupBy(sums, (n) => keyOf(overOf(n)))) {
    const over = overOf(same[0]!)
    out.push(
      ...overLanes(
        place,
        extentOf(over),
        (k) =>
          each((c) =>
            same.flatMap((n) =>
              draft.evaluate(
                n.args.map((node) => ({ node, at: joined(at(c), pointAt(over, k)) })),
                (vs) => [store(accs.get(n)!, [c], apply(STEP[fnOf(n)], read(accs.get(n)!, [c]), termOf(n, vs)))],
              ),
            ),
          ),
        'reduce',
      ),
    )
  }
  if (team.shuffled > 1)
    for (const n of sums) out.push(...each((c) => [call(`warp_${fnOf(n)}`, [{ buffer: accs.get(n)!, at: [c] }])]))
  if (parts === 1 && inner.length === 0) {
    const values = sums.map((n) => ({ node: n, value: read(accs.get(n)!, [whole(0)]) }))
    return [...out, ...finish(place, place.at, values, keeps)]
  }
  // what the warps (the lanes, of columns) have, side by side in shared memory
  const partials = new Map(
    sums.map((n) => [n, draft.local('partial', 'shared', [dim(parts), dim(team.rows), dim(cells)])] as const),
  )
  place.room.bytes -= 4 * parts * team.rows * cells * sums.length
  const part = divIndex(lane, team.shuffled)
  const writes = sums.flatMap((n) => each((c) => [store(partials.get(n)!, [part, slot, c], read(accs.get(n)!, [c]))]))
  out.push(...(team.shuffled > 1 ? [when(modIndex(lane, team.shuffled), dim(0), dim(1), writes)] : writes))
  out.push(...together(place))
  out.push(
    ...overCells(place, inner, (c) => {
      const values = sums.map((node) => {
        if (parts === 1) return { node, value: read(partials.get(node)!, [whole(0), slot, c]), stmts: [] }
        const [name, step] = [draft.fresh('total'), draft.fresh('part')]
        const value = read(partials.get(node)!, [axisIndex(step, parts), slot, c])
        const stmts = [unit(name, fnOf(node)), unrolled(step, parts, [fold(name, fnOf(node), value)])]
        return { node, value: register(name), stmts }
      })
      return [...values.flatMap((v) => v.stmts), ...finish(place, at(c), values, keeps)]
    }),
  )
  return out
}

const oneALane = (
  place: Place,
  inner: ReadonlyArray<Axis>,
  sums: ReadonlyArray<Sum>,
  keeps: ReadonlyArray<Keep>,
): ReadonlyArray<Stmt> =>
  overCells(place, inner, (c) => {
    const at = joined(place.at, pointAt(inner, c))
    const values = sums.map((node) => {
      const name = place.draft.fresh('sum')
      return { node, value: register(name), stmts: serially(place, node, at, name) }
    })
    return [...values.flatMap((v) => v.stmts), ...finish(place, at, values, keeps)]
  })

/**
 * The sums of a stage, then its results. Results with the axes of the sums are computed where the sums are, others
 * after them.
 */
export const sumStage = (
  place: Place,
  sums: ReadonlyArray<Sum>,
  results: ReadonlyArray<Result>,
  map: (results: ReadonlyArray<Result>) => ReadonlyArray<Stmt>,
): ReadonlyArray<Stmt> => {
  const innerOf = (n: Node): ReadonlyArray<Axis> => axesBeside(n, place.outer)
  const out: Stmt[] = []
  const groups = groupBy(sums, (n) => keyOf(innerOf(n)))
  const alone = groups.length === 1
  const inner = innerOf(sums[0]!)
  const isHere = (r: Result): boolean => alone && sameAxes(innerOf(r.node), inner)
  const [here, later] = [results.filter(isHere), results.filter((r) => !isHere(r))]
  for (const same of groups) {
    const axes = innerOf(same[0]!)
    // the sums themselves are kept where something else than a result beside them reads them
    const own = later.length === 0 ? [] : same.filter((n) => !here.some((r) => r.node === n))
    const keeps = [
      ...own.map((node) => keepFor(place, { node, isStored: false, isRead: true })),
      ...here.map((r) => keepFor(place, r)),
    ]
    const cells = smallExtent(axes, FEW)
    const few = place.team.lanes > 1 && cells !== undefined
    out.push(...(few ? sharedByLanes(place, axes, cells, same, keeps) : oneALane(place, axes, same, keeps)))
    same.forEach((n) => place.draft.forget(n))
    out.push(...settle(place, keeps))
  }
  return [...out, ...(later.length === 0 ? [] : map(later))]
}

const sameAxes = (a: ReadonlyArray<Axis>, b: ReadonlyArray<Axis>): boolean =>
  a.length === b.length && a.every((x) => b.some((y) => y.name === x.name))
