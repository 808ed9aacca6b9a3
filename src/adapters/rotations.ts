/**
 * Orthogonal matrices from free parameters: skew-symmetric ones through the Cayley transform, and chains
 * of reflections. What `apply` computes with; each adapter's `weight` states the definition on its own.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { dim, literal, type DimLike } from '../dsl/dim.ts'
import {
  add,
  compare,
  dot,
  eye,
  iota,
  neg,
  rename,
  scale,
  sizeOf,
  solve,
  sub,
  sum,
  take,
  triSolve,
  where,
  type Tensor,
} from '../dsl/index.ts'

// --------------------------------------------------------------------------------- constructors

/** b (b - 1) / 2: the entries of a strict triangle */
export const pairsOf = (b: number): number => (b * (b - 1)) / 2

/**
 * The divisor of n nearest to b, the lower one of two equally near; n itself where b >= n. PEFT's rule
 * for OFT's block size. A symbolic n is taken to be a multiple of b.
 */
export const nearestDivisor = (size: DimLike, b: number): number => {
  const n = literal(dim(size))
  if (n === undefined) return b
  if (b >= n) return Math.max(1, n)
  let [low, high] = [b, b]
  while (low > 1 && n % low !== 0) low--
  while (high < n && n % high !== 0) high++
  return b - low <= high - b ? low : high
}

/** The row-major number of entry (i, j) in the strict upper triangle, -1 elsewhere:  sum_{k<i} (b - 1 - k) + j - i - 1 */
const pairNumber = (b: number): Tensor<'i' | 'j', 'i32'> => {
  const [i, j, k] = [iota('i', b), iota('j', b), iota('k', b)]
  const rowLength = pipe(k, neg, add(b - 1))
  const before = pipe(rowLength, where(pipe(k, compare('lt')(i)), 0), sum('k'))
  return pipe(before, add(j), sub(i), sub(1), where(pipe(i, compare('lt')(j)), -1))
}

/**
 * Q, skew-symmetric, from its strict upper triangle.  v: (..., pair), row-major; Q: (..., i, j)
 *
 *     Q[i, j] = v[i, j] for i < j        Q^T = -Q
 */
export const skew =
  (b: number) =>
  <A extends string>(v: Tensor<A | 'pair'>): Tensor<Exclude<A, 'pair'> | 'i' | 'j'> => {
    const upper: Tensor<'i' | 'j'> = pipe(v as unknown as Tensor<'pair'>, take(pairNumber(b), 'pair'))
    const Q = pipe(upper, sub(pipe(upper, rename({ i: 'j', j: 'i' }))))
    return Q as unknown as Tensor<Exclude<A, 'pair'> | 'i' | 'j'>
  }

/**
 * R = (I - Q)(I + Q)^-1, exactly orthogonal (Cayley 1846), by one solve:
 *
 *     R (I + Q) = I - Q   <=>   (I - Q) R^T = I + Q        as Q^T = -Q
 *
 * Q, R: (..., i, j). I - Q is never singular: a skew Q has imaginary eigenvalues.
 */
export const cayley =
  (b: number) =>
  <A extends string>(q: Tensor<A | 'i' | 'j'>): Tensor<A | 'i' | 'j'> => {
    const Q = q as unknown as Tensor<'i' | 'j'>
    const I = eye('i', 'j', b)
    const R = pipe(I, add(Q), rename({ j: 'm' }), solve(pipe(I, sub(Q)), 'i', 'j'), rename({ m: 'i' }))
    return R as unknown as Tensor<A | 'i' | 'j'>
  }

// ---------------------------------------------------------------------------------- combinators

/**
 * x H^T for the chain of reflections H = H_0 H_1 ... H_{r-1}, H_k = I - 2 u_k u_k^T / |u_k|^2:
 *
 *     H = I - U T U^T        T^-1 = diag(|u_k|^2) / 2 + strict upper triangle of U^T U
 *     x H^T = x - ((x U) T^T) U^T
 *
 * by three products and one triangular solve, O(r in) a token, without normalising U. The compact WY form:
 * Schreiber and Van Loan 1989; its inverse factor: Puglisi 1992. x: (..., in); U: (in, r). A zero column gives NaN.
 */
export const reflectChain =
  (U: Tensor<'in' | 'r'>) =>
  <A extends string>(x: Tensor<A | 'in'>): Tensor<A | 'in'> => {
    const r = sizeOf(U, 'r')
    const columns = pipe(U, rename({ r: 'c' }))
    const gram = pipe(U, dot(columns, 'in'))
    // the diagonal is halved; what stands below it is not read
    const inverse = pipe(gram, where(pipe(iota('r', r), compare('lt')(iota('c', r))), pipe(gram, scale(0.5))))
    const xs = x as unknown as Tensor<'token' | 'in'>
    const y = pipe(xs, dot(U, 'in'), triSolve(inverse, 'r', 'c', 'upper'), dot(columns, 'c'))
    return pipe(xs, sub(y)) as unknown as Tensor<A | 'in'>
  }
