/** Small linear systems: solve and triSolve. Their VJPs differentiate the definition A X = B, never an iteration. */
import * as E from 'fp-ts/lib/Either.js'
import { dim, sameDim } from '../dim.ts'
import { isFloat } from '../dtype.ts'
import type { Kit } from '../kit.ts'
import { axisNames, axisOf, hasAxis, type Dims, type Node, type Type } from '../node.ts'
import { elements, offsets, type ConcreteDims, type Value } from '../value.ts'
import type { Bounded, Gen, Misuse, Primitive, Sample } from './row.ts'
import { misuse, missingAxis, unite, without } from './typing.ts'

/** X has B's axes with `row` replaced by `col`, and A's further axes as batch axes. */
const solutionType = (a: Type | undefined, b: Type | undefined, row: string, col: string): E.Either<Misuse, Type> => {
  if (a === undefined || b === undefined) return E.left(misuse('a matrix and a right-hand side', 'fewer'))
  if (a.dtype !== b.dtype || !isFloat(a.dtype))
    return E.left(misuse('two float tensors of one dtype', `${a.dtype}, ${b.dtype}`))
  const [r, c] = [axisOf(a, row), axisOf(a, col)]
  if (r === undefined) return E.left(missingAxis(row, a))
  if (c === undefined) return E.left(missingAxis(col, a))
  if (!hasAxis(b, row)) return E.left(missingAxis(row, b))
  if (hasAxis(b, col)) return E.left(misuse(`a right-hand side without axis '${col}'`, axisNames(b).join(', ')))
  if (!sameDim(r.size, c.size)) return E.left(misuse('a square matrix', `${row}:${r.size.key}, ${col}:${c.size.key}`))
  return E.map((dims: Dims) => ({
    dims: dims.filter((d) => d.name !== col).map((d) => (d.name === row ? { name: col, size: c.size } : d)),
    dtype: a.dtype,
  }))(unite([b, { ...a, dims: without(a.dims, [col]) }]))
}

/** A X = B:  lambda = A^-T ct,  dB = lambda,  dA = -lambda X^T */
const solveVjp =
  (transposed: (k: Kit, a: Node, ct: Node) => Node) =>
  (
    k: Kit,
    ct: Node,
    node: Node & { readonly attrs: { readonly row: string; readonly col: string } },
  ): ReadonlyArray<Node> => {
    const a = node.args[0]!
    const lambda = transposed(k, a, ct)
    const over = axisNames(ct.type).filter((n) => n !== node.attrs.col && !hasAxis(a.type, n))
    return [k.map('neg', k.dot(lambda, node, over)), lambda]
  }

/** Runs `one(A, B, n)` on every n x n matrix of the batch; it answers X in place of B (n x m, row-major). */
const eachSystem = (
  a: Value,
  b: Value,
  row: string,
  col: string,
  out: ConcreteDims,
  one: (a: Float64Array, b: Float64Array, n: number, m: number) => void,
): Float64Array => {
  const [r, c] = [a.dims.filter((d) => d.name === row), a.dims.filter((d) => d.name === col)]
  const batch = a.dims.filter((d) => d.name !== row && d.name !== col)
  const rest = out.filter((d) => d.name !== col && !batch.some((e) => e.name === d.name))
  const [aS, aR, aC] = [offsets(a.dims, batch), offsets(a.dims, r), offsets(a.dims, c)]
  const [bS, bR, bM] = [offsets(b.dims, batch), offsets(b.dims, r), offsets(b.dims, rest)]
  const [yS, yC, yM] = [offsets(out, batch), offsets(out, c), offsets(out, rest)]
  const [n, m] = [aR.length, bM.length]
  const y = new Float64Array(elements(out))
  const [matrix, rhs] = [new Float64Array(n * n), new Float64Array(n * m)]
  for (let s = 0; s < aS.length; s++) {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) matrix[i * n + j] = a.data[aS[s]! + aR[i]! + aC[j]!]!
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) rhs[i * m + j] = b.data[bS[s]! + bR[i]! + bM[j]!]!
    one(matrix, rhs, n, m)
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) y[yS[s]! + yC[i]! + yM[j]!] = rhs[i * m + j]!
  }
  return y
}

/** b[i] -= f b[k], and the same for the rest of a's rows */
const eliminate = (x: Float64Array, width: number, i: number, k: number, f: number): void => {
  for (let j = 0; j < width; j++) x[i * width + j] = x[i * width + j]! - f * x[k * width + j]!
}

