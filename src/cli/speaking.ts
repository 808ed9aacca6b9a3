/** What `generate` and `logits` share: a model, with an adapter or without, ready to be asked. */
import type { Command } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import type { Checked } from '../dsl/index.ts'
import type { Speaker } from '../models/index.ts'
import { openAdapter } from './adapter-folder.ts'
import { openModel, type OpenModel } from './model.ts'
import { withDefinition, withTarget, type CommonOptions } from './options.ts'
import type { Terminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

/** The flags of both verbs. */
export interface SpeakingOptions extends CommonOptions {
  readonly model: string
  readonly adapter?: string
  readonly definition?: string
}

/** A model that was read, and the same ready to be asked. */
export interface OpenSpeaker {
  readonly model: OpenModel
  readonly speaker: Speaker
}

// --------------------------------------------------------------------------------- constructors

/** The flags that choose model, adapter and target. */
export const withSpeaker = (command: Command): Command =>
  withTarget(
    withDefinition(
      command
        .requiredOption('--model <dir>', 'a Hugging Face folder, or a llama2.c .bin or its folder')
        .option('--adapter <dir>', 'a trained adapter, such as `scion train` writes'),
    ),
  )

/** Reads model and adapter. Errors: everything that the readers find. */
export const openSpeaker = async (options: SpeakingOptions, terminal: Terminal): Promise<Checked<OpenSpeaker>> => {
  const opened = openModel(options.model, terminal)
  if (E.isLeft(opened)) return opened
  const model = opened.right
  const { config } = model.loaded
  const bare: Speaker = { config, weights: model.weights, params: {}, target: options.target }
  if (options.adapter === undefined) return E.right({ model, speaker: bare })
  const trained = await openAdapter(options.adapter, options.definition, config, terminal)
  return E.map(
    (t: { readonly grafted: NonNullable<Speaker['grafted']>; readonly params: Speaker['params'] }): OpenSpeaker => ({
      model,
      speaker: { ...bare, grafted: t.grafted, params: t.params },
    }),
  )(trained)
}
