/** `scion generate`: text from a model, with an adapter or without. */
import { Command } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import { failWith } from '../adapters/files/codec.ts'
import type { Checked } from '../dsl/index.ts'
import { generate, type Tokenizer } from '../models/index.ts'
import { needTokenizer, type OpenModel } from './model.ts'
import { integer, numberWhere, seed, withExamples, withJson } from './options.ts'
import { readyTeller } from './ready.ts'
import { openSpeaker, withSpeaker, type SpeakingOptions } from './speaking.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

interface GenerateOptions extends SpeakingOptions {
  readonly prompt: string
  readonly tokens: number
  readonly temperature: number
  readonly topP: number
  readonly seed: number
}

// --------------------------------------------------------------------------------- constructors

/** BOS, then the prompt's tokens. */
const promptTokens = (
  { path, loaded }: OpenModel,
  tokenizer: Tokenizer,
  prompt: string,
): Checked<ReadonlyArray<number>> => {
  const bos = tokenizer.bos ?? loaded.config.bos
  const tokens = [...(bos === undefined ? [] : [bos]), ...(prompt === '' ? [] : tokenizer.encode(prompt))]
  return tokens.length === 0
    ? failWith('--prompt', 'some text, since the model has no token that begins a text', `nothing, for ${path}`)
    : E.right(tokens)
}

/**
 * Tells text as it grows. What may still change is held back: a character of which only some bytes are there
 * is decoded as U+FFFD.
 */
const streamer = (tokenizer: Tokenizer, write: (text: string) => void) => {
  let told = ''
  const settled = (text: string): string => text.replace(/\uFFFD+$/, '')
  const tell = (text: string): void => {
    if (!text.startsWith(told)) return
    write(text.slice(told.length))
    told = text
  }
  return {
    push: (ids: ReadonlyArray<number>) => tell(settled(tokenizer.decode(ids))),
    end: (ids: ReadonlyArray<number>) => tell(tokenizer.decode(ids)),
  }
}

// --------------------------------------------------------------------------------- interpreters

const speak =
  (options: GenerateOptions, terminal: Terminal): Work =>
  async () => {
    const ready = await openSpeaker(options, terminal)
    if (E.isLeft(ready)) return ready
    const { model, speaker } = ready.right
    const tokenizer = needTokenizer(model)
    if (E.isLeft(tokenizer)) return tokenizer
    const prompt = promptTokens(model, tokenizer.right, options.prompt)
    if (E.isLeft(prompt)) return prompt
    const { temperature, topP, tokens: count, seed: from } = options
    const ids = [...prompt.right]
    const quiet = options.json === true
    const teller = readyTeller(terminal)
    const stream = streamer(tokenizer.right, (text) => {
      if (!quiet) terminal.out.write(text)
    })
    const made = await generate(
      speaker,
      prompt.right,
      count,
      { temperature, topP, seed: from },
      {
        // what computes is said before the text begins, which may be on the same terminal
        onReady: (r) => {
          teller.onReady(r)
          if (r.rereads !== undefined)
            terminal.err.write(`the text is read again for every token, which is slower: ${r.rereads}\n`)
          stream.push(ids)
        },
        onToken: (id) => {
          ids.push(id)
          stream.push(ids)
        },
      },
    )()
    if (E.isLeft(made)) {
      if (!quiet && ids.length > prompt.right.length) terminal.out.write('\n')
      return made
    }
    stream.end(ids)
    if (quiet)
      printJson(terminal, {
        prompt: options.prompt,
        text: tokenizer.right.decode(ids),
        promptTokens: prompt.right,
        tokens: made.right,
        ready: teller.told(),
      })
    else terminal.out.write('\n')
    return E.right(0)
  }

/** The verb `generate`. */
export const generateVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withSpeaker(
        new Command('generate')
          .summary('text from a model, with an adapter or without')
          .description(
            'Continues a prompt, token by token. An empty prompt begins a text. Temperature 0 takes the likeliest token ' +
              'each time; above it tokens are drawn from the smallest set that holds --top-p of the probability.',
          ),
      )
        .option('--prompt <text>', 'how the text begins', '')
        .option('--tokens <n>', 'at most so many further tokens', integer(0, 1_000_000), 128)
        .option(
          '--temperature <x>',
          '0 is greedy',
          numberWhere('a number from 0', (x) => x >= 0),
          0,
        )
        .option(
          '--top-p <x>',
          'share of the probability',
          numberWhere('a number above 0, at most 1', (x) => x > 0 && x <= 1),
          0.9,
        )
        .option('--seed <n>', 'of the draws', seed, 0),
      '{prompt, text, promptTokens, tokens, ready: {target, reason}}',
    ),
    [
      'scion generate --model ./stories260K --prompt "Once upon a time"',
      'scion generate --model ./stories260K --adapter ./grimm-lora --tokens 200 --temperature 0.8 --seed 1',
    ],
  ).action((options: GenerateOptions) => run(speak(options, terminal)))
