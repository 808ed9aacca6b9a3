import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, describe, expect, it } from 'vitest'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import {
  encodeSafetensors,
  parseSafetensors,
  readSafetensors,
  writeSafetensors,
  type StoredTensor,
} from './safetensors.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const right = <A>(checked: Checked<A>): A => {
  if (E.isLeft(checked)) expect.fail(showFaults(checked.left))
  return checked.right
}

const bytesOf = (tensors: ReadonlyArray<StoredTensor>): Uint8Array =>
  Buffer.concat([...right(encodeSafetensors('x', tensors))])

const same = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((v, i) => Object.is(v, b[i]))

const arbitraryTensor: fc.Arbitrary<Omit<StoredTensor, 'name'>> = fc
  .array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 })
  .chain((shape) => {
    const count = shape.reduce((n, size) => n * size, 1)
    return fc.record({
      dtype: fc.constant('F32' as const),
      shape: fc.constant(shape),
      data: fc.float32Array({ minLength: count, maxLength: count }),
    })
  })

const arbitraryTensors: fc.Arbitrary<ReadonlyArray<StoredTensor>> = fc
  .dictionary(
    fc.string({ unit: 'grapheme', maxLength: 12 }).filter((name) => name !== '__metadata__' && name !== '__proto__'),
    arbitraryTensor,
    { maxKeys: 6 },
  )
  .map((record) => Object.entries(record).map(([name, tensor]) => ({ name, ...tensor })))

describe('safetensors round trip', () => {
  it('reads what it writes, bit for bit', () => {
    fc.assert(
      fc.property(arbitraryTensors, (tensors) => {
        const { tensors: read, metadata } = right(parseSafetensors('x', bytesOf(tensors)))
        expect(metadata).toEqual(new Map([['format', 'pt']]))
        expect(read.size).toBe(tensors.length)
        for (const written of tensors) {
          const got = read.get(written.name)
          expect(got?.shape).toEqual(written.shape)
          expect(got !== undefined && same(got.data, written.data)).toBe(true)
        }
      }),
    )
  })

  it('reads what it writes through a file, and only the wanted tensors', () => {
    const file = join(folder, 'round.safetensors')
    const tensors: ReadonlyArray<StoredTensor> = ['a', 'b', 'c'].map((name, i) => ({
      name,
      dtype: 'F32',
      shape: [2, 2],
      data: Float32Array.of(i, -i, i / 3, NaN),
    }))
    right(writeSafetensors(file, tensors))
    const { tensors: read } = right(readSafetensors(file, (name) => name !== 'b'))
    expect([...read.keys()]).toEqual(['a', 'c'])
    expect(same(read.get('c')?.data ?? new Float32Array(), tensors[2]?.data ?? new Float32Array())).toBe(true)
  })

  it('keeps the header aligned to 8 bytes and the keys sorted, wide formats first', () => {
    const tensor = (name: string, dtype: 'F32' | 'F16' | 'BF16'): StoredTensor => ({
      name,
      dtype,
      shape: [1],
      data: Float32Array.of(1),
    })
    const bytes = bytesOf([
      tensor('z', 'F16'),
      tensor('b', 'F32'),
      tensor('y', 'BF16'),
      tensor('a', 'F32'),
      tensor('c', 'F16'),
    ])
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
    expect(length % 8).toBe(0)
    const keys = Object.keys(JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString()) as object)
    expect(keys).toEqual(['__metadata__', 'a', 'b', 'y', 'c', 'z'])
  })

  it('refuses what it cannot write', () => {
    const tensor: StoredTensor = { name: 'a', dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) }
    const cases: ReadonlyArray<readonly [string, ReadonlyArray<StoredTensor>]> = [
      ['x: a: expected 3 values', [{ ...tensor, shape: [3] }]],
      ['x: a: expected each name once', [tensor, tensor]],
      ['x: __metadata__: expected a tensor name', [{ ...tensor, name: '__metadata__' }]],
      ['x: a: expected F32, F16 or BF16', [{ ...tensor, dtype: 'I64' }]],
    ]
    for (const [message, tensors] of cases) {
      const written = encodeSafetensors('x', tensors)
      expect(E.isLeft(written) ? showFaults(written.left) : 'written').toContain(message)
    }
  })
})

// -------------------------------------------------------------------------------- hostile files

interface Header {
  readonly [name: string]: unknown
}

