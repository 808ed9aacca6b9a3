/**
 * What machine code for an NVIDIA GPU asks for, read from the file itself: registers, stack, shared memory and where
 * every parameter lies. A cubin is an ELF file for machine 190; the facts are in its `.nv.info` sections, which are
 * records of (format, attribute, size, value). Lengths in the file are never trusted: each read is checked.
 */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked, Fault } from '../../dsl/fault.ts'

// ---------------------------------------------------------------------------------------- model

export interface CubinParameter {
  readonly ordinal: number
  /** bytes from the first parameter */
  readonly offset: number
  readonly size: number
}

export interface CubinKernel {
  readonly name: string
  readonly registers: number
  /** bytes of stack a thread: more than 0 where registers spill or a local array is indexed */
  readonly frame: number
  /** bytes of static shared memory a block, as declared */
  readonly shared: number
  readonly parameters: ReadonlyArray<CubinParameter>
  /** bytes of parameters, and where they begin in constant bank 0 */
  readonly parameterBytes: number
  readonly parameterBase: number
  /** threads a block, by the launch bounds; 0 where there are none */
  readonly maxThreads: number
  /** bytes of machine code */
  readonly code: number
}

export interface Cubin {
  /** 80 for sm_80 */
  readonly arch: number
  readonly kernels: ReadonlyArray<CubinKernel>
}

interface Section {
  readonly name: string
  readonly type: number
  readonly offset: number
  readonly size: number
  readonly link: number
}

interface Item {
  readonly attribute: number
  readonly value: DataView
}

/** ELF's own numbers */
const MAGIC = 0x7f454c46
const CUDA = 190
const HEADER = 64
const SECTION = 64
const SYMBOL = 24
const SYMTAB = 2
const NOBITS = 8

/** attributes of `.nv.info` */
const FRAME_SIZE = 0x11
const REGISTER_COUNT = 0x2f
const MAX_THREADS = 0x05
const PARAMETER_BANK = 0x0a
const PARAMETER = 0x17
/** the format whose 16-bit field is a length, with that many bytes after it; in the others it is the value */
const SIZED = 4

/** From sm_90 on every block's shared memory begins with a KiB of the system's own, which its section includes. */
const RESERVED = 1024
const RESERVES_FROM = 90

// ------------------------------------------------------------------------------- checked reading

/** A parser's whole state is where it reads; a fault ends it by this one throw, caught in `readCubin`. */
class Malformed extends Error {
  readonly fault: Fault
  constructor(fault: Fault) {
    super(fault.expected)
    this.fault = fault
  }
}

const fail = (at: string, expected: string, actual: string): never => {
  throw new Malformed({ at, expected, actual })
}

/** `length` bytes from `offset` of a view, if it has them. */
const cut = (at: string, d: DataView, offset: number, length: number): DataView =>
  offset + length <= d.byteLength
    ? new DataView(d.buffer, d.byteOffset + offset, length)
    : fail(at, `${String(length)} bytes at byte ${String(offset)}`, `${String(d.byteLength)} bytes`)

const u16 = (at: string, d: DataView, offset: number): number => cut(at, d, offset, 2).getUint16(0, true)
const u32 = (at: string, d: DataView, offset: number): number => cut(at, d, offset, 4).getUint32(0, true)
const u64 = (at: string, d: DataView, offset: number): number => {
  const n = cut(at, d, offset, 8).getBigUint64(0, true)
  return n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : fail(at, 'an offset or a size', `0x${n.toString(16)}`)
}

/** names are short: a table that says otherwise must not cost more than its file */
const LONGEST_NAME = 4096

/** the text up to the next zero byte */
const textAt = (at: string, d: DataView, offset: number): string => {
  const bytes = new Uint8Array(d.buffer, d.byteOffset, d.byteLength).subarray(offset, offset + LONGEST_NAME)
  const end = bytes.indexOf(0)
  return end < 0
    ? fail(at, `a name at byte ${String(offset)}`, `${String(d.byteLength)} bytes without its end`)
    : new TextDecoder().decode(bytes.subarray(0, end))
}

// --------------------------------------------------------------------------------------- reading

const sectionsOf = (at: string, d: DataView): ReadonlyArray<Section> => {
  const [table, entry, count, names] = [u64(at, d, 40), u16(at, d, 58), u16(at, d, 60), u16(at, d, 62)] as const
  if (entry !== SECTION) fail(at, `section headers of ${String(SECTION)} bytes`, String(entry))
  const headers = cut(`${at}: section headers`, d, table, count * SECTION)
  const read = (i: number): Omit<Section, 'name'> & { readonly label: number } => {
    const where = `${at}: section ${String(i)}`
    return {
      label: u32(where, headers, i * SECTION),
      type: u32(where, headers, i * SECTION + 4),
      offset: u64(where, headers, i * SECTION + 24),
      size: u64(where, headers, i * SECTION + 32),
      link: u32(where, headers, i * SECTION + 40),
    }
  }
  const raw = Array.from({ length: count }, (_, i) => read(i))
  const strings = raw[names] ?? fail(at, 'a section of names', `section ${String(names)} of ${String(count)}`)
  const text = cut(`${at}: names`, d, strings.offset, strings.size)
  return raw.map(({ label, ...s }) => ({ ...s, name: textAt(`${at}: names`, text, label) }))
}

const contentOf = (at: string, d: DataView, s: Section): DataView =>
  s.type === NOBITS
    ? fail(`${at}: ${s.name}`, 'a section with bytes', 'one without')
    : cut(`${at}: ${s.name}`, d, s.offset, s.size)

