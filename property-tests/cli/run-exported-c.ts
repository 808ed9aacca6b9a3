/** A host for exported C, written from the manifest alone: compiles the file, keeps the buffers, runs the launches. */
import { execFileSync } from 'node:child_process'
import koffi from 'koffi'
import type { Manifest, SequenceEntry } from '../../src/codegen/export/manifest.ts'
import { valueAt, type Sizes } from './expression.ts'
import type { Arrays, ReadBack } from './exported.ts'

type Run = (
  launches: Int32Array,
  count: number,
  buffers: BigUint64Array,
  sizes: Int32Array,
  scratch: bigint,
  scratchSize: bigint,
  threads: number,
  seconds: null,
) => void

const addressOf = (a: Float32Array): bigint => koffi.address(a.buffer) + BigInt(a.byteOffset)

/** on 64 bytes, and large enough to lie outside the collected heap, where it would move */
const floats = (n: number): Float32Array => {
  const all = new Float32Array(n + 64)
  const from = Number((64n - (addressOf(all) % 64n)) % 64n) / 4
  return all.subarray(from, from + n)
}

export interface HostC {
  readonly run: (s: SequenceEntry, given: Arrays, sizes: Sizes) => Arrays
}

export const openC = ({ manifest, file }: ReadBack): HostC => {
  const object = file.replace(/\.c$/, '.so')
  const libraries = manifest.compile.options.filter((o) => o.startsWith('-l'))
  const flags = manifest.compile.options.filter((o) => !o.startsWith('-l'))
  execFileSync(process.env['CC'] ?? 'cc', ['-w', ...flags, '-o', object, file, ...libraries])
  const run = koffi
    .load(object)
    .func('void scion_run(int *, int, uint64_t *, int *, uint64_t, long, int, double *)') as unknown as Run
  return { run: (s, given, sizes) => runSequence(manifest, run, s, given, sizes) }
}

const runSequence = (m: Manifest, run: Run, s: SequenceEntry, given: Arrays, sizes: Sizes): Arrays => {
  const count = (shape: ReadonlyArray<string>): number => shape.reduce((n, d) => n * valueAt(d, sizes), 1)
  const memory = new Map<string, Float32Array>()
  for (const { name, shape } of s.inputs) {
    const data = floats(count(shape))
    data.set(given[name]!)
    memory.set(name, data)
  }
  for (const { name, shape, values } of s.constants) {
    const data = floats(count(shape))
    data.set(values)
    memory.set(name, data)
  }
  for (const o of s.outputs) if (!memory.has(o.name)) memory.set(o.name, floats(count(o.shape)))
  // one that may take another's place does
  for (const t of s.temporaries)
    memory.set(t.name, t.inPlaceOf === undefined ? floats(count(t.shape)) : memory.get(t.inPlaceOf)!)
  const [launches, buffers, numbers]: [number[], bigint[], number[]] = [[], [], []]
  for (const l of s.launches) {
    launches.push(
      m.kernels.findIndex((k) => k.name === l.kernel),
      buffers.length,
      numbers.length,
    )
    buffers.push(...l.arguments.map((a) => addressOf(memory.get(a)!)))
    numbers.push(...l.sizes.map((e) => valueAt(e, sizes)))
  }
  const scratch = Math.max(0, ...m.kernels.map((k) => valueAt(k.scratch ?? '0', sizes))) / 4
  const area = floats(scratch)
  run(
    Int32Array.from(launches),
    s.launches.length,
    BigUint64Array.from(buffers),
    Int32Array.from([...numbers, 0]),
    addressOf(area),
    BigInt(Math.ceil(scratch)),
    1,
    null,
  )
  return Object.fromEntries(s.outputs.map((o) => [o.name, memory.get(o.from ?? o.name)!.slice(0, count(o.shape))]))
}
