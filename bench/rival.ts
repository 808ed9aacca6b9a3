/** The rivals as processes: finding them, starting them pinned to one core, and asking them one thing at a time. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as E from 'fp-ts/lib/Either.js'
import { findCompiler } from '../src/codegen/runtime/c.ts'
import type { Case, Family, Form } from './case.ts'

// ---------------------------------------------------------------------------------------- model

/** A rival before it is started: `id` names it in options, tables and result files. */
export interface Contender {
  readonly id: string
  readonly family: Family | 'scion'
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** settings of its own, beside those that all have */
  readonly settings?: Readonly<Record<string, string>>
}

export interface Timed {
  readonly ms: ReadonlyArray<number>
  readonly cpu: ReadonlyArray<number>
}

/** A running rival. Every answer that is not ok, every exit and every silence is an error. */
export interface Opponent {
  readonly contender: Contender
  readonly build: string
  readonly prepare: (
    c: Case,
    folder: string,
  ) => Promise<{ readonly first: number; readonly forms: ReadonlyArray<Form> }>
  readonly time: (form: Form, ms: number, inner: number) => Promise<Timed>
  readonly alive: () => boolean
  readonly stop: () => void
}

/** Why a rival is not there. */
export interface Absent {
  readonly id: string
  readonly reason: string
}

const HERE = fileURLToPath(new URL('.', import.meta.url))

// ------------------------------------------------------------------------------------ who is there

