/**
 * The register-tiled inner product of rows that lie as they are: element (i, k) of `a` is read where it stands, one
 * number for a whole vector of columns, which costs as much as from packed rows (177 and 179 GFLOP/s of one AVX-512 core
 * at 128 x 128 x 64) and needs no packing.
 */
import { whole } from '../affine.ts'
import type { Intrinsic } from './row.ts'
import { TILES } from './c.ts'

const WIDTHS = [16, 8, 4] as const

/** `rows` below mr are done four at a time */
const tilesText = WIDTHS.map((w, i) => {
  const vectors = [...new Set(TILES[w].map(([, n]) => n))]
  return [
    `#${i === 0 ? 'if' : 'elif'} W == ${String(w)}`,
    ...vectors.map((n) => `ROWS_TAIL(${String(n > 4 ? 1 : 4)}, ${String(n)}, ${String(n * w)})`),
    ...TILES[w].map(([rows, n]) => `ROWS(${String(rows)}, ${String(n)}, ${String(n * w)})`),
  ].join('\n')
}).join('\n')

const text = `#ifndef WRITTEN_OUT
#ifdef __clang__
#define WRITTEN_OUT _Pragma("clang loop unroll(full)")
#else
#define WRITTEN_OUT _Pragma("GCC unroll 32")
#endif
#define FOR_TILE(mr, nv) WRITTEN_OUT for (int i = 0; i < mr; i++) WRITTEN_OUT for (int j = 0; j < nv; j++)
#endif
/* a pointer to every fourth row: the others are multiples of lda behind it */
#define ROWS(mr, nv, nr) \\
  static __attribute__((noinline)) void rows_##mr##_##nr(const float *RESTRICT a, const float *RESTRICT b, float *RESTRICT acc, \\
                                                         long depth, long lda, long ldb, long ldc, int accumulate) { \\
    vf s[mr][nv]; \\
    const float *r[(mr + 3) / 4]; \\
    WRITTEN_OUT for (int i = 0; i < (mr + 3) / 4; i++) r[i] = a + 4 * i * lda; \\
    if (accumulate) { FOR_TILE(mr, nv) s[i][j] = LOAD(acc + i * ldc + j * W); } \\
    else { FOR_TILE(mr, nv) s[i][j] = (vf){0}; } \\
    for (long k = 0; k < depth; k++, b += ldb) { \\
      vf x[nv]; \\
      WRITTEN_OUT for (int j = 0; j < nv; j++) __builtin_prefetch(b + 16 * ldb + j * W), x[j] = LOAD(b + j * W); \\
      FOR_TILE(mr, nv) s[i][j] += r[i / 4][(i % 4) * lda] * x[j]; \\
      WRITTEN_OUT for (int i = 0; i < (mr + 3) / 4; i++) r[i]++; \\
    } \\
    FOR_TILE(mr, nv) STORE(acc + i * ldc + j * W, s[i][j]); \\
  }
/* mr rows at a time; where fewer are left the last one is read again */
#define ROWS_TAIL(mr, nv, nr) \\
  static __attribute__((noinline)) void rows_tail_##nr(const float *RESTRICT a, const float *RESTRICT b, float *RESTRICT acc, int rows, \\
                                                       long depth, long lda, long ldb, long ldc, int accumulate) { \\
    for (; rows > 0; rows -= mr, a += mr * lda, acc += mr * ldc) { \\
      vf s[mr][nv]; \\
      const float *r[mr], *c = b; \\
      WRITTEN_OUT for (int i = 0; i < mr; i++) r[i] = a + (i < rows ? i : rows - 1) * lda; \\
      FOR_TILE(mr, nv) s[i][j] = accumulate && i < rows ? LOAD(acc + i * ldc + j * W) : (vf){0}; \\
      for (long k = 0; k < depth; k++, c += ldb) { \\
        vf x[nv]; \\
        WRITTEN_OUT for (int j = 0; j < nv; j++) x[j] = LOAD(c + j * W); \\
        FOR_TILE(mr, nv) s[i][j] += r[i][k] * x[j]; \\
      } \\
      WRITTEN_OUT for (int i = 0; i < mr; i++) \\
        if (i < rows) { WRITTEN_OUT for (int j = 0; j < nv; j++) STORE(acc + i * ldc + j * W, s[i][j]); } \\
    } \\
  }
${tilesText}
#endif
#define mmaRows(a, b, acc, width, mr, nr, rows, depth, lda, ldb, ldc, accumulate) \\
  do { \\
    const int rows_n = rows; \\
    if (rows_n == mr) rows_##mr##_##nr(a, b, acc, depth, lda, ldb, ldc, accumulate); \\
    else rows_tail_##nr(a, b, acc, rows_n, depth, lda, ldb, ldc, accumulate); \\
  } while (0)
`

export const intrinsicsRowsC: ReadonlyArray<Intrinsic> = [
  {
    name: 'mmaRows',
    formula:
      'acc[i ldc + j] = (accumulate ? acc[i ldc + j] : 0) + sum_k<depth a[i lda + k] b[k ldb + j], i < rows <= mr, j < nr',
    places: [
      {
        name: 'a',
        access: 'read',
        reach: ([, , , rows, depth, lda]) => [
          { step: lda!, count: rows! },
          { step: whole(1), count: depth! },
        ],
      },
      {
        name: 'b',
        access: 'read',
        reach: ([, , nr, , depth, , ldb]) => [
          { step: ldb!, count: depth! },
          { step: whole(1), count: nr! },
        ],
      },
      { name: 'acc', access: 'update' },
    ],
    ints: ['width', 'mr', 'nr', 'rows', 'depth', 'lda', 'ldb', 'ldc', 'accumulate'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, b, acc] = places
      const [, , nr, rows, depth, lda, ldb, ldc, accumulate] = ints
      for (let i = 0; i < rows!; i++)
        for (let j = 0; j < nr!; j++) {
          let sum = accumulate === 0 ? 0 : acc!.get(i * ldc! + j)
          for (let k = 0; k < depth!; k++) sum += a!.get(i * lda! + k) * b!.get(k * ldb! + j)
          acc!.set(i * ldc! + j, sum)
        }
    },
    text: { c: text },
  },
]
