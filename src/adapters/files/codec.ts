/**
 * Unknown JSON becomes a typed value or faults: io-ts decodes, its error paths become `Fault`s that name
 * the file, the key, what was expected and what stands there.
 */
import * as E from 'fp-ts/lib/Either.js'
import type * as NEA from 'fp-ts/lib/NonEmptyArray.js'
import * as t from 'io-ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { readBytes } from './bytes.ts'

// ---------------------------------------------------------------------------------------- faults

const MOST_FAULTS = 20

/** At most 20 faults; a last one counts the rest (a hostile file can hold a million). */
const limitFaults = (faults: NEA.NonEmptyArray<Fault>): NEA.NonEmptyArray<Fault> => {
  const rest = faults.length - MOST_FAULTS
  if (rest <= 0) return faults
  const first = faults[0]
  return [
    first,
    ...faults.slice(1, MOST_FAULTS),
    { at: first.at.replace(/: .*$/s, ''), expected: 'no more faults', actual: `${rest} more of this kind` },
  ]
}

/** `value` where there is no fault, else all of them. */
export const unlessFaults = <A>(faults: ReadonlyArray<Fault>, value: () => A): Checked<A> => {
  const [first, ...rest] = faults
  return first === undefined ? E.right(value()) : E.left(limitFaults([first, ...rest]))
}

export const failWith = (
  at: string,
  expected: string,
  actual: string,
  hint?: string,
): E.Either<NEA.NonEmptyArray<Fault>, never> =>
  E.left([hint === undefined ? { at, expected, actual } : { at, expected, actual, hint }])

/** Every value, or the faults of all that failed. */
export const collect = <A>(checked: ReadonlyArray<Checked<A>>): Checked<ReadonlyArray<A>> => {
  const values: A[] = []
  const faults: Fault[] = []
  for (const c of checked) {
    if (E.isRight(c)) values.push(c.right)
    else faults.push(...c.left)
  }
  return unlessFaults(faults, () => values)
}

// ----------------------------------------------------------------------------- text from a stranger

const LONGEST_SHOWN = 80