const has = (command: string): boolean => {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** `taskset -c <core>` where there is one: everything is timed on one core. */
export const pinned = (core: number): ReadonlyArray<string> => (has('taskset') ? ['taskset', '-c', String(core)] : [])

/** Rivals choose their kernels themselves, on one thread. */
export const environment = (): NodeJS.ProcessEnv => {
  const { OPENBLAS_CORETYPE: _1, OPENBLAS_L2_SIZE: _2, ...rest } = process.env
  return { ...rest, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' }
}

/** Pythons to look for torch in: SCION_PYTHON (a list like PATH), else python3, the system's, and the active venv's. */
const pythons = (): ReadonlyArray<string> => {
  const given = process.env['SCION_PYTHON']
  if (given !== undefined && given !== '') return given.split(delimiter)
  const venv = process.env['VIRTUAL_ENV']
  return ['python3', '/usr/bin/python3', ...(venv === undefined ? [] : [join(venv, 'bin', 'python3')])]
}

/** Each installed torch once. */
const torches = (): { readonly found: ReadonlyArray<Contender>; readonly absent: ReadonlyArray<Absent> } => {
  const places = new Map<string, Contender>()
  const absent: Absent[] = []
  for (const python of pythons())
    try {
      const asked = ['-c', 'import torch; print(torch.__version__); print(torch.__file__)']
      const [version = '', place = ''] = execFileSync(python, asked, {
        env: environment(),
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
        .trim()
        .split('\n')
      const id = `torch-${version.replace(/[+a-z].*$/, '')}`
      const args = [join(HERE, 'rivals', 'pytorch.py'), id]
      if (!places.has(place)) places.set(place, { id, family: 'torch', command: python, args })
    } catch {
      absent.push({ id: 'torch', reason: `${python} has no torch (SCION_PYTHON names others)` })
    }
  return { found: [...places.values()], absent: places.size === 0 ? absent : [] }
}

const node = (id: string, family: Contender['family'], file: string, ...args: ReadonlyArray<string>): Contender => ({
  id,
  family,
  command: process.execPath,
  args: ['--import', 'tsx', join(HERE, 'rivals', file), ...args],
})

export const scion = node('c', 'scion', 'scion.ts', 'c')
/** the same without the machine's bf16 tiles: what a processor with vectors alone runs */
const vectorsOnly: Contender = {
  ...node('c-vectors', 'scion', 'scion.ts', 'c', 'c-vectors'),
  settings: { SCION_TILES: 'off' },
}
export const gpujs = node('gpujs', 'gpujs', 'scion.ts', 'gpujs')

const packaged = [
  { contender: node('jax-js', 'jax-js', 'jax.js'), needs: '@jax-js/jax' },
  { contender: node('tfjs', 'tfjs', 'tfjs.js'), needs: '@tensorflow/tfjs-backend-wasm' },
]

/** Everyone who can be started, and who cannot and why. */
export const lookAround = (): { readonly found: ReadonlyArray<Contender>; readonly absent: ReadonlyArray<Absent> } => {
  const there = torches()
  const compiler = findCompiler()
  const ours = E.isRight(compiler) && compiler.right.hasTiles ? [scion, vectorsOnly] : [scion]
  const installed = packaged.map((p) => ({ ...p, there: existsSync(join(HERE, 'node_modules', p.needs)) }))
  return {
    found: [...ours, ...there.found, ...installed.filter((p) => p.there).map((p) => p.contender), gpujs],
    absent: [
      ...there.absent,
      ...installed
        .filter((p) => !p.there)
        .map((p) => ({ id: p.contender.id, reason: `${p.needs} is not installed: npm --prefix bench install` })),
    ],
  }
}

// ----------------------------------------------------------------------------------------- talking

const SILENCE = 300_000

interface Answer {
  readonly ok: boolean
  readonly error?: string
  readonly build?: string
  readonly first?: number
  readonly forms?: ReadonlyArray<Form>
  readonly ms?: ReadonlyArray<number>
  readonly cpu?: ReadonlyArray<number>
}

/** Starts a rival on the core and waits for its greeting. */
export const start = async (contender: Contender, core: number): Promise<Opponent> => {
  const [command = '', ...args] = [...pinned(core), contender.command, ...contender.args]
  const child: ChildProcess = spawn(command, args, {
    env: { ...environment(), ...contender.settings },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const last: string[] = []
  child.stderr?.on('data', (chunk: Buffer) => last.push(String(chunk)))
  const answers: string[] = []
  let arrived = (): void => undefined
  let gone: string | undefined
  createInterface({ input: child.stdout! }).on('line', (line) => {
    answers.push(line)
    arrived()
  })
  const leave = (why: string): void => {
    gone ??= `${why}; ${last.join('').trim().split('\n').slice(-3).join(' | ')}`
    arrived()
  }
  child.on('error', (e) => leave(e.message))
  child.on('close', (code, signal) => leave(`left with ${String(signal ?? code)}`))
  child.stdin?.on('error', () => undefined)

  const receive = async (): Promise<Answer> => {
    const deadline = Date.now() + SILENCE
    while (answers.length === 0) {
      if (gone !== undefined) throw new Error(gone)
      if (Date.now() > deadline) {
        child.kill('SIGKILL')
        throw new Error(`silent for ${SILENCE / 1000} s`)
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000)
        arrived = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const line = answers.shift() ?? ''
    if (!line.startsWith('{')) return receive()
    const answer = JSON.parse(line) as Answer
    if (!answer.ok) throw new Error(answer.error ?? 'no reason given')
    return answer
  }
  const ask = (request: unknown): Promise<Answer> => {
    if (gone !== undefined) throw new Error(gone)
    child.stdin?.write(`${JSON.stringify(request)}\n`)
    return receive()
  }
  const greeting = await receive()
  return {
    contender,
    build: greeting.build ?? '',
    prepare: async (c, folder) => {
      const { first = NaN, forms = [] } = await ask({ do: 'prepare', case: c, folder })
      return { first, forms }
    },
    time: async (form, ms, inner) => {
      const answer = await ask({ do: 'time', form, ms, inner })
      return { ms: answer.ms ?? [], cpu: answer.cpu ?? [] }
    },
    alive: () => gone === undefined,
    stop: () => {
      if (gone === undefined) child.kill()
    },
  }
}
