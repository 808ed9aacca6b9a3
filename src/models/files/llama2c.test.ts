import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, describe, expect, it } from 'vitest'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import { tensorShapes } from '../config.ts'
import { halvesToInterleaved, interleavedToHalves, parseLlama2c } from './llama2c.ts'
import { copyTokenizer, loadModel } from './load.ts'
import { readHuggingFace, writeHuggingFace } from './huggingface.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-llama2c-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const right = <A>(checked: Checked<A>): A => {
  if (E.isLeft(checked)) expect.fail(showFaults(checked.left))
  return checked.right
}

const message = <A>(checked: Checked<A>): string =>
  E.isLeft(checked) ? showFaults(checked.left) : 'read without a fault'

describe('the rotation pairs', () => {
  it('moves the neighbours of each head into halves', () => {
    const rows = Float32Array.from({ length: 8 }, (_, i) => i)
    expect([...interleavedToHalves(rows, 1, 4)]).toEqual([0, 2, 1, 3, 4, 6, 5, 7])
  })

  it('has an inverse', () => {
    const sizes = fc.record({
      heads: fc.integer({ min: 1, max: 5 }),
      half: fc.integer({ min: 1, max: 6 }),
      columns: fc.integer({ min: 1, max: 4 }),
    })
    fc.assert(
      fc.property(sizes, ({ heads, half, columns }) => {
        const data = Float32Array.from({ length: heads * 2 * half * columns }, (_, i) => i)
        expect([...halvesToInterleaved(interleavedToHalves(data, columns, 2 * half), columns, 2 * half)]).toEqual([
          ...data,
        ])
        expect([...interleavedToHalves(halvesToInterleaved(data, columns, 2 * half), columns, 2 * half)]).toEqual([
          ...data,
        ])
      }),
    )
  })
})

/** dim 4, hidden 6, layers 2, heads 2, kv heads 1, vocab 5, positions 3, with the values 0, 1, 2... */
const HEADER = [4, 6, 2, 2, 1, 5, 3] as const

const floatsOf = (
  [d, h, l, n, k, v, s]: readonly [number, number, number, number, number, number, number],
  apart: boolean,
): number => {
  const kv = (d / n) * k
  return v * d + l * (2 * d + 2 * d * d + 2 * kv * d + 3 * d * h) + d + s * (d / n) + (apart ? v * d : 0)
}

const checkpoint = (header: ReadonlyArray<number>, floats: number): Uint8Array =>
  Buffer.concat([
    Buffer.from(Int32Array.from(header).buffer),
    Buffer.from(Float32Array.from({ length: floats }, (_, i) => i).buffer),
  ])

describe('llama2.c checkpoints', () => {
  it('finds each tensor at its place', () => {
    const { config, tensors } = right(parseLlama2c('m.bin', checkpoint(HEADER, floatsOf(HEADER, false))))
    expect(new Map([...tensors].map(([name, { shape }]) => [name, shape]))).toEqual(tensorShapes(config))
    const first = (name: string): number | undefined => tensors.get(name)?.data[0]
    expect(first('model.embed_tokens.weight')).toBe(0)
    expect(first('model.layers.1.input_layernorm.weight')).toBe(20 + 4)
    expect(first('model.layers.0.self_attn.q_proj.weight')).toBe(28)
    expect(first('model.layers.0.self_attn.k_proj.weight')).toBe(28 + 32)
    expect(first('model.layers.0.self_attn.v_proj.weight')).toBe(60 + 16)
    expect(first('model.layers.0.self_attn.o_proj.weight')).toBe(76 + 16)
    expect(first('model.layers.0.post_attention_layernorm.weight')).toBe(92 + 32)
    expect(first('model.layers.0.mlp.gate_proj.weight')).toBe(124 + 8)
    expect(first('model.layers.0.mlp.down_proj.weight')).toBe(132 + 48)
    expect(first('model.layers.0.mlp.up_proj.weight')).toBe(180 + 48)
    expect(first('model.norm.weight')).toBe(228 + 48)
    expect(tensors.has('lm_head.weight')).toBe(false)
  })

  it('finds a separate head after the skipped tables', () => {
    const header = HEADER.map((value, i) => (i === 5 ? -value : value))
    const { config, tensors } = right(parseLlama2c('m.bin', checkpoint(header, floatsOf(HEADER, true))))
    expect(config).toMatchObject({ tied: false, vocab: 5 })
    expect(tensors.get('lm_head.weight')?.data[0]).toBe(276 + 4 + 3 * 2)
  })

  const fit = floatsOf(HEADER, false)
  const changed = (i: number, value: number): ReadonlyArray<number> => HEADER.map((v, j) => (j === i ? value : v))
  const HOSTILE: ReadonlyArray<readonly [string, Uint8Array, string]> = [
    ['an empty file', new Uint8Array(0), 'a header of 28 bytes'],
    ['half a header', new Uint8Array(14), 'a file of 14 bytes'],
    ['a file that ends early', checkpoint(HEADER, fit - 1), 'as its header says'],
    ['a file that goes on', checkpoint(HEADER, fit + 1), 'as its header says'],
    ['a width of 0', checkpoint(changed(0, 0), fit), 'm.bin: dim'],
    ['a negative width', checkpoint(changed(1, -6), fit), 'm.bin: hidden_dim'],
    ['2^31 - 1 layers', checkpoint(changed(2, 2 ** 31 - 1), fit), 'm.bin: n_layers'],
    ['no heads', checkpoint(changed(3, 0), fit), 'm.bin: n_heads'],
    ['heads that do not divide the width', checkpoint(changed(3, 3), fit), 'a divisor of the width'],
    ['heads of odd width', checkpoint(changed(3, 4), fit), 'm.bin: dim / n_heads'],
    ['key heads that do not divide the heads', checkpoint(changed(4, 3), fit), 'm.bin: n_kv_heads'],
    ['no vocabulary', checkpoint(changed(5, 0), fit), 'm.bin: vocab_size'],
    ['a vocabulary of -2^31', checkpoint(changed(5, -(2 ** 31)), fit), 'm.bin: vocab_size'],
    ['2^31 - 1 positions', checkpoint(changed(6, 2 ** 31 - 1), fit), 'm.bin: max_seq_len'],
    ['a newer format', checkpoint([0x616b3432, 1, 0, 0, 0, 0, 0], fit), 'version 1'],
  ]
  it.each(HOSTILE)('refuses %s', (_, bytes, expected) => {
    expect(message(parseLlama2c('m.bin', bytes))).toContain(expected)
  })

  it('never throws on a random header', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer(), fc.integer({ min: -9, max: 9 })), { minLength: 7, maxLength: 7 }),
        fc.nat(400),
        (header, floats) => {
          const parsed = parseLlama2c('m.bin', checkpoint(header, floats))
          expect(E.isLeft(parsed) ? parsed.left[0].at : 'm.bin').toContain('m.bin')
        },
      ),
      { numRuns: 1000 },
    )
  })
})

