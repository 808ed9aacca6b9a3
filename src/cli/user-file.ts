/**
 * A user's own adapter: a TypeScript file whose default export is one. It is bundled, so that it may import
 * further files, and run with *this* Scion: `scion` means the module that is running, never a second copy.
 * The file is code that the user trusts; what it exports is checked all the same.
 */
import { build, type Message, type Plugin } from 'esbuild'
import * as E from 'fp-ts/lib/Either.js'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Adapter } from '../adapters/index.ts'
import { failWith, unlessFaults } from '../adapters/files/codec.ts'
import { readBytes } from '../adapters/files/bytes.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import { userFault } from './thrown.ts'

// ---------------------------------------------------------------------------------------- model

/** What a user's file exports, and the digest of its code. */
export interface UserAdapter {
  readonly adapter: Adapter
  /** of the bundled code: of the file and of all that it imports of the user's */
  readonly sha256: string
}

const scion = new URL('../index.ts', import.meta.url).href
/** where imports such as fp-ts are looked for when the user's folder has none */
const installed = fileURLToPath(new URL('../../node_modules', import.meta.url))

// -------------------------------------------------------------------------------------- bundling

const thisScion: Plugin = {
  name: 'scion',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^(scion|@scion-dsl\/scion)$/ }, () => ({ path: scion, external: true })),
}

const faultOf =
  (file: string) =>
  ({ text, location }: Message): Fault => ({
    at: file,
    expected: 'TypeScript that compiles',
    actual: text,
    ...(location === null ? {} : { site: `${resolve(location.file)}:${location.line}:${location.column + 1}` }),
  })

const messagesOf = (e: unknown): ReadonlyArray<Message> =>
  typeof e === 'object' && e !== null && 'errors' in e && Array.isArray(e.errors) ? (e.errors as Message[]) : []

const bundle = async (file: string, outfile: string): Promise<Checked<void>> => {
  try {
    await build({
      entryPoints: [resolve(file)],
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      sourcemap: 'inline',
      sourcesContent: false,
      logLevel: 'silent',
      nodePaths: [installed],
      plugins: [thisScion],
    })
    return E.right(undefined)
  } catch (e) {
    const faults = messagesOf(e).map(faultOf(file))
    return faults.length > 0
      ? unlessFaults(faults, () => undefined)
      : failWith(file, 'TypeScript that compiles', e instanceof Error ? e.message : String(e))
  }
}

// --------------------------------------------------------------------------------------- loading

const run = async (file: string, outfile: string): Promise<Checked<unknown>> => {
  try {
    const loaded: unknown = await import(pathToFileURL(outfile).href)
    return E.right(loaded)
  } catch (e) {
    const fault = userFault(file, e)
    if (fault === undefined) throw e
    return E.left([fault])
  }
}

// -------------------------------------------------------------------------------------- checking

const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === 'object' && u !== null && !Array.isArray(u)
const isFunction = (u: unknown): boolean => typeof u === 'function'
const isText = (u: unknown): boolean => typeof u === 'string' && u !== ''
const isFieldRecord = (u: unknown): boolean =>
  isRecord(u) && Object.values(u).every((f) => isRecord(f) && isRecord(f['codec']) && 'default' in f && 'doc' in f)
const isNames = (u: unknown): boolean => Array.isArray(u) && u.length > 0 && u.every(isText)

/** what each part of a declaration must be; `optional` may be missing */
const parts: ReadonlyArray<readonly [string, string, (u: unknown) => boolean, 'optional'?]> = [
  ['name', 'a name', isText],
  ['doc', 'a line of text', isText],
  ['site', "'linear', 'activation' or 'attention'", (u) => ['linear', 'activation', 'attention'].some((s) => s === u)],
  ['config', 'a record of fields such as positiveInt(8, ...)', isFieldRecord],
  ['params', 'a function', isFunction],
  ['init', 'a function', isFunction],
  ['apply', 'a function', isFunction],
  ['targets', 'a list of module names', isNames],
  ['weight', 'a function', isFunction, 'optional'],
  ['inverse', 'a function', isFunction, 'optional'],
  ['penalty', 'a function', isFunction, 'optional'],
  ['laws', 'a list of laws', Array.isArray, 'optional'],
  ['fails', 'a record: law to reason', isRecord, 'optional'],
]

const describe = (u: unknown): string =>
  u === undefined ? 'nothing' : typeof u === 'string' ? `'${u}'` : Array.isArray(u) ? 'a list' : `a ${typeof u}`

/** The default export of a module, if it is an adapter; else every part that is not what it should be. */
export const checkAdapter = (file: string, module: unknown): Checked<Adapter> => {
  const declared = isRecord(module) ? module['default'] : undefined
  if (!isRecord(declared)) return failWith(file, 'a default export: export default adapter({...})', describe(declared))
  const faults = parts.flatMap(([key, expected, holds, optional]): ReadonlyArray<Fault> => {
    const part = declared[key]
    return holds(part) || (optional !== undefined && part === undefined)
      ? []
      : [{ at: `${file}: ${key}`, expected, actual: describe(part) }]
  })
  return unlessFaults(faults, () => declared as unknown as Adapter)
}

/**
 * An adapter without file names gets the names of its own parameters and fields, in PEFT's layout, under a type that
 * PEFT does not know.
 */
export const withFiles = (adapter: Adapter): Adapter => {
  if (adapter.files !== undefined) return adapter
  const own = (names: Readonly<Record<string, unknown>>) => Object.fromEntries(Object.keys(names).map((n) => [n, n]))
  const defaults = Object.fromEntries(Object.entries(adapter.config).map(([n, f]) => [n, f.default]))
  const params = adapter.params(defaults, { in: 'in', out: 'out', kv: 'kv', group: 'group', h: 'h' })
  const type = `SCION_${adapter.name.toUpperCase().replace(/[^A-Z0-9]+/g, '_')}`
  return { ...adapter, files: { type, library: 'peft', keys: own(params), config: own(adapter.config) } }
}

// ---------------------------------------------------------------------------------- interpreters

/** The adapter that `file` exports. Errors: no such file, code that doesn't compile or run, an export that is no adapter. */
export const loadUserFile = async (file: string): Promise<Checked<UserAdapter>> => {
  const readable = readBytes(file)
  if (E.isLeft(readable)) return readable
  const folder = mkdtempSync(join(tmpdir(), 'scion-'))
  const outfile = join(folder, 'adapter.mjs')
  try {
    const bundled = await bundle(file, outfile)
    if (E.isLeft(bundled)) return bundled
    const sha256 = createHash('sha256').update(codeOf(outfile)).digest('hex')
    const module = await run(file, outfile)
    return E.map((adapter: Adapter): UserAdapter => ({ adapter: withFiles(adapter), sha256 }))(
      E.flatMap(module, (m) => checkAdapter(file, m)),
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** the bundle without its source map and comments on paths, which tell where the files lie */
const codeOf = (outfile: string): string => readFileSync(outfile, 'utf8').replace(/^\/\/.*$/gm, '')
