/**
 * Files that appear whole or not at all: write beside the target under a temporary name, fsync, rename.
 * The one seam where writing file-system errors become faults. On failure nothing is left behind, not even
 * the folders made on the way.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { Checked } from '../../dsl/fault.ts'
import { attempt } from './bytes.ts'
import { failWith, showKey } from './codec.ts'

// ------------------------------------------------------------------------------------------- model

/** Text, bytes, or bytes in pieces that are made while writing (so a large model is never held twice). */
export type Content = string | Uint8Array | Iterable<Uint8Array>

export interface NamedContent {
  /** a plain file name */
  readonly name: string
  readonly content: Content
}

// ------------------------------------------------------------------------------------ constructors

const piecesOf = (content: Content): Iterable<Uint8Array> =>
  typeof content === 'string'
    ? [new TextEncoder().encode(content)]
    : content instanceof Uint8Array
      ? [content]
      : content

const MOST_AT_ONCE = 2 ** 30

const writePiece = (fd: number, piece: Uint8Array): void => {
  let done = 0
  while (done < piece.length) done += writeSync(fd, piece, done, Math.min(piece.length - done, MOST_AT_ONCE))
}

/** A new file with this content, on the disk when this returns. */
const writeNew = (file: string, content: Content): void => {
  const fd = openSync(file, 'wx')
  try {
    for (const piece of piecesOf(content)) writePiece(fd, piece)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** A folder's own list of names on the disk; systems that can't open folders (Windows) order renames themselves. */
const syncFolder = (folder: string): void => {
  E.tryCatch(
    () => {
      const fd = openSync(folder, 'r')
      try {
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
    },
    () => undefined,
  )
}

let counter = 0

/** A name in the same folder (a rename must not cross file systems) that nobody else uses. */
const temporaryBeside = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${process.pid}-${counter++}.tmp`)

/**
 * Makes a folder and those above it; answers with the first one that was missing. Step by step, because Node's own
 * recursive mkdir never returns where the system denies a folder by saying that the one above it is missing (/proc).
 */
const makeFolder = (folder: string): string | undefined => {
  const missing: string[] = []
  for (let at = resolve(folder); !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.unshift(at)
  for (const at of missing) if (!existsSync(at)) mkdirSync(at)
  return missing[0]
}

/** Removes the empty folders from `from` up to `made`, the first one that was made. */
const unmake = (from: string, made: string): void => {
  E.tryCatch(
    () => {
      for (let at = from; at.length >= made.length; at = dirname(at)) rmdirSync(at)
    },
    () => undefined,
  )
}

/** Makes `folder`, lets `act` write into it under the temporary names it returns nothing about, and undoes the making where `act` fails. */
const withFolder = (at: string, folder: string, act: () => Checked<void>): Checked<void> =>
  E.flatMap(
    attempt(at, 'a folder that can be written', () => makeFolder(folder)),
    (made) => {
      const done = act()
      if (E.isLeft(done) && made !== undefined) unmake(folder, resolve(made))
      return done
    },
  )

/** Runs `act`; where it fails, `path` is removed. */
const orRemove = (at: string, path: string, act: () => void): Checked<void> => {
  const done = attempt(at, 'a place that can be written', act)
  if (E.isLeft(done)) attempt(at, 'a temporary file', () => rmSync(path, { recursive: true, force: true }))
  return done
}

const isPlainName = (name: string): boolean => name !== '' && name !== '.' && name !== '..' && !/[/\\\0]/.test(name)

// ------------------------------------------------------------------------------------ interpreters

/**
 * Writes `file` whole or not at all. A link keeps being a link: what it points to is replaced.
 * Errors: an unwritable folder, a full disk, a folder or device in the file's place.
 */
export const writeFileAtomic = (file: string, content: Content): Checked<void> =>
  E.flatMap(
    attempt(file, 'a path', () => (existsSync(file) ? realpathSync(file) : resolve(file))),
    (target) => {
      if (existsSync(target) && !statSync(target).isFile())
        return failWith(file, 'a file, or a name that is free', 'something that is not a file')
      const temporary = temporaryBeside(target)
      return withFolder(file, dirname(target), () =>
        orRemove(file, temporary, () => {
          writeNew(temporary, content)
          renameSync(temporary, target)
          syncFolder(dirname(target))
        }),
      )
    },
  )

const writeNewFolder = (at: string, target: string, files: ReadonlyArray<NamedContent>): Checked<void> => {
  const temporary = temporaryBeside(target)
  return withFolder(at, dirname(target), () =>
    orRemove(at, temporary, () => {
      mkdirSync(temporary)
      for (const { name, content } of files) writeNew(join(temporary, name), content)
      syncFolder(temporary)
      renameSync(temporary, target)
      syncFolder(dirname(target))
    }),
  )
}

const writeIntoFolder = (at: string, target: string, files: ReadonlyArray<NamedContent>): Checked<void> => {
  const temporary = temporaryBeside(join(target, 'new'))
  return orRemove(at, temporary, () => {
    mkdirSync(temporary)
    for (const { name, content } of files) writeNew(join(temporary, name), content)
    for (const { name } of files) renameSync(join(temporary, name), join(target, name))
    rmdirSync(temporary)
    syncFolder(target)
  })
}

/**
 * Writes a folder of files. A new (or empty) folder appears whole, by one rename. In a folder that already holds
 * files nothing else is touched: all new files are written and on the disk first, then renamed one by one in the
 * order given, so each file is whole at any moment and the last one can serve as the mark that all are there.
 * Errors: as `writeFileAtomic`; a name that isn't a plain file name.
 */
export const writeFolderAtomic = (folder: string, files: ReadonlyArray<NamedContent>): Checked<void> => {
  const odd = files.find(({ name }) => !isPlainName(name))
  if (odd !== undefined) return failWith(`${folder}: ${showKey(odd.name)}`, 'a plain file name', 'a path')
  return E.flatMap(
    attempt(folder, 'a folder that can be written', () => {
      if (!existsSync(folder)) return { target: resolve(folder), empty: true }
      const target = realpathSync(folder)
      return { target, empty: readdirSync(target).length === 0 }
    }),
    ({ target, empty }) => (empty && !isOpenHere(target) ? writeNewFolder : writeIntoFolder)(folder, target, files),
  )
}

/** The current folder keeps its identity: renaming over it would leave the shell in a deleted one. */
const isOpenHere = (target: string): boolean => target === process.cwd() || target === dirname(target)
