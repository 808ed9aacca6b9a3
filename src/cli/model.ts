/** A model as a command line names it: its weights, its tokenizer, and the digests of its files. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { isFolder, listFolder, readBytes } from '../adapters/files/bytes.ts'
import { collect, failWith } from '../adapters/files/codec.ts'
import type { Checked, Values } from '../dsl/index.ts'
import { llamaValues, loadModel, type LoadedModel, type Tokenizer } from '../models/index.ts'
import { warn, type Terminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

/** A model that was read, with its weights as program inputs. */
export interface OpenModel {
  readonly path: string
  readonly loaded: LoadedModel
  readonly weights: Values
}

// --------------------------------------------------------------------------------- constructors

/** The model at `path`; what its reader warns of goes to stderr. */
export const openModel = (path: string, terminal: Terminal): Checked<OpenModel> =>
  E.map((loaded: LoadedModel): OpenModel => {
    warn(terminal, loaded.warnings)
    return { path, loaded, weights: llamaValues(loaded.config, loaded.tensors) }
  })(loadModel(path))

/** The model's tokenizer. Error: it has none. */
export const needTokenizer = ({ path, loaded }: OpenModel): Checked<Tokenizer> =>
  loaded.tokenizer === undefined
    ? failWith(path, 'a tokenizer beside the model: tokenizer.json, or tok*.bin', 'none')
    : E.right(loaded.tokenizer)

// ---------------------------------------------------------------------------------- combinators

/** In hexadecimal. */
export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

/** SHA-256 of each file of a model, by name. */
export const modelDigests = (path: string): Checked<Readonly<Record<string, string>>> =>
  pipe(
    isFolder(path)
      ? E.map((names: ReadonlyArray<string>) => names.filter((n) => /\.(json|safetensors|bin)$/.test(n)))(
          listFolder(path),
        )
      : E.right(['']),
    E.flatMap((names) =>
      collect(
        names.map((name) =>
          E.map((bytes: Uint8Array) => [name === '' ? path : name, sha256(bytes)] as const)(
            readBytes(name === '' ? path : join(path, name)),
          ),
        ),
      ),
    ),
    E.map((pairs) => Object.fromEntries(pairs)),
  )
