/**
 * Products of float32 matrices on a machine's bf16 tiles (AMX). A float is exactly three bf16 numbers, and six of the
 * nine products of two floats are taken, small ones first, each exact and summed in float32 (u = 2^-24):
 *
 *     x = h + m + l,  |m| <= 2^-8 |x|,  |l| <= 2^-17 |x|:      x y ~ l h' + m h' + m m' + h m' + h l' + h h'
 *
 * What is left out, m l' + l m' + l l', is at most (1 + 2^-10) u |x y|. Steps of k come 32 at a time; of a step of d an
 * instruction sums two halves one after the other, then both, then adds the accumulators: at most ceil(d / 2) + 1
 * roundings of what h h' sums to, while what the five others sum to is 2^-7 of that. Each later step rounds six times.
 * So with n steps, S = sum |x y|:
 *
 *     |result - sum x y| <= (ceil(min(32, K) / 2) + 3.5 + 6 (n - 1)) u S <= gamma_K S      from K = 8 on
 *
 * where one of the roundings is that of adding two sets of accumulators, which only tiles of 32 x 16 and 16 x 32 have.
 * In a sum of dots the longest comes first, and the steps of those behind it count as later ones.
 *
 * The tiles take numbers below 2^-126 for 0, which may lose 7 K 2^-126: nothing, where a result is at least 2^-90, and a
 * row or a column of zeros loses nothing. Any other tile of results, and one that is not finite, is computed again in
 * plain float32, from the same numbers. Those that three bf16 numbers do not hold (not finite, from 2^127 on, or below
 * 2^-100 and not 0) are kept as they are, marked by a NaN.
 *
 * A panel of P elements is, for each step, its h, m and l: P / 16 tiles of 16 lines of 64 bytes each. A line of rows is
 * an element, a line of columns a word of 16 elements; k and k + ceil(d / 2) share a word.
 */
import type { Intrinsic, View } from './row.ts'

/** reduced numbers in a step */
export const STEP = 32

/** floats of room for one element's numbers, three halves each, whole steps */
export const splitRoom = (depth: number): number => Math.ceil(depth / STEP) * STEP * 1.5

/** rows and vectors of 16 columns of the tiles that there are, the usual one first */
export const SPLIT_TILES: ReadonlyArray<readonly [rows: number, vectors: number]> = [
  [32, 2],
  [32, 1],
  [16, 2],
]

/** of both rows */
const wordsText = `#ifndef MARK
#define MARK 0x7fff
typedef unsigned vw __attribute__((vector_size(64)));
typedef unsigned vwu __attribute__((vector_size(64), aligned(4), may_alias));
#ifdef __AVX512F__
#define MOST_W(a, b) (vw)__builtin_ia32_pmaxud512_mask((vi)(a), (vi)(b), (vi)(a), (unsigned short)-1)
#define LEAST_W(a, b) (vw)__builtin_ia32_pminud512_mask((vi)(a), (vi)(b), (vi)(a), (unsigned short)-1)
#else
#define MOST_W(a, b) ((vw)(a > b) & a | ~(vw)(a > b) & b)
#define LEAST_W(a, b) ((vw)(a < b) & a | ~(vw)(a < b) & b)
#endif
/* the largest of twice the bits, which drops the sign, and the least of that less 1, which leaves 0 out */
typedef struct { vw most, least; } Span;
#define NOTHING (Span){(vw){0}, (vw){0} - 1}
INLINE void reach(Span *s, vf x) {
  const vw u = (vw)x << 1, v = u - 1;
  s->most = MOST_W(s->most, u), s->least = LEAST_W(s->least, v);
}
/* all are below the limit and not below the low one, 0 apart */
INLINE int is_within(Span s, unsigned limit, unsigned low) {
  unsigned most = 0, least = -1;
  for (int i = 0; i < W; i++) most = s.most[i] > most ? s.most[i] : most, least = s.least[i] < least ? s.least[i] : least;
  return most < 2 * limit && least >= 2 * low - 1;
}
#endif
`

