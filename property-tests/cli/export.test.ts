/** scion export: manifests that hold, and exported code that computes what the adapter means. */
import { afterAll, describe, expect, it } from 'vitest'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { registry } from '../../src/adapters/registry.ts'
import { defaultsOf, siteProgram, typicalSizes } from '../../src/cli/site-program.ts'
import { evaluateBounded } from '../../src/dsl/interpret.ts'
import { literal } from '../../src/dsl/dim.ts'
import type { Program } from '../../src/dsl/index.ts'
import { exported, manifestHolds } from './exported.ts'
import { diceOf } from '../codegen-graphs.ts'
import { right, scion } from './tiny.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-export-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
// where exported modules find gpu.js
symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), at('node_modules'))

const asked = { in: 16, out: 12, tokens: 6 }
const config: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 }, hra: { rank: 4 } }

type Arrays = Readonly<Record<string, Float32Array>>

/** numbers of order one for every input, and what the program means at them, with the bound of f32 */
const meant = (program: Program): { readonly inputs: Arrays; readonly holds: (name: string, got: Arrays) => void } => {
  const d = diceOf(7)
  const inputs = Object.fromEntries(
    program.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const data = Float32Array.from({ length: dims.reduce((n, a) => n * a.size, 1) }, () => 0.8 * d.real() - 0.4)
      return [name, { dims, data: Float64Array.from(data) }]
    }),
  )
  const { outputs } = right(evaluateBounded(program, inputs))
  return {
    inputs: Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)])),
    holds: (name, got) => {
      const { value, bound } = outputs[name]!
      const scale = Math.max(...value.data.map(Math.abs))
      expect(Math.max(...bound) / scale, `${name}: the bound has teeth`).toBeLessThan(1e-3)
      expect([name, got[name]?.length]).toEqual([name, value.data.length])
      value.data.forEach((v, i) => {
        if (!(Math.abs(got[name]![i]! - v) <= bound[i]!))
          expect.fail(`${name}[${String(i)}]: ${String(got[name]![i])}, meant ${String(v)} +- ${String(bound[i])}`)
      })
    },
  }
}

interface Opened {
  readonly forward: (given: Arrays) => Arrays
  readonly backward: (given: Arrays) => Arrays
  readonly destroy: () => unknown
}

describe('gpujs', () => {
  it.each(registry.map((a) => [a.name, a] as const))(
    '%s: forward, then backward from what it saved',
    async (name, adapter) => {
      const sizes = typicalSizes(adapter, asked)
      const own = { ...defaultsOf(adapter), ...config[name] }
      const fixed = Object.entries(sizes).flatMap(([s, n]) => ['--size', `${s}=${String(n)}`])
      const read = await exported(at(name), name, '--target', 'gpujs', '--config', JSON.stringify(own), ...fixed)
      manifestHolds(read)
      const program = right(siteProgram(adapter, own, sizes))
      const { inputs, holds } = meant(program)
      const { open } = (await import(pathToFileURL(read.file).href)) as { readonly open: () => Opened }
      const module = open()
      const made = module.forward(inputs)
      const gradients = module.backward({ ...inputs, ...made })
      for (const { name: output } of program.outputs) holds(output, { ...made, ...gradients })
      expect(() => module.forward({ ...inputs, [read.manifest.forward.inputs[0]!.name]: new Float32Array(1) })).toThrow(
        /expected a Float32Array/,
      )
      module.destroy()
    },
  )
})

describe('what cannot be exported', () => {
  const to = ['--target', 'gpujs', '--out', at('none')]
  it.each([
    ['an unknown adapter', ['lorra', ...to], "adapter 'lorra'", 'lora'],
    ['an unknown size', ['lora', ...to, '--size', 'inn=8'], '--size: expected a size of linear sites', 'inn'],
    ['a size that is none', ['lora', ...to, '--size', 'in=x'], 'whole number'],
    ['a size without a name', ['lora', ...to, '--size', '8'], 'name=size'],
    ['a config with another field', ['lora', ...to, '--config', '{"rankk": 3}'], 'rankk', 'rank'],
    ['no folder', ['lora', '--target', 'gpujs'], '--out'],
    ['no target', ['lora', '--out', at('none')], '--target'],
    ['another target', ['lora', '--out', at('none'), '--target', 'opencl'], 'gpujs'],
  ])('%s', async (_, argv, ...words) => {
    const ran = await scion('export', ...argv)
    expect(ran.code).not.toBe(0)
    for (const w of words) expect(ran.err).toContain(w)
    expect(existsSync(at('none'))).toBe(false)
  })

  it('a file in the way: named, and still there', async () => {
    writeFileSync(at('file'), 'keep me')
    const ran = await scion('export', 'lora', '--target', 'gpujs', '--out', at('file'))
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(at('file'))])
  })

  it('other files in the folder stay', async () => {
    mkdirSync(at('full'))
    writeFileSync(at('full/mine.txt'), 'keep me')
    await exported(at('full'), 'lora', '--target', 'gpujs')
    expect(readdirSync(at('full')).sort()).toEqual(['lora.js', 'lora.json', 'mine.txt'])
  })

  it("a user's adapter with a hostile name becomes a plain file name and no code", async () => {
    writeFileSync(
      at('evil.ts'),
      `import { adapter, positiveInt } from 'scion'
export default adapter({
  name: '../../x\\n; throw 1 //', doc: 'd', site: 'linear', targets: ['q_proj'],
  config: { rank: positiveInt(2, 'r') }, params: () => ({}), init: () => () => ({ params: {} }),
  apply: () => (p, x, host) => host.call(x),
})`,
    )
    const { file, source } = await exported(at('evil'), at('evil.ts'), '--target', 'gpujs')
    expect(file).toMatch(/evil\/[A-Za-z0-9_-]+\.js$/)
    expect(source.split('\n')[0]).toContain('\\u000a; throw 1 //')
    await import(pathToFileURL(file).href)
  })
})
