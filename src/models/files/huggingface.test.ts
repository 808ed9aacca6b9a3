import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeSafetensors, type StoredTensor } from '../../adapters/files/safetensors.ts'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import { decodeConfig, encodeConfig, tensorShapes, type LlamaConfig } from '../config.ts'
import { readHuggingFace, writeHuggingFace } from './huggingface.ts'
import { loadModel } from './load.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'scion-huggingface-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const right = <A>(checked: Checked<A>): A => {
  if (E.isLeft(checked)) expect.fail(showFaults(checked.left))
  return checked.right
}

const message = <A>(checked: Checked<A>): string =>
  E.isLeft(checked) ? showFaults(checked.left) : 'read without a fault'

const SMALL: LlamaConfig = {
  dim: 4,
  hidden: 6,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  vocab: 5,
  normEps: 1e-5,
  ropeTheta: 500,
  tied: false,
  maxPositions: 16,
  bos: 1,
  eos: [2, 3],
}

const tensorsOf = (config: LlamaConfig): ReadonlyMap<string, StoredTensor> => {
  let next = 0
  return new Map(
    [...tensorShapes(config)].map(([name, shape]) => {
      const data = Float32Array.from({ length: shape.reduce((n, size) => n * size, 1) }, () => next++ % 251)
      return [name, { name, dtype: 'F32', shape, data }]
    }),
  )
}

const JSON_OF = encodeConfig(SMALL, 'float32')

// -------------------------------------------------------------------------------------- config.json

describe('config.json', () => {
  const even = fc.integer({ min: 1, max: 64 }).map((n) => 2 * n)
  const arbitrary: fc.Arbitrary<LlamaConfig> = fc
    .record({
      dim: even,
      hidden: even,
      layers: fc.integer({ min: 1, max: 100 }),
      kvHeads: fc.integer({ min: 1, max: 8 }),
      group: fc.integer({ min: 1, max: 8 }),
      headDim: even,
      vocab: even,
      normEps: fc.constantFrom(1e-5, 1e-6),
      ropeTheta: fc.double({ min: 1, max: 1e6, noNaN: true }),
      tied: fc.boolean(),
      maxPositions: even,
      bos: fc.nat(9),
      eos: fc.array(fc.nat(9), { maxLength: 3 }),
    })
    .map(({ group, ...c }) => ({ ...c, heads: c.kvHeads * group }))

  it('reads what it writes, without a warning', () => {
    fc.assert(
      fc.property(arbitrary, (config) => {
        const json: unknown = JSON.parse(JSON.stringify(encodeConfig(config, 'float32')))
        expect(right(decodeConfig('config.json', json))).toEqual({ config, warnings: [] })
      }),
    )
  })

  it("has Hugging Face's defaults, and theta where newer files put it", () => {
    const least = {
      model_type: 'llama',
      hidden_size: 8,
      intermediate_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      vocab_size: 5,
    }
    expect(right(decodeConfig('c', least)).config).toEqual({
      dim: 8,
      hidden: 8,
      layers: 1,
      heads: 2,
      kvHeads: 2,
      headDim: 4,
      vocab: 5,
      normEps: 1e-6,
      ropeTheta: 10_000,
      tied: false,
      maxPositions: 2048,
      eos: [],
    })
    expect(
      right(decodeConfig('c', { ...least, rope_parameters: { rope_type: 'default', rope_theta: 77 } })).config
        .ropeTheta,
    ).toBe(77)
    expect(right(decodeConfig('c', { ...least, eos_token_id: [4, 5] })).config.eos).toEqual([4, 5])
  })

  it('warns once about unknown keys', () => {
    expect(right(decodeConfig('c', { ...JSON_OF, colour: 'red', '\u001b[2J': 1 })).warnings).toEqual([
      'c: ignored unknown keys colour, \\u001b[2J',
    ])
  })

  const BAD: ReadonlyArray<readonly [Readonly<Record<string, unknown>>, string]> = [
    [{ model_type: 'mistral' }, 'c: model_type: expected "llama", found "mistral"'],
    [{ hidden_size: '64' }, 'c: hidden_size: expected an integer from 1 to 2147483647, found "64"'],
    [{ hidden_size: undefined }, 'c: hidden_size: expected an integer from 1 to 2147483647, found nothing'],
    [{ num_hidden_layers: 1e9 }, 'c: num_hidden_layers: expected an integer from 1 to 4096'],
    [{ num_hidden_layers: 1.5 }, 'c: num_hidden_layers'],
    [{ rms_norm_eps: -1 }, 'c: rms_norm_eps: expected a positive number'],
    [{ num_key_value_heads: 3 }, 'c: num_key_value_heads: expected a divisor of num_attention_heads, 2, found 3'],
    [{ head_dim: 3 }, 'c: head_dim: expected an even width'],
    [
      { head_dim: null, num_attention_heads: 3, num_key_value_heads: 3 },
      'c: num_attention_heads: expected a divisor of the width, 4, found 3',
    ],
    [{ tie_word_embeddings: 'yes' }, 'c: tie_word_embeddings: expected boolean, or nothing, found "yes"'],
    [{ eos_token_id: [-1] }, 'c: eos_token_id'],
    [{ hidden_act: 'gelu' }, 'c: hidden_act: expected "silu"'],
    [{ attention_bias: true }, 'c: attention_bias: expected false'],
    [{ mlp_bias: true }, 'c: mlp_bias: expected false'],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, 'c: rope_scaling: expected the default rotation'],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8 } }, 'c: rope_scaling'],
    [{ rope_parameters: { rope_type: 'yarn', rope_theta: 1 } }, 'c: rope_parameters'],
    [{ quantization_config: { bits: 4 } }, 'c: quantization_config: expected null'],
  ]
  it.each(BAD)('refuses %j', (change, expected) => {
    expect(message(decodeConfig('c', { ...JSON_OF, ...change }))).toContain(expected)
  })

  it('reports bad values and missing features at once', () => {
    const checked = decodeConfig('c', { ...JSON_OF, hidden_size: 0, mlp_bias: true, vocab_size: 'x' })
    expect(E.isLeft(checked) && checked.left.map((f) => f.at)).toEqual([
      'c: hidden_size',
      'c: vocab_size',
      'c: mlp_bias',
    ])
    expect(message(decodeConfig('c', [1]))).toBe('c: expected an object, found [1]')
  })
})

