/** scion explain --html: one page that needs nothing else and says nothing that its text did not mean. */
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registry } from '../../src/adapters/registry.ts'
import { escapeHtml } from '../../src/cli/escape-html.ts'
import { drawGraph, type KernelGraph } from '../../src/cli/kernel-graph.ts'
import { scion } from './tiny.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-page-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const pageOf = async (adapter: string, ...more: ReadonlyArray<string>): Promise<string> => {
  const file = join(folder, 'page.html')
  const ran = await scion('explain', adapter, '--in', '16', '--out', '16', '--tokens', '8', '--html', file, ...more)
  expect([ran.code, ran.err]).toEqual([0, `${file} is written\n`])
  return readFileSync(file, 'utf8')
}

/** every tag of the page, and the text between */
const TAGS = /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z:-]+(?:="[^"<>]*")?)*)\s*\/?>/g
const VOID = ['meta', 'rect', 'path']

/** Tags nest, and nothing that looks like one is left between them. */
const isWellFormed = (page: string): void => {
  const open: string[] = []
  for (const [, slash, name = ''] of page.matchAll(TAGS)) {
    if (slash === '/') expect(open.pop()).toBe(name)
    else if (!VOID.includes(name)) open.push(name)
  }
  expect(open).toEqual([])
  expect(page.replace('<!doctype html>', '').replace(TAGS, '')).not.toMatch(/[<>]/)
}

describe('the page', () => {
  const cases = registry.flatMap((a) => (['gpujs', 'c'] as const).map((target) => [a.name, target] as const))
  it.each([...cases, ['lora', 'cuda'] as const])(
    '%s for %s: every kernel drawn, explained and linked; no script, no network',
    async (name, target) => {
      const page = await pageOf(name, '--target', target)
      const body = page.replace(/<style>[\s\S]*?<\/style>/, '')
      isWellFormed(body)
      expect(body).not.toMatch(/<script|\son[a-z]+=|src=|@import|url\((?!#)/)
      expect(body.replace('http://www.w3.org/2000/svg', '')).not.toContain('://')
      expect(body).toContain(`default-src 'none'`)
      const ids = [...body.matchAll(/<section class="kernel" id="([^"]+)"/g)].map((m) => m[1])
      const links = [...body.matchAll(/<a href="#([^"]+)"/g)].map((m) => m[1])
      expect(ids.length).toBeGreaterThan(2)
      expect([...new Set(links)].sort()).toEqual([...ids].sort())
      // once in the drawing, once in the table
      expect(links.length).toBe(2 * ids.length)
      for (const words of ['least possible', 'ends here because', 'bytes read']) expect(body).toContain(words)
      // what flows in from outside is the program's own
      const inputs = [...body.matchAll(/<g class="input">.*?<text[^>]*>([^<]*)</g)].map((m) => m[1] ?? '')
      expect(inputs.filter((i) => !/^(p\.\w+|ct\.y|x|q|k|v|w[kv]|weight|bias|constant\.\d+)$/.test(i))).toEqual([])
      expect(inputs).toContain('ct.y')
      if (target !== 'gpujs') expect(body).toMatch(/<th>arena<\/th><td>[\d,]+ bytes/)
      if (target === 'cuda') for (const words of ['threads a block', 'registers']) expect(body).toContain(words)
    },
  )

  it("a user's names are text", async () => {
    const file = join(folder, 'evil.ts')
    const evil = `<img src=x onerror=alert(1)>"'&</pre><script>`
    writeFileSync(
      file,
      `import { pipe } from 'fp-ts/lib/function.js'
import { adapter, add, fill, mul, param, positiveInt } from 'scion'
const name = ${JSON.stringify(evil)}
export default adapter({
  name, doc: 'd', site: 'linear', targets: ['q_proj'], config: { rank: positiveInt(2, 'r') },
  params: (_, s) => ({ [name]: param(['out'], { out: s.out }) }),
  init: () => (key, { sizes }) => ({ params: { [name]: fill(0)({ out: sizes.out }) } }),
  apply: () => (p, x, host) => pipe(host.call(x), add(pipe(host.call(x), mul(p[name])))),
})`,
    )
    const page = await pageOf(file, '--target', 'gpujs')
    isWellFormed(page.replace(/<style>[\s\S]*?<\/style>/, ''))
    expect(page).not.toContain('<img')
    expect(page).not.toContain('<script')
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;')
  })

  it('a folder in the way is a fault, and nothing is written', async () => {
    const ran = await scion('explain', 'lora', '--html', folder, '--no-source')
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(folder)])
    const none = await scion('explain', 'lorra', '--html', join(folder, 'none.html'))
    expect([none.code, existsSync(join(folder, 'none.html'))]).toEqual([1, false])
  })
})

/** text of any characters, most of them those that mean something in a page */
const hostile = fc.string({
  unit: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...Array.from('<>&"\'/=!-a\u0000\u0007\n')) },
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 20,
})

describe('drawing', () => {
  it('any text, any acyclic graph: well-formed, every box within the picture', () => {
    const graphs = fc
      .array(fc.tuple(hostile, fc.array(fc.nat(), { maxLength: 3 })), { minLength: 1, maxLength: 12 })
      .map((rows): KernelGraph => ({
        nodes: rows.map(([line], i) => ({ id: `k${String(i)}`, kind: 'kernel', lines: [line, line] })),
        edges: rows.flatMap(([, from], i) =>
          i === 0
            ? []
            : [...new Set(from.map((f) => f % i))].map((f) => ({ from: `k${String(f)}`, to: `k${String(i)}` })),
        ),
      }))
    fc.assert(
      fc.property(graphs, (g) => {
        const svg = drawGraph(g)
        isWellFormed(svg)
        const [, width, height] = /width="([\d.]+)" height="([\d.]+)"/.exec(svg) ?? []
        const boxes = [...svg.matchAll(/<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)"/g)]
        expect(boxes.length).toBe(g.nodes.length)
        for (const [, x, y, w, h] of boxes) {
          expect(Number(x)).toBeGreaterThanOrEqual(0)
          expect(Number(y)).toBeGreaterThanOrEqual(0)
          expect(Number(x) + Number(w)).toBeLessThanOrEqual(Number(width) + 0.2)
          expect(Number(y) + Number(h)).toBeLessThanOrEqual(Number(height) + 0.2)
        }
      }),
      { numRuns: 50 },
    )
  })

  it('escaped text has nothing that ends a tag, an attribute or a text', () => {
    fc.assert(
      fc.property(hostile, (s) => {
        const e = escapeHtml(s)
        expect(e).not.toMatch(/[<>"']|&(?!(amp|lt|gt|quot|#39);)/)
        const back = e
          .replaceAll('&lt;', '<')
          .replaceAll('&gt;', '>')
          .replaceAll('&quot;', '"')
          .replaceAll('&#39;', "'")
          .replaceAll('&amp;', '&')

        expect(back).toBe(s.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, '\ufffd'))
      }),
    )
  })
})
