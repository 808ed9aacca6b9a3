/** Training from the command line: what it writes, what it leaves alone, and that a killed run goes on exactly. */
import { afterAll, describe, expect, it } from 'vitest'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readSafetensors } from '../../src/adapters/files/safetensors.ts'
import { drawLossCurve, smooth, ticks } from '../../src/cli/loss-curve.ts'
import type { Values } from '../../src/dsl/index.ts'
import { threefry } from '../../src/dsl/primitives/leaf.ts'
import { batchAt, heldOutLoss, holdOut, llamaValues, loadModel } from '../../src/models/index.ts'
import { contents, listing, makeWorkplace, right, scion, startScion, tinyText, type Ran } from './tiny.ts'

const w = makeWorkplace()
afterAll(() => rmSync(w.folder, { recursive: true, force: true }))

const small = ['--rows', '2', '--length', '12', '--warmup', '2', '--lr', '0.02']
const train = (out: string, ...more: ReadonlyArray<string>): Promise<Ran> =>
  scion('train', '--model', w.model, '--data', w.data, '--out', w.at(out), ...small, ...more)

interface Record {
  readonly losses: ReadonlyArray<number>
  readonly heldOut: { readonly before: number; readonly after: number }
  readonly run: { readonly lr: number }
}
const record = (out: string): Record => JSON.parse(readFileSync(w.at(`${out}/training.json`), 'utf8')) as Record

const disturbed = (weights: Values, by: number): Values =>
  Object.fromEntries(
    Object.entries(weights).map(([name, { dims, data }], k) => [
      name,
      { dims, data: data.map((x, i) => Math.fround(x * (1 + (threefry(0, 0, k, i)[0] % 2 === 0 ? by : -by)))) },
    ]),
  )

/** the base model's, its weights off by `disturbance` of their size, now up, now down */
const baseLoss = async (disturbance = 0): Promise<number> => {
  const loaded = right(loadModel(w.model))
  const { config, tensors, tokenizer } = loaded
  const job = { config, weights: disturbed(llamaValues(config, tensors), disturbance), target: 'auto' as const }
  const { heldOut } = holdOut(tokenizer?.encode(tinyText) ?? [], 0.1)
  return right(await heldOutLoss(job, {}, heldOut, 2, 12)())
}

describe('scion train', () => {
  it.each(['lora', 'oft', 'bottleneck', 'llama-adapter', 'hra'])(
    '%s: a whole folder, a lower loss, and the base as it was',
    async (adapter) => {
      const before = contents(w.model)
      const config = adapter === 'oft' ? ['--config', '{"block": 4}'] : []
      const ran = await train(adapter, '--adapter', adapter, '--steps', '30', ...config, '--json')
      expect(ran.err).toContain('held-out loss before')
      expect(ran.code).toBe(0)
      expect(contents(w.model)).toEqual(before)
      const tensors = adapter === 'bottleneck' ? 'adapter.safetensors' : 'adapter_model.safetensors'
      expect(listing(w.at(adapter))).toEqual(['adapter_config.json', tensors, 'loss-curve.svg', 'training.json'].sort())
      const json = JSON.parse(ran.out) as Record
      expect(json).toEqual(record(adapter))
      expect(json.losses).toHaveLength(30)
      // identity at init, so the model itself up to f32's rounding, which is what weights off by 2^-24 of their size show
      // (an estimate, as for all whole models: eight times that is allowed)
      const base = await baseLoss()
      const yardstick = Math.max(
        ...(await Promise.all([2, 4, 8].map(async (n) => Math.abs((await baseLoss(n * 2 ** -24)) - base) / n))),
      )
      expect(Math.abs(json.heldOut.before - base)).toBeLessThanOrEqual(8 * yardstick)
      expect(json.heldOut.after).toBeLessThan(base - 8 * yardstick)
    },
  )

  it('is decided by its seed alone', async () => {
    const options = ['--adapter', 'lora', '--steps', '4']
    await train('one', ...options)
    await train('two', ...options)
    await train('three', ...options, '--seed', '1')
    const file = 'adapter_model.safetensors'
    expect(contents(w.at('two'))[file]).toBe(contents(w.at('one'))[file])
    expect(contents(w.at('three'))[file]).not.toBe(contents(w.at('one'))[file])
  })

  it('writes the batches that it sees', async () => {
    await train('batched', '--adapter', 'lora', '--steps', '3', '--batches-out', w.at('batches.json'))
    const batches = JSON.parse(readFileSync(w.at('batches.json'), 'utf8')) as {
      readonly train: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>
      readonly heldout: ReadonlyArray<ReadonlyArray<number>>
    }
    const { train: tokens, heldOut } = holdOut(right(loadModel(w.model)).tokenizer?.encode(tinyText) ?? [], 0.1)
    expect(batches.train).toHaveLength(3)
    const third = batchAt(tokens, 0, 2, 2, 12)
    expect(batches.train[2]?.map((row) => row.slice(0, 12)).flat()).toEqual([...third.tokens])
    expect(batches.train[2]?.map((row) => row.slice(1)).flat()).toEqual([...third.targets])
    expect(batches.heldout).toHaveLength(Math.floor((heldOut.length - 1) / 12))
    expect(batches.heldout[1]).toEqual(heldOut.slice(12, 25))
  })

  it('keeps a finished run unless told otherwise, and does not repeat it on --resume', async () => {
    const options = ['--adapter', 'lora', '--steps', '3']
    expect((await train('kept', ...options)).code).toBe(0)
    const before = contents(w.at('kept'))
    const again = await train('kept', ...options)
    expect(again.code).toBe(1)
    expect(again.err).toContain('--out: expected a new folder')
    expect((await train('kept', ...options, '--resume')).code).toBe(0)
    const other = await train('kept', '--adapter', 'lora', '--steps', '4', '--resume')
    expect([other.code, other.err]).toEqual([1, expect.stringContaining('--resume: steps: expected 3')])
    expect(contents(w.at('kept'))).toEqual(before)
    expect((await train('kept', '--adapter', 'lora', '--steps', '4', '--force')).code).toBe(0)
    expect(record('kept').losses).toHaveLength(4)
  })
})