/** Gauss-Jordan elimination with partial pivoting */
const gaussJordan = (a: Float64Array, b: Float64Array, n: number, m: number): void => {
  const swap = (x: Float64Array, width: number, i: number, k: number): void => {
    for (let j = 0; j < width; j++) [x[i * width + j], x[k * width + j]] = [x[k * width + j]!, x[i * width + j]!]
  }
  for (let k = 0; k < n; k++) {
    let p = k
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i * n + k]!) > Math.abs(a[p * n + k]!)) p = i
    if (p !== k) {
      swap(a, n, p, k)
      swap(b, m, p, k)
    }
    const pivot = a[k * n + k]!
    for (let j = 0; j < n; j++) a[k * n + j] = a[k * n + j]! / pivot
    for (let j = 0; j < m; j++) b[k * m + j] = b[k * m + j]! / pivot
    for (let i = 0; i < n; i++) {
      const f = a[i * n + k]!
      if (i !== k && f !== 0) {
        eliminate(a, n, i, k, f)
        eliminate(b, m, i, k, f)
      }
    }
  }
}

/** substitution from the first row on (lower) or from the last (upper); the other triangle is not read */
const substitute =
  (lower: boolean) =>
  (a: Float64Array, b: Float64Array, n: number, m: number): void => {
    for (let step = 0; step < n; step++) {
      const i = lower ? step : n - 1 - step
      for (let k = lower ? 0 : i + 1; k < (lower ? i : n); k++) eliminate(b, m, i, k, a[i * n + k]!)
      for (let j = 0; j < m; j++) b[i * m + j] = b[i * m + j]! / a[i * n + i]!
    }
  }

const identity = (n: number): Float64Array => new Float64Array(n * n).map((_, i) => (i % (n + 1) === 0 ? 1 : 0))

/**
 * Componentwise: |X' - X| <= |A^-1| (|dA| |X| + dB + c u |A||X|) (1 + O(u)) with c = 8 n for elimination
 * (Higham, Accuracy and Stability, 9.3 and 8.2; the growth factor is taken from |A^-1||A| itself).
 * Second order is covered by the factor 1/(1 - || |A^-1| |dA| ||).
 */
const solveBound = (
  [a, b]: ReadonlyArray<Bounded>,
  row: string,
  col: string,
  out: { readonly dims: ConcreteDims; readonly data: Float64Array },
  u: number,
  solver: (a: Float64Array, b: Float64Array, n: number, m: number) => void,
): Float64Array => {
  const abs = Math.abs
  const batch = a!.value.dims.filter((d) => d.name !== row && d.name !== col)
  const [rows, cols] = [a!.value.dims.filter((d) => d.name === row), a!.value.dims.filter((d) => d.name === col)]
  const rest = out.dims.filter((d) => d.name !== col && !batch.some((e) => e.name === d.name))
  const [aS, aR, aC] = [batch, rows, cols].map((d) => offsets(a!.value.dims, d))
  const [bS, bR, bM] = [batch, rows, rest].map((d) => offsets(b!.value.dims, d))
  const [yS, yC, yM] = [batch, cols, rest].map((d) => offsets(out.dims, d))
  const [n, m] = [aR!.length, bM!.length]
  const y = new Float64Array(out.data.length)
  for (let s = 0; s < aS!.length; s++) {
    const matrix = new Float64Array(n * n).map(
      (_, p) => a!.value.data[aS![s]! + aR![Math.floor(p / n)]! + aC![p % n]!]!,
    )
    const dA = new Float64Array(n * n).map((_, p) => a!.bound[aS![s]! + aR![Math.floor(p / n)]! + aC![p % n]!]!)
    const inverse = identity(n)
    solver(matrix.slice(), inverse, n, n)
    let contraction = 0
    for (let i = 0; i < n; i++) {
      let sum = 0
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++)
          sum += abs(inverse[i * n + k]!) * (dA[k * n + j]! + 8 * n * u * abs(matrix[k * n + j]!))
      contraction = Math.max(contraction, sum)
    }
    const factor = contraction < 1 ? 1 / (1 - contraction) : Infinity
    for (let j = 0; j < m; j++) {
      const residual = new Float64Array(n).map((_, i) => {
        let r = b!.bound[bS![s]! + bR![i]! + bM![j]!]!
        for (let k = 0; k < n; k++)
          r += (dA[i * n + k]! + 8 * n * u * abs(matrix[i * n + k]!)) * abs(out.data[yS![s]! + yC![k]! + yM![j]!]!)
        return r
      })
      for (let i = 0; i < n; i++) {
        let e = 0
        for (let k = 0; k < n; k++) e += abs(inverse[i * n + k]!) * residual[k]!
        y[yS![s]! + yC![i]! + yM![j]!] = e === 0 ? 0 : e * factor
      }
    }
  }
  return y
}

