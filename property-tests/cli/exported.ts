/** An export read back: the manifest by its codec, and what must hold of every manifest. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { decodeJson, readJson } from '../../src/adapters/files/codec.ts'
import { manifestCodec, type Manifest, type SequenceEntry } from '../../src/codegen/export/manifest.ts'
import { literal } from '../../src/dsl/dim.ts'
import type { Program } from '../../src/dsl/index.ts'
import { evaluateBounded } from '../../src/dsl/interpret.ts'
import { layOut } from '../../src/dsl/value.ts'
import { diceOf } from '../codegen-graphs.ts'
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
  for (const t of s.temporaries) {
    if (t.inPlaceOf === undefined) continue
    const operand = s.temporaries.find((o) => o.name === t.inPlaceOf)
    expect([t.name, operand?.bytes, operand?.last], `${name}: ${t.name} in place`).toEqual([t.name, t.bytes, t.first])
    const uses = s.launches[t.first]!.arguments.filter((a) => a === t.inPlaceOf || a === t.name)
    expect(uses, `${name}: ${t.name} in place`).toEqual([t.inPlaceOf, t.name])
    expect(s.temporaries.filter((o) => o.inPlaceOf === t.inPlaceOf).length).toBe(1)
  }
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
  // a gradient lies as its input does
  for (const g of m.backward.outputs) {
    const input = m.forward.inputs.find((i) => `d.${i.name}` === g.name)
    expect([g.name, g.axes, g.shape]).toEqual([g.name, input?.axes, input?.shape])
  }
}

export type Arrays = Readonly<Record<string, Float32Array>>

/** numbers of order one for every input, and what the program means at them, with the bound of f32 */
export const meant = (
  program: Program,
): {
  readonly inputs: Arrays
  /** `axes`: of what was got, in the order of its memory */
  readonly holds: (name: string, got: Float32Array | undefined, axes: ReadonlyArray<string>) => void
} => {
  const d = diceOf(7)
  const inputs = Object.fromEntries(
    program.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const data = Float32Array.from({ length: dims.reduce((n, a) => n * a.size, 1) }, () => 0.8 * d.real() - 0.4)
      return [name, { dims, data: Float64Array.from(data) }]
    }),
  )
  const { outputs } = right(evaluateBounded(program, inputs))
  // a gradient may vanish: it is measured against the sum whose derivative it is
  const y = outputs['y']!
  const ct = layOut(inputs['ct.y']!, y.value.dims).data
  const size = y.value.data.reduce((sum, v, i) => sum + Math.abs(v * ct[i]!), 0)
  return {
    inputs: Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)])),
    holds: (name, got, axes) => {
      const { value, bound } = outputs[name]!
      const scale = Math.max(name.startsWith('d.') ? size : 0, ...value.data.map(Math.abs))
      expect(Math.max(...bound) / scale, `${name}: the bound has teeth`).toBeLessThan(1e-3)
      expect([name, got?.length]).toEqual([name, value.data.length])
      const dims = axes.map((a) => value.dims.find((d) => d.name === a)!)
      const laid = layOut({ dims, data: Float64Array.from(got!) }, value.dims).data
      value.data.forEach((v, i) => {
        if (!(Math.abs(laid[i]! - v) <= bound[i]!))
          expect.fail(`${name}[${String(i)}]: ${String(laid[i])}, meant ${String(v)} +- ${String(bound[i])}`)
      })
    },
  }
}

/** The axes of every output, in the order of its memory. */
export const axesOf = (m: Manifest): ReadonlyMap<string, ReadonlyArray<string>> =>
  new Map([...m.forward.outputs, ...m.backward.outputs].map((o) => [o.name, o.axes]))
