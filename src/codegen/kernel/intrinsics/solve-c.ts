/** Intrinsics of the C target: small linear systems in scratch, vectors along their right-hand sides. */
import type { Intrinsic, View } from './row.ts'

/** rows of vectors are written to their ends: a row has room for whole vectors behind its last column */
const gaussText = `/* Gauss-Jordan on the augmented matrix [A | B], n x (n + m): B becomes X */
static __attribute__((noinline)) void gauss(float *RESTRICT a, long n, long m, long ld, int pivots) {
  for (long k = 0; k < n; k++) {
    const long from = k & -(long)W;
    if (pivots) {
      long p = k;
      for (long i = k + 1; i < n; i++) if (fabsf(a[i * ld + k]) > fabsf(a[p * ld + k])) p = i;
      if (p != k) for (long j = from; j < n + m; j += W) {
        const vf x = LOAD(a + k * ld + j), y = LOAD(a + p * ld + j);
        STORE(a + k * ld + j, y);
        STORE(a + p * ld + j, x);
      }
    }
    const float d = a[k * ld + k];
    for (long i = 0; i < n; i++) {
      if (i == k) continue;
      const float f = a[i * ld + k] / d;
      for (long j = from; j < n + m; j += W) STORE(a + i * ld + j, LOAD(a + i * ld + j) - f * LOAD(a + k * ld + j));
    }
  }
  for (long i = 0; i < n; i++)
    for (long j = 0; j < m; j++) a[i * ld + n + j] /= a[i * ld + i];
}`

const triangleText = `/* A X = B for a triangular A, n x n, by substitution in place: x, n x m, is B before and X after */
static __attribute__((noinline)) void triangle(const float *RESTRICT a, float *RESTRICT x, long n, long m, long lda, long ldx, int lower) {
  for (long s = 0; s < n; s++) {
    const long i = lower ? s : n - 1 - s, from = lower ? 0 : i + 1, to = lower ? i : n;
    for (long j = 0; j < m; j += W) {
      vf v = LOAD(x + i * ldx + j);
      for (long k = from; k < to; k++) v -= a[i * lda + k] * LOAD(x + k * ldx + j);
      STORE(x + i * ldx + j, v / a[i * lda + i]);
    }
  }
}`

const swap = (a: View, i: number, j: number): void => {
  const x = a.get(i)
  a.set(i, a.get(j))
  a.set(j, x)
}

export const intrinsicsSolveC: ReadonlyArray<Intrinsic> = [
  {
    name: 'gauss',
    formula:
      'X with A X = B, where a is [A | B] in rows of ld; X takes the place of B; partial pivoting where pivots is not 0',
    places: [{ name: 'a', access: 'update' }],
    ints: ['n', 'm', 'ld', 'pivots'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const a = places[0]!
      const [n, m, ld, pivots] = ints as [number, number, number, number]
      for (let k = 0; k < n; k++) {
        let p = k
        if (pivots !== 0)
          for (let i = k + 1; i < n; i++) if (Math.abs(a.get(i * ld + k)) > Math.abs(a.get(p * ld + k))) p = i
        if (p !== k) for (let j = k; j < n + m; j++) swap(a, k * ld + j, p * ld + j)
        for (let i = 0; i < n; i++) {
          if (i === k) continue
          const f = a.get(i * ld + k) / a.get(k * ld + k)
          for (let j = k; j < n + m; j++) a.set(i * ld + j, a.get(i * ld + j) - f * a.get(k * ld + j))
        }
      }
      for (let i = 0; i < n; i++)
        for (let j = 0; j < m; j++) a.set(i * ld + n + j, a.get(i * ld + n + j) / a.get(i * ld + i))
    },
    text: { c: gaussText },
  },
  {
    name: 'triangle',
    formula: 'X with A X = B for a triangular A, by substitution; x is B before and X after',
    places: [
      { name: 'a', access: 'read' },
      { name: 'x', access: 'update' },
    ],
    ints: ['n', 'm', 'lda', 'ldx', 'lower'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, x] = [places[0]!, places[1]!]
      const [n, m, lda, ldx, lower] = ints as [number, number, number, number, number]
      for (let s = 0; s < n; s++) {
        const i = lower !== 0 ? s : n - 1 - s
        for (let j = 0; j < m; j++) {
          let v = x.get(i * ldx + j)
          for (let k = lower !== 0 ? 0 : i + 1; k < (lower !== 0 ? i : n); k++)
            v -= a.get(i * lda + k) * x.get(k * ldx + j)
          x.set(i * ldx + j, v / a.get(i * lda + i))
        }
      }
    },
    text: { c: triangleText },
  },
]
