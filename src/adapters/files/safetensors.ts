/**
 * The safetensors format: 8 bytes N (little-endian), N bytes of JSON header, then the tensors' bytes.
 *   header = { "__metadata__"?: {text: text}, name: { dtype, shape, data_offsets: [begin, end] } }
 * Nothing in the file is trusted: offsets must tile the data exactly, without overlap or gap, and every length
 * is compared with the file before anything is allocated. Source: the format's own description in the
 * `safetensors` repository.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { writeFileAtomic, type Content } from './atomic.ts'
import { bytesInMemory, withFile, type ByteSource } from './bytes.ts'
import {
  collect,
  decodeJson,
  decodeUtf8,
  failWith,
  intFrom,
  parseJson,
  refined,
  showKey,
  unlessFaults,
} from './codec.ts'
import { STORED_DTYPES, storedDType, type StoredDTypeName } from './dtype.ts'

// ------------------------------------------------------------------------------------------- model

/** A tensor as a file holds it, row-major; `dtype` is the file's, `data` is f32 with exactly the file's values. */
export interface StoredTensor {
  readonly name: string
  readonly dtype: StoredDTypeName
  readonly shape: ReadonlyArray<number>
  readonly data: Float32Array
}

/** What a header says of one tensor; `begin` and `end` are byte offsets in the file. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: StoredDTypeName
  readonly shape: ReadonlyArray<number>
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>
  readonly entries: ReadonlyMap<string, TensorEntry>
}

export interface SafetensorsFile {
  readonly metadata: ReadonlyMap<string, string>
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

// ------------------------------------------------------------------------------------------ header

const MOST_HEADER_BYTES = 100_000_000
const MOST_AXES = 32
const METADATA = '__metadata__'

const Size = intFrom(0)

const DTypeName = refined(
  `a dtype (one of ${Object.keys(STORED_DTYPES).join(', ')})`,
  (u): u is StoredDTypeName => typeof u === 'string' && Object.hasOwn(STORED_DTYPES, u),
)

const Shape = refined(
  `a shape (at most ${MOST_AXES} non-negative integers)`,
  (u): u is ReadonlyArray<number> => Array.isArray(u) && u.length <= MOST_AXES && u.every(Size.is),
)

const Offsets = refined(
  '[begin, end], two non-negative integers',
  (u): u is readonly [number, number] => Array.isArray(u) && u.length === 2 && u.every(Size.is),
)

const Entry = t.type({ dtype: DTypeName, shape: Shape, data_offsets: Offsets }, 'a tensor entry')

const JsonObject = refined(
  'a JSON object',
  (u): u is Readonly<Record<string, unknown>> => typeof u === 'object' && u !== null && !Array.isArray(u),
)

const Metadata = refined(
  'an object of strings',
  (u): u is Readonly<Record<string, string>> =>
    JsonObject.is(u) && Object.values(u).every((v) => typeof v === 'string'),
)

/** The product of the sizes; 0 wherever one is 0, whatever the others are. */
const countOf = (shape: ReadonlyArray<number>): number =>
  shape.includes(0) ? 0 : shape.reduce((n, size) => n * size, 1)

/** One entry against its own claims and the data's extent `[start, size)`. */
const checkEntry = (at: string, name: string, json: unknown, start: number, size: number): Checked<TensorEntry> => {
  const place = `${at}: ${showKey(name)}`
  if (name === '__proto__') return failWith(place, 'a tensor name', 'a name with a meaning in JavaScript')
  return E.flatMap(decodeJson(at, Entry, json, [name]), ({ dtype, shape, data_offsets: [from, to] }) => {
    const bytes = countOf(shape) * storedDType(dtype).bytes
    const dataBytes = size - start
    if (to > dataBytes || from > to) {
      return failWith(
        `${place}.data_offsets`,
        `a range within the file's ${dataBytes} bytes of data`,
        `[${from}, ${to}]`,
      )
    }
    if (bytes !== to - from) {
      return failWith(
        `${place}.shape`,
        `${to - from} bytes, as data_offsets [${from}, ${to}] say`,
        `${dtype} [${shape.join(', ')}], which is ${bytes} bytes`,
      )
    }
    return E.right({ name, dtype, shape, begin: start + from, end: start + to })
  })
}

