/**
 * What stands above every generated C file: vectors of W floats, NaN-propagating max and min, and exp and
 * tanh without branches, so that the compiler makes vector code of loops that call them (within the rows' 4 u of f64; a test measures it).
 */
export const prelude = `#include <math.h>
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define LOAD(v, p) (*(const v *)(p))
#define STORE(v, p, x) (*(v *)(p) = (x))
#define RESTRICT __restrict__
/* max and min answer NaN where either argument is NaN, as the oracle does; fmaxf would drop it */
INLINE float larger(float a, float b) { return a > b || a != a ? a : b; }
INLINE float smaller(float a, float b) { return a < b || a != a ? a : b; }
INLINE float signum(float a) { return a != a ? a : (float)((a > 0.0f) - (a < 0.0f)); }
/* whole numbers that were read; what fits no index is outside every one */
INLINE int whole(float x) { return x > -1e9f && x < 1e9f ? (int)x : -1; }
INLINE int clamp(int i, int low, int high) { return i < low ? low : i > high ? high : i; }
INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int floordiv(int a, int n) { return (a >= 0 ? a : a - n + 1) / n; }
/* 2^n for -126 <= n <= 127 */
INLINE float power2(int n) { int i = (n + 127) << 23; float f; __builtin_memcpy(&f, &i, 4); return f; }
/* e^x = 2^n e^r, r = x - n log 2; two factors so that results below the normal range round once;
   below -104 it is 0, and not by way of subnormal numbers, which are slow */
INLINE float exp_f32(float x0) {
  float x = x0 < -104.0f ? 0.0f : x0;
  x = x > 89.0f ? 89.0f : x;
  float n = rintf(x * 1.44269504088896341f);
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  int i = (int)n, h = i >> 1;
  float y = p * power2(h) * power2(i - h);
  return x0 < -104.0f ? 0.0f : y;
}
/* x + x^3 P(x^2) near 0, else 1 - 2/(e^2|x| + 1) with the sign of x */
INLINE float tanh_f32(float x) {
  float a = fabsf(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float near = p * z * x + x;
  float far = copysignf(1.0f - 2.0f / (exp_f32(2.0f * a) + 1.0f), x);
  return a < 0.625f ? near : x != x ? x : far;
}
#define expf exp_f32
#define tanhf tanh_f32
#define VECTORS(v, bits, bytes) \\
  typedef int bits __attribute__((vector_size(bytes), aligned(4), may_alias)); \\
  INLINE v larger_##v(v a, v b) { bits m = (bits)(a > b) | (bits)(a != a); return (v)(((bits)a & m) | ((bits)b & ~m)); } \\
  INLINE v smaller_##v(v a, v b) { bits m = (bits)(a < b) | (bits)(a != a); return (v)(((bits)a & m) | ((bits)b & ~m)); }
VECTORS(v16, b16, 64)
VECTORS(v8, b8, 32)
VECTORS(v4, b4, 16)
#define v16_zero ((v16){0})
#define v8_zero ((v8){0})
#define v4_zero ((v4){0})
INLINE float sum_v16(v16 x) { float s = 0; for (int i = 0; i < 16; i++) s += x[i]; return s; }
INLINE float sum_v8(v8 x) { float s = 0; for (int i = 0; i < 8; i++) s += x[i]; return s; }
INLINE float sum_v4(v4 x) { return (x[0] + x[1]) + (x[2] + x[3]); }
`
