/**
 * Bytes from a file or from memory, by offset. The one seam where reading file-system errors become faults;
 * nothing is read, and nothing allocated, beyond what the file really holds.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked, Fault } from '../../dsl/fault.ts'

// ------------------------------------------------------------------------------------------- model

export interface ByteSource {
  /** what faults call it: the path as the user wrote it */
  readonly name: string
  /** bytes */
  readonly size: number
  /** `length` bytes from `offset`, in a buffer of their own (so a view of any element type is aligned) */
  readonly read: (offset: number, length: number) => Checked<Uint8Array<ArrayBuffer>>
}

// ------------------------------------------------------------------------------------------ faults

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'a read-only file system',
  EISDIR: 'a folder',
  ENOTDIR: 'a path that goes through something that is not a folder',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  ENAMETOOLONG: 'a name that is too long',
  ELOOP: 'too many symbolic links',
  ENOTEMPTY: 'a folder that is not empty',
}

/** What the operating system said, in words. */
export const reasonOf = (error: unknown): string => {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : ''
  return REASONS[code] ?? (error instanceof Error ? error.message : String(error))
}

/** Runs `act`; what it throws is a fault at `at`. */
export const attempt = <A>(at: string, expected: string, act: () => A): Checked<A> =>
  E.tryCatch(act, (e): NonEmptyArray<Fault> => [{ at, expected, actual: reasonOf(e) }])

const endsEarly = (name: string, offset: number, length: number, size: number): Checked<never> =>
  E.left([{ at: name, expected: `${length} bytes at byte ${offset}`, actual: `a file of ${size} bytes` }])

// ------------------------------------------------------------------------------------ constructors

export const bytesInMemory = (name: string, bytes: Uint8Array): ByteSource => ({
  name,
  size: bytes.length,
  read: (offset, length) =>
    offset + length > bytes.length
      ? endsEarly(name, offset, length, bytes.length)
      : E.right(new Uint8Array(bytes.subarray(offset, offset + length))),
})

const MOST_AT_ONCE = 2 ** 30

/** Fills `into` from `offset`; the number of bytes that were there. */
const fill = (fd: number, into: Uint8Array, offset: number): number => {
  let done = 0
  while (done < into.length) {
    const got = readSync(fd, into, done, Math.min(into.length - done, MOST_AT_ONCE), offset + done)
    if (got === 0) break
    done += got
  }
  return done
}

const sourceOf = (name: string, fd: number, size: number): ByteSource => ({
  name,
  size,
  read: (offset, length) => {
    if (offset + length > size) return endsEarly(name, offset, length, size)
    return E.flatMap(
      attempt(name, 'a readable file', () => {
        const bytes = new Uint8Array(length)
        return { bytes, got: fill(fd, bytes, offset) }
      }),
      ({ bytes, got }) => (got < length ? endsEarly(name, offset, length, offset + got) : E.right(bytes)),
    )
  },
})

// ------------------------------------------------------------------------------------ interpreters

/** Opens `file`, uses it, closes it. A folder, a device or a pipe is a fault: they have no length. */
export const withFile = <A>(file: string, use: (source: ByteSource) => Checked<A>): Checked<A> => {
  const opened = attempt(file, 'a readable file', () => (statSync(file).isFile() ? openSync(file, 'r') : undefined))
  if (E.isLeft(opened)) return opened
  const fd = opened.right
  if (fd === undefined) return E.left([{ at: file, expected: 'a regular file', actual: 'something else' }])
  const size = attempt(file, 'a readable file', () => fstatSync(fd).size)
  const used = E.flatMap(size, (n) => use(sourceOf(file, fd, n)))
  const closed = attempt(file, 'a file that closes', () => closeSync(fd))
  return E.isLeft(used) ? used : E.flatMap(closed, () => used)
}

/** A whole file. */
export const readBytes = (file: string): Checked<Uint8Array<ArrayBuffer>> => withFile(file, (s) => s.read(0, s.size))

/** The names in a folder, sorted. */
export const listFolder = (folder: string): Checked<ReadonlyArray<string>> =>
  attempt(folder, 'a readable folder', () => readdirSync(folder).sort())

export const isFolder = (path: string): boolean =>
  E.getOrElse(() => false)(attempt(path, 'a path', () => statSync(path).isDirectory()))

export const isFile = (path: string): boolean =>
  E.getOrElse(() => false)(attempt(path, 'a path', () => statSync(path).isFile()))
