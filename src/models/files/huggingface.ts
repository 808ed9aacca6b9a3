/**
 * A Hugging Face folder in and out: `config.json` with `model.safetensors`, or with the shards that
 * `model.safetensors.index.json` lists. All headers are checked before one tensor is read.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import { join } from 'node:path'
import { writeFolderAtomic, type NamedContent } from '../../adapters/files/atomic.ts'
import { isFile } from '../../adapters/files/bytes.ts'
import { collect, decodeJson, failWith, readJson, refined, showKey, unlessFaults } from '../../adapters/files/codec.ts'
import {
  encodeSafetensors,
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsHeader,
  type StoredTensor,
} from '../../adapters/files/safetensors.ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { decodeConfig, encodeConfig, tensorShapes, type LlamaConfig } from '../config.ts'

// ------------------------------------------------------------------------------------------- model

/** What a folder holds. */
export interface HuggingFaceModel {
  readonly config: LlamaConfig
  /** by Hugging Face's names; linear weights are (out, in) */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly warnings: ReadonlyArray<string>
}

const CONFIG = 'config.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** Which file holds which tensors, as the files' own headers say; `of` is what faults name as the whole. */
interface Parts {
  readonly of: string
  readonly headers: ReadonlyMap<string, SafetensorsHeader>
  /** from the index: the file that must hold a tensor */
  readonly placed?: ReadonlyMap<string, string>
}

// ------------------------------------------------------------------------------------ constructors

const ShardName = refined(
  'the name of a file in the same folder',
  (u): u is string => typeof u === 'string' && /^[^/\\\0]+\.safetensors$/.test(u) && !u.startsWith('.'),
)

const WeightMap = refined(
  'an object',
  (u): u is Readonly<Record<string, unknown>> => typeof u === 'object' && u !== null && !Array.isArray(u),
)

const Index = t.type({ weight_map: WeightMap }, 'an index of safetensors')

const readOne = (file: string): Checked<Parts> =>
  E.map((header: SafetensorsHeader): Parts => ({ of: file, headers: new Map([[file, header]]) }))(
    readSafetensorsHeader(file),
  )

const readIndex = (folder: string, file: string): Checked<ReadonlyMap<string, string>> =>
  pipe(
    readJson(file),
    E.flatMap((json) => decodeJson(file, Index, json)),
    E.flatMap(({ weight_map }) =>
      collect(
        Object.entries(weight_map).map(([name, shard]) =>
          E.map((s: string) => [name, join(folder, s)] as const)(
            decodeJson(file, ShardName, shard, ['weight_map', name]),
          ),
        ),
      ),
    ),
    E.map((rows) => new Map(rows)),
  )

const readShards = (folder: string, file: string): Checked<Parts> =>
  E.flatMap(readIndex(folder, file), (placed) => {
    const shards = [...new Set(placed.values())].sort()
    const headers = collect(
      shards.map((shard) => E.map((h: SafetensorsHeader) => [shard, h] as const)(readSafetensorsHeader(shard))),
    )
    return E.map((hs: ReadonlyArray<readonly [string, SafetensorsHeader]>): Parts => ({
      of: file,
      headers: new Map(hs),
      placed,
    }))(headers)
  })

const readParts = (folder: string): Checked<Parts> => {
  const [weights, index] = [join(folder, WEIGHTS), join(folder, INDEX)]
  if (isFile(weights)) return readOne(weights)
  if (isFile(index)) return readShards(folder, index)
  const pickled = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => isFile(join(folder, name)))
  const hint =
    pickled === undefined ? undefined : `${pickled} can run code when it is read; save the model as safetensors`
  return failWith(folder, `${WEIGHTS} or ${INDEX}`, 'neither', hint)
}

/** Tables that older writers stored, and a head that a tied model doesn't have. */
const isHarmless = (config: LlamaConfig, name: string): boolean =>
  /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/.test(name) || (config.tied && name === 'lm_head.weight')

const showShape = (shape: ReadonlyArray<number>): string => `[${shape.join(', ')}]`

const MOST_SHOWN = 20

