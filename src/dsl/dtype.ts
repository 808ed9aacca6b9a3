/** Element types. The oracle computes all of them in f64; `unitRoundoff` says what a target adds, and `tiny` how far a subnormal is rounded. */

export const dtypes = {
  f32: { kind: 'float', unitRoundoff: 2 ** -24, tiny: 2 ** -150, bytes: 4 },
  f16: { kind: 'float', unitRoundoff: 2 ** -11, tiny: 2 ** -25, bytes: 2 },
  bf16: { kind: 'float', unitRoundoff: 2 ** -8, tiny: 2 ** -134, bytes: 2 },
  i32: { kind: 'int', unitRoundoff: 0, tiny: 0, bytes: 4 },
  u32: { kind: 'int', unitRoundoff: 0, tiny: 0, bytes: 4 },
  bool: { kind: 'bool', unitRoundoff: 0, tiny: 0, bytes: 1 },
} as const satisfies Record<
  string,
  { kind: 'float' | 'int' | 'bool'; unitRoundoff: number; tiny: number; bytes: number }
>

export type DType = keyof typeof dtypes
export type FloatDType = 'f32' | 'f16' | 'bf16'

export const isFloat = (d: DType): d is FloatDType => dtypes[d].kind === 'float'

/**
 * x rounded to `bits` significant bits, ties to even, with subnormals below 2^minExp and overflow to
 * infinity from `max` on.
 */
const roundTo = (x: number, bits: number, minExp: number, max: number): number => {
  if (x === 0 || !Number.isFinite(x)) return x
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), minExp)
  const ulp = 2 ** (exponent - bits + 1)
  const q = x / ulp
  const floor = Math.floor(q)
  const frac = q - floor
  const r = (frac > 0.5 || (frac === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * ulp
  return Math.abs(r) > max ? Math.sign(x) * Infinity : r
}

/** What `cast` to the type means; f32 keeps the f64 value, for its rounding is part of the bound and not of the meaning. */
export const roundToDType: Readonly<Record<DType, (x: number) => number>> = {
  f32: (x) => x,
  f16: (x) => roundTo(x, 11, -14, 65504),
  bf16: (x) => roundTo(x, 8, -126, 3.3895313892515355e38),
  i32: (x) => Math.trunc(x) | 0,
  u32: (x) => Math.trunc(x) >>> 0,
  bool: (x) => (x !== 0 ? 1 : 0),
}
