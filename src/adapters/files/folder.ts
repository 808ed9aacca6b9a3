/**
 * Adapter folders, written and read: `adapter_config.json` and one tensor file, in PEFT's format where PEFT has the
 * method, else in the library's that has. Which one a folder is in, its config says.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { join } from 'node:path'
import { dim, evalDim } from '../../dsl/dim.ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Adapter, Files, SiteSizes } from '../adapter.ts'
import { adapterhub } from './adapterhub.ts'
import { writeFolderAtomic } from './atomic.ts'
import { decodeJson, failWith, readJson, showKey, showValue, unlessFaults } from './codec.ts'
import { checkFinite, numbersOf } from './finite.ts'
import { llamaAdapterOriginal } from './llama-adapter.ts'
import { peft } from './peft.ts'
import { encodeSafetensors, readSafetensors } from './safetensors.ts'
import {
  holds,
  JsonObject,
  type Format,
  type Json,
  type LoadedAdapter,
  type SavedAdapter,
  type SiteTensors,
} from './saved.ts'

export type { LoadedAdapter, SavedAdapter, SiteTensors, StoredParam } from './saved.ts'

const CONFIG = 'adapter_config.json'

const formats: Readonly<Record<Files['library'], Format>> = {
  peft,
  adapterhub,
  'llama-adapter': llamaAdapterOriginal,
}

const filesOf = (a: Adapter): ReadonlyArray<Files> => [
  ...(a.files === undefined ? [] : [a.files]),
  ...(a.otherFiles ?? []),
]

// ------------------------------------------------------------------------------------------ write

const sortKeys = (u: unknown): unknown =>
  Array.isArray(u)
    ? u.map(sortKeys)
    : typeof u === 'object' && u !== null
      ? Object.fromEntries(
          Object.entries(u)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([k, v]) => [k, sortKeys(v)]),
        )
      : u

/**
 * Writes the folder, whole or not at all; the config comes last. Errors: an adapter without a file format, or whose
 * config no format holds; a parameter that is missing or not the adapter's; an unwritable folder.
 */
export const writeAdapter = (folder: string, saved: SavedAdapter): Checked<void> => {
  const { adapter, config, tensors } = saved
  const files = filesOf(adapter).find((f) => holds(config, f))
  if (files === undefined) return failWith(folder, 'a file format for this config', `adapter ${adapter.name} has none`)
  const format = formats[files.library]
  const names = Object.keys(files.keys).sort().join(', ')
  const odd = [...tensors].flatMap(([path, params]): ReadonlyArray<Fault> => {
    const actual = Object.keys(params).sort().join(', ')
    return actual === names ? [] : [{ at: `${folder}: ${showKey(path)}`, expected: `tensors ${names}`, actual }]
  })
  return pipe(
    unlessFaults(odd, () => saved),
    E.flatMap((s) => (tensors.size === 0 ? failWith(folder, 'tensors to write', 'none') : format.encode(s, files))),
    E.flatMap((encoded) =>
      pipe(
        encodeSafetensors(join(folder, format.tensorFile), encoded.tensors),
        E.flatMap((content) =>
          writeFolderAtomic(folder, [
            { name: format.tensorFile, content },
            { name: CONFIG, content: `${JSON.stringify(sortKeys(encoded.config), null, 2)}\n` },
          ]),
        ),
      ),
    ),
  )
}

// ------------------------------------------------------------------------------------------- read

/** which adapter and format a config is of */
const recognise = (
  file: string,
  json: Json,
  registry: ReadonlyArray<Adapter>,
): Checked<{ readonly adapter: Adapter; readonly files: Files }> => {
  const all = registry.flatMap((adapter) => filesOf(adapter).map((files) => ({ adapter, files })))
  const type = json['peft_type']
  if (type !== undefined) {
    const types = all.filter(({ files }) => files.library === 'peft').map(({ files }) => files.type)
    const found = all.find(({ files }) => files.library === 'peft' && files.type === type)
    return found === undefined
      ? failWith(`${file}: peft_type`, `one of ${types.join(', ')}`, showValue(type))
      : E.right(found)
  }
  const library = JsonObject.is(json['config'])
    ? 'adapterhub'
    : Object.hasOwn(json, 'adapter_layer')
      ? 'llama-adapter'
      : undefined
  const found = all.find(({ files }) => files.library === library)
  return found === undefined
    ? failWith(file, "PEFT's peft_type, AdapterHub's config, or adapter_layer", 'none of them')
    : E.right(found)
}

/**
 * Shapes against the sites' own sizes. Without them a loaded adapter is only known to be consistent in itself.
 * Errors: a path that is no site; a shape that does not fit, by file and key.
 */
const fit = (
  file: string,
  loaded: LoadedAdapter,
  files: Files,
  sizesAt: (path: string) => SiteSizes | undefined,
): Checked<LoadedAdapter> => {
  const { keyOf, merged = [] } = formats[files.library]
  const faults: Fault[] = []
  const fitted: SiteTensors = new Map(
    [...loaded.tensors].map(([path, params]) => {
      const sizes = sizesAt(path)
      if (sizes === undefined) {
        faults.push({ at: `${file}: ${showKey(path)}`, expected: 'a module of the model', actual: 'none of this name' })
        return [path, params] as const
      }
      const specs = loaded.adapter.params(loaded.config, sizes)
      const shaped = Object.entries(params).map(([name, p]) => {
        const want = (specs[name]?.axes ?? []).map((a) => {
          const n = evalDim(dim(specs[name]?.sizes[a] ?? 0), {})
          return E.isRight(n) ? n.right : 0
        })
        const elements = want.reduce((n, size) => n * size, 1)
        const same = merged.includes(name) ? elements === p.data.length : want.join() === p.shape.join()
        if (!same)
          faults.push({
            at: `${file}: ${showKey(keyOf(files, path, name))}`,
            expected: `(${want.join(', ')}), as the model and the config say`,
            actual: `(${p.shape.join(', ')})`,
          })
        return [name, { shape: want, data: p.data }] as const
      })
      return [path, Object.fromEntries(shaped)] as const
    }),
  )
  return unlessFaults(faults, () => ({ ...loaded, tensors: fitted }))
}

/**
 * Reads a folder. `sizesAt` gives the sizes of a module's site: with it every shape is checked. Errors: what is not
 * there, not valid, not finite, not of a known method, or asks for a feature that is not here; each names file and key.
 */
export const readAdapter = (
  folder: string,
  registry: ReadonlyArray<Adapter>,
  sizesAt?: (path: string) => SiteSizes | undefined,
): Checked<LoadedAdapter> => {
  const configFile = join(folder, CONFIG)
  return pipe(
    readJson(configFile),
    E.flatMap((json) => decodeJson(configFile, JsonObject, json)),
    E.flatMap((config) =>
      pipe(
        recognise(configFile, config, registry),
        E.flatMap(({ adapter, files }) => {
          const format = formats[files.library]
          const tensorFile = join(folder, format.tensorFile)
          return pipe(
            readSafetensors(tensorFile),
            E.flatMap((f) => checkFinite(tensorFile, numbersOf(f.tensors), () => f)),
            E.flatMap(({ tensors }) => format.decode({ configFile, config, tensorFile, tensors }, adapter, files)),
            E.flatMap((loaded) => (sizesAt === undefined ? E.right(loaded) : fit(tensorFile, loaded, files, sizesAt))),
          )
        }),
      ),
    ),
  )
}
