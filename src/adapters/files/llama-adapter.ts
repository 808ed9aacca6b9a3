/**
 * The original LLaMA-Adapter's tensors: prompts of the last L layers in one table, gates of every layer.
 *
 *     adapter_query.weight            (L K, in), layer by layer
 *     layers.<i>.attention.gate       (1, heads, 1, 1); of layers before the last L zero, and unused
 *
 * The original keeps them in a .pth file beside `params.json`; here they stand in `adapter.safetensors` beside an
 * `adapter_config.json` with the original's two names, `adapter_len` (K) and `adapter_layer` (L).
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { Checked } from '../../dsl/fault.ts'
import type { Adapter, Config, Files } from '../adapter.ts'
import { failWith, showKey, unlessFaults, warnUnknownKeys } from './codec.ts'
import type { StoredTensor } from './safetensors.ts'
import {
  decodeFields,
  encodeFields,
  knownKeys,
  type Encoded,
  type Format,
  type LoadedAdapter,
  type SavedAdapter,
  type SiteTensors,
  type StoredParam,
} from './saved.ts'

const TABLE = 'adapter_query.weight'
const gateKey = (layer: number): string => `layers.${layer}.attention.gate`
const pathOf = (layer: number): string => `model.layers.${layer}.self_attn`

// ------------------------------------------------------------------------------------------ write

const encode = ({ config, tensors }: SavedAdapter, files: Files): Checked<Encoded> => {
  const at = 'adapter llama-adapter'
  const found = [...tensors].map(([path, params]) => ({
    layer: Number(/\.(\d+)\.self_attn$/.exec(path)?.[1] ?? NaN),
    prompt: params['prompt'],
    gate: params['gate'],
  }))
  const layers = found.sort((a, b) => a.layer - b.layer)
  const [first, last] = [layers[0], layers[layers.length - 1]]
  if (first?.prompt === undefined || first.gate === undefined || last === undefined)
    return failWith(at, 'tensors at self_attn', 'none')
  if (last.layer - first.layer !== layers.length - 1)
    return failWith(at, 'tensors at the last layers, without a gap', layers.map((l) => l.layer).join(', '))
  const [length, width] = [first.prompt.shape[0] ?? 0, first.prompt.shape[1] ?? 0]
  const heads = first.gate.data.length
  const table = new Float32Array(layers.length * length * width)
  layers.forEach(({ prompt }, i) => table.set(prompt?.data ?? [], i * length * width))
  const gates = Array.from({ length: last.layer + 1 }, (_, layer): StoredTensor => ({
    name: gateKey(layer),
    dtype: 'F32',
    shape: [1, heads, 1, 1],
    data: layers.find((l) => l.layer === layer)?.gate?.data ?? new Float32Array(heads),
  }))
  return E.right({
    config: { ...encodeFields(config, files), adapter_layer: layers.length },
    tensors: [{ name: TABLE, dtype: 'F32', shape: [layers.length * length, width], data: table }, ...gates],
  })
}

// ------------------------------------------------------------------------------------------- read

const decodeTensors = (
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  config: Config,
): Checked<SiteTensors> => {
  const [length, count] = [Number(config['length']), Number(config['layers'])]
  const table = tensors.get(TABLE)
  const gates = [...tensors.values()].filter((s) => s.name !== TABLE)
  if (table === undefined) return failWith(`${file}: ${TABLE}`, 'this tensor', 'none')
  const [rows, width] = [table.shape[0] ?? 0, table.shape[1] ?? 0]
  if (table.shape.length !== 2 || rows !== length * count)
    return failWith(
      `${file}: ${TABLE}`,
      `a shape (${length * count}, in), adapter_len times adapter_layer rows`,
      `(${table.shape.join(', ')})`,
    )
  const faults = gates.flatMap(({ name, shape }) =>
    !/^layers\.\d+\.attention\.gate$/.test(name)
      ? [
          {
            at: `${file}: ${showKey(name)}`,
            expected: `${TABLE} or layers.<i>.attention.gate`,
            actual: 'something else',
          },
        ]
      : shape.length !== 4 || shape[0] !== 1 || shape[2] !== 1 || shape[3] !== 1
        ? [{ at: `${file}: ${name}`, expected: 'a shape (1, heads, 1, 1)', actual: `(${shape.join(', ')})` }]
        : [],
  )
  const layers = gates.map(({ name }) => Number(/\d+/.exec(name)?.[0])).sort((a, b) => a - b)
  const missing = layers.find((layer, i) => layer !== i)
  if (faults.length === 0 && (missing !== undefined || layers.length < count))
    return failWith(file, `gates of layers 0 to at least ${count - 1}, without a gap`, layers.join(', ') || 'none')
  return unlessFaults(faults, () => {
    const used = layers.slice(layers.length - count)
    return new Map(
      used.map((layer, i): readonly [string, Readonly<Record<string, StoredParam>>] => {
        const gate = tensors.get(gateKey(layer))
        const at = i * length * width
        return [
          pathOf(layer),
          {
            prompt: { shape: [length, width], data: table.data.slice(at, at + length * width) },
            // how many heads share a key head is not in the file
            gate: { shape: [gate?.shape[1] ?? 0, 1], data: gate?.data ?? new Float32Array() },
          },
        ]
      }),
    )
  })
}

const decodeAll = (opened: Parameters<Format['decode']>[0], adapter: Adapter, files: Files): Checked<LoadedAdapter> =>
  pipe(
    decodeFields(opened.configFile, opened.config, adapter, files),
    E.flatMap((config) =>
      Number(config['layers']) > 0
        ? E.map((tensors: SiteTensors): LoadedAdapter => ({
            adapter,
            config,
            targets: [...tensors.keys()],
            tensors,
            warnings: warnUnknownKeys(opened.configFile, new Set(knownKeys(files)), opened.config),
          }))(decodeTensors(opened.tensorFile, opened.tensors, config))
        : failWith(`${opened.configFile}: adapter_layer`, 'an integer of at least 1', '0'),
    ),
  )

export const llamaAdapterOriginal: Format = {
  tensorFile: 'adapter.safetensors',
  keyOf: (_, path, param) => (param === 'prompt' ? TABLE : `${path}.${param}`),
  merged: ['gate'],
  encode,
  decode: decodeAll,
}
