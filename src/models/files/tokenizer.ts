/**
 * Text to token ids and back, one interface over two kinds of file: llama2.c's `tokenizer.bin` by llama2.c's own
 * rule, and Hugging Face's `tokenizer.json` through `@huggingface/tokenizers`.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import { attempt, isFile, readBytes } from '../../adapters/files/bytes.ts'
import {
  decodeJson,
  failWith,
  optional,
  parseJson,
  readJson,
  readText,
  refined,
  showValue,
} from '../../adapters/files/codec.ts'
import type { Checked } from '../../dsl/fault.ts'
import { mergePieces } from './merging.ts'

// ------------------------------------------------------------------------------------------- model

/** Text to token ids and back. */
export interface Tokenizer {
  /** ids of a text, without BOS or EOS around them */
  readonly encode: (text: string) => number[]
  /** the text of ids; BOS and EOS give nothing, and right after BOS one leading space is dropped */
  readonly decode: (ids: ReadonlyArray<number>) => string
  readonly vocabSize: number
  readonly bos?: number
  readonly eos?: number
}

// ----------------------------------------------------------------------------- llama2.c: the vocabulary

/** The pieces by id, as strings of bytes (one character a byte), with the score of each as a merge. */
export interface Vocabulary {
  readonly pieces: ReadonlyArray<string>
  readonly scores: Float32Array
}

const BOS = 1
const EOS = 2
/** Byte b is piece `<0xBB>`, id b + 3: after unk, BOS and EOS. */
const FIRST_BYTE = 3

const bytePiece = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`

/** `tokenizer.bin`: int32 longest piece, then to the end of the file f32 score, int32 length, bytes. */
const parseVocabulary = (at: string, bytes: Uint8Array<ArrayBuffer>): Checked<Vocabulary> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (bytes.length < 4)
    return failWith(at, 'a llama2.c tokenizer (at least 4 bytes)', `a file of ${bytes.length} bytes`)
  const longest = view.getInt32(0, true)
  const pieces: string[] = []
  const scores: number[] = []
  for (let offset = 4; offset < bytes.length;) {
    const place = `${at}: piece ${pieces.length}`
    if (offset + 8 > bytes.length)
      return failWith(place, 'a score and a length (8 bytes)', `${bytes.length - offset} bytes at the end of the file`)
    const score = view.getFloat32(offset, true)
    const length = view.getInt32(offset + 4, true)
    const most = Math.min(longest, bytes.length - offset - 8)
    if (!Number.isFinite(score)) return failWith(`${place}: score`, 'a finite number', `${score}`)
    if (length < 0 || length > most) return failWith(`${place}: length`, `an integer from 0 to ${most}`, `${length}`)
    pieces.push(Buffer.from(bytes.buffer, bytes.byteOffset + offset + 8, length).toString('latin1'))
    scores.push(score)
    offset += 8 + length
  }
  return E.right({ pieces, scores: Float32Array.from(scores) })
}

/** The rule needs a piece for a space and one for each byte. */
const checkVocabulary = (at: string, vocabulary: Vocabulary, vocab: number | undefined): Checked<Vocabulary> => {
  const { pieces } = vocabulary
  if (vocab !== undefined && pieces.length !== vocab)
    return failWith(at, `${vocab} pieces, as the model's vocabulary says`, `${pieces.length}`)
  const bad = Array.from({ length: 256 }, (_, byte) => byte).find(
    (byte) => pieces[byte + FIRST_BYTE] !== bytePiece(byte),
  )
  if (bad !== undefined)
    return failWith(`${at}: piece ${bad + FIRST_BYTE}`, bytePiece(bad), showValue(pieces[bad + FIRST_BYTE]))
  if (!pieces.includes(' ')) return failWith(at, 'a piece that is one space', 'none')
  return E.right(vocabulary)
}

// ------------------------------------------------------------------------------- llama2.c: the rule

/** Id of a piece; where a piece stands twice, the first one. */
const idsOf = ({ pieces }: Vocabulary): ReadonlyMap<string, number> => {
  const ids = new Map<string, number>()
  pieces.forEach((piece, id) => {
    if (!ids.has(piece)) ids.set(piece, id)
  })
  return ids
}

/** The ids before merging: a space, then per code point its piece, or its bytes' pieces. */
const startOf = (ids: ReadonlyMap<string, number>, text: string): number[] => {
  const known = new Map<string, ReadonlyArray<number>>()
  const idsOfPoint = (point: string): ReadonlyArray<number> => {
    const bytes = Buffer.from(point, 'utf8')
    const id = ids.get(bytes.toString('latin1'))
    const found = id === undefined ? [...bytes].map((byte) => byte + FIRST_BYTE) : [id]
    known.set(point, found)
    return found
  }
  const out = [ids.get(' ') ?? 0]
  for (const point of text) for (const id of known.get(point) ?? idsOfPoint(point)) out.push(id)
  return out
}

const BYTE = /^<0x([0-9A-F]{2})>$/

/** The bytes that a piece prints. */
const printed = (piece: string): string => {
  const hex = BYTE.exec(piece)?.[1]
  return hex === undefined ? piece : String.fromCharCode(parseInt(hex, 16))
}

