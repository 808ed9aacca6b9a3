/**
 * The number formats that tensor files hold, one row each. Everything becomes f32 on reading, exactly: a
 * value that f32 can't hold (an integer above 2^24 that is odd, say) is reported, never rounded.
 */

// ------------------------------------------------------------------------------------------- model

export interface StoredDType {
  /** bytes per element */
  readonly bytes: 1 | 2 | 4 | 8
  /** `bytes` must start at the beginning of its buffer; `inexact` is the first element that f32 can't hold */
  readonly decode: (bytes: Uint8Array<ArrayBuffer>) => { readonly data: Float32Array; readonly inexact?: number }
  /** f32 to this format, rounded to nearest, ties to even; absent where the project never writes it */
  readonly encode?: (data: Float32Array) => Uint8Array
}

// ------------------------------------------------------------------------------ 16-bit floating point

const bitsOf = (data: Float32Array): Uint32Array => new Uint32Array(data.buffer, data.byteOffset, data.length)

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)

/**
 * The f32 bits of f16 `h` = sign, 5 bits e, 10 bits m:
 *   e = 0: (-1)^s m 2^-24      0 < e < 31: (-1)^s (1 + m/1024) 2^(e-15)      e = 31: infinity (m = 0) or NaN
 */
const f32BitsOfF16 = (h: number): number => {
  const sign = (h & 0x8000) << 16
  const e = (h >> 10) & 31
  const m = h & 1023
  if (e === 31) return (sign | 0x7f800000 | (m << 13)) >>> 0
  if (e > 0) return (sign | ((e + 112) << 23) | (m << 13)) >>> 0
  return (sign | (bitsOf(Float32Array.of(m * 2 ** -24))[0] ?? 0)) >>> 0
}

/** The f16 nearest to the f32 with bits `x` and absolute value `size`, ties to even; 65520 and above are infinity. */
const f16OfF32 = (x: number, size: number): number => {
  const sign = (x >>> 16) & 0x8000
  const a = x & 0x7fffffff
  if (a > 0x7f800000) return sign | 0x7c00 | ((a >>> 13) & 1023 || 512)
  if (a >= 0x477ff000) return sign | 0x7c00
  if (a < 0x38800000) return sign | (size * 2 ** 24 + 2 ** 52 - 2 ** 52)
  const r = a - 0x38000000
  return sign | ((r + 0xfff + ((r >>> 13) & 1)) >>> 13)
}

/** The bf16 (upper half of an f32) nearest to the f32 with bits `x`, ties to even. */
const bf16OfF32 = (x: number): number => {
  if ((x & 0x7fffffff) > 0x7f800000) return (x & 0x7f0000) === 0 ? (x >>> 16) | 0x40 : x >>> 16
  return (x + 0x7fff + ((x >>> 16) & 1)) >>> 16
}

let tableOfF16: Uint32Array | undefined

const decodeF16 = (bytes: Uint8Array<ArrayBuffer>): Float32Array => {
  tableOfF16 ??= Uint32Array.from({ length: 65536 }, (_, h) => f32BitsOfF16(h))
  const halves = new Uint16Array(bytes.buffer)
  const bits = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) bits[i] = tableOfF16[halves[i] ?? 0] ?? 0
  return new Float32Array(bits.buffer)
}

const decodeBF16 = (bytes: Uint8Array<ArrayBuffer>): Float32Array => {
  const halves = new Uint16Array(bytes.buffer)
  const bits = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16
  return new Float32Array(bits.buffer)
}

const encodeF16 = (data: Float32Array): Uint8Array => {
  const bits = bitsOf(data)
  return bytesOf(Uint16Array.from(data, (v, i) => f16OfF32(bits[i] ?? 0, Math.abs(v))))
}

const encodeBF16 = (data: Float32Array): Uint8Array => {
  const bits = bitsOf(data)
  return bytesOf(Uint16Array.from(bits, bf16OfF32))
}

// -------------------------------------------------------------------------------- everything else

type Numbers = ArrayLike<number> | ArrayLike<bigint>

const sameNumber = (f32: number, stored: number | bigint): boolean =>
  typeof stored === 'bigint' ? BigInt(f32) === stored : Object.is(f32, stored)

const exactly = (numbers: Numbers): ReturnType<StoredDType['decode']> => {
  const data = new Float32Array(numbers.length)
  for (let i = 0; i < numbers.length; i++) {
    const stored = numbers[i] ?? 0
    data[i] = Number(stored)
    if (!sameNumber(data[i] ?? 0, stored)) return { data, inexact: i }
  }
  return { data }
}

/** Safetensors' names for the formats. Multi-byte numbers are little-endian in the file, as on every machine that Node runs on with these typed arrays. */
export const STORED_DTYPES = {
  F32: { bytes: 4, decode: (b) => ({ data: new Float32Array(b.buffer) }), encode: bytesOf },
  F16: { bytes: 2, decode: (b) => ({ data: decodeF16(b) }), encode: encodeF16 },
  BF16: { bytes: 2, decode: (b) => ({ data: decodeBF16(b) }), encode: encodeBF16 },
  F64: { bytes: 8, decode: (b) => exactly(new Float64Array(b.buffer)) },
  I64: { bytes: 8, decode: (b) => exactly(new BigInt64Array(b.buffer)) },
  I32: { bytes: 4, decode: (b) => exactly(new Int32Array(b.buffer)) },
  I16: { bytes: 2, decode: (b) => exactly(new Int16Array(b.buffer)) },
  I8: { bytes: 1, decode: (b) => exactly(new Int8Array(b.buffer)) },
  U64: { bytes: 8, decode: (b) => exactly(new BigUint64Array(b.buffer)) },
  U32: { bytes: 4, decode: (b) => exactly(new Uint32Array(b.buffer)) },
  U16: { bytes: 2, decode: (b) => exactly(new Uint16Array(b.buffer)) },
  U8: { bytes: 1, decode: (b) => exactly(b) },
  BOOL: { bytes: 1, decode: (b) => exactly(b) },
} as const satisfies Readonly<Record<string, StoredDType>>

export type StoredDTypeName = keyof typeof STORED_DTYPES

export const storedDType = (name: StoredDTypeName): StoredDType => STORED_DTYPES[name]
