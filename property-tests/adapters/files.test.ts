/** Adapter folders: PEFT's own are read and written key for key; what they ask for and is not here is named. */
import * as E from 'fp-ts/lib/Either.js'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Adapter, Config } from '../../src/adapters/adapter.ts'
import { readSafetensors } from '../../src/adapters/files/safetensors.ts'
import { isTarget } from '../../src/adapters/files/targets.ts'
import { readAdapter, registry, writeAdapter, type SiteTensors } from '../../src/adapters/index.ts'
import { showFaults, type Checked } from '../../src/dsl/index.ts'
import { dim, literal } from '../../src/dsl/dim.ts'
import { right } from './fixture.ts'
import { named } from './named.ts'

const bottleneck = named('bottleneck')
const hra = named('hra')
const llamaAdapter = named('llama-adapter')
const lora = named('lora')
const oft = named('oft')

const scratch = mkdtempSync(join(tmpdir(), 'adapters-'))
afterAll(() => rmSync(scratch, { recursive: true }))
const fixtures = new URL('../fixtures/tiny-llama-peft/', import.meta.url).pathname

const faultsOf = (c: Checked<unknown>): string => (E.isLeft(c) ? showFaults(c.left) : 'no fault')
const json = (file: string): Record<string, unknown> =>
  JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
const defaultsOf = (a: Adapter): Config =>
  Object.fromEntries(Object.entries(a.config).map(([name, field]) => [name, field.default]))

/** width 16, 2 key heads of 4 with 2 queries each; 32 in the feed-forward */
const sizesAt = (path: string) =>
  /self_attn$/.test(path)
    ? { in: 16, kv: 2, group: 2, h: 4 }
    : /_adapters$/.test(path)
      ? { in: 16 }
      : /(q|o)_proj$/.test(path)
        ? { in: 16, out: 16 }
        : /(k|v)_proj$/.test(path)
          ? { in: 16, out: 8 }
          : undefined

/** numbers 1, 2, 3, ... in every tensor of the adapter at these paths */
const countUp = (a: Adapter, config: Config, paths: ReadonlyArray<string>): SiteTensors =>
  new Map(
    paths.map((path, site) => {
      const params = Object.entries(a.params(config, sizesAt(path) ?? {})).map(([name, p]) => {
        const shape = p.axes.map((axis) => literal(dim(p.sizes[axis] ?? 0)) ?? NaN)
        const n = shape.reduce((m, size) => m * size, 1)
        return [name, { shape, data: Float32Array.from({ length: n }, (_, i) => site + (i + 1) / 8) }] as const
      })
      return [path, Object.fromEntries(params)]
    }),
  )

const linears = [0, 1].flatMap((i) => [`model.layers.${i}.self_attn.q_proj`, `model.layers.${i}.self_attn.v_proj`])
const attentions = [0, 1].map((i) => `model.layers.${i}.self_attn`)
const blocks = [0, 1].flatMap((i) => [`model.layers.${i}.attention_adapters`, `model.layers.${i}.output_adapters`])

const rows: ReadonlyArray<readonly [string, Adapter, Config, ReadonlyArray<string>]> = [
  ['lora', lora, { rank: 2, alpha: 4, rslora: true }, linears],
  ['oft', oft, { block: 4, blockShare: false }, linears],
  ['oft shared', oft, { block: 4, blockShare: true }, linears],
  ['oft with a block size that does not divide the width', oft, { block: 5, blockShare: false }, linears],
  ['hra', hra, { rank: 3, orthogonality: 0 }, linears],
  ['llama-adapter', llamaAdapter, { length: 3, layers: 2, gate: 'scalar', f16Gate: false }, attentions],
  [
    'llama-adapter, original',
    llamaAdapter,
    { length: 3, layers: 1, gate: 'tanh', f16Gate: false },
    attentions.slice(1),
  ],
  ['bottleneck', bottleneck, { size: 3, nonlinearity: 'relu', scaling: 0.5, init: 'bert' }, blocks],
]