/** The ranges must follow each other from `start` to `size`. */
const checkTiling = (
  at: string,
  entries: ReadonlyArray<TensorEntry>,
  start: number,
  size: number,
): ReadonlyArray<Fault> => {
  const faults: Fault[] = []
  const ordered = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)
  let end = start
  let before = 'the header'
  for (const e of ordered) {
    if (e.begin !== end) {
      faults.push({
        at: `${at}: ${showKey(e.name)}.data_offsets`,
        expected: `a begin of ${end - start}, where ${before} ends`,
        actual: `${e.begin - start} (${e.begin < end ? 'an overlap' : 'a gap'})`,
      })
    }
    end = Math.max(end, e.end)
    before = showKey(e.name)
  }
  if (end !== size) faults.push({ at, expected: `${end} bytes, as the header says`, actual: `a file of ${size} bytes` })
  return faults
}

const checkHeader = (at: string, json: unknown, start: number, size: number): Checked<SafetensorsHeader> =>
  pipe(
    decodeJson(at, JsonObject, json),
    E.flatMap((header) => {
      const names = Object.keys(header).filter((name) => name !== METADATA)
      const metadata = Object.hasOwn(header, METADATA)
        ? decodeJson(at, Metadata, header[METADATA], [METADATA])
        : E.right({})
      const entries = collect(names.map((name) => checkEntry(at, name, header[name], start, size)))
      return E.flatMap(collect<unknown>([metadata, entries]), () =>
        E.flatMap(entries, (es) =>
          unlessFaults(checkTiling(at, es, start, size), () => ({
            metadata: new Map(E.isRight(metadata) ? Object.entries(metadata.right) : []),
            entries: new Map(es.map((e) => [e.name, e])),
          })),
        ),
      )
    }),
  )

/** The header of a source, checked against the source's size. */
export const readHeader = (source: ByteSource): Checked<SafetensorsHeader> => {
  const { name: at, size } = source
  if (size < 8) return failWith(at, 'at least 8 bytes (the length of the header)', `a file of ${size} bytes`)
  return pipe(
    source.read(0, 8),
    E.flatMap((bytes) => {
      const length = new DataView(bytes.buffer).getBigUint64(0, true)
      const most = Math.min(MOST_HEADER_BYTES, size - 8)
      return length > BigInt(most)
        ? failWith(`${at}: the header's length`, `at most ${most} bytes`, `${length}`)
        : E.right(Number(length))
    }),
    E.flatMap((length) =>
      pipe(
        source.read(8, length),
        E.flatMap((bytes) => decodeUtf8(`${at}: the header`, bytes)),
        E.flatMap((text) => parseJson(`${at}: the header`, text)),
        E.flatMap((json) => checkHeader(at, json, 8 + length, size)),
      ),
    ),
  )
}

/** The header of a file, without its tensors. */
export const readSafetensorsHeader = (file: string): Checked<SafetensorsHeader> => withFile(file, readHeader)

// ------------------------------------------------------------------------------------------ tensors

const readEntry = (source: ByteSource, { name, dtype, shape, begin, end }: TensorEntry): Checked<StoredTensor> =>
  E.flatMap(source.read(begin, end - begin), (bytes) => {
    const { data, inexact } = storedDType(dtype).decode(bytes)
    return inexact === undefined
      ? E.right({ name, dtype, shape, data })
      : failWith(
          `${source.name}: ${showKey(name)}`,
          `${dtype} values that f32 holds exactly`,
          `element ${inexact}, which it does not`,
        )
  })

const readAll = (source: ByteSource, wanted: (name: string) => boolean): Checked<SafetensorsFile> =>
  E.flatMap(readHeader(source), ({ metadata, entries }) =>
    E.map((tensors: ReadonlyArray<StoredTensor>): SafetensorsFile => ({
      metadata,
      tensors: new Map(tensors.map((s) => [s.name, s])),
    }))(collect([...entries.values()].filter((e) => wanted(e.name)).map((e) => readEntry(source, e)))),
  )

/**
 * The tensors of a file, read one range at a time; with `wanted`, only those. Errors: anything in the file that
 * contradicts itself or the file's size, and values that f32 can't hold exactly.
 */
export const readSafetensors = (
  file: string,
  wanted: (name: string) => boolean = () => true,
): Checked<SafetensorsFile> => withFile(file, (source) => readAll(source, wanted))

/** The same for bytes in memory; faults call them `name`. */
export const parseSafetensors = (name: string, bytes: Uint8Array): Checked<SafetensorsFile> =>
  readAll(bytesInMemory(name, bytes), () => true)

// --------------------------------------------------------------------------------------------- write

