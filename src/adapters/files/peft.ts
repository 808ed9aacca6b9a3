/**
 * PEFT's files, key for key. `adapter_config.json`, keys sorted; `adapter_model.safetensors`, with keys
 *
 *     base_model.model.<module path>.<parameter>
 *
 * What a file asks for and we do not have is a fault that names file and key; keys that PEFT itself does not know
 * are one warning.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Adapter, Config, Files } from '../adapter.ts'
import { collect, decodeJson, intFrom, refined, showKey, unlessFaults, warnUnknownKeys } from './codec.ts'
import type { StoredTensor } from './safetensors.ts'
import {
  decodeFields,
  decodeSites,
  encodeFields,
  knownKeys,
  type Format,
  type Json,
  symbolicSizes,
  type LoadedAdapter,
  type Placed,
  type SavedAdapter,
  type SiteTensors,
} from './saved.ts'
import { isTarget, type Targets } from './targets.ts'

const PREFIX = 'base_model.model.'
/** the release whose files these are */
const VERSION = '0.21.0'

// ----------------------------------------------------------------------------------------- config

/** keys of every method that say nothing of its numbers */
const UNREAD = ['auto_mapping', 'inference_mode', 'peft_version', 'revision', 'runtime_config', 'task_type']

const Names = t.array(t.string, 'a list of names')
const NamesOrPattern = t.union([t.string, Names], 'a name or a list of names')
const orNothing = <A>(codec: t.Type<A>, name: string): t.Type<A | null | undefined> =>
  refined(name, (u): u is A | null | undefined => u === undefined || u === null || codec.is(u))

const Selection = t.type({
  target_modules: orNothing(NamesOrPattern, 'a name, a list of names, or nothing'),
  exclude_modules: orNothing(Names, 'a list of names, or nothing'),
  layers_to_transform: orNothing(
    t.union([intFrom(0), t.array(intFrom(0))]),
    'a number of a layer, a list of them, or nothing',
  ),
  layers_pattern: orNothing(NamesOrPattern, 'a name, a list of names, or nothing'),
  modules_to_save: refined(
    'nothing (whole modules are not trained here)',
    (u): u is null | undefined => u === undefined || u === null || (Array.isArray(u) && u.length === 0),
  ),
  base_model_name_or_path: orNothing(t.string, 'a name, or nothing'),
})
type Selection = t.TypeOf<typeof Selection>

const SELECTION = Object.keys(Selection.props)

const listOf = <A>(u: A | ReadonlyArray<A> | null | undefined): ReadonlyArray<A> =>
  u === null || u === undefined ? [] : Array.isArray(u) ? (u as ReadonlyArray<A>) : [u as A]

/** The modules that a list of names stands for; of a string, which may be any regular expression, nothing is asked. */
const targetsOf = (s: Selection, adapter: Adapter): Targets | undefined =>
  typeof s.target_modules === 'string'
    ? undefined
    : {
        names: s.target_modules ?? adapter.targets,
        exclude: s.exclude_modules ?? [],
        ...(s.layers_to_transform === null || s.layers_to_transform === undefined
          ? {}
          : { layers: listOf<number>(s.layers_to_transform) }),
        pattern: listOf<string>(s.layers_pattern),
      }

export interface DecodedConfig {
  readonly config: Config
  readonly warnings: ReadonlyArray<string>
  /** absent where the file selects modules by a pattern */
  readonly targets?: Targets
  readonly baseModel?: string
}

/** The adapter's config from `adapter_config.json`. `file` names it in faults. */
export const decodeConfig = (file: string, json: Json, adapter: Adapter, files: Files): Checked<DecodedConfig> => {
  const fields = decodeFields(file, json, adapter, files)
  const selection = decodeJson(file, Selection, json)
  const known = new Set([...knownKeys(files), ...UNREAD, ...SELECTION, 'peft_type'])
  return pipe(
    collect<unknown>([fields, selection]),
    E.flatMap(() => fields),
    E.flatMap((config) =>
      E.map((s: Selection): DecodedConfig => {
        const targets = targetsOf(s, adapter)
        return {
          config,
          warnings: warnUnknownKeys(file, known, json),
          ...(targets === undefined ? {} : { targets }),
          ...(typeof s.base_model_name_or_path === 'string' ? { baseModel: s.base_model_name_or_path } : {}),
        }
      })(selection),
    ),
  )
}