const file = (header: Header | string | Uint8Array, dataBytes: number, length?: bigint): Uint8Array => {
  const json =
    typeof header === 'string'
      ? Buffer.from(header)
      : header instanceof Uint8Array
        ? header
        : Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(length ?? BigInt(json.length))
  return Buffer.concat([size, json, Buffer.alloc(dataBytes)])
}

const entry = (shape: unknown = [2], offsets: unknown = [0, 8], dtype: unknown = 'F32'): unknown => ({
  dtype,
  shape,
  data_offsets: offsets,
})

/** [what is wrong, the file, what the message must name] */
const HOSTILE: ReadonlyArray<readonly [string, Uint8Array, string]> = [
  ['an empty file', new Uint8Array(0), 'expected at least 8 bytes'],
  ['7 bytes', new Uint8Array(7), 'a file of 7 bytes'],
  ['a header longer than the file', file('{}', 0, 3n), "the header's length"],
  ['a header of 2^63 bytes', file('{}', 0, 2n ** 63n), "the header's length"],
  ['a header of 2^64 - 1 bytes', file('{}', 0, 2n ** 64n - 1n), '18446744073709551615'],
  ['a header of 0 bytes', file('', 0), 'valid JSON'],
  ['a header that ends early', file('{"a":{"dtype":"F32"', 8), 'the header: expected valid JSON'],
  ['a header that is no UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d), 0), 'UTF-8'],
  ['a header that is an array', file('[]', 0), 'a JSON object'],
  ['a header that is null', file('null', 0), 'a JSON object'],
  ['a million open brackets', file('['.repeat(1_000_000), 0), 'valid JSON'],
  [
    'a name that stands twice',
    file(`{"a":${JSON.stringify(entry())},"a":${JSON.stringify(entry())}}`, 8),
    'x: the header: a: expected each key once',
  ],
  [
    'a name that stands twice, once escaped',
    file(`{"a":${JSON.stringify(entry())},"\\u0061":${JSON.stringify(entry())}}`, 8),
    'a: expected each key once',
  ],
  [
    'a field that stands twice',
    file('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    'a.dtype: expected each key once',
  ],
  ['an entry called __proto__', file(`{"__proto__":${JSON.stringify(entry())}}`, 8), 'x: __proto__'],
  ['fields hidden in __proto__', file(`{"a":{"__proto__":${JSON.stringify(entry())}}}`, 8), 'x: a.dtype'],
  ['an entry that is a number', file({ a: 3 }, 8), 'x: a'],
  ['an entry without a dtype', file({ a: { shape: [2], data_offsets: [0, 8] } }, 8), 'x: a.dtype: expected a dtype'],
  ['a dtype called toString', file({ a: entry([2], [0, 8], 'toString') }, 8), 'x: a.dtype'],
  ['a dtype that is not read', file({ a: entry([8], [0, 8], 'F8_E4M3') }, 8), '"F8_E4M3"'],
  ['a negative size', file({ a: entry([-2], [0, 8]) }, 8), 'x: a.shape'],
  ['a fractional size', file({ a: entry([0.5], [0, 2]) }, 2), 'x: a.shape'],
  [
    'a size beyond 2^53',
    file('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}', 8),
    'x: a.shape',
  ],
  ['sizes whose product overflows', file({ a: entry([2 ** 40, 2 ** 40, 2 ** 40], [0, 8]) }, 8), 'x: a.shape'],
  ['sizes whose product is infinite', file({ a: entry(Array<number>(32).fill(2 ** 52), [0, 8]) }, 8), 'x: a.shape'],
  ['a shape of 100,000 axes', file({ a: entry(Array<number>(100_000).fill(1), [0, 4]) }, 4), 'x: a.shape'],
  ['a shape that is a string', file({ a: entry('2') }, 8), 'x: a.shape'],
  ['a shape that does not fit its range', file({ a: entry([3]) }, 8), 'x: a.shape: expected 8 bytes'],
  ['a shape smaller than its range', file({ a: entry([1]) }, 8), 'x: a.shape: expected 8 bytes'],
  ['offsets beyond the file', file({ a: entry([4], [0, 16]) }, 8), 'x: a.data_offsets'],
  [
    'offsets beyond 2^53',
    file('{"a":{"dtype":"F32","shape":[2],"data_offsets":[9007199254740993,9007199254741001]}}', 8),
    'x: a.data_offsets',
  ],
  ['a range that runs backwards', file({ a: entry([2], [8, 0]) }, 8), 'x: a.data_offsets'],
  ['three offsets', file({ a: entry([2], [0, 8, 9]) }, 8), 'x: a.data_offsets'],
  ['an overlap', file({ a: entry(), b: entry([2], [4, 12]) }, 12), 'x: b.data_offsets'],
  ['a range used twice', file({ a: entry(), b: entry() }, 8), 'x: b.data_offsets'],
  ['a gap', file({ a: entry(), b: entry([1], [12, 16]) }, 16), 'a gap'],
  ['a gap at the start', file({ a: entry([1], [4, 8]) }, 8), 'x: a.data_offsets'],
  ['bytes after the last tensor', file({ a: entry() }, 9), 'x: expected'],
  ['metadata that is no object', file({ __metadata__: 'pt', a: entry() }, 8), 'x: __metadata__'],
  ['metadata that is no text', file({ __metadata__: { format: 1 }, a: entry() }, 8), 'x: __metadata__'],
  ['a name with control characters', file({ '\u001b[2J': entry([3]) }, 8), 'x: \\u001b[2J.shape'],
]

describe('hostile safetensors', () => {
  it.each(HOSTILE)('%s', (_, bytes, message) => {
    const before = process.memoryUsage().arrayBuffers
    const parsed = parseSafetensors('x', bytes)
    const text = E.isLeft(parsed) ? showFaults(parsed.left) : 'read without a fault'
    expect(text).toContain(message)
    expect(text).toContain('x')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64e6)
  })

  it('reports all bad entries at once, but not a million', () => {
    const parsed = parseSafetensors('x', file({ a: entry([3]), b: entry([4]) }, 8))
    expect(E.isLeft(parsed) && parsed.left.length).toBe(2)
    const many = parseSafetensors(
      'x',
      file(Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`t${i}`, 0])), 8),
    )
    expect(E.isLeft(many) && many.left.length).toBe(21)
    expect(E.isLeft(many) && showFaults(many.left)).toContain('more of this kind')
  })

  it('never throws on a flipped byte or a truncation', () => {
    const good = bytesOf([
      { name: 'a', dtype: 'F32', shape: [2, 3], data: new Float32Array(6) },
      { name: 'b', dtype: 'BF16', shape: [], data: new Float32Array(1) },
    ])
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, value, keep) => {
        const bad = Uint8Array.from(good).subarray(0, keep)
        if (at < keep) bad[at] = value
        const parsed = parseSafetensors('x', bad)
        expect(keep === good.length || E.isLeft(parsed)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('names the file that is missing, a folder, or truncated', () => {
    const missing = readSafetensors(join(folder, 'nowhere.safetensors'))
    expect(E.isLeft(missing) && showFaults(missing.left)).toMatch(
      /nowhere\.safetensors: expected a readable file, found no such file/,
    )
    const directory = readSafetensors(folder)
    expect(E.isLeft(directory) && showFaults(directory.left)).toContain('expected a regular file')
    const short = join(folder, 'short.safetensors')
    writeFileSync(short, bytesOf([{ name: 'a', dtype: 'F32', shape: [100], data: new Float32Array(100) }]))
    truncateSync(short, 300)
    const truncated = readSafetensors(short)
    expect(E.isLeft(truncated) && showFaults(truncated.left)).toMatch(
      /short\.safetensors: a\.data_offsets: expected a range within the file's \d+ bytes/,
    )
  })

  it('refuses integers and doubles that f32 cannot hold', () => {
    const bytes = file({ a: entry([1], [0, 8], 'I64') }, 8)
    new DataView(bytes.buffer, bytes.byteOffset).setBigInt64(bytes.length - 8, 16_777_217n, true)
    const parsed = parseSafetensors('x', bytes)
    expect(E.isLeft(parsed) && showFaults(parsed.left)).toBe(
      'x: a: expected I64 values that f32 holds exactly, found element 0, which it does not',
    )
    new DataView(bytes.buffer, bytes.byteOffset).setBigInt64(bytes.length - 8, -16_777_216n, true)
    expect(right(parseSafetensors('x', bytes)).tensors.get('a')?.data[0]).toBe(-16_777_216)
  })

  it('leaves nothing behind where writing fails', () => {
    const blocked = join(folder, 'plain')
    writeFileSync(blocked, 'a file, not a folder')
    const written = writeSafetensors(join(blocked, 'm.safetensors'), [
      { name: 'a', dtype: 'F32', shape: [1], data: new Float32Array(1) },
    ])
    expect(E.isLeft(written) && showFaults(written.left)).toContain('m.safetensors: expected')
    expect(readFileSync(blocked, 'utf8')).toBe('a file, not a folder')
    expect(existsSync(join(blocked, 'm.safetensors'))).toBe(false)
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})
