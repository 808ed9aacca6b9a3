/**
 * A rival's side of the bench, in JavaScript: a process that reads one JSON line a request and answers with one.
 *
 *     {do: 'prepare', case, folder}  ->  {ok, first}        builds every form, runs it once, writes the results to `folder`
 *     {do: 'time', form, ms, inner}  ->  {ms, cpu}          calls for so long: wall and CPU milliseconds a call
 *     {do: 'quit'}
 *
 * Tensors are files of 32-bit floats, row-major.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Case, Form } from '../case.ts'

export type Tensors = Readonly<Record<string, Float32Array>>

/** What a rival makes of a case: each form as something to call, and the results to compare. */
export interface Prepared {
  readonly forms: Readonly<Partial<Record<Form, () => unknown>>>
  readonly results: () => Promise<Tensors> | Tensors
  readonly dispose?: () => void
}

export interface Rival {
  /** versions, and what it runs on */
  readonly build: string
  readonly prepare: (c: Case, tensors: Tensors) => Promise<Prepared> | Prepared
}

const readTensors = (c: Case, folder: string): Tensors =>
  Object.fromEntries(
    c.tensors.map(({ name, shape }) => {
      const bytes = readFileSync(join(folder, `${name}.f32`))
      const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
      const expected = shape.reduce((a, b) => a * b, 1)
      if (data.length !== expected) throw new Error(`${name}: expected ${expected} numbers, found ${data.length}`)
      return [name, data]
    }),
  )

const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Wall and CPU time of a call, over and over for so many milliseconds; `inner` calls are one measurement. */
const time = async (call: () => unknown, ms: number, inner: number): Promise<{ ms: number[]; cpu: number[] }> => {
  const [walls, cpus]: [number[], number[]] = [[], []]
  const begun = performance.now()
  do {
    const [wall0, cpu0] = [performance.now(), cpu()]
    for (let i = 0; i < inner; i++) {
      const pending = call()
      if (pending instanceof Promise) await pending
    }
    walls.push((performance.now() - wall0) / inner)
    cpus.push((cpu() - cpu0) / inner)
  } while (performance.now() - begun < ms)
  return { ms: walls, cpu: cpus }
}

interface Request {
  readonly do: 'prepare' | 'time' | 'quit'
  readonly case?: Case
  readonly folder?: string
  readonly form?: Form
  readonly ms?: number
  readonly inner?: number
}

/** Answers requests until told to quit. Whatever goes wrong in one is its answer. */
export const serve = async (rival: Rival, out: string): Promise<void> => {
  const answer = (x: unknown): void => void process.stdout.write(`${JSON.stringify(x)}\n`)
  let prepared: Prepared | undefined
  answer({ ok: true, build: rival.build })
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const request = JSON.parse(line) as Request
      if (request.do === 'quit') break
      if (request.do === 'prepare') {
        prepared?.dispose?.()
        prepared = undefined
        const { case: c, folder } = request
        if (c === undefined || folder === undefined) throw new Error('prepare: no case')
        const begun = performance.now()
        prepared = await rival.prepare(c, readTensors(c, folder))
        const results = await prepared.results()
        const first = performance.now() - begun
        for (const [name, data] of Object.entries(results)) writeFileSync(join(folder, `${name}.${out}`), data)
        answer({ ok: true, first, forms: Object.keys(prepared.forms) })
      } else {
        const call = prepared?.forms[request.form ?? 'forward']
        if (call === undefined) throw new Error(`no form ${String(request.form)}`)
        answer({ ok: true, ...(await time(call, request.ms ?? 0, request.inner ?? 1)) })
      }
    } catch (e) {
      answer({ ok: false, error: e instanceof Error ? e.message : String(e) })
    }
  }
  process.exit(0)
}
