/** Leaves: input, const, iota, randomBits. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { elements } from '../value.ts'
import type { Primitive } from './row.ts'
import { distinct, misuse } from './typing.ts'

const zeros = (n: number): Float64Array => new Float64Array(n)

export const input: Primitive<'input'> = {
  doc: 'a named argument of the program',
  type: (_, { dims, dtype }) => E.map((ds: typeof dims) => ({ dims: ds, dtype }))(distinct(dims)),
  vjp: () => [],
  // the interpreter puts the caller's value in its place; a program without one does not get here
  meaning: (_, __, out) => zeros(elements(out.dims)).fill(NaN),
  bound: (_, __, out) => zeros(out.data.length),
  flops: () => 0,
  sample: () => ({ args: [], attrs: { name: 'x', dims: [], dtype: 'f32' } }),
}

export const constant: Primitive<'const'> = {
  doc: 'one number, broadcast to whatever meets it',
  type: (_, { dtype }) => E.right({ dims: [], dtype }),
  vjp: () => [],
  meaning: (_, { value }) => Float64Array.of(value),
  // a number that the format does not hold is rounded once
  bound: (_, { value }, out, u) =>
    Float64Array.of(out.dtype === 'f32' && Math.fround(value) === value ? 0 : u * Math.abs(value)),
  flops: () => 0,
  sample: (g) => ({ args: [], attrs: { value: g.pick([0, 1, -2.5, 0.1]), dtype: 'f32' } }),
}

export const iota: Primitive<'iota'> = {
  doc: '0, 1, 2, ... along an axis',
  type: (_, { axis, size }) => E.right({ dims: [{ name: axis, size }], dtype: 'i32' }),
  vjp: () => [],
  meaning: (_, __, out) => zeros(elements(out.dims)).map((_, i) => i),
  bound: (_, __, out) => zeros(out.data.length),
  flops: () => 0,
  sample: (g) => ({ args: [], attrs: { axis: 'i', size: dim(g.size()) } }),
}

/** x rotated left by r, in 32 bits */
const rotl = (x: number, r: number): number => (x << r) | (x >>> (32 - r))

const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const

/**
 * Threefry-2x32 with 20 rounds: a pure function of a 64-bit key and a 64-bit counter.
 * Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
export const threefry = (k0: number, k1: number, c0: number, c1: number): readonly [number, number] => {
  const ks = [k0, k1, 0x1bd11bda ^ k0 ^ k1] as const
  let x0 = (c0 + k0) | 0
  let x1 = (c1 + k1) | 0
  for (let group = 0; group < 5; group++) {
    for (const r of rotations[group % 2 === 0 ? 0 : 1]) {
      x0 = (x0 + x1) | 0
      x1 = rotl(x1, r) ^ x0
    }
    x0 = (x0 + ks[((group + 1) % 3) as 0 | 1 | 2]) | 0
    x1 = (x1 + ks[((group + 2) % 3) as 0 | 1 | 2] + group + 1) | 0
  }
  return [x0 >>> 0, x1 >>> 0]
}

export const randomBits: Primitive<'randomBits'> = {
  doc: '32 random bits an element: Threefry-2x32 of the key (two words) and the element number',
  type: ([key], { dims }) =>
    key !== undefined && key.dtype === 'u32' && key.dims.length === 1 && key.dims[0]?.size.key === '2'
      ? E.map((ds: typeof dims) => ({ dims: ds, dtype: 'u32' as const }))(distinct(dims))
      : E.left(misuse('a key of type u32 with one axis of size 2', key === undefined ? 'nothing' : key.dtype)),
  vjp: () => [null],
  meaning: ([key], _, out) => {
    const data = zeros(elements(out.dims))
    const [k0, k1] = [key?.data[0] ?? 0, key?.data[1] ?? 0]
    for (let i = 0; i < data.length; i += 2) {
      const [a, b] = threefry(k0, k1, i / 2, 0)
      data[i] = a
      if (i + 1 < data.length) data[i + 1] = b
    }
    return data
  },
  bound: (_, __, out) => zeros(out.data.length),
  flops: (_, out) => 60 * elements(out),
  sample: (g) => ({
    args: [{ type: { dims: [{ name: 'word', size: dim(2) }], dtype: 'u32' }, range: [0, 2 ** 32 - 1] }],
    attrs: { dims: [{ name: 'i', size: dim(g.size()) }] },
  }),
}
