/**
 * Products of float32 matrices on a machine's bf16 tiles (AMX). A float is exactly three bf16 numbers, and six of the
 * nine products of two floats are taken, small ones first, summed in float32:
 *
 *     x = h + m + l,  |m| <= 2^-8 |h|,  |l| <= 2^-16 |h|:      x y ~ h h' + h m' + m h' + m m' + h l' + l h'
 *
 * What is left out is at most 2^-24 |x y|, as much as rounding the product. Numbers for which that does not hold (not
 * finite, 2^127 and more, below 2^-100 and not 0) are marked when they are split; a mark is a NaN, and a tile of results
 * that is not finite, or so small that products may have been flushed to 0, is computed again in plain float32.
 *
 * Steps of k come 32 at a time; a step of a panel of P elements is its h, m and l, each P / 16 tiles of 16 lines of 64
 * bytes: lines of rows are elements with their 32 numbers, lines of columns are pairs of k with 16 elements.
 */
import type { Intrinsic } from './row.ts'

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

const lanes = (n: number, f: (i: number) => number): string =>
  Array.from({ length: n }, (_, i) => String(f(i))).join(', ')

/** of both rows */
const wordsText = `#ifndef MARK
#define MARK 0x7fff
typedef unsigned vw __attribute__((vector_size(64)));
typedef unsigned vwu __attribute__((vector_size(64), aligned(4), may_alias));
typedef unsigned short vs __attribute__((vector_size(64)));
/* not 0, and below 2^-100 or from 2^127 on */
INLINE vw odd_w(vf x) {
  const vw u = (vw)x & 0x7fffffffu;
  return (vw)(u - 0x0d800000u >= 0x7f000000u - 0x0d800000u) & (vw)(u != 0);
}
INLINE int any_w(vw m) {
  unsigned any = 0;
  for (int i = 0; i < W; i++) any |= m[i];
  return any != 0;
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
/* 16 elements' 32 numbers, of which there are n and d: three tiles, \`piece\` words apart; what is odd about them */
INLINE vw split16(unsigned *to, long piece, const float *from, int n, int d, long si, long sk, int columns) {
  unsigned turned[3][256] __attribute__((aligned(64)));
  const int turn = (si == 1) != columns;
  unsigned *const w = turn ? turned[0] : to;
  const long apart = turn ? 256 : piece;
  vw odd = {0};
  if (si == 1)
    for (int k = 0; k < 32; k += 2) {
      const vf x = k < d ? load_n(from + k * sk, n) : (vf){0}, y = k + 1 < d ? load_n(from + (k + 1) * sk, n) : (vf){0};
      PARTS(x, h, m, l)
      PARTS(y, h1, m1, l1)
      odd |= odd_w(x) | odd_w(y);
      put_w(w + 8 * k, h >> 16 | h1), put_w(w + apart + 8 * k, m >> 16 | m1), put_w(w + 2 * apart + 8 * k, l >> 16 | l1);
    }
  else
    for (int i = 0; i < 16; i++) {
      float line[32];
      const float *f = from + i * si;
      if (sk != 1 && i < n) {
        for (int k = 0; k < d; k++) line[k] = f[k * sk];
        f = line;
      }
      const int first = i < n ? d : 0;
      const vf x = load_n(f, first < 16 ? first : 16), y = first > 16 ? load_n(f + 16, first - 16) : (vf){0};
      const vs upper = {${lanes(32, (i) => 2 * i + 1)}};
      PARTS(x, h, m, l)
      PARTS(y, h1, m1, l1)
      odd |= odd_w(x) | odd_w(y);
      put_w(w + 16 * i, (vw)__builtin_shuffle((vs)h, (vs)h1, upper));
      put_w(w + apart + 16 * i, (vw)__builtin_shuffle((vs)m, (vs)m1, upper));
      put_w(w + 2 * apart + 16 * i, (vw)__builtin_shuffle((vs)l, (vs)l1, upper));
    }
  if (turn)
    for (int q = 0; q < 3; q++) transpose16(to + q * piece, turned[q]);
  return odd;
}
static __attribute__((noinline, cold)) void mark(unsigned short *to, const float *from, int p, int valid, long depth, long si, long sk, int columns) {
  for (long k = 0; k < depth; k++)
    for (int i = 0; i < valid; i++) {
      union { float x; unsigned u; } v = {from[i * si + k * sk]};
      const unsigned size = v.u & 0x7fffffffu;
      if (size == 0 || size - 0x0d800000u < 0x7f000000u - 0x0d800000u) continue;
      unsigned short *const at = to + k / 32 * p * 96 + i / 16 * 512 + (columns ? k % 32 / 2 * 32 + i % 16 * 2 + k % 2 : i % 16 * 32 + k % 32);
      at[0] = MARK, at[32 * p] = (unsigned short)(v.u >> 16), at[64 * p] = (unsigned short)v.u;
    }
}
static __attribute__((noinline)) void split(float *RESTRICT to, const float *RESTRICT from, int p, int valid, long depth, long si, long sk, int columns) {
  vw odd = {0};
  for (long k = 0; k < depth; k += 32)
    for (int i = 0; i < p; i += 16) {
      const int n = valid - i < 0 ? 0 : valid - i < 16 ? valid - i : 16, d = depth - k < 32 ? (int)(depth - k) : 32;
      unsigned *const at = (unsigned *)to + k / 32 * p * 48 + 16 * i;
      odd |= split16(at, 16 * p, from + i * si + k * sk, n, d, si, sk, columns);
    }
  if (any_w(odd)) mark((unsigned short *)to, from, p, valid, depth, si, sk, columns);
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
#endif
/* what was split, marks included */
INLINE float joined(const unsigned short *p, long apart) {
  union { unsigned u; float x; } h, m, l;
  if (p[0] == MARK) return h.u = (unsigned)p[apart] << 16 | p[2 * apart], h.x;
  h.u = (unsigned)p[0] << 16, m.u = (unsigned)p[apart] << 16, l.u = (unsigned)p[2 * apart] << 16;
  return h.x + (m.x + l.x);
}
static __attribute__((noinline, cold)) void plainly(const unsigned short *a, const unsigned short *b, float *acc, int mr, int nr, long steps, long ldc, int accumulate) {
  for (int i = 0; i < mr && !accumulate; i++)
    for (int j = 0; j < nr; j++) acc[i * ldc + j] = 0.0f;
  for (; steps > 0; steps--, a += 96 * mr, b += 96 * nr)
    for (int k = 0; k < 32; k++) {
      float x[32], y[32];
      for (int i = 0; i < mr; i++) x[i] = joined(a + i / 16 * 512 + i % 16 * 32 + k, 32 * mr);
      for (int j = 0; j < nr; j++) y[j] = joined(b + j / 16 * 512 + k / 2 * 32 + j % 16 * 2 + k % 2, 32 * nr);
      for (int i = 0; i < mr; i++)
        for (int j = 0; j < nr; j++) acc[i * ldc + j] += x[i] * y[j];
    }
}
/* every result is finite, and 0 or at least 2^-100 */
INLINE int is_settled(const float *s, int n) {
  vw odd = {0};
  for (int i = 0; i < n; i += W) {
    const vw u = (vw)LOAD(s + i) & 0x7fffffffu;
    odd |= (vw)(u - 0x0d800000u >= 0x7f800000u - 0x0d800000u) & (vw)(u != 0);
  }
  return !any_w(odd);
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

/**
 * A tile of results: 2 x 2, 2 x 1 or 1 x 2 tiles of accumulators. Fewer than four would wait for each other, so that two
 * sets of them take products in turn and are added at the end.
 */
const productText = ([mr, columns]: readonly [number, number]): string => {
  const [rows, nr] = [mr / 16, 16 * columns]
  const at = Array.from({ length: rows * columns }, (_, x) => ({ x, i: Math.floor(x / columns), j: x % columns }))
  const sets = at.length === 4 ? 1 : 2
  const acc = (op: string, p: string, ld: string): string =>
    at
      .map(({ x, i, j }) => `${op}(${String(x)}, ${p} + ${String(16 * i)} * ${ld} + ${String(16 * j)}, 4 * ${ld})`)
      .join(' ')
  const zero = (set: number): string => at.map(({ x }) => `ZERO_TILE(${String(set * at.length + x)})`).join(' ')
  const load = (first: number, count: number, from: string, part: number): string =>
    Array.from(
      { length: count },
      (_, i) => `LOAD_TILE(${String(first + i)}, ${from} + ${String(1024 * (part * count + i))}, 64)`,
    ).join(' ')
  const products = PRODUCTS.map(([a, b], n) => {
    const [lastA, lastB] = PRODUCTS[n - 1] ?? []
    const dots = at.map(
      ({ x, i, j }) => `DOT_TILE(${String((n % sets) * at.length + x)}, ${String(4 + i)}, ${String(6 + j)})`,
    )
    return [
      '   ',
      ...(a === lastA ? [] : [load(4, rows, 'a', a)]),
      ...(b === lastB ? [] : [load(6, columns, 'b', b)]),
      ...dots,
    ].join(' ')
  })
  const store = Array.from({ length: sets }, (_, set) =>
    at
      .map(
        ({ x, i, j }) =>
          `STORE_TILE(${String(set * at.length + x)}, s[${String(set)}] + ${String(16 * (i * nr + j))}, ${String(4 * nr)})`,
      )
      .join(' '),
  )
  return `static __attribute__((noinline)) void mma_split_${String(mr)}_${String(nr)}(const float *x, const float *y, float *acc, long depth, long ldc, int accumulate) {
  const long steps = (depth + 31) / 32;
#ifdef __AMX_BF16__
  float s[${String(sets)}][${String(mr * nr)}] __attribute__((aligned(64)));
  const char *a = (const char *)x, *b = (const char *)y;
  TILES_ON
  if (accumulate) { ${acc('LOAD_TILE', 'acc', 'ldc')} }
  else { ${zero(0)} }
${sets === 1 ? '' : `  ${zero(1)}\n`}  for (long k = 0; k < steps; k++, a += ${String(192 * mr)}, b += ${String(192 * nr)}) {
${products.join('\n')}
  }
  ${store.join('\n  ')}
  TILES_OFF
${sets === 1 ? '' : `  for (int i = 0; i < ${String(mr * nr)}; i += W) STORE(s[0] + i, LOAD(s[0] + i) + LOAD(s[1] + i));\n`}  if (is_settled(s[0], ${String(mr * nr)})) {
    settle(s[0], acc, ${String(mr)}, ${String(nr)}, ldc);
    return;
  }
#endif
  plainly((const unsigned short *)x, (const unsigned short *)y, acc, ${String(mr)}, ${String(nr)}, steps, ldc, accumulate);
}`
}

const mmaText = `${tilesText}${SPLIT_TILES.map(productText).join('\n')}
#define mma_split(a, b, acc, mr, nr, depth, ldc, accumulate) mma_split_##mr##_##nr(a, b, acc, depth, ldc, accumulate)
`

/** Both rows' meanings take a panel as its elements, k by k, and what is left of its room as zeros. */
export const intrinsicsSplitC: ReadonlyArray<Intrinsic> = [
  {
    name: 'mma_split',
    formula:
      'acc[i ldc + j] = (accumulate ? acc[i ldc + j] : 0) + sum_k<depth a[k mr + i] b[k nr + j], i < mr, j < nr; a, b split',
    places: [
      { name: 'a', access: 'read' },
      { name: 'b', access: 'read' },
      { name: 'acc', access: 'update' },
    ],
    ints: ['mr', 'nr', 'depth', 'ldc', 'accumulate'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, b, acc] = places
      const [mr, nr, depth, ldc, accumulate] = ints
      for (let i = 0; i < mr!; i++)
        for (let j = 0; j < nr!; j++) {
          let sum = accumulate === 0 ? 0 : acc!.get(i * ldc! + j)
          for (let k = 0; k < depth!; k++) sum += a!.get(k * mr! + i) * b!.get(k * nr! + j)
          acc!.set(i * ldc! + j, sum)
        }
      // the tiles read whole steps
      const last = Math.ceil(depth! / STEP) * STEP - 1
      if (depth! > 0) (a!.get((last + 1) * 1.5 * mr! - 1), b!.get((last + 1) * 1.5 * nr! - 1))
    },
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
