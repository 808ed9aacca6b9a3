/** Bad input: one clear message that names file and key, exit code 1, and nothing left behind. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contents, makeWorkplace, runScion, scion, tinyConfig, tinyText } from './tiny.ts'

const w = makeWorkplace()
afterAll(() => rmSync(w.folder, { recursive: true, force: true }))

const OUT = 'out'
const train = (...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  'train',
  ...['--model', w.model, '--data', w.data, '--out', w.at(OUT), '--adapter', 'lora'],
  ...['--rows', '2', '--length', '12', '--steps', '3'],
  ...more,
]
const merge = (adapter: string, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...['merge', '--model', w.model, '--adapter', w.at(adapter), '--out', w.at(OUT)],
  ...more,
]
const generate = (...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...['generate', '--model', w.model, '--tokens', '2'],
  ...more,
]
const logits = (ids: string): ReadonlyArray<string> => {
  writeFileSync(w.at('ids.json'), ids)
  return ['logits', '--model', w.model, '--tokens', w.at('ids.json'), '--out', w.at('out.safetensors')]
}

/** a copy of a folder with one file changed; text, bytes, or what to make of its bytes */
const changed = (from: string, name: string, file: string, change: (bytes: Buffer) => string | Uint8Array): string => {
  cpSync(w.at(from), w.at(name), { recursive: true })
  writeFileSync(join(w.at(name), file), change(readFileSync(join(w.at(name), file))))
  return w.at(name)
}
const config = (change: Readonly<Record<string, unknown>>) => () => JSON.stringify({ ...tinyConfig, ...change })
const adapterConfig = (change: Readonly<Record<string, unknown>>) => (b: Buffer) =>
  JSON.stringify({ ...(JSON.parse(b.toString()) as object), ...change })

/** a safetensors header of `length` that claims what it likes */
const hostile = (header: string, length: bigint = BigInt(header.length)): Uint8Array => {
  const bytes = new Uint8Array(8 + header.length)
  new DataView(bytes.buffer).setBigUint64(0, length, true)
  bytes.set(new TextEncoder().encode(header), 8)
  return bytes
}

/** the file's last number replaced */
const withLast = (file: Buffer, x: number): Uint8Array => {
  const changedBytes = Buffer.from(file)
  changedBytes.writeFloatLE(x, file.length - 4)
  return changedBytes
}

beforeAll(async () => {
  for (const adapter of ['lora', 'bottleneck', 'llama-adapter']) {
    const ran = await scion(...train('--adapter', adapter, '--out', w.at(adapter)))
    expect(ran.err).toContain('held-out loss')
    expect(ran.code).toBe(0)
  }
  mkdirSync(w.at('full'))
  writeFileSync(w.at('full/mine.txt'), 'keep me')
  writeFileSync(w.at('empty.txt'), '')
  writeFileSync(w.at('spaces.txt'), ' \r\n \n')
  writeFileSync(w.at('short.txt'), tinyText.slice(0, 90))
  writeFileSync(w.at('latin1.txt'), Uint8Array.of(0x63, 0xe9, 0x21))
  writeFileSync(w.at('not-an-adapter.ts'), 'export default { name: 3 }')
}, 60_000)

type Row = readonly [what: string, argv: () => ReadonlyArray<string>, ...said: ReadonlyArray<string>]

