/** Intrinsics of the C target: the register-tiled inner product and the packing before it. */
import type { Intrinsic } from './row.ts'

/** rows and vectors of the tiles of registers that there are, by floats in a vector; the usual one first */
export const TILES: Readonly<Record<16 | 8 | 4, ReadonlyArray<readonly [rows: number, vectors: number]>>> = {
  16: [
    ...([
      [12, 2],
      [8, 3],
      [8, 2],
      [4, 4],
      [4, 2],
    ] as const),
    ...([
      [2, 8],
      [1, 8],
      [12, 1],
      [24, 1],
    ] as const),
  ],
  8: [
    [6, 2],
    [4, 3],
    [4, 2],
    [2, 4],
    [1, 8],
    [6, 1],
    [12, 1],
  ],
  4: [
    [4, 2],
    [6, 2],
    [4, 3],
    [2, 4],
    [1, 8],
    [4, 1],
    [12, 1],
  ],
}

const tilesText = ([16, 8, 4] as const)
  .map((w, i) =>
    [
      `#${i === 0 ? 'if' : 'elif'} W == ${String(w)}`,
      ...TILES[w].map(([rows, vectors]) => `MMA(${String(rows)}, ${String(vectors)}, ${String(vectors * w)})`),
    ].join('\n'),
  )
  .join('\n')

/** One function a tile: what is called stays, the compiler drops the others. */
const mmaText = `#ifdef __clang__
#define WRITTEN_OUT _Pragma("clang loop unroll(full)")
#else
#define WRITTEN_OUT _Pragma("GCC unroll 32")
#endif
#define FOR_TILE(mr, nv) WRITTEN_OUT for (int i = 0; i < mr; i++) WRITTEN_OUT for (int j = 0; j < nv; j++)
#define MMA(mr, nv, nr) \\
  static __attribute__((noinline)) void mma_##mr##_##nr(const float *RESTRICT a, const float *RESTRICT b, float *RESTRICT acc, \\
                                                        long depth, long lda, long ldb, long ldc, int accumulate) { \\
    vf s[mr][nv]; \\
    if (accumulate) { FOR_TILE(mr, nv) s[i][j] = LOAD(acc + i * ldc + j * W); } \\
    else { FOR_TILE(mr, nv) s[i][j] = (vf){0}; } \\
    for (long k = 0; k < depth; k++, a += lda, b += ldb) { \\
      vf x[nv]; \\
      __builtin_prefetch(a + 24 * lda); \\
      WRITTEN_OUT for (int j = 0; j < nv; j++) __builtin_prefetch(b + 16 * ldb + j * W), x[j] = LOAD(b + j * W); \\
      FOR_TILE(mr, nv) s[i][j] += a[i] * x[j]; \\
    } \\
    FOR_TILE(mr, nv) STORE(acc + i * ldc + j * W, s[i][j]); \\
  }
${tilesText}
#endif
#define mma(a, b, acc, width, mr, nr, depth, lda, ldb, ldc, accumulate) \\
  mma_##mr##_##nr(a, b, acc, depth, lda, ldb, ldc, accumulate)
`

