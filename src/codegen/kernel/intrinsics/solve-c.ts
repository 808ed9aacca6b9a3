/** Intrinsics of the C target: small linear systems in scratch, vectors along their right-hand sides. */
import type { Intrinsic, View } from './row.ts'

/** rows of vectors are written to their ends: a row has room for whole vectors behind its last column */
const gaussText = `#ifdef __clang__
#define EACH _Pragma("clang loop unroll(full)")
#else
#define EACH _Pragma("GCC unroll 4")
#endif
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
/* rows of a, less their multiples of count rows of p whose columns at pivot are those of the identity */
INLINE void gauss_less(float *RESTRICT a, const float *RESTRICT p, int rows, int count, long pivot, long from, long to, long ld) {
  float f[2][4];
  EACH for (int r = 0; r < rows; r++) EACH for (int q = 0; q < count; q++) f[r][q] = a[r * ld + pivot + q];
  for (long j = from; j < to; j += W) {
    vf x[2];
    EACH for (int r = 0; r < rows; r++) x[r] = LOAD(a + r * ld + j);
    EACH for (int q = 0; q < count; q++) EACH for (int r = 0; r < rows; r++) x[r] -= f[r][q] * LOAD(p + q * ld + j);
    EACH for (int r = 0; r < rows; r++) STORE(a + r * ld + j, x[r]);
  }
}
INLINE void gauss_all(float *RESTRICT a, const float *RESTRICT p, long n, int count, long pivot, long from, long to, long ld) {
  long i = 0;
  for (; i + 2 <= n; i += 2) gauss_less(a + i * ld, p, 2, count, pivot, from, to, ld);
  if (i < n) gauss_less(a + i * ld, p, 1, count, pivot, from, to, ld);
}
/* four rows whose own columns at pivot become those of the identity; the factors come from these columns alone */
INLINE void gauss_four(float *RESTRICT a, long pivot, long from, long to, long ld) {
  v4 d[4];
  float f[4][4];
  EACH for (int r = 0; r < 4; r++) d[r] = *(const v4 *)(a + r * ld + pivot);
  EACH for (int q = 0; q < 4; q++) {
    f[q][q] = 1.0f / d[q][q];
    d[q] *= f[q][q];
    EACH for (int r = 0; r < 4; r++) if (r != q) f[r][q] = d[r][q], d[r] -= f[r][q] * d[q];
  }
  for (long j = from; j < to; j += W) {
    vf x[4];
    EACH for (int r = 0; r < 4; r++) x[r] = LOAD(a + r * ld + j);
    EACH for (int q = 0; q < 4; q++) {
      x[q] *= f[q][q];
      EACH for (int r = 0; r < 4; r++) if (r != q) x[r] -= f[r][q] * x[q];
    }
    EACH for (int r = 0; r < 4; r++) STORE(a + r * ld + j, x[r]);
  }
}
/* Gauss-Jordan on the augmented matrix [A | B], n x (n + m): B becomes X; without pivoting by four pivots at once */
static __attribute__((noinline)) void gauss(float *RESTRICT a, long n, long m, long ld, int pivots) {
  const long to = n + m;
  long k = 0;
  for (; !pivots && k + 4 <= n; k += 4) {
    float *const row = a + k * ld;
    const long from = k & -(long)W;
    gauss_four(row, k, from, to, ld);
    gauss_all(a, row, k, 4, k, from, to, ld);
    gauss_all(row + 4 * ld, row, n - k - 4, 4, k, from, to, ld);
  }
  for (; k < n; k++) {
    float *const row = a + k * ld;
    const long from = k & -(long)W;
    if (pivots) {
      long p = k;
      float most = fabsf(row[k]);
      for (long i = k + 1; i < n; i++) {
        const float x = fabsf(a[i * ld + k]);
        if (x > most) p = i, most = x;
      }
      if (p != k) for (long j = from; j < to; j += W) {
        const vf x = LOAD(row + j), y = LOAD(a + p * ld + j);
        STORE(row + j, y);
        STORE(a + p * ld + j, x);
      }
    }
    const float d = row[k];
    for (long j = from; j < to; j += W) STORE(row + j, over_w(LOAD(row + j), d));
    gauss_all(a, row, k, 1, k, from, to, ld);
    gauss_all(row + ld, row, n - k - 1, 1, k, from, to, ld);
  }
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
