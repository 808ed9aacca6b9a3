/**
 * AdapterHub's files for bottleneck adapters in LLaMA-like models: `adapter_config.json` and `adapter.safetensors`,
 * with keys
 *
 *     model.layers.<i>.{attention,output}_adapters.adapters.<name>.adapter_{down.0,up}.{weight,bias}
 *
 * The config states d / m as `reduction_factor`; m itself is what the tensors say.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Adapter, Config, Files } from '../adapter.ts'
import {
  collect,
  decodeJson,
  failWith,
  intFrom,
  Positive,
  showKey,
  showValue,
  unlessFaults,
  warnUnknownKeys,
} from './codec.ts'
import type { StoredTensor } from './safetensors.ts'
import {
  decodeFields,
  decodeSites,
  encodeFields,
  JsonObject,
  knownKeys,
  symbolicSizes,
  type Encoded,
  type Format,
  type Json,
  type LoadedAdapter,
  type Placed,
  type SavedAdapter,
  type SiteTensors,
} from './saved.ts'

const NAME = 'default'

// ----------------------------------------------------------------------------------------- config

const Folder = t.type({ config: JsonObject, hidden_size: intFrom(1) })
const Blocks = t.type({ mh_adapter: t.boolean, output_adapter: t.boolean, reduction_factor: Positive })

const FOLDER_KEYS = ['config', 'config_id', 'hidden_size', 'model_class', 'model_name', 'model_type', 'name', 'version']

/** AdapterHub's rule:  m = max(1, floor(d / factor)) */
const innerSize = (width: number, factor: number): number => Math.max(1, Math.floor(width / factor))

/** A factor that gives m back: d / m, or something smaller where its rounding would give m - 1. */
const factorOf = (width: number, size: number): number =>
  innerSize(width, width / size) === size ? width / size : width / (size + 0.5)

const blockOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1)

const encode = ({ config, tensors, baseModel }: SavedAdapter, files: Files): Checked<Encoded> => {
  const blocks = [...tensors.keys()].map(blockOf)
  const odd = blocks.find((b) => b !== 'attention_adapters' && b !== 'output_adapters')
  const down = [...tensors.values()][0]?.['down']
  const [size, width] = [down?.shape[0], down?.shape[1]]
  if (odd !== undefined || size === undefined || width === undefined)
    return failWith('adapter bottleneck', 'tensors at attention_adapters or output_adapters', odd ?? 'none')
  return E.right({
    config: {
      config: {
        ...encodeFields(config, files),
        mh_adapter: blocks.includes('attention_adapters'),
        output_adapter: blocks.includes('output_adapters'),
        reduction_factor: factorOf(width, size),
      },
      hidden_size: width,
      model_class: 'LlamaForCausalLM',
      model_name: baseModel ?? null,
      model_type: 'llama',
      name: NAME,
    },
    tensors: [...tensors].flatMap(([path, params]) =>
      Object.entries(params).map(([param, { shape, data }]): StoredTensor => ({
        name: keyOf(files, path, param),
        dtype: 'F32',
        shape,
        data,
      })),
    ),
  })
}

const decodeConfig = (
  file: string,
  json: Json,
  adapter: Adapter,
  files: Files,
): Checked<{ readonly config: Config; readonly warnings: ReadonlyArray<string> }> =>
  E.flatMap(decodeJson(file, Folder, json), ({ config: inner, hidden_size }) => {
    const fields = decodeFields(file, inner, adapter, files, ['config'])
    const blocks = decodeJson(file, Blocks, inner, ['config'])
    const known = new Set([...knownKeys(files), ...Object.keys(Blocks.props), 'architecture'])
    const warnings = [
      ...warnUnknownKeys(file, new Set(FOLDER_KEYS), json),
      ...warnUnknownKeys(`${file}: config`, known, inner),
    ]
    return E.flatMap(collect<unknown>([fields, blocks]), () =>
      E.flatMap(fields, (config) =>
        E.map((b: t.TypeOf<typeof Blocks>) => ({
          config: { ...config, size: innerSize(hidden_size, b.reduction_factor) },
          warnings,
        }))(blocks),
      ),
    )
  })

// ---------------------------------------------------------------------------------------- tensors

const keyOf = (files: Files, path: string, param: string): string =>
  `${path}.adapters.${NAME}.${files.keys[param] ?? param}`

/** path, the adapter's name and the parameter's suffix */
const KEY = /^(.*\.(?:attention|output)_adapters)\.adapters\.([^.]+)\.(.+)$/

const decodeTensors = (
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  adapter: Adapter,
  files: Files,
  config: Config,
): Checked<SiteTensors> => {
  const names = new Set([...tensors.keys()].flatMap((key) => KEY.exec(key)?.[2] ?? []))
  if (names.size > 1) return failWith(file, 'tensors of one adapter', `of ${[...names].map(showKey).join(', ')}`)
  const placeOf = (key: string): Placed => {
    const match = KEY.exec(key)
    const param = Object.entries(files.keys).find(([, suffix]) => suffix === match?.[3])?.[0]
    return match === null || param === undefined
      ? { expected: 'model.layers.<i>.{attention,output}_adapters.adapters.<name>.<tensor>' }
      : { path: match[1]!, param }
  }
  return decodeSites(file, tensors, adapter.params(config, symbolicSizes), placeOf, (path, param) =>
    keyOf(files, path, param),
  )
}

/** m as the tensors have it must be m as the config has it */
const checkSize = (file: string, tensors: SiteTensors, config: Config): Checked<SiteTensors> =>
  unlessFaults(
    [...tensors].flatMap(([path, p]) =>
      p['down']?.shape[0] === config['size']
        ? []
        : [
            {
              at: `${file}: ${showKey(path)}`,
              expected: `an inner size of ${showValue(config['size'])}, as reduction_factor says`,
              actual: showValue(p['down']?.shape[0]),
            },
          ],
    ),
    () => tensors,
  )

export const adapterhub: Format = {
  tensorFile: 'adapter.safetensors',
  keyOf,
  encode,
  decode: (opened, adapter, files) =>
    pipe(
      decodeConfig(opened.configFile, opened.config, adapter, files),
      E.flatMap(({ config, warnings }) =>
        pipe(
          decodeTensors(opened.tensorFile, opened.tensors, adapter, files, config),
          E.flatMap((tensors) => checkSize(opened.tensorFile, tensors, config)),
          E.map((tensors): LoadedAdapter => ({ adapter, config, targets: [...tensors.keys()], tensors, warnings })),
        ),
      ),
    ),
}
