import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import { writeFileAtomic, writeFolderAtomic } from './atomic.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'scion-atomic-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const message = (checked: Checked<void>): string => (E.isLeft(checked) ? showFaults(checked.left) : 'written')

/** Content that fails after its first piece, as a full disk would. */
const failing = {
  *[Symbol.iterator](): Generator<Uint8Array> {
    yield new Uint8Array(100)
    throw new Error('no space left')
  },
}

describe('writeFileAtomic', () => {
  it('writes text, bytes and pieces, and makes the folders', () => {
    const file = join(folder, 'a', 'b', 'c.txt')
    expect(message(writeFileAtomic(file, 'one'))).toBe('written')
    expect(readFileSync(file, 'utf8')).toBe('one')
    expect(message(writeFileAtomic(file, [Uint8Array.of(50), Uint8Array.of(51)]))).toBe('written')
    expect(readFileSync(file, 'utf8')).toBe('23')
    expect(readdirSync(join(folder, 'a', 'b'))).toEqual(['c.txt'])
  })

  it('keeps the old content and leaves nothing behind on failure', () => {
    const file = join(folder, 'old.txt')
    writeFileSync(file, 'old')
    expect(message(writeFileAtomic(file, failing))).toContain(
      'old.txt: expected a place that can be written, found no space left',
    )
    expect(readFileSync(file, 'utf8')).toBe('old')
    expect(message(writeFileAtomic(join(folder, 'x', 'y', 'z.txt'), failing))).toContain('z.txt')
    expect(readdirSync(folder)).toEqual(['old.txt'])
  })

  it('faults where a folder stands in the way, or a file stands for a folder', () => {
    mkdirSync(join(folder, 'd'))
    expect(message(writeFileAtomic(join(folder, 'd'), 'x'))).toContain('not a file')
    writeFileSync(join(folder, 'f'), 'f')
    expect(message(writeFileAtomic(join(folder, 'f', 'x'), 'x'))).toContain(join('f', 'x'))
    expect(readdirSync(folder)).toEqual(['d', 'f'])
  })

  it('replaces what a link points to', () => {
    writeFileSync(join(folder, 'real'), 'old')
    symlinkSync(join(folder, 'real'), join(folder, 'link'))
    expect(message(writeFileAtomic(join(folder, 'link'), 'new'))).toBe('written')
    expect(readFileSync(join(folder, 'real'), 'utf8')).toBe('new')
  })

  const root = process.getuid?.() === 0
  if (root) console.log('SKIPPED: the unwritable folder (the superuser may write everywhere)')
  it.skipIf(root)('faults in an unwritable folder', () => {
    chmodSync(folder, 0o500)
    expect(message(writeFileAtomic(join(folder, 'x'), 'x'))).toContain('permission denied')
    chmodSync(folder, 0o700)
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('writeFolderAtomic', () => {
  const files = [
    { name: 'a.json', content: '{}' },
    { name: 'b.bin', content: Uint8Array.of(1, 2) },
  ]

  it('makes a new folder at once', () => {
    const target = join(folder, 'deep', 'out')
    expect(message(writeFolderAtomic(target, files))).toBe('written')
    expect(readdirSync(target)).toEqual(['a.json', 'b.bin'])
    expect(readdirSync(join(folder, 'deep'))).toEqual(['out'])
  })

  it('makes nothing where one file fails', () => {
    const target = join(folder, 'deep', 'out')
    expect(message(writeFolderAtomic(target, [...files, { name: 'c', content: failing }]))).toContain('no space left')
    expect(readdirSync(folder)).toEqual([])
  })

  it('replaces its own files in a folder that holds others, and all or none of them', () => {
    const target = join(folder, 'out')
    mkdirSync(target)
    writeFileSync(join(target, 'mine.txt'), 'mine')
    writeFileSync(join(target, 'a.json'), 'old')
    const inode = statSync(target).ino
    expect(message(writeFolderAtomic(target, [...files, { name: 'c', content: failing }]))).toContain('no space left')
    expect(readFileSync(join(target, 'a.json'), 'utf8')).toBe('old')
    expect(message(writeFolderAtomic(target, files))).toBe('written')
    expect(readdirSync(target)).toEqual(['a.json', 'b.bin', 'mine.txt'])
    expect(readFileSync(join(target, 'a.json'), 'utf8')).toBe('{}')
    expect(statSync(target).ino).toBe(inode)
  })

  it('uses an empty folder, and refuses names that leave it', () => {
    const target = join(folder, 'out')
    mkdirSync(target)
    expect(message(writeFolderAtomic(target, files))).toBe('written')
    for (const name of ['../evil', 'a/b', '', '..', 'a\\b'])
      expect(message(writeFolderAtomic(target, [{ name, content: '' }]))).toContain('plain file name')
    expect(existsSync(join(folder, 'evil'))).toBe(false)
  })

  it('faults where a file has the name', () => {
    writeFileSync(join(folder, 'out'), 'file')
    expect(message(writeFolderAtomic(join(folder, 'out'), files))).toContain(
      'out: expected a folder that can be written',
    )
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('file')
  })
})
