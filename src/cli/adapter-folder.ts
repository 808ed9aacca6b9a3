/** An adapter with its values, between its folder and the model that it is grafted onto. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as NEA from 'fp-ts/lib/NonEmptyArray.js'
import { readAdapter, type LoadedAdapter, type SavedAdapter, type SiteTensors } from '../adapters/files/folder.ts'
import { registry, type Adapter } from '../adapters/index.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import { graftedParams, llamaSites, type Buffers, type Grafted, type LlamaConfig } from '../models/index.ts'
import { findAdapter, type NamedAdapter } from './adapters.ts'
import { warn, type Terminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

/** An adapter at its sites of a model, with its values by program input. */
export interface TrainedAdapter {
  readonly grafted: Grafted
  readonly params: Buffers
}

// --------------------------------------------------------------------------------- constructors

/** A folder's adapter on the sites that it has tensors for. */
const graftLoaded = ({ adapter, config, tensors }: LoadedAdapter, model: LlamaConfig): TrainedAdapter => {
  const sites = llamaSites(model).filter((s) => s.kind === adapter.site && tensors.has(s.path))
  const grafted = { adapter, config, sites }
  return {
    grafted,
    params: Object.fromEntries(
      graftedParams(grafted).map(({ path, param, name }) => [
        name,
        tensors.get(path)?.[param]?.data ?? new Float32Array(),
      ]),
    ),
  }
}

/** a method that nobody here knows may be the user's own */
const hinted = (definition: string | undefined) => (f: Fault) =>
  definition === undefined && f.at.endsWith(': peft_type')
    ? { ...f, hint: 'for an adapter of your own, name its file with --definition' }
    : f

// --------------------------------------------------------------------------------- interpreters

/**
 * The trained adapter in `folder`, for this model; `definition` is the file of a user's own. Errors: what the reader of
 * the folder finds, modules that the model lacks, tensors that do not fit it.
 */
export const openAdapter = async (
  folder: string,
  definition: string | undefined,
  model: LlamaConfig,
  terminal: Terminal,
): Promise<Checked<TrainedAdapter>> => {
  const sizes = new Map(llamaSites(model).map((s) => [s.path, s.sizes]))
  const known: Checked<ReadonlyArray<Adapter>> =
    definition === undefined
      ? E.right(registry)
      : E.map((own: NamedAdapter) => [own.adapter])(await findAdapter(definition))
  return pipe(
    known,
    E.flatMap((adapters) =>
      E.mapLeft(NEA.map(hinted(definition)))(readAdapter(folder, adapters, (path) => sizes.get(path))),
    ),
    E.map((loaded) => {
      warn(terminal, loaded.warnings)
      return graftLoaded(loaded, model)
    }),
  )
}

/** The values of a grafted adapter as a folder holds them. */
export const asSaved = (
  { grafted, params }: TrainedAdapter,
  targets: ReadonlyArray<string>,
  baseModel: string,
): SavedAdapter => {
  const specs = graftedParams(grafted)
  const tensors: SiteTensors = new Map(
    grafted.sites.map(({ path }) => [
      path,
      Object.fromEntries(
        specs
          .filter((p) => p.path === path)
          .map(({ param, name, shape }) => [param, { shape, data: params[name] ?? new Float32Array() }]),
      ),
    ]),
  )
  return { adapter: grafted.adapter, config: grafted.config, targets, tensors, baseModel }
}
