/** An export read back: the manifest by its codec, and what must hold of every manifest. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { decodeJson, readJson } from '../../src/adapters/files/codec.ts'
import { manifestCodec, type Manifest, type SequenceEntry } from '../../src/codegen/export/manifest.ts'
import { right, scion } from './tiny.ts'

export interface ReadBack {
  readonly manifest: Manifest
  readonly source: string
  readonly file: string
}

/** Runs `scion export` and reads what it wrote. */
export const exported = async (folder: string, adapter: string, ...more: ReadonlyArray<string>): Promise<ReadBack> => {
  const ran = await scion('export', adapter, '--out', folder, '--json', ...more)
  expect([ran.code, ran.err]).toEqual([0, ''])
  const { files } = JSON.parse(ran.out) as { readonly files: ReadonlyArray<string> }
  const json = files.find((f) => f.endsWith('.json')) ?? ''
  const manifest = right(decodeJson('manifest', manifestCodec, right(readJson(json))))
  const file = join(folder, manifest.source.file)
  return { manifest, source: readFileSync(file, 'utf8'), file }
}

const sequenceHolds = (name: string, s: SequenceEntry, m: Manifest): void => {
  const kernels = new Map(m.kernels.map((k) => [k.name, k]))
  const shapes = new Map(
    [...s.inputs, ...s.constants, ...s.outputs, ...s.temporaries].map((t) => [t.name, t.shape] as const),
  )
  const written = new Set([...s.inputs, ...s.constants].map((t) => t.name))
  const lives = new Map(s.temporaries.map((t) => [t.name, { first: -1, last: -1 }]))
  s.launches.forEach((l, i) => {
    const kernel = kernels.get(l.kernel)
    const pointers = kernel?.parameters.filter((p) => p.kind === 'pointer') ?? []
    expect([name, l.kernel, l.arguments.length]).toEqual([name, l.kernel, pointers.length])
    expect(l.sizes.length).toBe(kernel?.parameters.filter((p) => p.kind === 'int').length)
    l.arguments.forEach((a, k) => {
      expect(shapes.has(a), `${name}: ${a} is a tensor`).toBe(true)
      const life = lives.get(a)
      if (life !== undefined) {
        if (life.first < 0) life.first = i
        life.last = i
      }
      if (pointers[k]?.access === 'write') {
        expect(written.has(a), `${name}: ${a} is written once`).toBe(false)
        written.add(a)
      } else expect(written.has(a), `${name}: ${a} is written before it is read`).toBe(true)
    })
  })
  for (const t of s.temporaries) expect([t.name, { first: t.first, last: t.last }]).toEqual([t.name, lives.get(t.name)])
  for (const o of s.outputs) expect(written.has(o.from ?? o.name), `${name}: ${o.name} is made`).toBe(true)
}

/** Names lead somewhere, everything is written before it is read, the halves fit each other, the digest is the source's. */
export const manifestHolds = ({ manifest: m, source }: ReadBack): void => {
  expect(createHash('sha256').update(source).digest('hex')).toBe(m.source.sha256)
  sequenceHolds('forward', m.forward, m)
  sequenceHolds('backward', m.backward, m)
  const launched = new Set([...m.forward.launches, ...m.backward.launches].map((l) => l.kernel))
  expect([...launched].sort()).toEqual(m.kernels.map((k) => k.name).sort())
  const names = (ts: ReadonlyArray<{ readonly name: string }>): ReadonlyArray<string> => ts.map((t) => t.name)
  const made = names(m.forward.outputs)
  for (const i of names(m.forward.inputs)) expect(i).not.toMatch(/^(ct|saved)\./)
  for (const s of m.saved) expect(made).toContain(s)
  const known = [...names(m.forward.inputs), ...m.saved, ...made.map((y) => `ct.${y}`)]
  for (const i of names(m.backward.inputs)) expect(known).toContain(i)
  expect(names(m.backward.outputs).every((o) => o.startsWith('d.'))).toBe(true)
}
