/**
 * What stands above every generated C file. Vectors of W floats: loads and stores of the first n lanes, max and min
 * that keep NaN, masks, and exp and tanh without branches (within the rows' 4 u of f64; a test measures it); a scalar
 * exp is the first lane of the vector one, so that both give the same bits.
 */
const lanes = (width: number, f: (i: number) => number): string =>
  Array.from({ length: width }, (_, i) => String(f(i))).join(', ')

/** sums and extremes across lanes, halving */
const acrossLanes = (width: number): string => {
  const steps: string[] = []
  for (let n = width / 2; n >= 1; n /= 2)
    steps.push(`  x = STEP(x, SHUFFLE(x, ${lanes(width, (i) => (i + n) % width)}));`)
  return ['sum', 'max', 'min']
    .map((fn) => {
      const step =
        fn === 'sum'
          ? (a: string, b: string) => `${a} + ${b}`
          : (a: string, b: string) => `${fn === 'max' ? 'larger' : 'smaller'}_w(${a}, ${b})`
      const body = steps.map((s) => s.replace(/STEP\(x, (.*)\);$/, (_, b: string) => `${step('x', b)};`))
      return `INLINE float ${fn}_w(vf x) {\n${body.join('\n')}\n  return x[0];\n}`
    })
    .join('\n')
}

/** libm functions that have no vector code of their own */
const LANE_BY_LANE = ['sqrt', 'log', 'log1p', 'expm1', 'sin', 'cos', 'erf', 'floor', 'rint', 'trunc']

