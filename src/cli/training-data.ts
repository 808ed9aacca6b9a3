/** The text that a model is trained on: read, encoded, divided; and the batches that a run sees, for other libraries. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { readText } from '../adapters/files/codec.ts'
import { failWith } from '../adapters/files/codec.ts'
import type { Checked } from '../dsl/index.ts'
import { batchAt, holdOut, windows, type Batch, type Recipe, type Split, type Tokenizer } from '../models/index.ts'
import { sha256 } from './model.ts'

// ---------------------------------------------------------------------------------------- model

/** A text in tokens, split, with the digest of its file. */
export interface TrainingData {
  readonly split: Split
  /** of the text after its byte order mark is gone and its lines end in LF */
  readonly sha256: string
}

// --------------------------------------------------------------------------------- constructors

/**
 * `file` as UTF-8 text (byte order mark dropped, CRLF made LF), encoded whole, its last share held out.
 * Errors: an empty file; parts too short for a single row of length + 1 tokens.
 */
export const readTrainingData = (
  file: string,
  tokenizer: Tokenizer,
  share: number,
  length: number,
): Checked<TrainingData> =>
  pipe(
    readText(file),
    E.map((text) => text.replace(/\r\n/g, '\n')),
    E.flatMap((text): Checked<TrainingData> => {
      if (text.trim() === '')
        return failWith(file, 'text to train on', text === '' ? 'an empty file' : 'white space only')
      const split = holdOut(tokenizer.encode(text), share)
      const all = split.train.length + split.heldOut.length
      const least = length + 1
      if (split.train.length < least || split.heldOut.length < least)
        return failWith(
          file,
          `at least ${least} tokens to train on and ${least} held out, one row of --length ${length}`,
          `${all} tokens, ${split.train.length} and ${split.heldOut.length}`,
          'a smaller --length, another --held-out, or more text',
        )
      return E.right({ split, sha256: sha256(text) })
    }),
  )

// --------------------------------------------------------------------------------- interpreters

/** each row of a batch with the token that follows it */
const rowsOf = (b: Batch): ReadonlyArray<ReadonlyArray<number>> =>
  Array.from({ length: b.rows }, (_, row) => {
    const tokens = b.tokens.subarray(row * b.length, (row + 1) * b.length)
    return [...tokens, b.targets[(row + 1) * b.length - 1] ?? 0]
  })

/** `{train: [steps][rows][length + 1], heldout: [windows][length + 1]}`: all that a run sees, for bench/peft/train.py. */
export const batchesJson = ({ train, heldOut }: Split, { steps, rows, length, seed }: Recipe): string =>
  JSON.stringify({
    source: `scion train, seed ${seed}`,
    train: Array.from({ length: steps }, (_, s) => rowsOf(batchAt(train, seed, s, rows, length))),
    heldout: windows(heldOut, 1, length).flatMap(rowsOf),
  })
