/** Device functions that stand above the kernels which use them. No headers: NVRTC has none of its own. */

/** name -> source; NaN is kept where fmaxf and fminf would drop it */
export const deviceFunctions: ReadonlyArray<readonly [string, string]> = [
  ['larger', `static __device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }`],
  ['smaller', `static __device__ __forceinline__ float smaller(float a, float b) { return a < b || a != a ? a : b; }`],
  [
    'signum',
    `static __device__ __forceinline__ float signum(float a) { return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a; }`,
  ],
  ['least', `static __device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }`],
  [
    'clamp',
    `static __device__ __forceinline__ int clamp(int i, int low, int high) {
  return i < low ? low : i > high ? high : i;
}`,
  ],
  [
    'floordiv',
    `static __device__ __forceinline__ int floordiv(int a, int b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }`,
  ],
  [
    'whole',
    `/* what is no int becomes -1, which is outside of every axis */
static __device__ __forceinline__ int whole(float a) { return a >= -2147483648.0f && a < 2147483648.0f ? (int)a : -1; }`,
  ],
  [
    'half_to_float',
    `static __device__ __forceinline__ float half_to_float(unsigned short h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}`,
  ],
  [
    'float_to_half',
    `static __device__ __forceinline__ unsigned short float_to_half(float x) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}`,
  ],
  [
    'bfloat_to_float',
    `static __device__ __forceinline__ float bfloat_to_float(unsigned short h) { return __uint_as_float((unsigned)h << 16); }`,
  ],
  [
    'float_to_bfloat',
    `/* to nearest, ties to even; NaN stays NaN */
static __device__ __forceinline__ unsigned short float_to_bfloat(float x) {
  const unsigned u = __float_as_uint(x);
  return x != x ? 0x7fff : (unsigned short)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}`,
  ],
]

/** The functions that a source calls, those that they call included, in order. */
export const functionsIn = (source: string, table: ReadonlyArray<readonly [string, string]>): ReadonlyArray<string> => {
  const used = new Set<string>()
  const visit = (text: string): void => {
    for (const [name, body] of table)
      if (!used.has(name) && new RegExp(`\\b${name}\\(`).test(text)) {
        used.add(name)
        visit(body)
      }
  }
  visit(source)
  return table.flatMap(([name, body]) => (used.has(name) ? [body] : []))
}
