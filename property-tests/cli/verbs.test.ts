/** merge, logits, generate, laws, explain, and a user's own file, from the command line. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readSafetensors } from '../../src/adapters/files/safetensors.ts'
import { roundToOdd } from '../../src/cli/merge.ts'
import { contents, makeWorkplace, right, runScion, scion } from './tiny.ts'

const w = makeWorkplace()
afterAll(() => rmSync(w.folder, { recursive: true, force: true }))

const train = (...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...['train', '--model', w.model, '--data', w.data, '--rows', '2', '--length', '12', '--steps', '6', '--warmup', '1'],
  ...more,
]

const logits = async (out: string, ...more: ReadonlyArray<string>): Promise<Float32Array> => {
  const argv = ['logits', '--tokens', w.at('ids.json'), '--out', w.at(out), '--target', 'oracle', ...more]
  const ran = await scion(...argv)
  expect([ran.code, ran.err]).toEqual([0, expect.not.stringContaining('expected')])
  const { tensors } = right(readSafetensors(w.at(out)))
  expect([...tensors.keys()]).toEqual(['logits'])
  expect(tensors.get('logits')?.shape).toEqual([2, 5, 32])
  return tensors.get('logits')?.data ?? new Float32Array()
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((m, x, i) => Math.max(m, Math.abs(x - (b[i] ?? NaN))), 0)

beforeAll(async () => {
  writeFileSync(w.at('ids.json'), '[[1, 5, 9, 3, 30], [1, 4, 31, 29, 8]]')
  for (const adapter of ['lora', 'oft', 'hra'])
    expect((await scion(...train('--adapter', adapter, '--out', w.at(adapter)))).code).toBe(0)
}, 60_000)

describe('scion merge', () => {
  it.each(['lora', 'oft', 'hra'])('%s: the merged model speaks as the adapted one', async (adapter) => {
    const before = [contents(w.model), contents(w.at(adapter))]
    const merged = await scion(
      'merge',
      '--model',
      w.model,
      '--adapter',
      w.at(adapter),
      '--out',
      w.at(`${adapter}-merged`),
    )
    expect(merged.code).toBe(0)
    expect([contents(w.model), contents(w.at(adapter))]).toEqual(before)
    expect(existsSync(w.at(`${adapter}-merged/tokenizer.json`))).toBe(true)
    const base = await logits('base.safetensors', '--model', w.model)
    const adapted = await logits('adapted.safetensors', '--model', w.model, '--adapter', w.at(adapter))
    const whole = await logits('whole.safetensors', '--model', w.at(`${adapter}-merged`))
    // the merged weights are rounded to f32, once each: u = 2^-24 of numbers of order one, through two layers
    expect(furthest(whole, adapted)).toBeLessThan(64 * 2 ** -24)
    expect(furthest(base, adapted)).toBeGreaterThan(1e-3)
  })

  it('rounds to odd, so that a second rounding is as good as one', () => {
    const halfway = 1 + 2 ** -8
    expect(Math.fround(halfway + 2 ** -40)).toBe(halfway)
    expect(roundToOdd(halfway + 2 ** -40)).toBe(halfway + 2 ** -23)
    expect(roundToOdd(-(halfway - 2 ** -40))).toBe(-(halfway - 2 ** -23))
    for (const exact of [0, -0, 1.5, Infinity, -(2 ** -126)]) expect(roundToOdd(exact)).toBe(exact)
  })
})

describe('scion generate', () => {
  it('repeats itself by seed, and greedily without one', async () => {
    const say = async (...more: ReadonlyArray<string>): Promise<string> => {
      const ran = await scion('generate', '--model', w.model, '--prompt', 'the cat', '--tokens', '12', ...more)
      expect(ran.code).toBe(0)
      return ran.out
    }
    const greedy = await say()
    expect(greedy.startsWith('the cat')).toBe(true)
    expect(await say('--seed', '3')).toBe(greedy)
    const hot = ['--temperature', '2', '--top-p', '1']
    expect(await say(...hot, '--seed', '3')).toBe(await say(...hot, '--seed', '3'))
    expect(await say(...hot, '--seed', '3')).not.toBe(await say(...hot, '--seed', '4'))
  })

  it('says which target computes, and why', async () => {
    const say = (...more: ReadonlyArray<string>) =>
      scion('generate', '--model', w.model, '--prompt', 'the cat', '--tokens', '2', '--json', ...more)
    const asked = await say('--target', 'gpujs')
    expect(asked.err).toContain('target gpujs (webasm): asked for')
    expect((JSON.parse(asked.out) as { readonly ready: unknown }).ready).toEqual({
      target: 'gpujs (webasm)',
      reason: 'asked for',
    })
    expect((await say()).err).toMatch(/^target (c: the fastest target|gpujs, for c )/m)
  })

  const stories = fileURLToPath(new URL('../../../shared/data/stories260K', import.meta.url))
  if (!existsSync(stories)) console.warn('SKIPPED: stories260K is not beside the project; its text is not checked here')
  it.skipIf(!existsSync(stories))('tells the published story from an empty prompt', async () => {
    const ran = await scion('generate', '--model', stories, '--tokens', '24')
    expect(ran.out).toMatch(/^Once upon a time, there was a little girl named/)
  })
})

describe('scion laws and explain', () => {
  it('laws prints exactly one object', async () => {
    const ran = await scion('laws', 'lora', '--runs', '3', '--no-mutants', '--json')
    const json = JSON.parse(ran.out) as {
      readonly laws: ReadonlyArray<object>
      readonly mutation: ReadonlyArray<object>
    }
    expect(Object.keys(json)).toEqual(['laws', 'mutation', 'ready'])
    for (const law of json.laws)
      expect(Object.keys(law).slice(0, 7)).toEqual(['adapter', 'law', 'verdict', 'cases', 'vacuous', 'worst', 'seed'])
    expect(ran.code).toBe(0)
  })
  it.each(['lora', 'oft', 'hra', 'bottleneck', 'llama-adapter'])('explain %s', async (adapter) => {
    const ran = await scion('explain', adapter, '--in', '16', '--out', '16', '--tokens', '8')
    expect([ran.code, ran.err]).toEqual([0, ''])
    for (const words of ['Graph', 'Kernels', 'boundary:', 'fused:', 'minimum']) expect(ran.out).toContain(words)
  })
})

describe("a user's own file", () => {
  // both factors random: not the identity at init
  const source = (b: string, x = 'x'): string => `import { pipe } from 'fp-ts/lib/function.js'
import { adapter, add, childKey, dot, fill, param, positiveInt, scale, uniform } from 'scion'

export default adapter({
  name: 'mine',
  doc: 'a LoRA of my own',
  site: 'linear',
  targets: ['q_proj', 'v_proj'],
  config: { rank: positiveInt(2, 'r') },
  params: ({ rank }, s) => ({ a: param(['r', 'in'], { r: rank, in: s.in }), b: param(['out', 'r'], { out: s.out, r: rank }) }),
  init: ({ rank }) => (key, { sizes }) => ({
    params: { a: uniform(-1, 1)(childKey(key, 0), { r: rank, in: sizes.in }), b: ${b}({ out: sizes.out, r: rank }) },
  }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(${x}, dot(p.a, 'in'), dot(p.b, 'r'), scale(2)))),
})
`
  const random = '((s: { out: number; r: number }) => uniform(-1, 1)(childKey(key, 1), s))'

  it('is refuted with a counterexample and exit code 1', async () => {
    writeFileSync(w.at('random.ts'), source(random))
    const ran = await runScion(['laws', './random.ts', '--runs', '5', '--no-mutants'], w.folder)
    expect(ran.out).toContain('mine: identityAtInit is refuted')
    expect(ran.code).toBe(1)
  })

  it('has its faults and errors at its own lines', async () => {
    const line = 14
    writeFileSync(w.at('axis.ts'), source('fill(0)').replace("dot(p.a, 'in')", "dot(p.a, 'inn' as 'in')"))
    const fault = await runScion(['laws', './axis.ts'], w.folder)
    expect([fault.code, fault.err]).toEqual([1, expect.stringContaining(`${w.at('axis.ts')}:${line}:`)])
    writeFileSync(w.at('throws.ts'), source('fill(0)', '(undefined as never as { z: typeof x }).z'))
    const thrown = await runScion(['laws', './throws.ts'], w.folder)
    expect([thrown.code, thrown.err]).toEqual([1, expect.stringContaining(`${w.at('throws.ts')}:${line}:`)])
  })

  it('is trained, merged and read again by its definition', async () => {
    writeFileSync(w.at('mine.ts'), source('fill(0)'))
    const trained = await runScion(train('--adapter', './mine.ts', '--out', 'mine'), w.folder)
    expect([trained.code, trained.err]).toEqual([0, expect.stringContaining('held-out loss')])
    const merge = ['merge', '--model', w.model, '--adapter', 'mine', '--out', 'mine-merged']
    const unknown = await runScion(merge, w.folder)
    expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('--definition')])
    expect((await runScion([...merge, '--definition', './mine.ts'], w.folder)).code).toBe(0)
    expect(existsSync(w.at('mine-merged/model.safetensors'))).toBe(true)
  })
})