const squareSample = (g: Gen): Pick<Sample<'solve'>, 'args'> => {
  const n = dim(g.int(1, 4))
  const s = { name: 's', size: dim(g.size()) }
  const batch = g.pick([[], [s]])
  return {
    args: [
      {
        type: { dims: [...batch, { name: 'i', size: n }, { name: 'j', size: n }], dtype: 'f32' },
        range: [-1, 1],
        diagonal: { row: 'i', col: 'j', plus: 5 },
      },
      {
        type: {
          dims: [{ name: 'i', size: n }, ...g.pick([[], batch]), { name: 'm', size: dim(g.size()) }],
          dtype: 'f32',
        },
        range: [-2, 2],
      },
    ],
  }
}

export const solve: Primitive<'solve'> = {
  doc: 'X with sum_col A[row, col] X[col] = B[row], by elimination with partial pivoting; further axes of A are batch axes',
  type: ([a, b], { row, col }) => solutionType(a, b, row, col),
  // A^T lambda = ct: A's columns are the transposed system's rows
  vjp: (k, ct, node) => solveVjp((kit, a, c) => kit.solve(a, c, node.attrs.col, node.attrs.row))(k, ct, node),
  meaning: ([a, b], { row, col }, out) => eachSystem(a!, b!, row, col, out.dims, gaussJordan),
  bound: (args, { row, col }, out, u) => solveBound(args, row, col, out, u, gaussJordan),
  flops: ([a], out, { row }) => {
    const n = a!.find((d) => d.name === row)?.size ?? 0
    return 2 * n * n * (n / 3) * (elements(a!) / Math.max(1, n * n)) + 2 * n * elements(out)
  },
  sample: (g) => ({ ...squareSample(g), attrs: { row: 'i', col: 'j' } }),
}

export const triSolve: Primitive<'triSolve'> = {
  doc: 'solve for a triangular A, by substitution; the other triangle is not read',
  type: ([a, b], { row, col }) => solutionType(a, b, row, col),
  vjp: (k, ct, node) => {
    const { row, col, lower } = node.attrs
    const [da, db] = solveVjp((kit, a, c) => kit.triSolve(a, c, col, row, !lower))(k, ct, node)
    // only the triangle that is read has a derivative: row >= col (lower), row <= col (upper)
    const size = axisOf(node.args[0]!.type, row)!.size
    const kept = k.map(lower ? 'ge' : 'le', k.iota(row, size), k.iota(col, size))
    return [k.map('select', kept, da!, k.scalar(0, da!.type.dtype)), db!]
  },
  meaning: ([a, b], { row, col, lower }, out) => eachSystem(a!, b!, row, col, out.dims, substitute(lower)),
  bound: ([a, b], { row, col, lower }, out, u) => {
    // the other triangle counts as zero
    const { dims } = a!.value
    const [i, j] = [offsetsTo(dims, row), offsetsTo(dims, col)]
    const keep = (x: Float64Array): Float64Array => x.map((v, p) => ((lower ? i(p) >= j(p) : i(p) <= j(p)) ? v : 0))
    const triangle = { value: { dims, data: keep(a!.value.data) }, bound: keep(a!.bound) }
    return solveBound([triangle, b!], row, col, out, u, substitute(lower))
  },
  flops: ([a], out, { row }) => (a!.find((d) => d.name === row)?.size ?? 0) * elements(out),
  sample: (g) => ({ ...squareSample(g), attrs: { row: 'i', col: 'j', lower: g.pick([true, false]) } }),
}

/** the index along `axis` of a flat position */
const offsetsTo = (dims: ConcreteDims, axis: string): ((p: number) => number) => {
  const at = dims.findIndex((d) => d.name === axis)
  const stride = elements(dims.slice(at + 1))
  const size = dims[at]?.size ?? 1
  return (p) => Math.floor(p / stride) % size
}