/** Printable ASCII only, at most 80 characters: a file can't write to the terminal through a message. */
const tame = (text: string): string => {
  const short = text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}...` : text
  return short.replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A key as it may stand in a message. */
export const showKey = (key: string): string => (key === '' ? '""' : tame(key))

/** A value as it may stand in a message: JSON, shortened. */
export const showValue = (value: unknown): string => {
  if (value === undefined) return 'nothing (the key is missing)'
  if (Array.isArray(value) && value.length > LONGEST_SHOWN) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const keys = Object.keys(value)
    if (keys.length > 8) return `an object with ${keys.length} keys`
  }
  if (typeof value === 'string') return tame(JSON.stringify(value.slice(0, LONGEST_SHOWN + 1)))
  return tame(JSON.stringify(value))
}

// ----------------------------------------------------------------------------------------- codecs

/** A codec by a predicate; `name` is what a fault says was expected. */
export const refined = <A>(name: string, holds: (u: unknown) => u is A): t.Type<A> =>
  new t.Type<A>(name, holds, (u, c) => (holds(u) ? t.success(u) : t.failure(u, c)), t.identity)

/** A number that is finite (JSON writes 1e999 as a legal number and it reads as Infinity). */
export const Finite = refined('a finite number', (u): u is number => typeof u === 'number' && Number.isFinite(u))

export const Positive = refined('a positive number', (u): u is number => Finite.is(u) && u > 0)

/** An integer from `least` to `most`, exact in a double. */
export const intFrom = (least: number, most: number = Number.MAX_SAFE_INTEGER): t.Type<number> =>
  refined(
    most === Number.MAX_SAFE_INTEGER ? `an integer of at least ${least}` : `an integer from ${least} to ${most}`,
    (u): u is number => Number.isSafeInteger(u) && (u as number) >= least && (u as number) <= most,
  )

/** A value whose codec may be absent or null in the file. */
export const optional = <A>(codec: t.Type<A>): t.Type<A | null | undefined> =>
  refined(`${codec.name}, or nothing`, (u): u is A | null | undefined => u === undefined || u === null || codec.is(u))

// ------------------------------------------------------------------------------------------ decode

const isChoice = (type: t.Decoder<unknown, unknown> | undefined): boolean =>
  type instanceof t.UnionType || type instanceof t.IntersectionType

interface Place {
  readonly keys: ReadonlyArray<string>
  readonly expected: string
  readonly value: unknown
}

/** Where an io-ts error points. The members of a union or intersection are no keys of the file; a union of plain values faults as a whole. */
const placeOf = (error: t.ValidationError): Place => {
  const keys: string[] = []
  let parent: t.Decoder<unknown, unknown> | undefined
  for (const { key, type, actual } of error.context) {
    if (key !== '' && !isChoice(parent)) keys.push(key)
    if (type instanceof t.UnionType && (typeof actual !== 'object' || actual === null)) {
      return { keys, expected: type.name, value: actual }
    }
    parent = type
  }
  return { keys, expected: error.message ?? parent?.name ?? 'something else', value: error.value }
}

const faultOf =
  (file: string, under: ReadonlyArray<string>) =>
  (error: t.ValidationError): Fault => {
    const { keys: below, expected, value } = placeOf(error)
    const keys = [...under, ...below]
    return {
      at: keys.length === 0 ? file : `${file}: ${keys.map(showKey).join('.')}`,
      expected,
      actual: showValue(value),
    }
  }

/** `json`, which stands at the path `under` in `file`, as `codec` sees it; each fault is at `file: path.to.key`. */
export const decodeJson = <A>(
  file: string,
  codec: t.Decoder<unknown, A>,
  json: unknown,
  under: ReadonlyArray<string> = [],
): Checked<A> => {
  const decoded = codec.decode(json)
  if (E.isRight(decoded)) return decoded
  const faults = decoded.left.slice(0, 1000).map(faultOf(file, under))
  const distinct = [...new Map(faults.map((f) => [`${f.at}\n${f.expected}`, f])).values()]
  const [first, ...rest] = distinct
  return first === undefined ? failWith(file, codec.name, showValue(json)) : E.left(limitFaults([first, ...rest]))
}

/** One warning that lists the keys of `json` that are not in `known`; none where all are known. */
export const warnUnknownKeys = (file: string, known: ReadonlySet<string>, json: object): ReadonlyArray<string> => {
  const unknown = Object.keys(json).filter((key) => !known.has(key))
  if (unknown.length === 0) return []
  const shown = unknown.slice(0, MOST_FAULTS).map(showKey).join(', ')
  const rest = unknown.length > MOST_FAULTS ? ` and ${unknown.length - MOST_FAULTS} more` : ''
  return [`${file}: ignored unknown ${unknown.length === 1 ? 'key' : 'keys'} ${shown}${rest}`]
}

// -------------------------------------------------------------------------------------------- JSON

/** The paths of keys that stand twice in one object of `text`, which must be valid JSON (`JSON.parse` keeps the last one silently). */
const duplicateKeys = (text: string): ReadonlyArray<string> => {
  interface Frame {
    readonly keys: Set<string> | undefined
    key: string
    atKey: boolean
  }
  const stack: Frame[] = []
  const found: string[] = []
  const note = (frame: Frame, key: string): void => {
    if (frame.keys?.has(key) === true) found.push([...stack.slice(0, -1).map((f) => f.key), key].map(showKey).join('.'))
    frame.keys?.add(key)
    frame.key = key
    frame.atKey = false
  }
  for (let i = 0; i < text.length; i++) {
    const top = stack[stack.length - 1]
    switch (text[i]) {
      case '{':
        stack.push({ keys: new Set(), key: '', atKey: true })
        break
      case '[':
        stack.push({ keys: undefined, key: '[]', atKey: false })
        break
      case '}':
      case ']':
        stack.pop()
        break
      case ',':
        if (top?.keys !== undefined) top.atKey = true
        break
      case '"': {
        const start = i
        for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++
        if (top?.atKey === true) note(top, String(JSON.parse(text.slice(start, i + 1))))
        break
      }
      default:
        break
    }
  }
  return found
}

/** JSON text as a value; a syntax error is a fault at `file`, and so is a key that stands twice unless the last is kept. */
export const parseJson = (file: string, text: string, twice: 'fault' | 'keep the last' = 'fault'): Checked<unknown> => {
  const parsed = E.tryCatch(
    (): unknown => JSON.parse(text),
    (e) => (e instanceof Error ? e.message : String(e)),
  )
  if (E.isLeft(parsed)) return failWith(file, 'valid JSON', tame(parsed.left))
  const faults = (twice === 'fault' ? duplicateKeys(text) : []).map((path) => ({
    at: `${file}: ${path}`,
    expected: 'each key once',
    actual: 'the key twice',
  }))
  return unlessFaults(faults, () => parsed.right)
}

/** Bytes as text; what is not UTF-8 is a fault at `file`. A byte order mark is dropped. */
export const decodeUtf8 = (file: string, bytes: Uint8Array): Checked<string> =>
  E.tryCatch(
    () => new TextDecoder('utf-8', { fatal: true }).decode(bytes),
    (): NEA.NonEmptyArray<Fault> => [{ at: file, expected: 'UTF-8 text', actual: 'bytes that are not UTF-8' }],
  )

/** A whole text file. */
export const readText = (file: string): Checked<string> =>
  E.flatMap(readBytes(file), (bytes) => decodeUtf8(file, bytes))

/** A JSON file as an unknown value, to be given to `decodeJson`. */
export const readJson = (file: string): Checked<unknown> => E.flatMap(readText(file), (text) => parseJson(file, text))
