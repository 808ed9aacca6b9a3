/**
 * Small systems in scratch. The right-hand sides of all points of a tile stand side by side, so that vectors run along
 * them; the matrix is filled where it is known: once, where it does not depend on the point.
 *
 *     solve     [A | B] by Gauss-Jordan        triSolve   X by substitution in place of B
 */
import { addDim, dim, literal, mulDim, productDim, type Dim } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type NodeOf } from '../../../dsl/node.ts'
import { addIndex, axisIndex, flatten, shiftIndex, whole } from '../../kernel/affine.ts'
import { isIdentityPlusSkew } from '../../lower-solve.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { dimAlong } from '../../sizes.ts'
import { loopOver, within } from '../../kernel/statements.ts'
import { expressionsIn, innerOf, type Home, type Scene } from './scene.ts'

type Solve = NodeOf<'solve'> | NodeOf<'triSolve'>

const LANES = 16
/** columns of a row, with room for whole vectors */
export const padded = (d: Dim): Dim => {
  const n = literal(d)
  return n === undefined ? addDim(d, LANES) : dim(Math.ceil(Math.max(1, n) / LANES) * LANES)
}

export interface Solved {
  /** fills the matrix; for `triSolve` it may stand where the matrix is first known */
  readonly matrix: (at: Position) => ReadonlyArray<Stmt>
  /** fills one point's right-hand sides; `column`: the first of them */
  readonly fill: (at: Position, column: Index) => ReadonlyArray<Stmt>
  /** solves for so many columns of right-hand sides */
  readonly call: (columns: Index) => ReadonlyArray<Stmt>
  readonly home: (column: (at: Position) => Index) => Home
  /** right-hand sides of one point */
  readonly sides: Dim
}

/** `points`: how many points' right-hand sides there is room for */
export const systemOf = (scene: Scene, s: Solve, points: number): Solved => {
  const { naming, group, addLocal } = scene
  const [a, b] = [s.args[0]!, s.args[1]!]
  const { row, col } = s.attrs
  const n = dimAlong(a, row)
  const others: ReadonlyArray<Axis> = innerOf(group, s).filter((d) => d.name !== col)
  const sizes = others.map((d) => d.size)
  const sides = productDim(sizes)
  const all = mulDim(points, sides)
  const isTriangle = s.op === 'triSolve'
  const ldm = isTriangle ? padded(n) : padded(addDim(n, all))
  const ldx = isTriangle ? padded(all) : ldm
  const matrixName = naming.fresh('matrix')
  addLocal({ name: matrixName, shape: [n, ldm], space: 'scratch', dtype: 'f32' })
  const sidesName = isTriangle ? naming.fresh('sides') : matrixName
  if (isTriangle) addLocal({ name: sidesName, shape: [n, ldx], space: 'scratch', dtype: 'f32' })
  const start = isTriangle ? dim(0) : n
  const expr = expressionsIn(scene)
  const place = (i: Index, column: Index): { readonly buffer: string; readonly at: ReadonlyArray<Index> } => ({
    buffer: sidesName,
    at: [i, shiftIndex(column, start)],
  })
  const loops = (
    axes: ReadonlyArray<Axis>,
    at: Position,
    body: (at: Position) => ReadonlyArray<Stmt>,
  ): ReadonlyArray<Stmt> => {
    const names = axes.map((x) => naming.fresh(x.name))
    const inner = new Map([...at, ...axes.map((x, i): [string, Index] => [x.name, axisIndex(names[i]!, x.size)])])
    return within(
      axes.flatMap((x, i) => (literal(x.size) === 1 ? [] : [loopOver(names[i]!, x.size, 'loop')])),
      body(inner),
    )
  }
  const restOf = (at: Position): Index =>
    flatten(
      others.map((d) => at.get(d.name)!),
      sizes,
    )
  return {
    sides,
    matrix: (at) =>
      loops(
        [
          { name: row, size: n },
          { name: col, size: n },
        ],
        at,
        (p) => [
          {
            kind: 'store',
            buffer: matrixName,
            at: [p.get(row)!, p.get(col)!],
            value: expr(a, new Map(a.type.dims.map((d) => [d.name, p.get(d.name)!]))),
          },
        ],
      ),
    fill: (at, column) =>
      loops([{ name: row, size: n }, ...others], at, (p) => [
        {
          kind: 'store',
          ...place(p.get(row)!, addIndex(column, restOf(p))),
          value: expr(b, new Map(b.type.dims.map((d) => [d.name, p.get(d.name)!]))),
        },
      ]),
    call: (columns) => [
      isTriangle
        ? {
            kind: 'call',
            intrinsic: 'triangle',
            places: [
              { buffer: matrixName, at: [whole(0), whole(0)] },
              { buffer: sidesName, at: [whole(0), whole(0)] },
            ],
            ints: [whole(n), columns, whole(ldm), whole(ldx), whole(s.attrs.lower ? 1 : 0)],
          }
        : {
            kind: 'call',
            intrinsic: 'gauss',
            places: [{ buffer: matrixName, at: [whole(0), whole(0)] }],
            ints: [whole(n), columns, whole(ldm), whole(isIdentityPlusSkew(a, row, col) ? 0 : 1)],
          },
    ],
    home: (column) => (at) => ({ kind: 'read', ...place(at.get(col)!, addIndex(column(at), restOf(at))) }),
  }
}

/** whether the matrix is the same for all points along an axis */
export const isFreeOf = (s: Solve, axis: string): boolean => !hasAxis(s.args[0]!.type, axis)