const splitText = `${wordsText}/* to the nearest with eight bits, those of bf16, in the upper half of a word */
INLINE vw bf16_w(vf x) { return ((vw)x + 0x8000u) & 0xffff0000u; }
#define PARTS(x, h, m, l) \\
  const vw h = bf16_w(x); const vf rest_##h = x - (vf)h; const vw m = bf16_w(rest_##h), l = (vw)(rest_##h - (vf)m);
INLINE void put_w(unsigned *to, vw x) { *(vwu *)to = (vwu)x; }
static void transpose16(unsigned *RESTRICT to, const unsigned *RESTRICT from) {
  vw r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = *(const vwu *)(from + 16 * i);
/* lines and lanes that differ in d change places */
#define EXCHANGE(d) { \\
    const vi low = LANES + (((LANES & d) != 0) & (16 - d)); \\
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) if (!(i & d)) { \\
      const vw a = r[i], b = r[i + d]; \\
      r[i] = __builtin_shuffle(a, b, low), r[i + d] = __builtin_shuffle(a, b, low + d); \\
    } \\
  }
  EXCHANGE(8) EXCHANGE(4) EXCHANGE(2) EXCHANGE(1)
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) put_w(to + 16 * i, r[i]);
}
/* two vectors in one: halves of words side by side; the l of what will be marked has more than its upper half */
#define PUT_PARTS(at, apart, x, y) { \\
  PARTS(x, h, m, l) PARTS(y, h1, m1, l1) \\
  put_w(at, h >> 16 | h1), put_w((at) + (apart), m >> 16 | m1), put_w((at) + 2 * (apart), l >> 16 | (l1 & 0xffff0000u)); \\
}
/* 16 elements' 32 numbers, of which there are n and d: three tiles, \`piece\` words apart; k and k + half share a word */
INLINE void split16(Span *span, unsigned *to, long piece, const float *from, int n, int d, long si, long sk, int columns) {
  unsigned turned[3][256] __attribute__((aligned(64)));
  const int turn = (si == 1) != columns;
  unsigned *const w = turn ? turned[0] : to;
  const long apart = turn ? 256 : piece;
  const int half = (d + 1) / 2;
  const long line = si == 1 ? sk : si, other = half * sk;
  if (n == 16 && d == 32 && (si == 1 || sk == 1))
    for (int q = 0; q < 16; q++) {
      const vf x = LOAD(from + q * line), y = LOAD(from + q * line + other);
      reach(span, x), reach(span + 1, y);
      PUT_PARTS(w + 16 * q, apart, x, y)
    }
  else if (si == 1 || sk == 1)
    for (int q = 0; q < 16; q++) {
      const vf x = load_n(from + q * line, si == 1 ? (q < half ? n : 0) : q < n ? half : 0);
      const vf y = load_n(from + q * line + other, si == 1 ? (q + half < d ? n : 0) : q < n ? d - half : 0);
      reach(span, x), reach(span + 1, y);
      PUT_PARTS(w + 16 * q, apart, x, y)
    }
  else
    for (int q = 0; q < 16; q++) {
      float x[16], y[16];
      for (int k = 0; k < 16; k++) {
        x[k] = q < n && k < half ? from[q * si + k * sk] : 0.0f;
        y[k] = q < n && k + half < d ? from[q * si + (k + half) * sk] : 0.0f;
      }
      const vf xs = LOAD(x), ys = LOAD(y);
      reach(span, xs), reach(span + 1, ys);
      PUT_PARTS(w + 16 * q, apart, xs, ys)
    }
  if (turn)
    for (int q = 0; q < 3; q++) transpose16(to + q * piece, turned[q]);
}
static __attribute__((noinline, cold)) void mark(unsigned short *to, const float *from, int p, int valid, long depth, long si, long sk, int columns) {
  for (long k = 0; k < depth; k++)
    for (int i = 0; i < valid; i++) {
      union { float x; unsigned u; } v = {from[i * si + k * sk]};
      const unsigned size = v.u & 0x7fffffffu;
      if (size == 0 || size - 0x0d800000u < 0x7f000000u - 0x0d800000u) continue;
      const int d = depth - k / 32 * 32 < 32 ? (int)(depth - k / 32 * 32) : 32, half = (d + 1) / 2;
      const int upper = k % 32 >= half, q = (int)(k % 32) - (upper ? half : 0);
      const long word = columns ? q * 16 + i % 16 : i % 16 * 16 + q;
      unsigned short *const at = to + k / 32 * p * 96 + i / 16 * 512 + 2 * word + upper;
      at[0] = MARK, at[32 * p] = (unsigned short)(v.u >> 16), at[64 * p] = (unsigned short)v.u;
    }
}
static __attribute__((noinline)) void split(float *RESTRICT to, const float *RESTRICT from, int p, int valid, long depth, long si, long sk, int columns) {
  Span span[2] = {NOTHING, NOTHING};
  for (long k = 0; k < depth; k += 32)
    for (int i = 0; i < p; i += 16) {
      const int n = valid - i < 0 ? 0 : valid - i < 16 ? valid - i : 16, d = depth - k < 32 ? (int)(depth - k) : 32;
      split16(span, (unsigned *)to + k / 32 * p * 48 + 16 * i, 16 * p, from + i * si + k * sk, n, d, si, sk, columns);
    }
  if (!is_within(span[0], 0x7f000000u, 0x0d800000u) || !is_within(span[1], 0x7f000000u, 0x0d800000u)) mark((unsigned short *)to, from, p, valid, depth, si, sk, columns);
}
`

