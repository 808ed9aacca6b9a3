/**
 * Small systems, one a row of the group: A and B lie in shared memory and all lanes eliminate.
 *
 *     step k:  B_ij := B_ij - A_ik / A_kk B_kj,  A_ij likewise for j > k      (i /= k: Gauss-Jordan; i behind k: a triangle)
 *     then     X_ij = B_ij / A_ii
 *
 * Nothing that a step reads does it write, so that one barrier a step is enough. Rows are exchanged for the largest
 * |A_ik| unless the matrix is known to be I plus a skew one.
 */
import { dim, literal, type Dim } from '../../../dsl/dim.ts'
import type { Axis, NodeOf } from '../../../dsl/node.ts'
import {
  addIndex,
  axisIndex,
  clampIndex,
  dataIndex,
  divIndex,
  modIndex,
  scaleIndex,
  shiftIndex,
  subIndex,
  whole,
} from '../../kernel/affine.ts'
import type { Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { isIdentityPlusSkew } from '../../lower-solve.ts'
import { axesBeside, extentOf, joined, pointAt } from './draft.ts'
import { keepFor, settle, type Result } from './keep.ts'
import { apply, assign, fold, named, number, read, register, repeat, store, unit, when } from './statements.ts'
import { bytesOf, overCells, overLanes, together, type Place } from './team.ts'

type Solve = NodeOf<'solve'> | NodeOf<'triSolve'>

interface System {
  readonly n: number
  /** right-hand sides */
  readonly m: number
  readonly a: (i: Index, j: Index) => ReadonlyArray<Index>
  readonly b: (i: Index, j: Index) => ReadonlyArray<Index>
  readonly matrix: string
  readonly sides: string
}

const whereIs = (s: Solve): { readonly row: Axis; readonly col: Axis } => {
  const { dims } = s.args[0]!.type
  return { row: dims.find((d) => d.name === s.attrs.row)!, col: dims.find((d) => d.name === s.attrs.col)! }
}

/** axes of the right-hand sides within a row */
const sidesOf = (s: Solve, outer: ReadonlyArray<Axis>): ReadonlyArray<Axis> =>
  axesBeside(s, outer).filter((d) => d.name !== s.attrs.col)

/** Whether the systems of a row fit into shared memory. */
export const fitsShared = (s: Solve, outer: ReadonlyArray<Axis>, rows: number): boolean => {
  const { size } = whereIs(s).row
  const [matrix, sides] = [bytesOf([size, size]), bytesOf([size, extentOf(sidesOf(s, outer))])]
  return matrix !== undefined && sides !== undefined && rows * (matrix + sides) <= 40 * 1024
}

// ---------------------------------------------------------------------------------------- steps

const sub = (x: Expr, y: Expr): Expr => apply('sub', x, y)
const mul = (x: Expr, y: Expr): Expr => apply('mul', x, y)
const div = (x: Expr, y: Expr): Expr => apply('div', x, y)

/** x_ij := x_ij - A_ik / A_kk x_kj */
const reduceBy = (s: System, x: 'a' | 'b', i: Index, j: Index, k: Index): Stmt => {
  const name = x === 'a' ? s.matrix : s.sides
  const factor = div(read(s.matrix, s.a(i, k)), read(s.matrix, s.a(k, k)))
  return store(name, s[x](i, j), sub(read(name, s[x](i, j)), mul(factor, read(name, s[x](k, j)))))
}

/** rows k and p exchanged, p the row at or below k with the largest |A_ik| */
const exchange = (place: Place, s: System, k: Index): ReadonlyArray<Stmt> => {
  const { draft } = place
  const names = { best: draft.fresh('best'), first: draft.fresh('first'), p: draft.fresh('pivot') }
  const [i, j] = [draft.fresh('i'), draft.fresh('i')]
  const size = (r: Index): Expr => apply('abs', read(s.matrix, s.a(r, k)))
  const [row, again] = [axisIndex(i, s.n), axisIndex(j, s.n)]
  const isBest = apply('ge', size(again), register(names.best))
  const candidate = apply('select', isBest, { kind: 'index', of: again }, number(s.n - 1))
  const p = axisIndex(names.p, s.n)
  const swap = (x: 'a' | 'b', width: number): ReadonlyArray<Stmt> =>
    overLanes(place, dim(width), (c) => {
      const buffer = x === 'a' ? s.matrix : s.sides
      const [upper, lower] = [draft.fresh('upper'), draft.fresh('lower')]
      return [
        assign(upper, read(buffer, s[x](k, c))),
        assign(lower, read(buffer, s[x](p, c))),
        store(buffer, s[x](k, c), register(lower)),
        store(buffer, s[x](p, c), register(upper)),
      ]
    })
  return [
    unit(names.best, 'max'),
    repeat('reduce', i, dim(s.n), [fold(names.best, 'max', size(row))], { from: k }),
    unit(names.first, 'min'),
    repeat('reduce', j, dim(s.n), [fold(names.first, 'min', candidate)], { from: k }),
    named(names.p, dim(s.n), clampIndex(dataIndex(register(names.first)), 0, s.n - 1)),
    // all lanes have looked at column k before it changes
    ...together(place),
    ...swap('a', s.n),
    ...swap('b', s.m),
    ...together(place),
  ]
}

const eliminate = (place: Place, s: System, isSafe: boolean): Stmt => {
  const name = place.draft.fresh('k')
  const k = axisIndex(name, s.n)
  const width = s.n + s.m
  const step = overLanes(place, dim((s.n - 1) * width), (cell) => {
    // rows other than k: k + 1, k + 2, ... around
    const [rowName, colName] = [place.draft.fresh('i'), place.draft.fresh('j')]
    const [i, j] = [axisIndex(rowName, s.n), axisIndex(colName, width)]
    const row = modIndex(shiftIndex(addIndex(k, divIndex(cell, width)), 1), s.n)
    return [
      named(rowName, dim(s.n), row),
      named(colName, dim(width), modIndex(cell, width)),
      when(j, dim(0), dim(s.n), [when(subIndex(j, k), dim(1), dim(s.n), [reduceBy(s, 'a', i, j, k)])]),
      when(j, dim(s.n), dim(width), [reduceBy(s, 'b', i, shiftIndex(j, -s.n), k)]),
    ]
  })
  const body = [...(isSafe ? [] : exchange(place, s, k)), ...step, ...together(place)]
  return repeat('loop', name, dim(s.n), body)
}

const substitute = (place: Place, s: System, lower: boolean): Stmt => {
  const name = place.draft.fresh('k')
  const turn = axisIndex(name, s.n)
  const k = lower ? turn : subIndex(whole(s.n - 1), turn)
  // rows behind k: n - 1 - turn of them
  const cellName = place.draft.fresh('cell')
  const most = (s.n - 1) * s.m
  const cell = axisIndex(cellName, most)
  const [rowName, colName] = [place.draft.fresh('i'), place.draft.fresh('j')]
  const i = axisIndex(rowName, s.n)
  const behind = divIndex(cell, s.m)
  const body: ReadonlyArray<Stmt> = [
    named(rowName, dim(s.n), lower ? shiftIndex(addIndex(k, behind), 1) : behind),
    named(colName, dim(s.m), modIndex(cell, s.m)),
    reduceBy(s, 'b', i, axisIndex(colName, s.m), k),
  ]
  const cells = scaleIndex(s.m, subIndex(whole(s.n - 1), turn))
  return repeat('loop', name, dim(s.n), [
    repeat('loop', cellName, dim(most), body, { from: place.lane, to: cells, step: place.team.lanes }),
    ...together(place),
  ])
}

// ------------------------------------------------------------------------------------ the stage

export const solveStage = (place: Place, solve: Solve, results: ReadonlyArray<Result>): ReadonlyArray<Stmt> => {
  const { draft, team, outer, slot, room } = place
  const { row, col } = whereIs(solve)
  const others = sidesOf(solve, outer)
  const sides: Dim = extentOf(others)
  const [n, m] = [literal(row.size) ?? 0, literal(sides) ?? 0]
  const own = team.rows === 1 ? [] : [slot]
  const first = team.rows === 1 ? [] : [dim(team.rows)]
  // a padded row: the lanes of a warp that walk down a column meet different banks
  const system: System = {
    n,
    m,
    a: (i, j) => [...own, i, j],
    b: (i, j) => [...own, i, j],
    matrix: draft.local('matrix', 'shared', [...first, dim(n), dim(n + 1)]),
    sides: draft.local('sides', 'shared', [...first, dim(n), dim(m)]),
  }
  room.bytes -= 4 * team.rows * (n * (n + 1) + n * m)
  const [a, b] = [solve.args[0]!, solve.args[1]!]
  const load = (
    axes: ReadonlyArray<Axis>,
    to: string,
    node: typeof a,
    where: (at: ReadonlyMap<string, Index>) => ReadonlyArray<Index>,
  ): ReadonlyArray<Stmt> =>
    overLanes(place, extentOf(axes), (cell) => {
      const point = pointAt(axes, cell)
      return draft.evaluate([{ node, at: joined(place.at, point) }], ([v]) => [store(to, where(point), v!)])
    })
  const side = (at: ReadonlyMap<string, Index>): Index =>
    others.reduce<Index>((acc, d) => addIndex(scaleIndex(d.size, acc), at.get(d.name)!), whole(0))
  const isSafe = solve.op === 'triSolve' || isIdentityPlusSkew(a, solve.attrs.row, solve.attrs.col)
  const home = (at: ReadonlyMap<string, Index>): Expr => {
    const i = at.get(col.name)!
    return div(read(system.sides, system.b(i, side(at))), read(system.matrix, system.a(i, i)))
  }
  const out: Stmt[] = [
    ...load([row, col], system.matrix, a, (p) => system.a(p.get(row.name)!, p.get(col.name)!)),
    ...load([row, ...others], system.sides, b, (p) => system.b(p.get(row.name)!, side(p))),
    ...together(place),
    ...(n === 1
      ? []
      : solve.op === 'triSolve'
        ? [substitute(place, system, solve.attrs.lower)]
        : [eliminate(place, system, isSafe)]),
  ]
  draft.settle(solve, home)
  const keeps = results.map((r) => keepFor(place, r))
  for (const k of keeps) {
    const inner = axesBeside(k.node, outer)
    out.push(
      ...overCells(place, inner, (cell) => {
        const at = joined(place.at, pointAt(inner, cell))
        return draft.evaluate([{ node: k.node, at }], ([v]) => k.write(at, v!))
      }),
    )
  }
  draft.forget(solve)
  return [...out, ...settle(place, keeps)]
}
