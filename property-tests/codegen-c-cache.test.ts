/** The cache of compiled kernels: several processes at once, an object that is there already, a folder that cannot be written. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { describeC } from './compilers.ts'

const script = join(import.meta.dirname, 'fixtures/compile-once.ts')

/** what a process prints that compiles when the clock says so */
const run = (cache: string, at: number): Promise<string> =>
  new Promise((done, fail) => {
    const child = spawn(process.execPath, ['--import', 'tsx', script, String(at)], {
      env: { ...process.env, XDG_CACHE_HOME: cache },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.on('data', (d: Buffer) => (text += d.toString()))
    child.on('error', fail)
    child.on('close', () => done(text.trim()))
  })

describeC('the cache of compiled kernels', () => {
  let cache = ''
  beforeEach(() => (cache = mkdtempSync(join(tmpdir(), 'scion-cache-'))))
  afterEach(() => rmSync(cache, { recursive: true, force: true }))
  const objects = (): ReadonlyArray<string> => readdirSync(join(cache, 'scion'))

  test('four processes that compile the same at once all run it, and leave one object and nothing else', async () => {
    const at = Date.now() + 6000
    const answers = await Promise.all(Array.from({ length: 4 }, () => run(cache, at)))
    expect(answers).toEqual(Array.from({ length: 4 }, () => '1 4 9 16 25'))
    expect(objects()).toEqual([expect.stringMatching(/^[0-9a-f]{32}\.so$/)])
    // the next one compiles nothing
    const [made] = objects()
    const before = statSync(join(cache, 'scion', made!)).mtimeMs
    expect(await run(cache, 0)).toBe('1 4 9 16 25')
    expect(objects()).toEqual([made])
    expect(statSync(join(cache, 'scion', made!)).mtimeMs).toBe(before)
  }, 60_000)

  test('where the folder cannot be made, another one is taken', async () => {
    writeFileSync(join(cache, 'scion'), 'not a folder')
    expect(await run(cache, 0)).toBe('1 4 9 16 25')
  }, 60_000)

  test('a folder that others may write to is not used', async () => {
    mkdirSync(join(cache, 'scion'))
    chmodSync(join(cache, 'scion'), 0o777)
    expect(await run(cache, 0)).toBe('1 4 9 16 25')
    expect(objects()).toEqual([])
  }, 60_000)
})