const table: ReadonlyArray<Row> = [
  // the model
  ['no such model', () => generate('--model', w.at('gone')), 'gone: expected', 'no such file'],
  [
    'an empty model folder',
    () => (mkdirSync(w.at('void')), generate('--model', w.at('void'))),
    'void: expected a model',
  ],
  [
    'truncated safetensors',
    () =>
      generate(
        '--model',
        changed('model', 'cut', 'model.safetensors', (b) => b.subarray(0, b.length - 40)),
      ),
    'cut/model.safetensors',
  ],
  [
    'a header that claims more than the file',
    () =>
      generate(
        '--model',
        changed('model', 'long', 'model.safetensors', () => hostile('{}', 2n ** 62n)),
      ),
    'long/model.safetensors',
  ],
  [
    'a tensor that claims bytes beyond the file',
    () =>
      generate(
        '--model',
        changed('model', 'beyond', 'model.safetensors', () =>
          hostile('{"model.norm.weight":{"dtype":"F32","shape":[16],"data_offsets":[0,99999999999]}}'),
        ),
      ),
    'beyond/model.safetensors: model.norm.weight',
  ],
  [
    'a weight that is not a number',
    () =>
      generate(
        '--model',
        changed('model', 'nan', 'model.safetensors', (b) => withLast(b, NaN)),
      ),
    'finite numbers',
    'NaN at position',
  ],
  [
    'an infinite parameter of an adapter',
    () =>
      generate(
        '--adapter',
        changed('lora', 'infinite', 'adapter_model.safetensors', (b) => withLast(b, -Infinity)),
      ),
    'infinite/adapter_model.safetensors: base_model.model.model.layers',
    '-Infinity at position',
  ],
  [
    'a model config of the wrong type',
    () => generate('--model', changed('model', 'typed', 'config.json', config({ hidden_size: '16' }))),
    'typed/config.json: hidden_size: expected',
    'found "16"',
  ],
  [
    'a shape that does not fit the config',
    () => generate('--model', changed('model', 'shape', 'config.json', config({ intermediate_size: 25 }))),
    'mlp.down_proj.weight: expected shape [16, 25]',
    '[16, 24]',
  ],
  // the data
  ['no such data', () => train('--data', w.at('gone.txt')), 'gone.txt: expected a readable file'],
  ['empty data', () => train('--data', w.at('empty.txt')), 'empty.txt: expected text to train on, found an empty file'],
  ['data that is white space', () => train('--data', w.at('spaces.txt')), 'spaces.txt: expected text to train on'],
  ['data that is not UTF-8', () => train('--data', w.at('latin1.txt')), 'latin1.txt: expected UTF-8'],
  ['too little data', () => train('--data', w.at('short.txt')), 'short.txt: expected at least 13 tokens', '--length'],
  ['a folder as data', () => train('--data', w.model), 'model: expected a regular file'],
  ['rows beyond the model', () => train('--length', '65'), '--length: expected at most 64'],
  // the adapter
  ['an unknown adapter', () => train('--adapter', 'loraa'), "adapter 'loraa': expected one of", "did you mean 'lora'?"],
  ['no such file.ts', () => train('--adapter', './gone.ts'), 'gone.ts: expected a readable file'],
  ['a config that is no JSON', () => train('--config', '{rank: 4}'), '--config of lora: expected valid JSON'],
  ['a config that is no object', () => train('--config', '[4]'), '--config of lora: expected a JSON object'],
  [
    'an ill-typed config value',
    () => train('--config', '{"rank": "4"}'),
    '--config of lora: rank: expected a positive integer, found "4"',
  ],
  ['a config value out of range', () => train('--config', '{"rank": 0}'), 'rank: expected a positive integer, found 0'],
  [
    'a rank beyond any memory',
    () => train('--config', '{"rank": 1000000000000}'),
    '--config of lora: expected parameters that fit in memory',
  ],
  ['an unknown config key', () => train('--config', '{"rnk": 4}'), '--config of lora: rnk', "did you mean 'rank'?"],
  ['modules that the model lacks', () => train('--modules', 'qkv'), 'adapter lora: expected a linear site named qkv'],
  // the flags
  ['steps that are no number', () => train('--steps', 'many'), "option '--steps <n>'", 'Expected a whole number'],
  ['a negative rate', () => train('--lr', '-1'), "option '--lr <x>'", 'Expected a number above 0'],
  ['all data held out', () => train('--held-out', '1'), "option '--held-out <share>'"],
  ['an unknown target', () => train('--target', 'cuda'), "option '--target <name>'", 'auto, c, gpujs, oracle'],
  ['an unknown verb', () => ['trian'], "unknown command 'trian'", 'Did you mean train?'],
  [
    'a loss that is not finite',
    () => train('--optimiser', 'sgd', '--lr', '1e39', '--clip', '1e38', '--warmup', '0'),
    'expected a finite loss',
  ],
  // the place
  ['a folder inside a file', () => train('--out', join(w.data, OUT)), 'text.txt/out', 'expected'],
  ['a file as the folder', () => train('--out', w.data), '--out: expected a folder, found'],
  ['a folder with other files', () => train('--out', w.at('full')), '--out: expected a new or empty folder'],
  ['an unwritable place', () => train('--out', '/proc/scion-out'), '/proc/scion-out'],
  [
    'merging into the model',
    () => merge('lora', '--out', w.model),
    "--out: expected a folder that is not the model's own",
  ],
  ['merging into a full folder', () => merge('lora', '--out', w.at('full')), '--out: expected a new or empty folder'],
  // adapter folders
  ['an adapter folder that is gone', () => generate('--adapter', w.at('gone')), 'gone/adapter_config.json'],
  [
    'an ill-typed adapter_config.json',
    () => generate('--adapter', changed('lora', 'lora-typed', 'adapter_config.json', adapterConfig({ r: 'eight' }))),
    'lora-typed/adapter_config.json: r: expected a positive integer, found "eight"',
  ],
  [
    'a rank that does not fit the tensors',
    () => generate('--adapter', changed('lora', 'lora-rank', 'adapter_config.json', adapterConfig({ r: 3 }))),
    'lora-rank/adapter_model.safetensors: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
  ],
  [
    'a feature that is not here',
    () => generate('--adapter', changed('lora', 'lora-dora', 'adapter_config.json', adapterConfig({ use_dora: true }))),
    'lora-dora/adapter_config.json: use_dora',
  ],
  [
    'truncated adapter tensors',
    () =>
      generate(
        '--adapter',
        changed('lora', 'lora-cut', 'adapter_model.safetensors', (b) => b.subarray(0, 50)),
      ),
    'lora-cut/adapter_model.safetensors',
  ],
  ['a bottleneck to merge', () => merge('bottleneck'), 'merge of bottleneck: expected an adapter of linear layers'],
  [
    'a llama-adapter to merge',
    () => merge('llama-adapter'),
    'merge of llama-adapter: expected an adapter of linear layers',
  ],
  // token ids
  ['ids that the model lacks', () => logits('[[1, 32]]'), 'ids.json: 0.1: expected an integer from 0 to 31, found 32'],
  ['ids that are no rows', () => logits('[1, 2]'), 'ids.json: 0: expected a list of token ids'],
  ['rows of two lengths', () => logits('[[1, 2], [1]]'), 'ids.json: 1: expected 2 token ids'],
  ['no ids', () => logits('[]'), 'ids.json: expected at least one row'],
  ['a file that cannot be', () => [...logits('[[1]]').slice(0, -1), join(w.data, 'l.safetensors')], 'l.safetensors'],
]

