/** `scion merge`: a model whose weights are those that an adapter makes of them; no adapter is needed afterwards. */
import { Command, Option } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { failWith } from '../adapters/files/codec.ts'
import type { StoredTensor } from '../adapters/files/safetensors.ts'
import type { Checked, Values } from '../dsl/index.ts'
import { asValues, copyTokenizer, graftedParams, mergeInto, writeHuggingFace } from '../models/index.ts'
import { openAdapter, type TrainedAdapter } from './adapter-folder.ts'
import { openModel, type OpenModel } from './model.ts'
import { withDefinition, withExamples, withJson } from './options.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

const DTYPES = ['F32', 'F16', 'BF16'] as const
type DType = (typeof DTYPES)[number]

interface MergeOptions {
  readonly model: string
  readonly adapter: string
  readonly definition?: string
  readonly out: string
  readonly dtype?: DType
  readonly json?: true
}

// ------------------------------------------------------------------------------------- the place

const real = (path: string): string => (existsSync(path) ? realpathSync(path) : resolve(path))

/** A new or empty folder, and not the model's own. */
const checkOut = ({ out, model, adapter }: MergeOptions): Checked<void> => {
  const folders = [real(model), ...(existsSync(model) && statSync(model).isFile() ? [dirname(real(model))] : [])]
  if (folders.includes(real(out))) return failWith('--out', "a folder that is not the model's own", out)
  if (real(adapter) === real(out)) return failWith('--out', "a folder that is not the adapter's own", out)
  if (!existsSync(out)) return E.right(undefined)
  if (!statSync(out).isDirectory()) return failWith('--out', 'a new folder', `${out}, a file`)
  return readdirSync(out).length === 0
    ? E.right(undefined)
    : failWith('--out', 'a new or empty folder', `${out}, which holds files`)
}

// ------------------------------------------------------------------------------------ the weights

/** The model's tensors with the adapted ones replaced. */
const replaced = (
  { loaded }: OpenModel,
  names: ReadonlySet<string>,
  merged: Values,
): ReadonlyMap<string, StoredTensor> =>
  new Map(
    [...loaded.tensors].map(([name, tensor]) => {
      const data = merged[name]?.data
      return [name, names.has(name) && data !== undefined ? { ...tensor, data: Float32Array.from(data) } : tensor]
    }),
  )

const number = new Float32Array(1)
const asBits = new Uint32Array(number.buffer)

/**
 * x to f32, rounded to odd: where x is not an f32, the neighbour whose last bit is 1. A further rounding to f16 or bf16
 * then gives what rounding x itself would have given. Boldo and Melquiond 2008.
 */
export const roundToOdd = (x: number): number => {
  number[0] = x
  if (number[0] === x || !Number.isFinite(number[0])) return number[0]
  // the neighbour towards zero, then its last bit set
  if (Math.abs(number[0]) > Math.abs(x)) asBits[0]! -= 1
  asBits[0]! |= 1
  return number[0]
}

/** how a weight is rounded on its way into the format that it is written in */
const roundingFor =
  ({ loaded }: OpenModel, dtype: DType | undefined) =>
  (name: string): ((x: number) => number) =>
    (dtype ?? loaded.tensors.get(name)?.dtype) === 'F32' ? Math.fround : roundToOdd

// --------------------------------------------------------------------------------- interpreters

const mergeAndWrite = (
  model: OpenModel,
  { grafted, params }: TrainedAdapter,
  { out, dtype }: MergeOptions,
): Checked<number> =>
  pipe(
    mergeInto(model.weights, grafted, asValues(graftedParams(grafted), params), roundingFor(model, dtype)),
    E.flatMap((merged) =>
      E.flatMap(copyTokenizer(model.loaded), (others) => {
        const names = new Set(grafted.sites.map(({ path }) => `${path}.weight`))
        const tensors = replaced(model, names, merged)
        const { config } = model.loaded
        return E.map(() => names.size)(
          writeHuggingFace(out, { config, tensors }, { others, ...(dtype === undefined ? {} : { dtype }) }),
        )
      }),
    ),
  )

const run =
  (options: MergeOptions, terminal: Terminal): Work =>
  async () => {
    const model = pipe(
      checkOut(options),
      E.flatMap(() => openModel(options.model, terminal)),
    )
    if (E.isLeft(model)) return model
    const trained = await openAdapter(options.adapter, options.definition, model.right.loaded.config, terminal)
    const merged = E.flatMap(trained, (t) =>
      E.map((count: number) => ({ count, name: t.grafted.adapter.name }))(mergeAndWrite(model.right, t, options)),
    )
    if (E.isLeft(merged)) return merged
    const { count, name } = merged.right
    if (options.json) printJson(terminal, { out: options.out, adapter: name, weights: count })
    else terminal.out.write(`${options.out}: the model with ${name} merged into ${count} weights\n`)
    return E.right(0)
  }

/** The verb `merge`. */
export const mergeVerb = ({ run: perform, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withDefinition(
        new Command('merge')
          .summary("make an adapter part of the model's weights")
          .description(
            'Writes a Hugging Face folder whose weights are what the adapter makes of them: W + s B A for LoRA. Each is computed ' +
              'in f64 and rounded once. The model and the adapter are left as they are. Adapters that do not act on linear ' +
              'layers alone (bottleneck, llama-adapter) have no such weights.',
          )
          .requiredOption('--model <dir>', 'the model that the adapter was trained on')
          .requiredOption('--adapter <dir>', 'a trained adapter'),
      )
        .requiredOption('--out <dir>', 'a new folder')
        .addOption(new Option('--dtype <name>', 'format of all weights; else each keeps its own').choices(DTYPES)),
      '{out, adapter, weights}',
    ),
    ['scion merge --model ./stories260K --adapter ./grimm-lora --out ./stories-grimm'],
  ).action((options: MergeOptions) => perform(run(options, terminal)))