/** Every tensor of the config once, with its shape; what else is there, in one warning. */
const checkParts = (config: LlamaConfig, { of, headers, placed }: Parts): Checked<ReadonlyArray<string>> => {
  const shapes = tensorShapes(config)
  const faults: Fault[] = []
  const homes = new Map<string, string>()
  const unexpected: string[] = []
  for (const [file, { entries }] of headers) {
    for (const [name, { shape }] of entries) {
      const expected = shapes.get(name)
      const home = homes.get(name) ?? placed?.get(name)
      if (expected === undefined) {
        if (!isHarmless(config, name)) unexpected.push(name)
      } else if (home !== undefined && home !== file) {
        faults.push({
          at: `${file}: ${showKey(name)}`,
          expected: `the tensor in ${home} only`,
          actual: 'it stands here too',
        })
      } else if (showShape(shape) !== showShape(expected)) {
        faults.push({
          at: `${file}: ${name}`,
          expected: `shape ${showShape(expected)}, as ${CONFIG} says`,
          actual: showShape(shape),
        })
      }
      if (home === undefined || home === file) homes.set(name, file)
    }
  }
  for (const [name, shape] of shapes) {
    if (!homes.has(name))
      faults.push({
        at: `${placed?.get(name) ?? of}: ${name}`,
        expected: `a tensor of shape ${showShape(shape)}`,
        actual: 'none',
      })
  }
  const shown = unexpected.slice(0, MOST_SHOWN).map(showKey).join(', ')
  const rest = unexpected.length > MOST_SHOWN ? ` and ${unexpected.length - MOST_SHOWN} more` : ''
  return unlessFaults(faults, () => (unexpected.length === 0 ? [] : [`${of}: ignored unknown tensors ${shown}${rest}`]))
}

const readTensors = (config: LlamaConfig, { headers }: Parts): Checked<ReadonlyMap<string, StoredTensor>> => {
  const shapes = tensorShapes(config)
  return E.map((files: ReadonlyArray<ReadonlyMap<string, StoredTensor>>) => {
    const all = new Map(files.flatMap((tensors) => [...tensors]))
    return new Map(
      [...shapes.keys()].flatMap((name) => {
        const tensor = all.get(name)
        return tensor === undefined ? [] : [[name, tensor] as const]
      }),
    )
  })(
    collect(
      [...headers.keys()].map((file) =>
        E.map((f: { readonly tensors: ReadonlyMap<string, StoredTensor> }) => f.tensors)(
          readSafetensors(file, (name) => shapes.has(name)),
        ),
      ),
    ),
  )
}

// ------------------------------------------------------------------------------------ interpreters

/**
 * A model from a Hugging Face folder. Errors: what `decodeConfig` and the safetensors reader find; all tensors that
 * are missing or don't fit the config, at once. Tensors that the model doesn't have give one warning.
 */
export const readHuggingFace = (folder: string): Checked<HuggingFaceModel> => {
  const file = join(folder, CONFIG)
  return pipe(
    readJson(file),
    E.flatMap((json) => decodeConfig(file, json)),
    E.flatMap(({ config, warnings }) =>
      pipe(
        E.Do,
        E.bind('parts', () => readParts(folder)),
        E.bind('unexpected', ({ parts }) => checkParts(config, parts)),
        E.bind('tensors', ({ parts }) => readTensors(config, parts)),
        E.map(({ tensors, unexpected }) => ({ config, tensors, warnings: [...warnings, ...unexpected] })),
      ),
    ),
  )
}

const TORCH_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const

type WrittenDType = keyof typeof TORCH_NAMES

const isWritten = (dtype: string): dtype is WrittenDType => Object.hasOwn(TORCH_NAMES, dtype)

/**
 * A model as a Hugging Face folder, whole or not at all: `config.json`, `model.safetensors` and the `others` (the
 * tokenizer's files). `dtype` is the format of all weights, else each tensor keeps its own. Errors: tensors that
 * don't fit the config; an unwritable folder.
 */
export const writeHuggingFace = (
  folder: string,
  { config, tensors }: Pick<HuggingFaceModel, 'config' | 'tensors'>,
  options: { readonly dtype?: WrittenDType; readonly others?: ReadonlyArray<NamedContent> } = {},
): Checked<void> => {
  const at = join(folder, WEIGHTS)
  const faults = [...tensorShapes(config)].flatMap(([name, shape]): ReadonlyArray<Fault> => {
    const found = tensors.get(name)
    const fits = found !== undefined && showShape(found.shape) === showShape(shape)
    return fits
      ? []
      : [
          {
            at: `${at}: ${name}`,
            expected: `shape ${showShape(shape)}`,
            actual: found === undefined ? 'none' : showShape(found.shape),
          },
        ]
  })
  const first = tensors.get('model.embed_tokens.weight')?.dtype ?? 'F32'
  const dtype = options.dtype ?? (isWritten(first) ? first : 'F32')
  return pipe(
    unlessFaults(faults, () => [...tensorShapes(config).keys()].flatMap((name) => tensors.get(name) ?? [])),
    E.flatMap((all) => encodeSafetensors(at, all, options.dtype === undefined ? {} : { dtype: options.dtype })),
    E.flatMap((weights) =>
      writeFolderAtomic(folder, [
        ...(options.others ?? []),
        { name: WEIGHTS, content: weights },
        { name: CONFIG, content: `${JSON.stringify(encodeConfig(config, TORCH_NAMES[dtype]), undefined, 2)}\n` },
      ]),
    ),
  )
}