describe('a run that is killed', () => {
  const state = (out: string): string => w.at(`${out}/.training/state.safetensors`)
  const stepOf = (out: string): number => {
    const metadata = right(readSafetensors(state(out))).metadata.get('scion') ?? '{}'
    return (JSON.parse(metadata) as { readonly step: number }).step
  }
  const flags = ['--adapter', 'lora', '--steps', '600', '--save-every', '7']

  it('goes on to the very same result', async () => {
    const argv = ['train', '--model', w.model, '--data', w.data, '--out', w.at('killed'), ...small, ...flags]
    const child = startScion(argv, w.folder)
    const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)))
    while (!existsSync(state('killed')) || stepOf('killed') < 14) {
      if (child.exitCode !== null) break
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    child.kill('SIGKILL')
    expect(await ended).toBe('SIGKILL')
    const step = stepOf('killed')
    expect(step % 7).toBe(0)
    expect(step).toBeLessThan(600)
    expect(existsSync(w.at('killed/adapter_model.safetensors'))).toBe(false)

    const refused = await train('killed', ...flags)
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('--resume goes on with it')])
    const rate = await train('killed', ...flags, '--lr', '0.03', '--resume')
    expect([rate.code, rate.err]).toEqual([1, expect.stringContaining('--resume: lr: expected 0.02')])
    writeFileSync(w.at('other.txt'), `${tinyText} and more`)
    const data = await train('killed', ...flags, '--data', w.at('other.txt'), '--resume')
    expect([data.code, data.err]).toEqual([1, expect.stringContaining('--resume: data: expected')])
    expect(stepOf('killed')).toBe(step)

    expect((await train('killed', ...flags, '--resume')).code).toBe(0)
    expect((await train('whole', ...flags)).code).toBe(0)
    const [killed, whole] = [contents(w.at('killed')), contents(w.at('whole'))]
    expect(Object.keys(killed)).toEqual(Object.keys(whole))
    for (const file of ['adapter_model.safetensors', 'adapter_config.json', 'loss-curve.svg'])
      expect(killed[file]).toBe(whole[file])
    expect(record('killed').losses).toEqual(record('whole').losses)
    expect(record('killed').heldOut).toEqual(record('whole').heldOut)
  })

  it('is refused where its state was damaged', async () => {
    const bytes = readFileSync(w.at('whole/adapter_model.safetensors'))
    rmSync(w.at('damaged'), { recursive: true, force: true })
    // so many steps that it is under way however late the kill comes
    const long = [...flags, '--steps', '100000']
    const argv = ['train', '--model', w.model, '--data', w.data, '--out', w.at('damaged'), ...small, ...long]
    const child = startScion(argv, w.folder)
    const ended = new Promise((resolve) => child.on('exit', resolve))
    while (!existsSync(state('damaged')) && child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 5))
    child.kill('SIGKILL')
    await ended
    writeFileSync(state('damaged'), bytes.subarray(0, 100))
    const ran = await train('damaged', ...long, '--resume')
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('state.safetensors')])
  })
})

describe('the loss curve', () => {
  it('has round ticks, and a smoothed line that starts where the losses do', () => {
    expect(ticks(2.63, 3.71, 6)).toEqual([2.8, 3, 3.2, 3.4, 3.6])
    expect(ticks(0, 200, 8)).toEqual([0, 50, 100, 150, 200])
    expect(smooth([4, 2], 0.5)).toEqual([4, (0.5 * 0.5 * 4 + 0.5 * 2) / 0.75])
  })
  it('shows both axes, both lines and both held-out losses, with words escaped', () => {
    const svg = drawLossCurve({ title: 'a < b', losses: [3, 2.5, 2], heldOut: { before: 3.1, after: 2.1 } })
    expect(svg.match(/<polyline/g)).toHaveLength(2)
    for (const words of ['>step<', '>loss (nats a token)<', 'held out 3.1000', 'held out 2.1000', 'a &#60; b'])
      expect(svg).toContain(words)
  })
})
