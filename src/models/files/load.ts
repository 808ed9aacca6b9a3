/** A model from a path, whichever of the two formats lies there, with its tokenizer. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { basename, dirname, join } from 'node:path'
import type { NamedContent } from '../../adapters/files/atomic.ts'
import { isFile, isFolder, listFolder, readBytes } from '../../adapters/files/bytes.ts'
import { collect, failWith, showKey } from '../../adapters/files/codec.ts'
import { checkFinite, numbersOf } from '../../adapters/files/finite.ts'
import type { StoredTensor } from '../../adapters/files/safetensors.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { LlamaConfig } from '../config.ts'
import { readHuggingFace } from './huggingface.ts'
import { readLlama2c } from './llama2c.ts'
import { readTokenizer, readTokenizerJson, type Tokenizer } from './tokenizer.ts'

// ------------------------------------------------------------------------------------------- model

/** A model as its files have it. */
export interface LoadedModel {
  readonly config: LlamaConfig
  /** by Hugging Face's names, in its layout; linear weights are (out, in) */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly tokenizer?: Tokenizer
  /** the files that the tokenizer was read from, for a copy of the model */
  readonly tokenizerFiles: ReadonlyArray<string>
  readonly warnings: ReadonlyArray<string>
}

interface FoundTokenizer {
  readonly tokenizer?: Tokenizer
  readonly tokenizerFiles: ReadonlyArray<string>
}

// ---------------------------------------------------------------------------------------- tokenizers

const isTokenizerBin = (name: string): boolean => /^tok.*\.bin$/.test(name)

/** `tokenizer.bin`, else the only `tok*.bin`. */
const findTokenizerBin = (folder: string): Checked<string | undefined> =>
  E.flatMap(listFolder(folder), (names) => {
    const found = names.filter(isTokenizerBin)
    const name = found.find((n) => n === 'tokenizer.bin') ?? found[0]
    return found.length > 1 && name !== 'tokenizer.bin'
      ? failWith(folder, 'one tokenizer (tokenizer.bin, or one tok*.bin)', found.map(showKey).join(', '))
      : E.right(name === undefined ? undefined : join(folder, name))
  })

const findTokenizer = (folder: string, vocab: number): Checked<FoundTokenizer> => {
  const [json, config] = [join(folder, 'tokenizer.json'), join(folder, 'tokenizer_config.json')]
  if (isFile(json)) {
    const others = [config, join(folder, 'special_tokens_map.json')].filter(isFile)
    return E.map((tokenizer: Tokenizer): FoundTokenizer => ({ tokenizer, tokenizerFiles: [json, ...others] }))(
      readTokenizerJson(json, config, vocab),
    )
  }
  return E.flatMap(findTokenizerBin(folder), (file) =>
    file === undefined
      ? E.right<never, FoundTokenizer>({ tokenizerFiles: [] })
      : E.map((tokenizer: Tokenizer): FoundTokenizer => ({ tokenizer, tokenizerFiles: [file] }))(
          readTokenizer(file, vocab),
        ),
  )
}

/** The tokenizer's files as content, to be written beside a copy of the model. Errors: a file that has gone. */
export const copyTokenizer = ({
  tokenizerFiles,
}: Pick<LoadedModel, 'tokenizerFiles'>): Checked<ReadonlyArray<NamedContent>> =>
  collect(
    tokenizerFiles.map((file) =>
      E.map((content: Uint8Array) => ({
        name: basename(isTokenizerBin(basename(file)) ? 'tokenizer.bin' : file),
        content,
      }))(readBytes(file)),
    ),
  )

// -------------------------------------------------------------------------------------------- models

const withTokenizer = (
  folder: string,
  model: {
    readonly config: LlamaConfig
    readonly tensors: ReadonlyMap<string, StoredTensor>
    readonly warnings?: ReadonlyArray<string>
  },
): Checked<LoadedModel> =>
  E.map((found: FoundTokenizer): LoadedModel => ({ warnings: [], ...model, ...found }))(
    findTokenizer(folder, model.config.vocab),
  )

const loadLlama2c = (file: string): Checked<LoadedModel> =>
  pipe(
    readLlama2c(file),
    E.flatMap((model) => checkFinite(file, numbersOf(model.tensors), () => model)),
    E.flatMap((model) => withTokenizer(dirname(file), model)),
  )

/** The one `.bin` in a folder that is no tokenizer. */
const findModelBin = (folder: string): Checked<string> =>
  E.flatMap(listFolder(folder), (names) => {
    const found = names.filter((name) => name.endsWith('.bin') && !isTokenizerBin(name))
    const [name, ...others] = found
    if (name === undefined)
      return failWith(folder, 'a model: config.json with safetensors, or a llama2.c .bin', 'neither')
    return others.length > 0
      ? failWith(folder, 'one llama2.c .bin, or the path of one', found.map(showKey).join(', '))
      : E.right(join(folder, name))
  })

/**
 * The model at `path`: a folder with `config.json` (Hugging Face), a folder with one llama2.c `.bin`, or such a `.bin`
 * itself; the tokenizer is the one that lies beside it, if any. Errors: everything that the readers find, a weight that is not a
 * finite number, and a path where no model lies.
 */
export const loadModel = (path: string): Checked<LoadedModel> => {
  if (!isFolder(path)) return loadLlama2c(path)
  return isFile(join(path, 'config.json'))
    ? pipe(
        readHuggingFace(path),
        E.flatMap((model) => checkFinite(path, numbersOf(model.tensors), () => model)),
        E.flatMap((model) => withTokenizer(path, model)),
      )
    : pipe(findModelBin(path), E.flatMap(loadLlama2c))
}