const encodeConfig = ({ config, targets, tensors, baseModel }: SavedAdapter, files: Files): Json => {
  const prompts = files.type === 'ADAPTION_PROMPT'
  return {
    auto_mapping: null,
    base_model_name_or_path: baseModel ?? null,
    inference_mode: true,
    peft_type: files.type,
    peft_version: VERSION,
    revision: null,
    task_type: 'CAUSAL_LM',
    ...encodeFields(config, files),
    ...(prompts
      ? // every layer is a number of layers here, and the module's name is one name
        { adapter_layers: tensors.size, target_modules: targets[0] ?? null }
      : {
          exclude_modules: null,
          layers_pattern: null,
          layers_to_transform: null,
          modules_to_save: null,
          target_modules: [...targets],
        }),
  }
}

// ---------------------------------------------------------------------------------------- tensors

const keyOf =
  (files: Files) =>
  (path: string, param: string): string =>
    `${PREFIX}${path}.${files.keys[param] ?? param}`

const placeOf =
  (files: Files) =>
  (key: string): Placed => {
    const suffix = Object.entries(files.keys).find(([, s]) => key.endsWith(`.${s}`))
    const inner = key.slice(PREFIX.length)
    return suffix === undefined || !key.startsWith(PREFIX) || inner.length <= suffix[1].length
      ? { expected: `${PREFIX}<module>.${Object.values(files.keys).join(' or ')}` }
      : { path: inner.slice(0, -suffix[1].length - 1), param: suffix[0] }
  }

const encodeTensors = (tensors: SiteTensors, files: Files): ReadonlyArray<StoredTensor> =>
  [...tensors].flatMap(([path, params]) =>
    Object.entries(params).map(([param, { shape, data }]): StoredTensor => {
      const lead = Array.from({ length: files.lead?.[param] ?? 0 }, () => 1)
      return { name: keyOf(files)(path, param), dtype: 'F32', shape: [...lead, ...shape], data }
    }),
  )

const decodeTensors = (
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  adapter: Adapter,
  files: Files,
  config: Config,
): Checked<SiteTensors> =>
  decodeSites(file, tensors, adapter.params(config, symbolicSizes), placeOf(files), keyOf(files), files.lead)

// ---------------------------------------------------------------------------------------- format

/** Tensors at modules that the config does not select would be ignored by PEFT: here they are faults. */
const checkSelected = (file: string, tensors: SiteTensors, targets: Targets | undefined): Checked<SiteTensors> => {
  const odd = targets === undefined ? [] : [...tensors.keys()].filter((path) => !isTarget(targets)(path))
  return unlessFaults(
    odd.map((path) => ({
      at: `${file}: ${showKey(PREFIX + path)}`,
      expected: 'a module that target_modules selects',
      actual: 'one that it does not',
    })),
    () => tensors,
  )
}

export const peft: Format = {
  tensorFile: 'adapter_model.safetensors',
  keyOf: (files, path, param) => keyOf(files)(path, param),
  encode: (saved, files) =>
    E.right({ config: encodeConfig(saved, files), tensors: encodeTensors(saved.tensors, files) }),
  decode: (opened, adapter, files) =>
    pipe(
      decodeConfig(opened.configFile, opened.config, adapter, files),
      E.flatMap(({ config, warnings, targets, baseModel }) =>
        pipe(
          decodeTensors(opened.tensorFile, opened.tensors, adapter, files, config),
          E.flatMap((tensors) => checkSelected(opened.tensorFile, tensors, targets)),
          E.map((tensors): LoadedAdapter => ({
            adapter,
            config,
            targets: [...tensors.keys()],
            tensors,
            warnings,
            ...(baseModel === undefined ? {} : { baseModel }),
          })),
        ),
      ),
    ),
}
