/**
 * solve and triSolve as a chain of tensors, one augmented matrix [A | B] a step, so that a step is one
 * kernel (three with pivoting). The axes of the augmented matrix: `row` (n) and `wide` (n + m).
 */
import { kit } from '../dsl/build.ts'
import { axisOf, type Axis, type Node } from '../dsl/node.ts'
import { dim } from '../dsl/dim.ts'
import { sizeAlong } from './sizes.ts'

const WIDE = "wide'"

/** [A | B] over (batch..., row, wide), and how to take X out of it again */
const augment = (
  a: Node,
  b: Node,
  row: string,
  col: string,
): { readonly matrix: Node; readonly n: number; readonly solution: (m: Node) => Node } => {
  const n = sizeAlong(a, row)
  const batch = a.type.dims.filter((d) => d.name !== row && d.name !== col)
  const rest = b.type.dims.filter((d) => d.name !== row && !batch.some((e) => e.name === d.name))
  const m = rest.reduce((s, d) => s * sizeAlong(b, d.name), 1)
  const left = kit.rename(a, { [col]: WIDE })
  const right = kit.broadcast(
    kit.reshape(
      b,
      rest.map((d) => d.name),
      [{ name: WIDE, size: dim(m) }],
    ),
    batch,
  )
  const solution = (x: Node): Node => kit.rename(kit.reshape(kit.slice(x, WIDE, n, m), [WIDE], rest), { [row]: col })
  return { matrix: kit.concat([left, right], WIDE), n, solution }
}

/** x at position i of an axis, without the axis */
const at = (x: Node, axis: string, i: number): Node => kit.reshape(kit.slice(x, axis, i, 1), [axis], [])

const rowIs = (row: Axis, i: number): Node => kit.map('eq', kit.iota(row.name, row.size), kit.scalar(i, 'i32'))

/** One step of Gauss-Jordan with the pivot in row k:  r_k := r_k / m_kk,  r_i := r_i - m_ik r_k */
const step = (m: Node, row: Axis, k: number): Node => {
  const pivotRow = at(m, row.name, k)
  const scaled = kit.map('div', pivotRow, at(pivotRow, WIDE, k))
  return kit.map('select', rowIs(row, k), scaled, kit.map('sub', m, kit.map('mul', at(m, WIDE, k), scaled)))
}

/** rows k and p exchanged, where p is the row at or below k with the largest |m_ik| */
const pivot = (m: Node, row: Axis, k: number, n: number): Node => {
  const index = kit.iota(row.name, row.size)
  const size = kit.map(
    'select',
    kit.map('ge', index, kit.scalar(k, 'i32')),
    kit.map('abs', at(m, WIDE, k)),
    kit.scalar(-1),
  )
  const best = kit.reduce('max', size, [row.name])
  const p = kit.reduce('min', kit.map('select', kit.map('ge', size, best), index, kit.scalar(n - 1, 'i32')), [row.name])
  const chosen = kit.gather(m, p, row.name)
  return kit.map('select', rowIs(row, k), chosen, kit.map('select', kit.map('eq', index, p), at(m, row.name, k), m))
}

/** A X = B by Gauss-Jordan; pivoting is left out where the symmetric part of A is known to be positive definite. */
export const eliminate = (a: Node, b: Node, row: string, col: string): Node => {
  const { matrix, n, solution } = augment(a, b, row, col)
  const rowAxis = axisOf(a.type, row)!
  const safe = isIdentityPlusSkew(a, row, col)
  let m = matrix
  for (let k = 0; k < n; k++) m = step(safe || k === n - 1 ? m : pivot(m, rowAxis, k, n), rowAxis, k)
  return solution(m)
}

/** x_i = (b_i - sum_k a_ik x_k) / a_ii, row after row: step k subtracts what row k contributes to those that follow */
export const substituteTriangle = (a: Node, b: Node, row: string, col: string, lower: boolean): Node => {
  const n = sizeAlong(a, row)
  const rowAxis = axisOf(a.type, row)!
  const index = kit.iota(row, rowAxis.size)
  let x = kit.broadcast(
    b,
    a.type.dims.filter((d) => d.name !== col),
  )
  for (let s = 0; s < n; s++) {
    const k = lower ? s : n - 1 - s
    const column = at(a, col, k)
    const solved = kit.map('div', at(x, row, k), at(column, row, k))
    const later = kit.map(lower ? 'gt' : 'lt', index, kit.scalar(k, 'i32'))
    const rest = kit.map('select', later, kit.map('sub', x, kit.map('mul', column, solved)), x)
    x = kit.map('select', rowIs(rowAxis, k), solved, rest)
  }
  return kit.rename(x, { [row]: col })
}

// ------------------------------------------------------------------------------ what needs no pivot

const isSwap = (n: Node, row: string, col: string): n is Extract<Node, { op: 'rename' }> =>
  n.op === 'rename' && n.attrs.axes[row] === col && n.attrs.axes[col] === row && Object.keys(n.attrs.axes).length === 2

const isFree = (n: Node, row: string, col: string): boolean =>
  !n.type.dims.some((d) => d.name === row || d.name === col)

/** syntactically S^T = -S: Y - Y^T, its multiples and transposes */
const isSkew = (n: Node, row: string, col: string): boolean => {
  if (isSwap(n, row, col)) return isSkew(n.args[0]!, row, col)
  if (n.op !== 'map') return false
  const [a, b] = n.args
  if (a === undefined) return false
  if (n.attrs.fn === 'neg') return isSkew(a, row, col)
  if (b === undefined) return false
  const opposite = (x: Node, y: Node): boolean => isSwap(x, row, col) && x.args[0] === y
  if (n.attrs.fn === 'sub' && (opposite(a, b) || opposite(b, a))) return true
  if (n.attrs.fn === 'add' || n.attrs.fn === 'sub') return isSkew(a, row, col) && isSkew(b, row, col)
  if (n.attrs.fn === 'mul')
    return (isSkew(a, row, col) && isFree(b, row, col)) || (isSkew(b, row, col) && isFree(a, row, col))
  return n.attrs.fn === 'div' && isSkew(a, row, col) && isFree(b, row, col)
}

const isEye = (n: Node): boolean =>
  n.op === 'map' &&
  n.attrs.fn === 'select' &&
  n.args[0]?.op === 'map' &&
  n.args[0].attrs.fn === 'eq' &&
  n.args[0].args.every((a) => a.op === 'iota') &&
  n.args[1]?.op === 'const' &&
  n.args[1].attrs.value > 0 &&
  n.args[2]?.op === 'const' &&
  n.args[2].attrs.value === 0

/** I + S or I - S for a skew S: its symmetric part is I, so elimination without pivoting is stable */
export const isIdentityPlusSkew = (a: Node, row: string, col: string): boolean => {
  if (isSwap(a, row, col)) return isIdentityPlusSkew(a.args[0]!, row, col)
  if (a.op !== 'map' || (a.attrs.fn !== 'add' && a.attrs.fn !== 'sub')) return false
  const [x, y] = [a.args[0]!, a.args[1]!]
  return (isEye(x) && isSkew(y, row, col)) || (a.attrs.fn === 'add' && isEye(y) && isSkew(x, row, col))
}
