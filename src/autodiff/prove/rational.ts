/** Exact numbers: every f64 is a dyadic rational, so constants of programs are compared without rounding. */

export interface Rational {
  readonly num: bigint
  /** positive, without a common divisor with `num` */
  readonly den: bigint
}

const gcd = (a: bigint, b: bigint): bigint => {
  let [x, y] = [a < 0n ? -a : a, b < 0n ? -b : b]
  while (y !== 0n) [x, y] = [y, x % y]
  return x
}

/** n/d, for d /= 0 */
export const rational = (n: bigint, d = 1n): Rational => {
  const g = gcd(n, d)
  return g === 0n ? { num: 0n, den: 1n } : d < 0n ? { num: -n / g, den: -d / g } : { num: n / g, den: d / g }
}

export const zero = rational(0n)
export const one = rational(1n)

/** The exact value of a finite f64. */
export const exactly = (x: number): Rational => {
  let [m, den] = [x, 1n]
  while (!Number.isInteger(m)) {
    m *= 2
    den *= 2n
  }
  return rational(BigInt(m), den)
}

export const plus = (a: Rational, b: Rational): Rational => rational(a.num * b.den + b.num * a.den, a.den * b.den)
export const times = (a: Rational, b: Rational): Rational => rational(a.num * b.num, a.den * b.den)
export const negate = (a: Rational): Rational => ({ num: -a.num, den: a.den })
/** 1/a, for a /= 0 */
export const invert = (a: Rational): Rational => rational(a.den, a.num)
export const isZero = (a: Rational): boolean => a.num === 0n
export const isInteger = (a: Rational): boolean => a.den === 1n
export const sameRational = (a: Rational, b: Rational): boolean => a.num === b.num && a.den === b.den
/** -1, 0 or 1 */
export const signOf = (a: Rational): number => (a.num > 0n ? 1 : a.num < 0n ? -1 : 0)

/** a^n for an integer n; a /= 0 where n < 0 */
export const power = (a: Rational, n: bigint): Rational =>
  n < 0n ? power(invert(a), -n) : { num: a.num ** n, den: a.den ** n }

export const showRational = (a: Rational): string => (a.den === 1n ? String(a.num) : `${a.num}/${a.den}`)
