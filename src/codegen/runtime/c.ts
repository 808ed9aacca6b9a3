/**
 * The system's C compiler, wrapped and typed: the one place that runs `cc` and catches what goes wrong. Objects are cached
 * by what they depend on, for all processes of a user; `kernels-c.ts` loads them.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Width } from '../recipes/c/tiles.ts'

// ---------------------------------------------------------------------------------------- model

export interface Compiler {
  readonly command: string
  readonly version: string
  /** what `-march=native` depends on */
  readonly cpu: string
  /** floats in the machine's widest vectors */
  readonly widest: Width
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
