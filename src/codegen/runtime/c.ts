/**
 * The system's C compiler and koffi, wrapped and typed: the one place that runs `cc`, loads what it made
 * and catches what goes wrong. Objects are cached by what they depend on, for all processes of a user.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import koffi from 'koffi'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Width } from '../recipes/c/tiles.ts'
import { printC, type ProgramC, type Sequence } from '../print/c.ts'

// ---------------------------------------------------------------------------------------- model

export interface Compiler {
  readonly command: string
  readonly version: string
  /** what `-march=native` depends on */
  readonly cpu: string
  /** floats in the machine's widest vectors */
  readonly widest: Width
}

export interface LoadedC {
  readonly program: ProgramC
  readonly run: (
    inputs: ReadonlyArray<Float32Array>,
  ) => TE.TaskEither<NonEmptyArray<Fault>, ReadonlyArray<Float32Array>>
  readonly runNow: (inputs: ReadonlyArray<Float32Array>) => Checked<ReadonlyArray<Float32Array>>
  readonly dispose: () => void
}

const FLAGS = [
  ...[
    '-std=gnu11',
    '-O2',
    '-ftree-vectorize',
    '-fvect-cost-model=dynamic',
    '-march=native',
    '-mprefer-vector-width=512',
  ],
  ...['-fno-math-errno', '-fno-trapping-math', '-w', '-shared', '-fPIC'],
]

const textOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))
const fault = (expected: string, actual: string, hint?: string): NonEmptyArray<Fault> => [
  { at: 'c', expected, actual: actual.split('\n').slice(0, 6).join('\n'), ...(hint === undefined ? {} : { hint }) },
]

// ------------------------------------------------------------------------------------ the compiler

const cpuFlags = (): string => {
  try {
    const found = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))
    return found?.[1]?.trim() ?? process.arch
  } catch {
    return process.arch
  }
}

const widestOf = (cpu: string): Width => (cpu.includes('avx512f') ? 16 : cpu.includes('avx') ? 8 : 4)

/** floats in this machine's widest vectors */
export const widestVectors = (): Width => widestOf(cpuFlags())

const probe = (command: string): Checked<Compiler> =>
  E.tryCatch(
    () => {
      const version = execFileSync(command, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      const cpu = cpuFlags()
      return { command, version: version.split('\n')[0] ?? version, cpu, widest: widestOf(cpu) }
    },
    (e) => fault('a C compiler', `${command}: ${textOf(e)}`, 'install cc, name one in CC, or use target gpujs'),
  )

const known = new Map<string, Checked<Compiler>>()

/** `$CC`, else `cc`; asked once. */
export const findCompiler = (): Checked<Compiler> => {
  const command = process.env['CC'] ?? 'cc'
  const found = known.get(command) ?? probe(command)
  known.set(command, found)
  return found
}

// --------------------------------------------------------------------------------------- the cache

const cacheFolder = (): string => {
  const base = process.env['XDG_CACHE_HOME']
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'scion')
}

const usableFolder = (): string => {
  try {
    mkdirSync(cacheFolder(), { recursive: true, mode: 0o700 })
    return cacheFolder()
  } catch {
    const own = join(tmpdir(), `scion-${String(process.getuid?.() ?? 'user')}`)
    mkdirSync(own, { recursive: true, mode: 0o700 })
    return own
  }
}

/** The shared object for a source: from the cache, or compiled beside it and renamed, so that others see all or nothing. */
export const build = (compiler: Compiler, source: string, more: ReadonlyArray<string> = []): Checked<string> =>
  E.tryCatch(
    () => {
      const flags = [...FLAGS, ...more]
      const parts = [source, flags.join(' '), compiler.command, compiler.version, compiler.cpu]
      const hash = createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32)
      const folder = usableFolder()
      const object = join(folder, `${hash}.so`)
      if (existsSync(object)) return object
      const fresh = join(folder, `${hash}.${String(process.pid)}.${String(Date.now())}`)
      try {
        writeFileSync(`${fresh}.c`, source)
        execFileSync(compiler.command, [...flags, '-o', `${fresh}.so`, `${fresh}.c`, '-lm'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        renameSync(`${fresh}.so`, object)
      } finally {
        rmSync(`${fresh}.c`, { force: true })
        rmSync(`${fresh}.so`, { force: true })
      }
      return object
    },
    (e) => fault(`${compiler.command} to compile the kernels`, textOf(e)),
  )

// --------------------------------------------------------------------------------------- the target

type Step = (inputs: Float32Array, constants: Float32Array, outputs: Float32Array, arena: Float32Array) => void

/** addresses that the program never reads still have to be some */
const floats = (n: number): Float32Array => new Float32Array(Math.max(64, n))

export const loadC = (sequence: Sequence, constants: ReadonlyArray<Float32Array>): Checked<LoadedC> =>
  E.flatMap(findCompiler(), (compiler) => {
    const program = printC(sequence, compiler.widest)
    return E.flatMap(build(compiler, program.source), (object) =>
      E.tryCatch(
        (): LoadedC => {
          const library = koffi.load(object)
          const step = library.func('void scion_step(float *, float *, float *, float *)') as unknown as Step
          const [given, frozen] = [floats(program.inputs.size), floats(program.constants.size)]
          const [made, arena] = [floats(program.outputs.size), floats(program.arena)]
          constants.forEach((c, i) => frozen.set(c, program.constants.offsets[i]))
          const runNow: LoadedC['runNow'] = (inputs) =>
            E.tryCatch(
              () => {
                inputs.forEach((x, i) => given.set(x, program.inputs.offsets[i]))
                step(given, frozen, made, arena)
                return program.outputs.offsets.map((at, i) => made.slice(at, at + program.outputs.sizes[i]!))
              },
              (e) => fault('the program to run', textOf(e)),
            )
          // the library stays: another executable may have loaded the same object
          return { program, runNow, run: (inputs) => TE.fromIOEither(() => runNow(inputs)), dispose: () => undefined }
        },
        (e) => fault('the compiled program to be loaded', textOf(e)),
      ),
    )
  })