// ------------------------------------------------------------------------------------------- folders

describe('a Hugging Face folder', () => {
  const save = (tensors: Iterable<StoredTensor>, config: object = JSON_OF): void => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    right(writeSafetensors(join(folder, 'model.safetensors'), tensors))
  }
  const all = [...tensorsOf(SMALL).values()]

  it.each(['F32', 'F16', 'BF16'] as const)('comes back as it was written, in %s', (dtype) => {
    const out = join(folder, 'out')
    right(writeHuggingFace(out, { config: SMALL, tensors: tensorsOf(SMALL) }, { dtype }))
    const back = right(readHuggingFace(out))
    expect(back).toEqual({
      config: SMALL,
      tensors: new Map([...tensorsOf(SMALL)].map(([n, t]) => [n, { ...t, dtype }])),
      warnings: [],
    })
    expect(readFileSync(join(out, 'config.json'), 'utf8')).toContain(
      `"torch_dtype": "${{ F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype]}"`,
    )
    expect(right(loadModel(out)).tokenizerFiles).toEqual([])
  })

  it('reads shards, each tensor from its own', () => {
    const index = join(folder, 'model.safetensors.index.json')
    const shardOf = (i: number): string => `model-0000${(i % 2) + 1}-of-00002.safetensors`
    writeFileSync(join(folder, 'config.json'), JSON.stringify(JSON_OF))
    for (const n of [0, 1])
      right(
        writeSafetensors(
          join(folder, shardOf(n)),
          all.filter((_, i) => i % 2 === n),
        ),
      )
    const weight_map = Object.fromEntries(all.map(({ name }, i) => [name, shardOf(i)]))
    writeFileSync(index, JSON.stringify({ metadata: { total_size: 1 }, weight_map }))
    expect(right(readHuggingFace(folder)).tensors).toEqual(tensorsOf(SMALL))

    const wrong = (change: Readonly<Record<string, unknown>>): string => {
      writeFileSync(index, JSON.stringify({ weight_map: { ...weight_map, ...change } }))
      return message(readHuggingFace(folder))
    }
    expect(wrong({ 'model.norm.weight': '../model.safetensors' })).toContain(
      'index.json: weight_map.model.norm.weight: expected the name of a file',
    )
    expect(wrong({ 'model.norm.weight': 'sub/model.safetensors' })).toContain('expected the name of a file')
    expect(wrong({ 'model.norm.weight': 3 })).toContain('weight_map.model.norm.weight')
    expect(wrong({ 'model.norm.weight': 'nowhere.safetensors' })).toContain(
      'nowhere.safetensors: expected a readable file',
    )
    expect(wrong({ 'lm_head.weight': shardOf(all.findIndex((t) => t.name === 'lm_head.weight') + 1) })).toContain(
      'lm_head.weight: expected',
    )
    right(writeSafetensors(join(folder, shardOf(1)), all))
    expect(wrong({})).toContain(
      `${shardOf(1)}: model.embed_tokens.weight: expected the tensor in ${join(folder, shardOf(0))} only`,
    )
    writeFileSync(index, '{"weight_map": []}')
    expect(message(readHuggingFace(folder))).toContain('index.json: weight_map: expected an object')
  })

  it('lists everything missing and misshapen at once', () => {
    save(
      all
        .filter((t) => t.name !== 'model.norm.weight' && t.name !== 'lm_head.weight')
        .map((t) => (t.name.includes('v_proj') ? { ...t, shape: [...t.shape].reverse() } : t)),
    )
    const checked = readHuggingFace(folder)
    expect(E.isLeft(checked) && checked.left.length).toBe(4)
    expect(message(checked)).toContain(
      'model.safetensors: model.layers.0.self_attn.v_proj.weight: expected shape [2, 4], as config.json says, found [4, 2]',
    )
    expect(message(checked)).toContain(
      'model.safetensors: lm_head.weight: expected a tensor of shape [5, 4], found none',
    )
  })

  it('warns once of tensors that it does not know, not of harmless ones', () => {
    const extra = ['odd.weight', 'model.layers.0.self_attn.rotary_emb.inv_freq', 'more'].map((name): StoredTensor => ({
      name,
      dtype: 'F32',
      shape: [1],
      data: new Float32Array(1),
    }))
    save([...all, ...extra])
    expect(right(readHuggingFace(folder)).warnings).toEqual([
      `${join(folder, 'model.safetensors')}: ignored unknown tensors more, odd.weight`,
    ])
  })

  it('takes a tied head from the embedding, also where the file has one', () => {
    save(all, { ...JSON_OF, tie_word_embeddings: true })
    const { tensors, warnings } = right(readHuggingFace(folder))
    expect([tensors.has('lm_head.weight'), warnings]).toEqual([false, []])
  })

  it('says what a folder without safetensors has', () => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(JSON_OF))
    writeFileSync(join(folder, 'pytorch_model.bin'), '')
    expect(message(readHuggingFace(folder))).toMatch(
      /expected model\.safetensors or .*, found neither \(pytorch_model\.bin can run code/,
    )
    writeFileSync(join(folder, 'config.json'), '{"model_type": "llama", "model_type": "llama"}')
    expect(message(loadModel(folder))).toContain('config.json: model_type: expected each key once')
  })

  it('writes nothing where a tensor does not fit or the folder cannot be made', () => {
    const out = join(folder, 'out')
    const tensors = new Map([...tensorsOf(SMALL)].filter(([name]) => name !== 'model.norm.weight'))
    expect(message(writeHuggingFace(out, { config: SMALL, tensors }))).toContain(
      'model.safetensors: model.norm.weight: expected shape [4], found none',
    )
    writeFileSync(join(folder, 'file'), '')
    expect(
      message(writeHuggingFace(join(folder, 'file', 'out'), { config: SMALL, tensors: tensorsOf(SMALL) })),
    ).toContain('out: expected')
    expect(readdirSync(folder)).toEqual(['file'])
    mkdirSync(out)
    right(
      writeHuggingFace(
        out,
        { config: SMALL, tensors: tensorsOf(SMALL) },
        { others: [{ name: 'tokenizer.json', content: '{}' }] },
      ),
    )
    expect(readdirSync(out)).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
  })
})