// ------------------------------------------------------------------------------------- a real model

const DATA = join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'data', 'stories260K')
const here = existsSync(DATA)
if (!here) console.log('SKIPPED: the real stories260K (its folder is not beside the project)')

describe.skipIf(!here)('stories260K', () => {
  it('loads from its folder and from its file, with its tokenizer', () => {
    const model = right(loadModel(DATA))
    expect(model.config).toMatchObject({
      dim: 64,
      hidden: 172,
      layers: 5,
      heads: 8,
      kvHeads: 4,
      headDim: 8,
      vocab: 512,
      tied: true,
      maxPositions: 512,
    })
    expect(model.tokenizer?.vocabSize).toBe(512)
    expect(model.warnings).toEqual([])
    expect(right(loadModel(join(DATA, 'stories260K.bin'))).tensors).toEqual(model.tensors)
    const total = [...model.tensors.values()].reduce((n, { data }) => n + data.length, 0)
    expect(total).toBe((readFileSync(join(DATA, 'stories260K.bin')).length - 28) / 4 - 512 * 8)
  })

  it('tokenizes as llama2.c does', () => {
    const tokenizer = right(loadModel(DATA)).tokenizer
    const text = 'Once upon a time, there was a little girl named Lily.'
    const ids = tokenizer?.encode(text) ?? []
    expect(tokenizer?.decode([1, ...ids])).toBe(text)
    expect(ids.slice(0, 4)).toEqual([403, 407, 261, 378])
    const grimm = join(DATA, '..', 'grimm', 'grimm.txt')
    const whole = readFileSync(grimm, 'utf8')
      .replace(/^\ufeff/, '')
      .replaceAll('\r\n', '\n')
    expect(tokenizer?.encode(whole.slice(0, 9000)).length).toBe(4663)
    const all = tokenizer?.encode(whole) ?? []
    expect(tokenizer?.decode([1, ...all])).toBe(whole)
  })

  it('becomes a Hugging Face folder and comes back the same, with its tokenizer', () => {
    const model = right(loadModel(DATA))
    const out = join(folder, 'as-huggingface')
    right(writeHuggingFace(out, model, { others: right(copyTokenizer(model)) }))
    expect(readdirSync(out)).toEqual(['config.json', 'model.safetensors', 'tokenizer.bin'])
    const back = right(loadModel(out))
    expect(back.tensors).toEqual(model.tensors)
    expect(back.config).toEqual(model.config)
    expect(back.warnings).toEqual([])
    expect(back.tokenizer?.encode('a red ball')).toEqual(model.tokenizer?.encode('a red ball'))
    expect(right(readHuggingFace(out)).tensors).toEqual(model.tensors)
  })
})

describe('loadModel', () => {
  it('says what it looked for', () => {
    expect(message(loadModel(join(folder, 'nowhere')))).toMatch(/nowhere: expected a readable file, found no such file/)
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    expect(message(loadModel(empty))).toContain('config.json with safetensors, or a llama2.c .bin')
    writeFileSync(join(empty, 'a.bin'), '')
    writeFileSync(join(empty, 'b.bin'), '')
    expect(message(loadModel(empty))).toContain('found a.bin, b.bin')
  })
})