describe('what is written is what is read', () => {
  test.each(rows)('%s', (name, adapter, config, paths) => {
    const folder = join(scratch, name)
    const tensors = countUp(adapter, config, paths)
    const targets = [...new Set(paths.map((p) => p.slice(p.lastIndexOf('.') + 1)))]
    right(writeAdapter(folder, { adapter, config, targets, tensors, baseModel: 'tiny' }))
    const loaded = right(readAdapter(folder, registry, sizesAt))
    expect(loaded.adapter).toBe(adapter)
    expect(loaded.config).toEqual(config)
    expect(loaded.warnings).toEqual([])
    expect(loaded.targets).toEqual(paths)
    expect(loaded.tensors).toEqual(tensors)
  })

  test('every registered adapter has a row', () => {
    expect(new Set(rows.map(([, a]) => a))).toEqual(new Set(registry))
  })
})

describe("the reference's own folders", () => {
  test.each(readdirSync(fixtures))('%s: read without a warning, and written again key for key', (name) => {
    const from = join(fixtures, name)
    const loaded = right(readAdapter(from, registry, sizesAt))
    expect(loaded.warnings).toEqual([])
    const to = join(scratch, `again-${name}`)
    const file = name === 'bottleneck' ? 'adapter.safetensors' : 'adapter_model.safetensors'
    const last = [...new Set(loaded.targets.map((p) => p.slice(p.lastIndexOf('.') + 1)))]
    right(writeAdapter(to, { ...loaded, targets: last }))
    const [theirs, ours] = [right(readSafetensors(join(from, file))), right(readSafetensors(join(to, file)))]
    expect(ours.tensors).toEqual(theirs.tensors)
    if (name === 'bottleneck') return
    const sorted = (j: Record<string, unknown>) => ({
      ...j,
      base_model_name_or_path: null,
      ...(Array.isArray(j['target_modules']) ? { target_modules: [...(j['target_modules'] as string[])].sort() } : {}),
    })
    expect(sorted(json(join(to, 'adapter_config.json')))).toEqual(sorted(json(join(from, 'adapter_config.json'))))
  })
})