/** `width`: 16, 8 or 4 floats */
export const vectorPrelude = (width: number): string => `#include <math.h>
#define W ${String(width)}
typedef float vf __attribute__((vector_size(4 * W)));
typedef int vi __attribute__((vector_size(4 * W)));
typedef float vu __attribute__((vector_size(4 * W), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__
#define LOAD(p) ((vf)*(const vu *)(p))
#define STORE(p, x) (*(vu *)(p) = (vu)(x))
#ifdef __clang__
#define SHUFFLE(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define SHUFFLE(x, ...) __builtin_shuffle(x, (vi){__VA_ARGS__})
#endif
#if W == 16 && defined(__AVX512DQ__) && !defined(__clang__)
#define MASKS
#define ALL_LANES (unsigned short)-1
#endif
static const vi LANES = {${lanes(width, (i) => i)}};
INLINE vf bc(float s) { return s - (vf){0}; }
INLINE vf float_w(vi x) { return __builtin_convertvector(x, vf); }
INLINE vf pick_w(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
INLINE vf flag_w(vi m) { return (vf)(m & (vi)bc(1.0f)); }
/* x / s by the reciprocal of s, corrected by the remainder, which costs a fifth of a division; divided where that could overflow */
INLINE vf over_w(vf x, float s) {
  const float r = 1.0f / s;
  if (!(fabsf(r) > 1e-30f && fabsf(r) < 1e30f)) return x / s;
  const vf q = x * r, e = x - q * s;
#ifdef MASKS
  return (vf)__builtin_ia32_blendmps_512_mask(q + e * r, q, __builtin_ia32_fpclassps512_mask(e, 0x99, ALL_LANES)); /* infinite or NaN */
#else
  return pick_w((vi)(e - e == 0.0f), q + e * r, q);
#endif
}
/* the first n lanes, 0 <= n <= W; the others are 0 */
#ifdef MASKS
INLINE vf load_n(const float *p, int n) { return (vf)__builtin_ia32_loadups512_mask(p, (vf){0}, (unsigned short)((1u << n) - 1)); }
INLINE void store_n(float *p, vf x, int n) { __builtin_ia32_storeups512_mask(p, x, (unsigned short)((1u << n) - 1)); }
#else
INLINE vf load_n(const float *p, int n) {
  if (n == W) return LOAD(p);
  float t[W] = {0};
  for (int i = 0; i < n; i++) t[i] = p[i];
  return LOAD(t);
}
INLINE void store_n(float *p, vf x, int n) {
  if (n == W) { STORE(p, x); return; }
  for (int i = 0; i < n; i++) p[i] = x[i];
}
#endif
INLINE vf keep_w(vf x, int n, float rest) { return pick_w((vi)(LANES < ((vi){0} + n)), x, bc(rest)); }
/* max and min answer NaN where either argument is NaN, as the oracle does; fmaxf would drop it */
INLINE float larger(float a, float b) { return a > b || a != a ? a : b; }
INLINE float smaller(float a, float b) { return a < b || a != a ? a : b; }
#ifdef MASKS
/* the machine's answers its second operand where one is NaN; b is looked at beside it, so that a running maximum waits for little */
INLINE vf unless_nan(vf x, vf b) { return (vf)__builtin_ia32_blendmps_512_mask(x, b, __builtin_ia32_cmpps512_mask(b, b, 3, ALL_LANES, 4)); }
INLINE vf larger_w(vf a, vf b) { return unless_nan((vf)__builtin_ia32_maxps512_mask(b, a, (vf){0}, ALL_LANES, 4), b); }
INLINE vf smaller_w(vf a, vf b) { return unless_nan((vf)__builtin_ia32_minps512_mask(b, a, (vf){0}, ALL_LANES, 4), b); }
#else
INLINE vf larger_w(vf a, vf b) { return pick_w((vi)(a > b) | (vi)(a != a), a, b); }
INLINE vf smaller_w(vf a, vf b) { return pick_w((vi)(a < b) | (vi)(a != a), a, b); }
#endif
INLINE float signum(float a) { return a != a ? a : (float)((a > 0.0f) - (a < 0.0f)); }
INLINE vf sign_w(vf a) { return pick_w((vi)(a != a), a, flag_w((vi)(a > 0.0f)) - flag_w((vi)(a < 0.0f))); }
INLINE vf abs_w(vf a) { return (vf)((vi)a & 0x7fffffff); }
${acrossLanes(width)}
/* whole numbers that were read; what fits no index is outside every one */
INLINE int whole(float x) { return x > -1e9f && x < 1e9f ? (int)x : -1; }
INLINE long clamp(long i, long low, long high) { return i < low ? low : i > high ? high : i; }
INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long floordiv(long a, long n) { return (a >= 0 ? a : a - n + 1) / n; }
/* what e^x asks of x: at most 89, NaN stays; and 2^n p for whole n, rounded once below the normal range */
#ifdef MASKS
INLINE vf exponent_w(vf x, vi low) { return (vf)__builtin_ia32_minps512_mask(bc(89.0f), x, (vf){0}, ALL_LANES, 4); }
INLINE vf scale_w(vf p, vf n) { return (vf)__builtin_ia32_scalefps512_mask(p, n, (vf){0}, ALL_LANES, 4); }
#else
INLINE vf exponent_w(vf x, vi low) { return pick_w(low, (vf){0}, pick_w((vi)(x > 89.0f), bc(89.0f), x)); }
INLINE vf scale_w(vf p, vf n) {
  vi i = __builtin_convertvector(n, vi), h = i >> 1;
  return p * (vf)((h + 127) << 23) * (vf)((i - h + 127) << 23);
}
#endif
/* e^x = 2^n e^r, r = x - n log 2; below -104 it is 0, and not by way of subnormal numbers, which are slow */
INLINE vf exp_w(vf x0) {
  vi low = (vi)(x0 < -104.0f);
  vf x = exponent_w(x0, low);
  vf n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf p = bc(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return pick_w(low, (vf){0}, scale_w(p, n));
}
/* x + x^3 P(x^2) near 0, else 1 - 2/(e^2|x| + 1) with the sign of x */
INLINE vf tanh_w(vf x) {
  vf a = abs_w(x), z = x * x;
  vf p = bc(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  vf near = p * z * x + x;
  vf far = 1.0f - 2.0f / (exp_w(2.0f * a) + 1.0f);
  far = (vf)((vi)far | ((vi)x & (int)0x80000000));
  return pick_w((vi)(a < 0.625f), near, pick_w((vi)(x != x), x, far));
}
INLINE float exp_f32(float x) { return exp_w(bc(x))[0]; }
INLINE float tanh_f32(float x) { return tanh_w(bc(x))[0]; }
#define expf exp_f32
#define tanhf tanh_f32
#define LANE_BY_LANE(name) INLINE vf name##_w(vf x) { float t[W]; STORE(t, x); for (int i = 0; i < W; i++) t[i] = name##f(t[i]); return LOAD(t); }
${LANE_BY_LANE.map((f) => `LANE_BY_LANE(${f})`).join('\n')}
INLINE vf pow_w(vf x, vf y) { vf z = x; for (int i = 0; i < W; i++) z[i] = powf(x[i], y[i]); return z; }
`