const tilesText = `#ifdef __AMX_BF16__
#define LOAD_TILE(t, p, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(p), "r"((long)(stride)) : "memory");
#define STORE_TILE(t, p, stride) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(p), "r"((long)(stride)) : "memory");
#define ZERO_TILE(t) __asm__ volatile("tilezero %%tmm" #t : :);
#define DOT_TILE(acc, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #acc : :);
/* eight tiles of 16 lines of 64 bytes */
static const unsigned char shapes[64] __attribute__((aligned(64))) = {
  1, [16] = 64, [18] = 64, [20] = 64, [22] = 64, [24] = 64, [26] = 64, [28] = 64, [30] = 64, [48] = 16, 16, 16, 16, 16, 16, 16, 16};
#define TILES_ON __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
#define TILES_OFF __asm__ volatile("tilerelease" : :);
#else
#define TILES_ON
#define TILES_OFF
#endif
/* what was split, marks included: the numbers in the lower halves of words, and those in the upper ones */
INLINE void join_w(float *low, float *high, const unsigned *at, long apart) {
  const vw h = *(const vwu *)at, m = *(const vwu *)(at + apart), l = *(const vwu *)(at + 2 * apart), upper = (vw){0} + 0xffff0000u;
  const vf x = (vf)(h << 16) + ((vf)(m << 16) + (vf)(l << 16)), y = (vf)(h & upper) + ((vf)(m & upper) + (vf)(l & upper));
  STORE(low, pick_w((vi)((h & 0xffffu) == MARK), (vf)(m << 16 | (l & 0xffffu)), x));
  STORE(high, pick_w((vi)((h >> 16) == MARK), (vf)((m & upper) | l >> 16), y));
}
static __attribute__((noinline, cold)) void plainly(const float *a, const float *b, float *acc, int mr, int nr, long depth, long ldc, int accumulate) {
  for (int i = 0; i < mr && !accumulate; i++)
    for (int j = 0; j < nr; j++) acc[i * ldc + j] = 0.0f;
  for (; depth > 0; depth -= 32, a += 48 * mr, b += 48 * nr) {
    float x[32][32], y[32][32];
    for (int i = 0; i < mr; i++) join_w(x[i], x[i] + 16, (const unsigned *)a + 16 * i, 16 * mr);
    for (int q = 0; q < 16; q++)
      for (int j = 0; j < nr; j += 16) join_w(y[q] + j, y[q + 16] + j, (const unsigned *)b + 16 * j + 16 * q, 16 * nr);
    for (int i = 0; i < mr; i++)
      for (int j = 0; j < nr; j += 16) {
        vf sum = LOAD(acc + i * ldc + j);
        for (int k = 0; k < 32; k++) sum += x[i][k] * LOAD(y[k] + j);
        STORE(acc + i * ldc + j, sum);
      }
  }
}
/* every result is finite, and at least 2^-90 */
INLINE int is_settled(const float *s, int mr, int nr, long ld) {
  vw most = {0}, least = ~(vw){0};
  for (int i = 0; i < mr; i++)
    for (int j = 0; j < nr; j += W) {
      const vw u = (vw)LOAD(s + i * ld + j) << 1;
      most = MOST_W(most, u), least = LEAST_W(least, u);
    }
  return is_within((Span){most, least}, 0x7f800000u, 0x12800000u);
}
/* or else it belongs to a row or a column of zeros, and is what was there before */
static __attribute__((noinline, cold)) int is_nothing(const float *a, const float *b, const float *a2, const float *b2, const float *s, int mr, int nr, long depth, long depth2, long ld) {
  vw lines[32] = {0}, columns[2] = {0};
  for (int run = 0; run < 2; run++) {
    const unsigned *x = (const unsigned *)(run ? a2 : a), *y = (const unsigned *)(run ? b2 : b);
    for (long k = run ? depth2 : depth; k > 0; k -= 32, x += 48 * mr, y += 48 * nr) {
      for (int i = 0; i < mr; i++) lines[i] |= *(const vwu *)(x + 16 * i);
      for (int j = 0; j < nr; j += 16)
        for (int q = 0; q < 16; q++) columns[j / 16] |= *(const vwu *)(y + 16 * j + 16 * q);
    }
  }
  unsigned rows[32] = {0};
  for (int i = 0; i < mr; i++)
    for (int q = 0; q < 16; q++) rows[i] |= lines[i][q] & 0x7fff7fffu;
  for (int i = 0; i < mr; i++)
    for (int j = 0; j < nr; j++) {
      const float x = fabsf(s[i * ld + j]);
      if (!(x < __builtin_inff()) || (x < 0x1p-90f && rows[i] != 0 && (columns[j / 16][j % 16] & 0x7fff7fffu) != 0)) return 0;
    }
  return 1;
}
INLINE void settle(const float *s, float *acc, int mr, int nr, long ldc) {
  for (int i = 0; i < mr; i++)
    for (int j = 0; j < nr; j += W) STORE(acc + i * ldc + j, LOAD(s + i * nr + j));
}
`

