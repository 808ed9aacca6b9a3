/** One case between all rivals: the same numbers to everyone, results compared before anything is timed, repeats interleaved. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, Form, TensorSpec } from './case.ts'
import type { Meter } from './machine.ts'
import type { CaseResult, Deviation } from './result.ts'
import type { Opponent } from './rival.ts'
import { callsPerMeasurement, deviation, median, summarise } from './statistics.ts'

// ---------------------------------------------------------------------------------------- model

export interface Effort {
  readonly rounds: number
  /** a rival's turn in a round, milliseconds; at least one call */
  readonly turn: number
}

// ----------------------------------------------------------------------------------------- numbers

/** Numbers that a name and nothing else decides: mulberry32, seeded by the name. */
const generator = (name: string): (() => number) => {
  let a = Array.from(name).reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 16777619), 2166136261) >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The numbers of a tensor; normal ones by Box and Muller. */
export const fill = ({ name, shape, filling }: TensorSpec): Float32Array => {
  const random = generator(name)
  const length = shape.reduce((a, b) => a * b, 1)
  if ('constant' in filling) return new Float32Array(length).fill(filling.constant)
  if ('below' in filling) return Float32Array.from({ length }, () => Math.floor(random() * filling.below))
  const { normal } = filling
  return Float32Array.from(
    { length },
    () => normal * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  )
}

const readResult = (folder: string, name: string, id: string): Float32Array | undefined => {
  try {
    const bytes = readFileSync(join(folder, `${name}.${id}`))
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  } catch {
    return undefined
  }
}

/** The furthest of a rival's results. JavaScript's steps answer the loss only; everyone else answers everything. */
const compare = (c: Case, folder: string, id: string, reference: string, partly: boolean): Deviation | string => {
  const found = Object.keys(c.results).map((name) => ({ name, data: readResult(folder, name, id) }))
  const missing = found.filter((f) => f.data === undefined)
  if (missing.length > 0 && (!partly || missing.length === found.length)) return `no result ${missing[0]?.name ?? ''}`
  return found
    .flatMap(({ name, data }): ReadonlyArray<Deviation> => {
      const expected = readResult(folder, name, reference)
      return data === undefined || expected === undefined ? [] : [{ worst: deviation(data, expected), of: name }]
    })
    .reduce((a, b) => (b.worst > a.worst ? b : a), { worst: 0, of: '' })
}

const textOf = (e: unknown): string => (e instanceof Error ? e.message : String(e)).split('\n').slice(0, 3).join(' ')

// ----------------------------------------------------------------------------------------- the match

/**
 * Everyone prepares; whoever fails or differs from the reference by more than the bound is out, visibly. Then rounds:
 * each rival in turn, the order shifted by one from round to round, the machine's peak between them.
 */
export const play = async (
  c: Case,
  opponents: ReadonlyArray<Opponent>,
  reference: Opponent | undefined,
  meter: Meter,
  scratch: string,
  { rounds, turn }: Effort,
  say: (text: string) => void,
): Promise<CaseResult> => {
  const folder = join(scratch, c.name)
  mkdirSync(folder, { recursive: true })
  for (const t of c.tensors) writeFileSync(join(folder, `${t.name}.f32`), fill(t))
  const failures: Record<string, string> = {}
  const deviations: Record<string, Deviation> = {}

  const prepare = async (o: Opponent): Promise<boolean> => {
    try {
      await o.prepare(c, folder)
      return true
    } catch (e) {
      failures[o.contender.id] = textOf(e)
      say(`${c.name}: ${o.contender.id} FAILED: ${textOf(e)}`)
      return false
    }
  }
  const judged = reference !== undefined && (await prepare(reference)) ? reference : undefined
  const ready: Opponent[] = []
  for (const o of opponents) if (await prepare(o)) ready.push(o)
  // without torch, everyone is compared with us
  const base = judged?.contender.id ?? 'c'
  const able = ready.filter((o) => {
    const { id, family } = o.contender
    const partly = c.kind === 'step' && (family === 'jax-js' || family === 'tfjs')
    const found = compare(c, folder, id, base, partly)
    if (typeof found === 'string') failures[id] = found
    else {
      deviations[id] = found
      if (!(found.worst <= c.bound))
        failures[id] =
          `deviates by ${found.worst.toExponential(1)} in ${found.of}, more than ${c.bound.toExponential(1)}`
    }
    if (failures[id] !== undefined) say(`${c.name}: ${id} FAILED: ${failures[id]}`)
    return failures[id] === undefined
  })

  const times = new Map<string, { ms: number[]; cpu: number[] }>()
  const inner = new Map<string, number>()
  const peaks: number[] = []
  for (let round = -1; round < rounds; round++)
    for (const form of c.forms) {
      peaks.push(meter.peak())
      for (let i = 0; i < able.length; i++) {
        const o = able[(i + Math.max(0, round)) % able.length]!
        const key = `${form} ${o.contender.id}`
        if (failures[o.contender.id] !== undefined) continue
        try {
          const known = inner.get(key)
          if (known === undefined) {
            // the round before the first one warms up, and finds how long a call takes
            const { ms } = await o.time(form, turn / 2, 1)
            inner.set(key, callsPerMeasurement(median(ms)))
          } else {
            const { ms, cpu } = await o.time(form, turn, known)
            const all = times.get(key) ?? { ms: [], cpu: [] }
            all.ms.push(...ms)
            all.cpu.push(...cpu)
            times.set(key, all)
          }
        } catch (e) {
          failures[o.contender.id] = textOf(e)
          say(`${c.name}: ${o.contender.id} FAILED: ${textOf(e)}`)
        }
      }
    }
  rmSync(folder, { recursive: true, force: true })
  const forms = Object.fromEntries(
    c.forms.map((form): [Form, CaseResult['forms'][Form] & object] => [
      form,
      Object.fromEntries(
        able.flatMap(({ contender: { id } }) => {
          const found = times.get(`${form} ${id}`)
          return found === undefined || failures[id] !== undefined ? [] : [[id, summarise(found.ms, found.cpu)]]
        }),
      ),
    ]),
  )
  return {
    name: c.name,
    title: c.title,
    flops: c.flops,
    bound: c.bound,
    reference:
      judged === undefined
        ? 'c itself, for want of a reference'
        : `${judged.build.split(',')[0] ?? 'torch'} in float64`,
    forms,
    deviations,
    failures,
    peak: median(peaks),
    ...(c.bytes === undefined ? {} : { bytes: c.bytes, bandwidth: meter.bandwidth(c.bytes) }),
  }
}