/** Names of the symbols, by their numbers. */
const symbolsOf = (at: string, d: DataView, sections: ReadonlyArray<Section>): ReadonlyArray<string> => {
  const table = sections.find((s) => s.type === SYMTAB)
  if (table === undefined) return []
  const strings = sections[table.link] ?? fail(`${at}: symbols`, 'a section of names', `section ${String(table.link)}`)
  const [symbols, text] = [contentOf(at, d, table), contentOf(at, d, strings)]
  return Array.from({ length: Math.floor(symbols.byteLength / SYMBOL) }, (_, i) =>
    textAt(`${at}: symbols`, text, u32(`${at}: symbols`, symbols, i * SYMBOL)),
  )
}

/** The records of an `.nv.info` section. */
const itemsOf = (at: string, content: DataView): ReadonlyArray<Item> => {
  const items: Item[] = []
  for (let p = 0; p < content.byteLength;) {
    const head = cut(at, content, p, 4)
    const [format, attribute] = [head.getUint8(0), head.getUint8(1)]
    const length = format === SIZED ? head.getUint16(2, true) : 0
    items.push({ attribute, value: format === SIZED ? cut(at, content, p + 4, length) : cut(at, head, 2, 2) })
    p += 4 + length
  }
  return items
}

/** (ordinal, offset, size): an index of 4 bytes, 2 and 2, and in the last 4 the size above 18 bits of flags */
const parameterOf = (at: string, v: DataView): CubinParameter => ({
  ordinal: u16(at, v, 4),
  offset: u16(at, v, 6),
  size: u32(at, v, 8) >>> 18,
})

const kernelOf = (
  at: string,
  d: DataView,
  sections: ReadonlyMap<string, Section>,
  name: string,
  arch: number,
  facts: ReadonlyMap<number, number>,
): CubinKernel => {
  const [info, text, shared] = ['.nv.info.', '.text.', '.nv.shared.'].map((prefix) => sections.get(prefix + name))
  const where = `${at}: .nv.info.${name}`
  const items = info === undefined ? [] : itemsOf(where, contentOf(at, d, info))
  const only = (attribute: number): DataView | undefined => items.find((i) => i.attribute === attribute)?.value
  const [bank, threads] = [only(PARAMETER_BANK), only(MAX_THREADS)]
  const reserved = arch >= RESERVES_FROM ? RESERVED : 0
  return {
    name,
    registers: facts.get(REGISTER_COUNT) ?? fail(where, 'a register count', 'none'),
    frame: facts.get(FRAME_SIZE) ?? fail(where, 'the size of the stack frame', 'none'),
    shared: Math.max(0, (shared?.size ?? 0) - reserved),
    parameters: items
      .filter((i) => i.attribute === PARAMETER)
      .map((i) => parameterOf(where, i.value))
      .sort((a, b) => a.ordinal - b.ordinal),
    parameterBase: bank === undefined ? 0 : u16(where, bank, 4),
    parameterBytes: bank === undefined ? 0 : u16(where, bank, 6),
    maxThreads: threads === undefined ? 0 : u32(where, threads, 0),
    code: text?.size ?? fail(where, `a section .text.${name}`, 'none'),
  }
}

const parse = (at: string, d: DataView): Cubin => {
  const header = cut(at, d, 0, HEADER)
  if (header.getUint32(0) !== MAGIC) fail(at, 'an ELF file', `0x${header.getUint32(0).toString(16)} at its start`)
  if (header.getUint8(4) !== 2 || header.getUint8(5) !== 1) fail(at, 'ELF of 64 bits, little endian', 'another kind')
  if (header.getUint16(18, true) !== CUDA)
    fail(at, `machine ${String(CUDA)} (CUDA)`, `machine ${String(header.getUint16(18, true))}`)
  const flags = header.getUint32(48, true)
  // up to version 7 of its ABI the architecture is in the lowest byte, then in the second
  const arch = header.getUint8(8) >= 8 ? (flags >>> 8) & 0xff : flags & 0xff
  const sections = sectionsOf(at, d)
  const symbols = symbolsOf(at, d, sections)
  const facts = new Map<string, Map<number, number>>()
  for (const s of sections.filter((x) => x.name === '.nv.info'))
    for (const { attribute, value } of itemsOf(`${at}: .nv.info`, contentOf(at, d, s))) {
      if (attribute !== REGISTER_COUNT && attribute !== FRAME_SIZE) continue
      const index = u32(`${at}: .nv.info`, value, 0)
      const name = symbols[index] ?? fail(`${at}: .nv.info`, 'the number of a symbol', String(index))
      const known = facts.get(name) ?? new Map<number, number>()
      facts.set(name, known.set(attribute, u32(`${at}: .nv.info`, value, 4)))
    }
  const byName = new Map(sections.map((s) => [s.name, s]))
  // device functions have facts too, but no parameters: only kernels have a section of their own
  const kernels = [...facts].filter(([name]) => byName.has(`.nv.info.${name}`))
  return { arch, kernels: kernels.map(([name, known]) => kernelOf(at, d, byName, name, arch, known)) }
}

/** The kernels of a cubin. Errors: not a cubin, one that is cut short, or one whose sections don't fit together. */
export const readCubin = (bytes: Uint8Array, at = 'cubin'): Checked<Cubin> =>
  E.tryCatch(
    () => parse(at, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)),
    (e): NonEmptyArray<Fault> => {
      if (e instanceof Malformed) return [e.fault]
      throw e
    },
  )