const temporaries = (): ReadonlyArray<string> => readdirSync(tmpdir()).filter((name) => /^scion-[^a-z]/.test(name))

describe('bad input', () => {
  // one row that fails must not fail those after it
  afterEach(() => rmSync(w.at(OUT), { recursive: true, force: true }))

  for (const [what, argv, ...said] of table)
    it(what, async () => {
      const line = argv()
      const [before, beside] = [contents(w.folder), temporaries()]
      const ran = await scion(...line)
      for (const words of said) expect(ran.err).toContain(words)
      expect(ran.code).toBe(1)
      expect(ran.out).toBe('')
      expect(ran.err).not.toMatch(/\n\s+at |internal error/)
      expect(contents(w.folder)).toEqual(before)
      expect(readdirSync(w.folder)).not.toContain(OUT)
      expect(temporaries()).toEqual(beside)
    })

  it('says it on stderr of the real command', async () => {
    const ran = await runScion(train('--data', w.at('empty.txt')), w.folder)
    expect(ran).toEqual({
      code: 1,
      out: '',
      err: `${w.at('empty.txt')}: expected text to train on, found an empty file\n`,
    })
  })

  it('says what is wrong with a file that exports no adapter', async () => {
    const ran = await runScion(['laws', './not-an-adapter.ts'], w.folder)
    expect([ran.code, ran.err]).toEqual([
      1,
      expect.stringContaining('not-an-adapter.ts: name: expected a name, found a number'),
    ])
  })
})
