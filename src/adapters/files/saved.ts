/** An adapter with its values, as folders hold it: the words that every file format shares. */
import * as E from 'fp-ts/lib/Either.js'
import { isDeepStrictEqual } from 'node:util'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Adapter, Config, Files } from '../adapter.ts'
import { collect, decodeJson, failWith, refined, showKey, showValue, unlessFaults } from './codec.ts'
import type { StoredTensor } from './safetensors.ts'

// ------------------------------------------------------------------------------------------ model

/** A parameter's values in file order, row-major. */
export interface StoredParam {
  readonly shape: ReadonlyArray<number>
  readonly data: Float32Array
}

/** module path, e.g. `model.layers.0.self_attn.q_proj` -> parameter -> values */
export type SiteTensors = ReadonlyMap<string, Readonly<Record<string, StoredParam>>>

export interface SavedAdapter {
  readonly adapter: Adapter
  readonly config: Config
  /** names of modules, PEFT's `target_modules` */
  readonly targets: ReadonlyArray<string>
  readonly tensors: SiteTensors
  /** the name or path of the model that the adapter belongs to */
  readonly baseModel?: string
}

export interface LoadedAdapter extends SavedAdapter {
  readonly warnings: ReadonlyArray<string>
}

/** sizes for a look at which axes a parameter has */
export const symbolicSizes = { in: 'in', out: 'out', kv: 'kv', group: 'group', h: 'h' } as const

export type Json = Readonly<Record<string, unknown>>

export const JsonObject = refined(
  'a JSON object',
  (u): u is Json => typeof u === 'object' && u !== null && !Array.isArray(u),
)

/** What a format writes. */
export interface Encoded {
  readonly config: Json
  readonly tensors: ReadonlyArray<StoredTensor>
}