/** rows that are contiguous along k are transposed eight by four, then four by four */
const packText = `typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int i4 __attribute__((vector_size(16)));
#define SHUFFLE4(a, b, ...) __builtin_shuffle(a, b, (i4){__VA_ARGS__})
#endif
INLINE void transpose4(float *to, const float *f, int p, long si) {
  const v4 a = *(const v4 *)f, b = *(const v4 *)(f + si), c = *(const v4 *)(f + 2 * si), d = *(const v4 *)(f + 3 * si);
  const v4 ab = SHUFFLE4(a, b, 0, 4, 1, 5), cd = SHUFFLE4(c, d, 0, 4, 1, 5);
  const v4 ba = SHUFFLE4(a, b, 2, 6, 3, 7), dc = SHUFFLE4(c, d, 2, 6, 3, 7);
  *(v4 *)to = SHUFFLE4(ab, cd, 0, 1, 4, 5);
  *(v4 *)(to + p) = SHUFFLE4(ab, cd, 2, 3, 6, 7);
  *(v4 *)(to + 2 * p) = SHUFFLE4(ba, dc, 0, 1, 4, 5);
  *(v4 *)(to + 3 * p) = SHUFFLE4(ba, dc, 2, 3, 6, 7);
}
/* rows i to i + 3 in the lower halves, the next four in the upper ones */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE8(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define TWO4(a, b) SHUFFLE8(*(const v4 *)(a), *(const v4 *)(b), 0, 1, 2, 3, 4, 5, 6, 7)
INLINE void transpose8(float *to, const float *f, int p, long si) {
  const float *g = f + 4 * si;
  const v8 a = TWO4(f, g), b = TWO4(f + si, g + si), c = TWO4(f + 2 * si, g + 2 * si), d = TWO4(f + 3 * si, g + 3 * si);
  const v8 ab = SHUFFLE8(a, b, 0, 8, 1, 9, 4, 12, 5, 13), cd = SHUFFLE8(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
  const v8 ba = SHUFFLE8(a, b, 2, 10, 3, 11, 6, 14, 7, 15), dc = SHUFFLE8(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
  *(v8 *)to = SHUFFLE8(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13);
  *(v8 *)(to + p) = SHUFFLE8(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  *(v8 *)(to + 2 * p) = SHUFFLE8(ba, dc, 0, 1, 8, 9, 4, 5, 12, 13);
  *(v8 *)(to + 3 * p) = SHUFFLE8(ba, dc, 2, 3, 10, 11, 6, 7, 14, 15);
}
#else
INLINE void transpose8(float *to, const float *f, int p, long si) {
  transpose4(to, f, p, si);
  transpose4(to + 4, f + 4 * si, p, si);
}
#endif
static __attribute__((noinline)) void pack(float *RESTRICT to, const float *RESTRICT from, int p, int valid, long depth, long si, long sk) {
  if (si == 1) {
    for (long k = 0; k < depth; k++, to += p, from += sk) {
      int i = 0;
      for (int ahead = 0; ahead < valid; ahead += 16) __builtin_prefetch(from + 12 * sk + ahead);
      for (; i + W <= valid; i += W) STORE(to + i, LOAD(from + i));
      for (; i < valid; i++) to[i] = from[i];
      for (; i < p; i++) to[i] = 0.0f;
    }
    return;
  }
  const int fours = sk == 1 ? valid & ~3 : 0, eights = fours & ~7;
  const long whole_k = fours == 0 ? 0 : depth & ~3L;
  /* a cache line of a few rows at a time: rows that lie a power of two apart would drive each other out */
  for (long k16 = 0; k16 < whole_k; k16 += 16) {
    const long end = k16 + 16 < whole_k ? k16 + 16 : whole_k;
    for (int i = 0; i < eights; i += 8)
      for (long k = k16; k < end; k += 4) transpose8(to + k * p + i, from + i * si + k, p, si);
    if (eights < fours)
      for (long k = k16; k < end; k += 4) transpose4(to + k * p + eights, from + eights * si + k, p, si);
  }
  for (long k = 0; k < depth; k++)
    for (int i = k < whole_k ? fours : 0; i < p; i++) to[k * p + i] = i < valid ? from[i * si + k * sk] : 0.0f;
}
`

export const intrinsicsC: ReadonlyArray<Intrinsic> = [
  {
    name: 'mma',
    formula:
      'acc[i ldc + j] = (accumulate ? acc[i ldc + j] : 0) + sum_k<depth a[k lda + i] b[k ldb + j], i < mr, j < nr',
    places: [
      { name: 'a', access: 'read' },
      { name: 'b', access: 'read' },
      { name: 'acc', access: 'update' },
    ],
    ints: ['width', 'mr', 'nr', 'depth', 'lda', 'ldb', 'ldc', 'accumulate'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, b, acc] = places
      const [, mr, nr, depth, lda, ldb, ldc, accumulate] = ints
      for (let i = 0; i < mr!; i++)
        for (let j = 0; j < nr!; j++) {
          let sum = accumulate === 0 ? 0 : acc!.get(i * ldc! + j)
          for (let k = 0; k < depth!; k++) sum += a!.get(k * lda! + i) * b!.get(k * ldb! + j)
          acc!.set(i * ldc! + j, sum)
        }
    },
    text: { c: mmaText },
  },
  {
    name: 'pack',
    formula: 'to[k p + i] = i < valid ? from[i si + k sk] : 0, i < p, k < depth',
    places: [
      { name: 'to', access: 'write' },
      {
        name: 'from',
        access: 'read',
        reach: ([, valid, depth, si, sk]) => [
          { step: si!, count: valid! },
          { step: sk!, count: depth! },
        ],
      },
    ],
    ints: ['p', 'valid', 'depth', 'si', 'sk'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [to, from] = places
      const [p, valid, depth, si, sk] = ints
      for (let k = 0; k < depth!; k++)
        for (let i = 0; i < p!; i++) to!.set(k * p! + i, i < valid! ? from!.get(i * si! + k * sk!) : 0)
    },
    text: { c: packText },
  },
]
