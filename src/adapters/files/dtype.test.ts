import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { STORED_DTYPES } from './dtype.ts'

const ALL = Uint16Array.from({ length: 65536 }, (_, h) => h)

const decodeAll = (dtype: 'F16' | 'BF16'): Float32Array =>
  STORED_DTYPES[dtype].decode(new Uint8Array(ALL.slice().buffer)).data

/** The definition, in doubles: sign, `e` bits of exponent with bias 2^(e-1) - 1, `m` bits of mantissa. */
const meaning = (h: number, e: number, m: number): number => {
  const sign = h >> 15 === 1 ? -1 : 1
  const exponent = (h >> m) % 2 ** e
  const mantissa = h % 2 ** m
  const bias = 2 ** (e - 1) - 1
  if (exponent === 2 ** e - 1) return mantissa === 0 ? sign * Infinity : NaN
  return exponent === 0
    ? sign * mantissa * 2 ** (1 - bias - m)
    : sign * (1 + mantissa / 2 ** m) * 2 ** (exponent - bias)
}

const FORMATS = [
  { dtype: 'F16', e: 5, m: 10 },
  { dtype: 'BF16', e: 8, m: 7 },
] as const

describe.each(FORMATS)('$dtype', ({ dtype, e, m }) => {
  it('decodes all 65536 patterns to their meaning', () => {
    const wrong = [...decodeAll(dtype)].flatMap((v, h) => (Object.is(v, meaning(h, e, m)) ? [] : [h]))
    expect(wrong).toEqual([])
  })

  it('encodes each decoded pattern back to itself, NaN payloads included', () => {
    const back = STORED_DTYPES[dtype].encode(decodeAll(dtype))
    expect([...new Uint16Array(back.buffer)].flatMap((v, h) => (v === h ? [] : [[h, v]]))).toEqual([])
  })

  it('rounds to nearest, ties to even', () => {
    const encode = (x: number): number =>
      new Uint16Array(STORED_DTYPES[dtype].encode(Float32Array.of(x)).buffer)[0] ?? -1
    /** nearest by search: the largest finite pattern at or below |x|, its successor, and the tie's even one */
    const nearest = (x: number): number => {
      const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
      const size = Math.abs(x)
      let low = 0
      let high = (2 ** e - 1) * 2 ** m
      while (high - low > 1) {
        const middle = (low + high) >> 1
        if (meaning(middle, e, m) <= size) low = middle
        else high = middle
      }
      const above = high === (2 ** e - 1) * 2 ** m ? 2 ** (2 ** (e - 1)) : meaning(high, e, m)
      const down = size - meaning(low, e, m)
      const up = above - size
      return sign + (down < up || (down === up && low % 2 === 0) ? low : high)
    }
    const halfway = fc
      .integer({ min: 0, max: (2 ** e - 1) * 2 ** m - 2 })
      .map((h) => Math.fround((meaning(h, e, m) + meaning(h + 1, e, m)) / 2))
    const any = fc.oneof(
      fc.float({ noNaN: true, noDefaultInfinity: true }),
      halfway,
      fc.float({ min: -70000, max: 70000, noNaN: true }),
    )
    fc.assert(
      fc.property(any, fc.boolean(), (size, negative) => {
        const x = negative ? -size : size
        expect([x, encode(x)]).toEqual([x, nearest(x)])
      }),
      { numRuns: 20000 },
    )
    for (const x of [65504, 65519.996, 65520, 2 ** -24, 2 ** -25, 2 ** -25 * 1.001, 3.4028234663852886e38])
      expect([x, encode(Math.fround(x))]).toEqual([x, nearest(Math.fround(x))])
  })

  it('keeps a NaN a NaN whose payload does not fit', () => {
    const bits = new Uint32Array([0x7f800001, 0xff800001, 0x7fc00000])
    const encoded = STORED_DTYPES[dtype].encode(new Float32Array(bits.buffer))
    const decoded = STORED_DTYPES[dtype].decode(new Uint8Array(encoded).slice()).data
    expect([...decoded]).toEqual([NaN, NaN, NaN])
  })
})