export interface SafetensorsOptions {
  /** the format of all tensors in the file; else each tensor's own */
  readonly dtype?: 'F32' | 'F16' | 'BF16'
  /** PyTorch's readers want the default, `{"format": "pt"}` */
  readonly metadata?: Readonly<Record<string, string>>
}

interface Placed {
  readonly tensor: StoredTensor
  readonly dtype: StoredDTypeName
  readonly encode: (data: Float32Array) => Uint8Array
  readonly bytes: number
}

const place = (at: string, tensor: StoredTensor, dtype: StoredDTypeName): Checked<Placed> => {
  const where = `${at}: ${showKey(tensor.name)}`
  const { encode, bytes } = storedDType(dtype)
  const count = countOf(tensor.shape)
  if (tensor.name === METADATA || tensor.name === '__proto__')
    return failWith(where, 'a tensor name', 'a reserved name')
  if (encode === undefined) return failWith(where, 'F32, F16 or BF16, the formats that are written', dtype)
  if (count !== tensor.data.length)
    return failWith(where, `${count} values, as shape [${tensor.shape.join(', ')}] says`, `${tensor.data.length}`)
  return E.right({ tensor, dtype, encode, bytes: count * bytes })
}

/** Wide formats first (so that every tensor stays aligned), then by name: the order of the reference writer. */
const byWidthThenName = (a: Placed, b: Placed): number =>
  storedDType(b.dtype).bytes - storedDType(a.dtype).bytes ||
  formatOrder(b.dtype) - formatOrder(a.dtype) ||
  (a.tensor.name < b.tensor.name ? -1 : a.tensor.name > b.tensor.name ? 1 : 0)

/** The reference writer's order among formats of one width: BF16 before F16. */
const formatOrder = (dtype: StoredDTypeName): number => ['F16', 'BF16', 'F32'].indexOf(dtype)

const headerOf = (placed: ReadonlyArray<Placed>, metadata: Readonly<Record<string, string>>): Uint8Array => {
  let end = 0
  const rows = placed.map(({ tensor, dtype, bytes }) => {
    const begin = end
    end += bytes
    return `${JSON.stringify(tensor.name)}:${JSON.stringify({ dtype, shape: tensor.shape, data_offsets: [begin, end] })}`
  })
  const first = Object.keys(metadata).length === 0 ? [] : [`"${METADATA}":${JSON.stringify(metadata)}`]
  const json = new TextEncoder().encode(`{${[...first, ...rows].join(',')}}`)
  const length = Math.ceil(json.length / 8) * 8
  const bytes = new Uint8Array(8 + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(json, 8)
  return bytes
}

function* piecesOf(header: Uint8Array, placed: ReadonlyArray<Placed>): Generator<Uint8Array> {
  yield header
  for (const { tensor, encode } of placed) yield encode(tensor.data)
}

/**
 * A safetensors file as content that is encoded while it is written: header padded to 8 bytes, sorted keys, f16
 * and bf16 rounded to nearest even. `at` names it in faults. Errors: a name that stands twice or is reserved, a
 * shape that doesn't fit the data, a format that is not written.
 */
export const encodeSafetensors = (
  at: string,
  tensors: Iterable<StoredTensor>,
  options: SafetensorsOptions = {},
): Checked<Iterable<Uint8Array>> => {
  const all = [...tensors]
  const seen = new Set<string>()
  const twice = all.flatMap(({ name }): ReadonlyArray<Fault> => {
    const fault = seen.has(name)
      ? [{ at: `${at}: ${showKey(name)}`, expected: 'each name once', actual: 'the name twice' }]
      : []
    seen.add(name)
    return fault
  })
  return pipe(
    unlessFaults(twice, () => all),
    E.flatMap((ts) => collect(ts.map((tensor) => place(at, tensor, options.dtype ?? tensor.dtype)))),
    E.map((ps) => {
      const placed = [...ps].sort(byWidthThenName)
      const header = headerOf(placed, options.metadata ?? { format: 'pt' })
      return { [Symbol.iterator]: () => piecesOf(header, placed) }
    }),
  )
}

/** Writes a safetensors file, whole or not at all. Errors: as `encodeSafetensors` and `writeFileAtomic`. */
export const writeSafetensors = (
  file: string,
  tensors: Iterable<StoredTensor>,
  options: SafetensorsOptions = {},
): Checked<void> =>
  E.flatMap(encodeSafetensors(file, tensors, options), (content: Content) => writeFileAtomic(file, content))
