import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, describe, expect, it } from 'vitest'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import { parseTokenizer, readTokenizerJson, tokenizerOf, type Vocabulary } from './tokenizer.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-tokenizer-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const right = <A>(checked: Checked<A>): A => {
  if (E.isLeft(checked)) expect.fail(showFaults(checked.left))
  return checked.right
}

const message = <A>(checked: Checked<A>): string =>
  E.isLeft(checked) ? showFaults(checked.left) : 'read without a fault'

const BASE = [
  '<unk>',
  '\n<s>\n',
  '\n</s>\n',
  ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`),
  ' ',
  'a',
  'b',
  'c',
]

const vocabularyOf = (more: ReadonlyArray<readonly [string, number]>): Vocabulary => ({
  pieces: [...BASE, ...more.map(([piece]) => Buffer.from(piece, 'utf8').toString('latin1'))],
  scores: Float32Array.from([...BASE.map(() => 0), ...more.map(([, score]) => score)]),
})

/** llama2.c's `encode`, as it stands: look through all neighbours for the best merge, again and again. */
const naive = ({ pieces, scores }: Vocabulary, text: string): number[] => {
  const latin = (s: string): string => Buffer.from(s, 'utf8').toString('latin1')
  const tokens = text === '' ? [] : [pieces.indexOf(' ')]
  for (const point of text) {
    const id = pieces.indexOf(latin(point))
    if (id >= 0) tokens.push(id)
    else for (const byte of Buffer.from(point, 'utf8')) tokens.push(byte + 3)
  }
  for (;;) {
    let [best, at, merged] = [-1e10, -1, -1]
    for (let i = 0; i + 1 < tokens.length; i++) {
      const id = pieces.indexOf((pieces[tokens[i] ?? 0] ?? '') + (pieces[tokens[i + 1] ?? 0] ?? ''))
      const score = scores[id] ?? -Infinity
      if (id >= 0 && score > best) [best, at, merged] = [score, i, id]
    }
    if (at < 0) return tokens
    tokens.splice(at, 2, merged)
  }
}

const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' '), minLength: 2, maxLength: 5 })
/** few different scores, so that ties are common */
const merges = fc.uniqueArray(fc.tuple(word, fc.constantFrom(-3, -2, -1, 0, 1)), {
  selector: ([piece]) => piece,
  maxLength: 25,
})
const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' '), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é', '€', '🙂', '\ud800', '<', '0'), maxLength: 30 }),
)

describe("llama2.c's rule", () => {
  it('gives the ids of its own quadratic loop', () => {
    fc.assert(
      fc.property(merges, text, (more, s) => {
        const vocabulary = vocabularyOf(more)
        expect(tokenizerOf(vocabulary).encode(s)).toEqual(naive(vocabulary, s))
      }),
      { numRuns: 3000 },
    )
  })

  it('merges the leftmost of equal pairs first, and follows what a merge makes possible', () => {
    const vocabulary = vocabularyOf([
      ['aa', 1],
      ['ab', 2],
      ['aab', 3],
    ])
    const pieces = tokenizerOf(vocabulary)
      .encode('aaa aab')
      .map((id) => vocabulary.pieces[id])
    expect(pieces).toEqual([' ', 'aa', 'a', ' ', 'aab'])
  })

  it('decodes to the text after BOS, whatever the text', () => {
    fc.assert(
      fc.property(merges, fc.string({ unit: 'binary' }), (more, s) => {
        const tokenizer = tokenizerOf(vocabularyOf(more))
        expect(tokenizer.decode([1, ...tokenizer.encode(s)])).toBe(Buffer.from(s, 'utf8').toString('utf8'))
      }),
    )
    const tokenizer = tokenizerOf(vocabularyOf([]))
    expect(tokenizer.encode('')).toEqual([])
    expect(tokenizer.decode([...tokenizer.encode('a'), 2])).toBe(' a')
    expect(tokenizer.decode([99999, -1])).toBe('\ufffd\ufffd')
  })

  it('is not quadratic: half a million characters in seconds (about 0.5 s alone on one core)', () => {
    const vocabulary = vocabularyOf([
      ['ab', 1],
      ['abc', 2],
      [' a', 3],
      ['  ', 4],
      ['cc', 1],
    ])
    const long = Array.from({ length: 500_000 }, (_, i) => 'abc '[(i * i + (i >> 3)) % 4] ?? '').join('')
    const start = performance.now()
    const ids = tokenizerOf(vocabulary).encode(long)
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(tokenizerOf(vocabulary).decode([1, ...ids])).toBe(long)
  })
})

// --------------------------------------------------------------------------------- tokenizer.bin

const bin = (pieces: ReadonlyArray<string>, longest = 20): Uint8Array<ArrayBuffer> => {
  const parts = pieces.map((piece) => {
    const head = Buffer.alloc(8)
    head.writeInt32LE(piece.length, 4)
    return Buffer.concat([head, Buffer.from(piece, 'latin1')])
  })
  const first = Buffer.alloc(4)
  first.writeInt32LE(longest)
  return Uint8Array.from(Buffer.concat([first, ...parts]))
}

const patched = (at: number, value: number): Uint8Array<ArrayBuffer> => {
  const bytes = bin(BASE)
  new DataView(bytes.buffer).setInt32(at, value, true)
  return bytes
}

describe('tokenizer.bin', () => {
  it('reads', () => {
    expect(right(parseTokenizer('t.bin', bin(BASE), BASE.length)).encode('abc')).toEqual([259, 260, 261, 262])
  })

  const HOSTILE: ReadonlyArray<readonly [string, Uint8Array<ArrayBuffer>, string]> = [
    ['an empty file', new Uint8Array(0), 't.bin: expected a llama2.c tokenizer'],
    ['a file that ends in a score', bin(BASE).slice(0, -4), 't.bin: piece 262'],
    ['a file that ends in a piece', bin([...BASE, 'abc']).slice(0, -1), 't.bin: piece 263: length'],
    ['a length of 2^31 - 1', patched(8, 2 ** 31 - 1), 't.bin: piece 0: length'],
    ['a negative length', patched(8, -1), 't.bin: piece 0: length'],
    ['a length beyond the longest', bin(BASE, 3), 't.bin: piece 0: length: expected an integer from 0 to 3, found 5'],
    ['a score that is NaN', patched(4, 0x7fc00000), 't.bin: piece 0: score'],
    ['too few pieces', bin(BASE.slice(0, 200)), 'expected 263 pieces'],
    [
      'a missing byte piece',
      bin(BASE.map((piece) => (piece === '<0x41>' ? 'A' : piece))),
      't.bin: piece 68: expected <0x41>, found "A"',
    ],
    ['no space', bin(BASE.map((piece) => (piece === ' ' ? '_' : piece))), 'one space'],
  ]
  it.each(HOSTILE)('refuses %s', (_, bytes, expected) => {
    expect(message(parseTokenizer('t.bin', bytes, BASE.length))).toContain(expected)
  })
})

// ------------------------------------------------------------------------------------ tokenizer.json

/** Shaped like LLaMA 2's: spaces are ▁, one is put in front, bytes for what is not in the vocabulary. */
const llamaJson = (): object => {
  const pieces = ['<unk>', '<s>', '</s>', ...BASE.slice(3, 259), '▁', 'a', 'b', 'ab', '▁ab']
  return {
    version: '1.0',
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: ['a b', '▁ ab'],
    },
  }
}

describe('tokenizer.json', () => {
  const read = (json: unknown, config?: unknown, vocab?: number): Checked<ReturnType<typeof tokenizerOf>> => {
    const [file, beside] = [join(folder, 'tokenizer.json'), join(folder, 'tokenizer_config.json')]
    writeFileSync(file, typeof json === 'string' ? json : JSON.stringify(json))
    rmSync(beside, { force: true })
    if (config !== undefined) writeFileSync(beside, JSON.stringify(config))
    return readTokenizerJson(file, beside, vocab)
  }

  it('encodes without BOS, decodes, and knows BOS and EOS', () => {
    const tokenizer = right(read(llamaJson(), { bos_token: '<s>', eos_token: { content: '</s>' } }, 264))
    expect({ ...tokenizer, encode: 0, decode: 0 }).toEqual({ encode: 0, decode: 0, vocabSize: 264, bos: 1, eos: 2 })
    expect(tokenizer.encode('ab b a')).toEqual([263, 259, 261, 259, 260])
    expect(tokenizer.encode('é')).toEqual([259, 0xc3 + 3, 0xa9 + 3])
    for (const s of ['ab b a', 'é , .', " n't", 'a\nb'])
      expect(tokenizer.decode([1, ...tokenizer.encode(s), 2])).toBe(s)
    expect(tokenizer.decode([])).toBe('')
    expect(tokenizer.decode([260, 99999])).toBe('a')
  })

  const HOSTILE: ReadonlyArray<readonly [string, unknown, unknown, string]> = [
    ['no JSON', '{', undefined, 'tokenizer.json: expected valid JSON'],
    ['no object', 'null', undefined, 'tokenizer.json: expected a tokenizer'],
    ['no model', {}, undefined, 'tokenizer.json: model'],
    ['no vocabulary', { model: { type: 'BPE' } }, undefined, 'tokenizer.json: model.vocab'],
    [
      'an unknown kind',
      { model: { type: 'Nonsense', vocab: { a: 0 } } },
      undefined,
      'tokenizer.json: expected a tokenizer that',
    ],
    [
      'merges that are numbers',
      { ...llamaJson(), model: { type: 'BPE', vocab: { a: 0 }, merges: [1, 2] } },
      undefined,
      'tokenizer.json: expected a tokenizer that',
    ],
    ['a BOS that is a number', llamaJson(), { bos_token: 5 }, 'tokenizer_config.json: bos_token'],
    [
      'more ids than the model has',
      llamaJson(),
      undefined,
      "expected ids below 100, the model's vocabulary, found 263",
    ],
  ]
  it.each(HOSTILE)('refuses %s', (_, json, config, expected) => {
    expect(message(read(json, config, 100))).toContain(expected)
  })
})