describe('what a file asks for and is not here', () => {
  /** the reference's folder with some keys of its config changed; undefined removes one */
  const changed = (name: string, keys: Readonly<Record<string, unknown>>): string => {
    const folder = mkdtempSync(join(scratch, 'changed-'))
    cpSync(join(fixtures, name), folder, { recursive: true })
    const file = join(folder, 'adapter_config.json')
    writeFileSync(file, JSON.stringify({ ...json(file), ...keys }))
    return folder
  }
  const read = (name: string, keys: Readonly<Record<string, unknown>>): string =>
    faultsOf(readAdapter(changed(name, keys), registry, sizesAt))

  test.each([
    ['lora', 'lora_dropout', 0.05],
    ['lora', 'use_dora', true],
    ['lora', 'bias', 'all'],
    ['lora', 'modules_to_save', ['lm_head']],
    ['lora', 'fan_in_fan_out', true],
    ['lora', 'init_lora_weights', 'pissa'],
    ['lora', 'rank_pattern', { q_proj: 4 }],
    ['lora', 'layer_replication', [[0, 1]]],
    ['oft', 'use_cayley_neumann', true],
    ['oft', 'use_cayley_neumann', undefined],
    ['oft', 'coft', true],
    ['oft', 'r', 2],
    ['hra', 'apply_GS', true],
    ['lora', 'r', '8'],
    ['lora', 'r', 0],
    ['lora', 'r', undefined],
    ['lora', 'lora_alpha', undefined],
    ['lora', 'lora_alpha', null],
    ['lora', 'use_rslora', 'yes'],
    ['lora', 'target_modules', 7],
    ['lora', 'layers_to_transform', -1],
    ['hra', 'peft_type', 'VERA'],
    ['adaption_prompt', 'adapter_len', null],
  ] as const)('%s with %s = %j', (name, key, value) => {
    const message = read(name, { [key]: value })
    expect(message).toContain(`adapter_config.json: ${key}: expected `)
    expect(message.split('\n')).toHaveLength(1)
  })

  test('several at once', () => {
    expect(read('lora', { r: 'x', use_dora: true, bias: 'all', layers_pattern: 3 }).split('\n')).toHaveLength(4)
  })

  test('unknown keys are one warning that lists them', () => {
    const loaded = right(readAdapter(changed('lora', { new_thing: 1, other_thing: null }), registry))
    expect(loaded.warnings).toHaveLength(1)
    expect(loaded.warnings[0]).toContain('new_thing, other_thing')
  })

  test('older files lack keys whose default is off', () => {
    const loaded = right(readAdapter(changed('lora', { use_rslora: undefined, use_dora: undefined }), registry))
    expect(loaded.config['rslora']).toBe(false)
  })

  test('another rank than the tensors have', () => {
    expect(read('lora', { r: 5 })).toMatch(
      /adapter_model\.safetensors: base_model\.\S+lora_A\.weight: expected \(5, 16\)/,
    )
  })

  test('a module that is not selected, by name, exclusion or layer', () => {
    const message =
      /adapter_model\.safetensors: base_model\.model\.model\.layers\.\d\.self_attn\.\S+: expected a module/
    expect(read('lora', { target_modules: ['k_proj'] })).toMatch(message)
    expect(read('lora', { exclude_modules: ['q_proj'] })).toMatch(message)
    expect(read('lora', { layers_to_transform: [7] })).toMatch(message)
  })

  test('a pattern that would run for ever is not run', () => {
    expect(read('lora', { target_modules: '(.*)*(a+)+$b' })).toBe('no fault')
  })

  test('a folder without files, and a tensor file cut short', () => {
    expect(faultsOf(readAdapter(join(scratch, 'nothing'), registry))).toContain('adapter_config.json')
    const folder = changed('lora', {})
    const file = join(folder, 'adapter_model.safetensors')
    writeFileSync(file, readFileSync(file).subarray(0, 100))
    expect(faultsOf(readAdapter(folder, registry))).toContain('adapter_model.safetensors')
  })

  test('a rounded scalar gate has no file format', () => {
    const config = { ...defaultsOf(llamaAdapter), f16Gate: true }
    const tensors = countUp(llamaAdapter, config, attentions)
    const written = writeAdapter(join(scratch, 'never'), {
      adapter: llamaAdapter,
      config,
      targets: ['self_attn'],
      tensors,
    })
    expect(faultsOf(written)).toContain('expected a file format')
    expect(readdirSync(scratch)).not.toContain('never')
  })
})

describe("modules, by PEFT's rules for lists", () => {
  const q = 'model.layers.3.self_attn.q_proj'
  const base = { names: ['q_proj'], exclude: [], pattern: [] }
  test.each([
    ['the end of a path', base, true],
    ['not a part of a word', { ...base, names: ['proj'] }, false],
    ['several segments', { ...base, names: ['self_attn.q_proj'] }, true],
    ['excluded wins', { ...base, exclude: ['self_attn.q_proj'] }, false],
    ['one of the layers', { ...base, layers: [1, 3] }, true],
    ['none of the layers', { ...base, layers: [1] }, false],
    ['a whole path is not asked for its layer', { ...base, names: [q], layers: [1] }, true],
    ['layers by the name of their list', { ...base, layers: [3], pattern: ['layers'] }, true],
    ['layers by another name', { ...base, layers: [3], pattern: ['h'] }, false],
  ] as const)('%s', (_, targets, expected) => {
    expect(isTarget(targets)(q)).toBe(expected)
  })
})