const decodePieces =
  (pieces: ReadonlyArray<string>) =>
  (ids: ReadonlyArray<number>): string => {
    const bytes = ids.map((id, i) => {
      if (id === BOS || id === EOS) return ''
      const piece = pieces[id]
      if (piece === undefined) return '\xef\xbf\xbd'
      return printed(ids[i - 1] === BOS && piece.startsWith(' ') ? piece.slice(1) : piece)
    })
    return Buffer.from(bytes.join(''), 'latin1').toString('utf8')
  }

/** The tokenizer of a vocabulary: a leading space, code points, byte fallback, then the best merge first, leftmost on ties. */
export const tokenizerOf = (vocabulary: Vocabulary): Tokenizer => {
  const ids = idsOf(vocabulary)
  const { pieces, scores } = vocabulary
  return {
    encode: (text) => (text === '' ? [] : mergePieces(pieces, scores, ids, startOf(ids, text))),
    decode: decodePieces(pieces),
    vocabSize: pieces.length,
    bos: BOS,
    eos: EOS,
  }
}

/**
 * llama2.c's tokenizer from its bytes; `vocab` is the model's vocabulary, which the file must match. Errors: lengths
 * beyond the file, scores that are not finite, a number of pieces that isn't the model's, a missing byte piece.
 */
export const parseTokenizer = (at: string, bytes: Uint8Array<ArrayBuffer>, vocab?: number): Checked<Tokenizer> =>
  pipe(
    parseVocabulary(at, bytes),
    E.flatMap((vocabulary) => checkVocabulary(at, vocabulary, vocab)),
    E.map(tokenizerOf),
  )

/** The same from a file. */
export const readTokenizer = (file: string, vocab?: number): Checked<Tokenizer> =>
  E.flatMap(readBytes(file), (bytes) => parseTokenizer(file, bytes, vocab))

// ------------------------------------------------------------------------------------- tokenizer.json

const JsonObject = refined('an object', (u): u is object => typeof u === 'object' && u !== null && !Array.isArray(u))

/** What must be there before the library sees it; it checks the rest by failing. */
const TokenizerJson = t.type(
  { model: t.type({ vocab: refined('a vocabulary', (u): u is object => typeof u === 'object' && u !== null) }) },
  'a tokenizer',
)

const SpecialToken = t.union(
  [t.string, t.type({ content: t.string }), t.null, t.undefined],
  'a token, as text or as an object with content',
)

const SpecialTokens = t.type(
  { bos_token: SpecialToken, eos_token: SpecialToken, clean_up_tokenization_spaces: optional(t.boolean) },
  'a tokenizer_config',
)

const textOf = (token: t.TypeOf<typeof SpecialToken>): string | undefined =>
  typeof token === 'string' ? token : token?.content

/** The library stands on the other side of this seam; what it throws at a strange file is a fault. */
const wrap = (at: string, json: object, config: object, special: t.TypeOf<typeof SpecialTokens>): Checked<Tokenizer> =>
  attempt(at, 'a tokenizer that @huggingface/tokenizers can load', () => {
    const library = new HuggingFaceTokenizer(json, config)
    const idOf = (token: string | undefined): number | undefined =>
      token === undefined ? undefined : library.token_to_id(token)
    const bos = idOf(textOf(special.bos_token))
    const eos = idOf(textOf(special.eos_token))
    library.encode('a', { add_special_tokens: false })
    const tidy = special.clean_up_tokenization_spaces === true
    return {
      encode: (text) => library.encode(text, { add_special_tokens: false }).ids,
      decode: (ids) => {
        const known = ids.filter((id) => library.id_to_token(id) !== undefined)
        return known.length === 0
          ? ''
          : library.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: tidy })
      },
      vocabSize: [...library.get_vocab(true).values()].reduce((n, id) => Math.max(n, id + 1), 0),
      ...(bos === undefined ? {} : { bos }),
      ...(eos === undefined ? {} : { eos }),
    }
  })

/**
 * Hugging Face's `tokenizer.json`, with BOS and EOS from `tokenizer_config.json` beside it where that is there.
 * Errors: files that aren't tokenizers, ids beyond the model's vocabulary `vocab`, kinds that the library doesn't know.
 */
export const readTokenizerJson = (file: string, configFile: string, vocab?: number): Checked<Tokenizer> =>
  pipe(
    E.Do,
    E.bind('json', () => E.flatMap(readText(file), (text) => parseJson(file, text, 'keep the last'))),
    E.bind('checked', ({ json }) => decodeJson(file, TokenizerJson, json)),
    E.bind('configJson', () => (isFile(configFile) ? readJson(configFile) : E.right({}))),
    E.bind('config', ({ configJson }) => decodeJson(configFile, JsonObject, configJson)),
    E.bind('special', ({ config }) => decodeJson(configFile, SpecialTokens, config)),
    E.flatMap(({ checked, config, special }) => wrap(file, checked, config, special)),
    E.flatMap((tokenizer) =>
      vocab !== undefined && tokenizer.vocabSize > vocab
        ? failWith(file, `ids below ${vocab}, the model's vocabulary`, `${tokenizer.vocabSize - 1}`)
        : E.right(tokenizer),
    ),
  )