/** parts of rows and of columns, small products first; a part that stays is not loaded again */
const PRODUCTS = [
  [2, 0],
  [1, 0],
  [1, 1],
  [0, 1],
  [0, 2],
  [0, 0],
] as const

const count = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i)

/**
 * A tile of results: 2 x 2, 2 x 1 or 1 x 2 tiles of accumulators. Fewer than four would wait for each other, so that two
 * sets of them take products in turn and are added at the end. A tile is loaded just before its first product.
 */
const productText = ([mr, columns]: readonly [number, number]): string => {
  const [rows, nr] = [mr / 16, 16 * columns]
  const [tiles, sets] = [rows * columns, rows * columns === 4 ? 1 : 2]
  const left = (part: number, i: number): string =>
    `LOAD_TILE(${String(4 + i)}, a + ${String(1024 * (part * rows + i))}, 64)`
  const right = (part: number, j: number): string =>
    `LOAD_TILE(${String(6 + j)}, b + ${String(1024 * (part * columns + j))}, 64)`
  const products = PRODUCTS.map(([a, b], n) => {
    const dot = (i: number, j: number): string =>
      `DOT_TILE(${String((n % sets) * tiles + i * columns + j)}, ${String(4 + i)}, ${String(6 + j)})`
    const inner =
      n === 0
        ? count(rows).flatMap((i) => [
            left(a, i),
            ...count(columns).flatMap((j) => [...(i === 0 ? [right(b, j)] : []), dot(i, j)]),
          ])
        : a !== PRODUCTS[n - 1]![0]
          ? count(rows).flatMap((i) => [left(a, i), ...count(columns).map((j) => dot(i, j))])
          : count(columns).flatMap((j) => [right(b, j), ...count(rows).map((i) => dot(i, j))])
    return `      ${inner.join(' ')}`
  })
  const each = (op: string, set: number, place: (i: number, j: number) => string): string =>
    count(rows)
      .flatMap((i) => count(columns).map((j) => `${op}(${String(set * tiles + i * columns + j)}${place(i, j)})`))
      .join(' ')
  const inAcc = (i: number, j: number): string => `, acc + ${String(16 * i)} * ldc + ${String(16 * j)}, 4 * ldc`
  const inScratch =
    (set: number) =>
    (i: number, j: number): string =>
      `, s[${String(set)}] + ${String(16 * (i * nr + j))}, ${String(4 * nr)}`
  const size = String(mr * nr)
  return `static __attribute__((noinline)) void mma_split_${String(mr)}_${String(nr)}(const float *x, const float *y, float *acc, const float *x2, const float *y2, long depth, long depth2, long ldc, int accumulate) {
#ifdef __AMX_BF16__
  float s[${String(sets)}][${size}] __attribute__((aligned(64)));
  if (accumulate) { ${each('LOAD_TILE', 0, inAcc)} }
  else { ${each('ZERO_TILE', 0, () => '')} }
${sets === 1 ? '' : `  ${each('ZERO_TILE', 1, () => '')}\n`}  for (int run = 0; run < 2; run++) {
    const char *a = (const char *)(run ? x2 : x), *b = (const char *)(run ? y2 : y);
    for (long k = run ? depth2 : depth; k > 0; k -= 32, a += ${String(192 * mr)}, b += ${String(192 * nr)}) {
${products.join('\n')}
    }
  }
${
  sets === 1
    ? `  if (!accumulate) {
    ${each('STORE_TILE', 0, inAcc)}
    if (is_settled(acc, ${String(mr)}, ${String(nr)}, ldc) || is_nothing(x, y, x2, y2, acc, ${String(mr)}, ${String(nr)}, depth, depth2, ldc)) return;
  } else {
    ${each('STORE_TILE', 0, inScratch(0))}`
    : `  {
    ${count(sets)
      .map((set) => each('STORE_TILE', set, inScratch(set)))
      .join(' ')}
    for (int i = 0; i < ${size}; i += W) STORE(s[0] + i, LOAD(s[0] + i) + LOAD(s[1] + i));`
}
    if (is_settled(s[0], ${String(mr)}, ${String(nr)}, ${String(nr)}) || is_nothing(x, y, x2, y2, s[0], ${String(mr)}, ${String(nr)}, depth, depth2, ${String(nr)})) { settle(s[0], acc, ${String(mr)}, ${String(nr)}, ldc); return; }
  }
#endif
  plainly(x, y, acc, ${String(mr)}, ${String(nr)}, depth, ldc, accumulate);
  plainly(x2, y2, acc, ${String(mr)}, ${String(nr)}, depth2, ldc, 1);
}`
}

const mmaText = `${tilesText}${SPLIT_TILES.map(productText).join('\n')}
#define mma_split(a, b, acc, a2, b2, mr, nr, depth, depth2, ldc, accumulate) \\
  mma_split_##mr##_##nr(a, b, acc, a2, b2, depth, depth2, ldc, accumulate)
`

/** Both rows' meanings take a panel as its elements, k by k, and what is left of its room as zeros. */
export const intrinsicsSplitC: ReadonlyArray<Intrinsic> = [
  {
    name: 'mma_split',
    formula: `acc[i ldc + j] = (accumulate ? acc[i ldc + j] : 0) + sum_k<depth a[k mr + i] b[k nr + j]
      + sum_k<depth2 a2[k mr + i] b2[k nr + j], i < mr, j < nr; a, b, a2, b2 as split makes them`,
    places: [
      { name: 'a', access: 'read' },
      { name: 'b', access: 'read' },
      { name: 'acc', access: 'update' },
      { name: 'a2', access: 'read' },
      { name: 'b2', access: 'read' },
    ],
    ints: ['mr', 'nr', 'depth', 'depth2', 'ldc', 'accumulate'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, b, acc, a2, b2] = places
      const [mr, nr, depth, depth2, ldc, accumulate] = ints
      const sum = (x: View, y: View, i: number, j: number, steps: number): number => {
        let s = 0
        for (let k = 0; k < steps; k++) s += x.get(k * mr! + i) * y.get(k * nr! + j)
        return s
      }
      for (let i = 0; i < mr!; i++)
        for (let j = 0; j < nr!; j++) {
          const before = accumulate === 0 ? 0 : acc!.get(i * ldc! + j)
          acc!.set(i * ldc! + j, before + sum(a!, b!, i, j, depth!) + sum(a2!, b2!, i, j, depth2!))
        }
      // tiles read whole steps
      const touch = (x: View, y: View, steps: number): void => {
        if (steps === 0) return
        x.get(splitRoom(steps) * mr! - 1)
        y.get(splitRoom(steps) * nr! - 1)
      }
      touch(a!, b!, depth!)
      touch(a2!, b2!, depth2!)
    },
    around: { c: { before: 'TILES_ON', after: 'TILES_OFF' } },
    text: { c: `${wordsText}${mmaText}` },
  },
  {
    name: 'split',
    formula:
      'to[k p + i] = i < valid ? from[i si + k sk] : 0, i < p, k < depth, as three bf16 numbers each, k in steps of 32',
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
    ints: ['p', 'valid', 'depth', 'si', 'sk', 'columns'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [to, from] = places
      const [p, valid, depth, si, sk] = ints
      for (let x = 0; x < splitRoom(depth!) * p!; x++) {
        const [k, i] = [Math.floor(x / p!), x % p!]
        to!.set(x, i < valid! && k < depth! ? from!.get(i * si! + k * sk!) : 0)
      }
    },
    text: { c: splitText },
  },
]