/** What a format reads; the paths are for faults. */
export interface Opened {
  readonly configFile: string
  readonly config: Json
  readonly tensorFile: string
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

export interface Format {
  readonly tensorFile: string
  readonly keyOf: (files: Files, path: string, param: string) => string
  readonly encode: (saved: SavedAdapter, files: Files) => Checked<Encoded>
  /** parameters whose axes stand as one in the file, until the sites' sizes are known */
  readonly merged?: ReadonlyArray<string>
  readonly decode: (opened: Opened, adapter: Adapter, files: Files) => Checked<LoadedAdapter>
}

// ----------------------------------------------------------------------------------- config, out

/** Our config under the file's keys, and the keys that never vary. */
export const encodeFields = (config: Config, files: Files): Json => ({
  ...files.ignored,
  ...Object.fromEntries(Object.entries(files.oneOf ?? {}).map(([key, values]) => [key, values[0]])),
  ...files.fixed,
  ...Object.fromEntries(Object.entries(files.config).map(([field, key]) => [key, config[field]])),
})

/** whether the format can hold the config at all */
export const holds = (config: Config, files: Files): boolean =>
  Object.entries(files.implies ?? {}).every(([field, value]) => config[field] === undefined || config[field] === value)

// ------------------------------------------------------------------------------------ config, in

const isSame = (a: unknown, b: unknown): boolean => isDeepStrictEqual(a, b) || (isNothing(a) && isNothing(b))
const isNothing = (u: unknown): boolean => u === null || (typeof u === 'object' && Object.keys(u).length === 0)

const LACKING = 'a feature that is not here is switched on'

/** Keys whose value asks for what is not here, under `under`. */
const missingFeatures = (
  file: string,
  json: Json,
  files: Files,
  under: ReadonlyArray<string>,
): ReadonlyArray<Fault> => {
  const at = (key: string): string => `${file}: ${[...under, key].map(showKey).join('.')}`
  const allowed = {
    ...Object.fromEntries(Object.entries(files.fixed ?? {}).map(([key, value]) => [key, [value]])),
    ...files.oneOf,
  }
  return Object.entries(allowed).flatMap(([key, values]): ReadonlyArray<Fault> => {
    if (!Object.hasOwn(json, key))
      return files.stated?.includes(key) === true
        ? [
            {
              at: at(key),
              expected: values.map(showValue).join(' or '),
              actual: 'nothing, which means another default',
            },
          ]
        : []
    return values.some((v) => isSame(v, json[key]))
      ? []
      : [{ at: at(key), expected: values.map(showValue).join(' or '), actual: showValue(json[key]), hint: LACKING }]
  })
}

/**
 * Our config from a file's keys, by the fields' codecs. A key that is absent means what it means to the
 * library, where that is said. Errors: ill-typed values, and features that are not here but switched on.
 */
export const decodeFields = (
  file: string,
  json: Json,
  adapter: Adapter,
  files: Files,
  under: ReadonlyArray<string> = [],
): Checked<Config> => {
  const mapped = Object.entries(files.config).map(([field, key]): Checked<readonly [string, unknown]> => {
    const known = adapter.config[field]
    if (known === undefined) return failWith(`adapter ${adapter.name}`, `a config field '${field}'`, 'none')
    if (!Object.hasOwn(json, key) && Object.hasOwn(files.absent ?? {}, key))
      return E.right([field, files.absent?.[key]])
    return E.map((value: unknown) => [field, value] as const)(decodeJson(file, known.codec, json[key], [...under, key]))
  })
  const defaults = Object.entries(adapter.config).map(([field, { default: value }]) => [field, value] as const)
  const checked = collect([...mapped, unlessFaults(missingFeatures(file, json, files, under), () => ['', 0] as const)])
  return E.map((fields: ReadonlyArray<readonly [string, unknown]>) => ({
    ...Object.fromEntries<unknown>(defaults),
    ...files.implies,
    ...Object.fromEntries<unknown>(fields.slice(0, -1)),
  }))(checked)
}

/** Every key that `decodeFields` has an answer for. */
export const knownKeys = (files: Files): ReadonlyArray<string> => [
  ...Object.values(files.config),
  ...Object.keys(files.fixed ?? {}),
  ...Object.keys(files.oneOf ?? {}),
  ...Object.keys(files.ignored ?? {}),
]

// --------------------------------------------------------------------------------------- tensors

/** Drops the axes of size 1 that only the file has. Error: another number of axes than the parameter's. */
export const stripLead = (
  at: string,
  t: StoredTensor,
  lead: number,
  axes: ReadonlyArray<string>,
): Checked<StoredParam> => {
  const expected = [...Array.from({ length: lead }, () => '1'), ...axes].join(', ')
  return t.shape.length !== lead + axes.length || t.shape.slice(0, lead).some((n) => n !== 1)
    ? failWith(at, `a shape (${expected})`, `(${t.shape.join(', ')})`)
    : E.right({ shape: t.shape.slice(lead), data: t.data })
}

/** Where a key of a file belongs: a site's path and a parameter; or what the key should have been. */
export type Placed = { readonly path: string; readonly param: string } | { readonly expected: string }

/** A file's tensors by site. Errors: a key of something else, a shape of another number of axes, a site that lacks a parameter. */
export const decodeSites = (
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  params: Readonly<Record<string, { readonly axes: ReadonlyArray<string> }>>,
  placeOf: (key: string) => Placed,
  keyOf: (path: string, param: string) => string,
  lead: Files['lead'] = {},
): Checked<SiteTensors> => {
  const found = [...tensors.values()].map((tensor) => {
    const at = `${file}: ${showKey(tensor.name)}`
    const place = placeOf(tensor.name)
    if ('expected' in place) return failWith(at, place.expected, 'a tensor of something else')
    const axes = params[place.param]?.axes ?? []
    return E.map((value: StoredParam) => ({ ...place, value }))(stripLead(at, tensor, lead[place.param] ?? 0, axes))
  })
  return E.flatMap(collect(found), (all) => bySite(file, all, Object.keys(params), keyOf))
}

/** Tensors found one by one, put together by site. Error: a site that lacks a parameter. */
export const bySite = (
  file: string,
  found: ReadonlyArray<{ readonly path: string; readonly param: string; readonly value: StoredParam }>,
  params: ReadonlyArray<string>,
  keyOf: (path: string, param: string) => string,
): Checked<SiteTensors> => {
  const sites = new Map<string, Record<string, StoredParam>>()
  for (const { path, param, value } of found) sites.set(path, { ...sites.get(path), [param]: value })
  const faults = [...sites].flatMap(([path, values]) =>
    params
      .filter((p) => values[p] === undefined)
      .map((p) => ({ at: `${file}: ${showKey(keyOf(path, p))}`, expected: 'this tensor', actual: 'none' })),
  )
  if (sites.size === 0) return failWith(file, 'tensors of the adapter', 'none')
  return unlessFaults(faults, () => sites)
}
