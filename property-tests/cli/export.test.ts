/** scion export: manifests that hold, and exported code that computes what the adapter means. */
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { registry } from '../../src/adapters/registry.ts'
import { defaultsOf, siteProgram, typicalSizes } from '../../src/cli/site-program.ts'
import type { Manifest } from '../../src/codegen/export/manifest.ts'
import type { Program } from '../../src/dsl/index.ts'
import { describeC } from '../compilers.ts'
import { axesOf, exported, manifestHolds, meant, type Arrays } from './exported.ts'
import { valueAt, type Sizes } from './expression.ts'
import { openC } from './run-exported-c.ts'
import { right, scion } from './tiny.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-export-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
// where exported modules find gpu.js
symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), at('node_modules'))

const asked = { in: 16, out: 12, tokens: 6 }
const config: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { oft: { block: 4 }, hra: { rank: 4 } }

const check = (m: Manifest, program: Program, holds: ReturnType<typeof meant>['holds'], got: Arrays): void => {
  const axes = axesOf(m)
  for (const { name } of program.outputs) holds(name, got[name], axes.get(name) ?? [])
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
      check(read.manifest, program, holds, { ...made, ...gradients })
      expect(() => module.forward({ ...inputs, [read.manifest.forward.inputs[0]!.name]: new Float32Array(1) })).toThrow(
        /expected a Float32Array/,
      )
      module.destroy()
    },
  )
})

describeC('exported C', () => {
  it.each(registry.map((a) => [a.name, a] as const))(
    '%s: one object for several sizes, run by its manifest',
    async (name, adapter) => {
      const own = { ...defaultsOf(adapter), ...config[name] }
      const read = await exported(at(`${name}-c`), name, '--target', 'c', '--config', JSON.stringify(own))
      manifestHolds(read)
      const host = openC(read)
      for (const at of [asked, { in: 24, out: 20, tokens: 9 }, { in: 72, out: 40, tokens: 33 }]) {
        const given = typicalSizes(adapter, at)
        const sizes: Sizes = Object.fromEntries(Object.entries(given).map(([s, n]) => [`n_${s}`, n]))
        const program = right(siteProgram(adapter, own, given))
        const { inputs, holds } = meant(program)
        const made = host.run(read.manifest.forward, inputs, sizes)
        const gradients = host.run(read.manifest.backward, { ...inputs, ...made }, sizes)
        check(read.manifest, program, holds, { ...made, ...gradients })
      }
    },
  )
})

describe('cuda', () => {
  it.each(registry.map((a) => [a.name] as const))('%s: grids agree in three languages, at any sizes', async (name) => {
    const { manifest } = await exported(at(`${name}-grids`), name, '--target', 'cuda')
    const sizes = fc.record(
      Object.fromEntries(
        manifest.symbols.map(({ name: symbol, divisors }) => {
          const unit = divisors.reduce((n, d) => n * Number(d), 1)
          return [symbol, fc.integer({ min: 1, max: 300 }).map((n) => n * unit)]
        }),
      ),
    )
    expect(manifest.kernels.some((k) => /n_token/.test(k.grid?.c ?? ''))).toBe(true)
    fc.assert(
      fc.property(sizes, (s: Sizes) => {
        for (const k of manifest.kernels) {
          const blocks = valueAt(k.grid?.c ?? '', s, 'floor')
          expect([k.name, blocks]).toEqual([k.name, valueAt(k.grid?.python ?? '', s, 'floor')])
          expect([k.name, blocks]).toEqual([k.name, valueAt(k.grid?.javascript ?? '', s, 'real')])
          expect(blocks).toBeGreaterThan(0)
        }
      }),
    )
  })
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
