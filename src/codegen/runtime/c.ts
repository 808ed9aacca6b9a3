/**
 * The system's C compiler, wrapped and typed: the one place that runs `cc` and catches what goes wrong. Objects are cached
 * by what they depend on, for all processes of a user; `kernels-c.ts` loads them.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import koffi from 'koffi'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Width } from '../recipes/c/tiles.ts'

// ---------------------------------------------------------------------------------------- model

export interface Compiler {
  /** what is run, a word each: a wrapper may stand before the compiler's name */
  readonly command: string
  readonly version: string
  /** GNU's: it has options that others do not know */
  readonly isGnu: boolean
  /** what `-march=native` depends on */
  readonly cpu: string
  /** floats in the machine's widest vectors */
  readonly widest: Width
  /** the machine has tiles that multiply bf16 numbers, this process may use them, and the compiler knows them */
  readonly hasTiles: boolean
}

/** GNU's: the processor orders instructions itself, and a twelfth of the compiler's time would go into doing it before */
const flagsFor = ({ isGnu }: Compiler): ReadonlyArray<string> => [
  ...['-std=gnu11', '-O2', '-ftree-vectorize', ...(isGnu ? ['-fvect-cost-model=dynamic', '-fno-schedule-insns2'] : [])],
  ...(process.arch === 'x64' ? ['-march=native', '-mprefer-vector-width=512'] : ['-mcpu=native']),
  ...['-fno-math-errno', '-fno-trapping-math', '-w', '-shared', '-fPIC'],
]

/** `ccache gcc` is two words; nothing else of a shell is understood */
const run = (command: string, args: ReadonlyArray<string>): string => {
  const [file = '', ...before] = command.split(/\s+/).filter((w) => w !== '')
  return execFileSync(file, [...before, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

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

/** the state of tiles is large: a process asks the kernel for it, once */
const mayUseTiles = (): boolean => {
  const [ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA] = [158, 0x1023, 18]
  try {
    const call = koffi.load(null).func('long syscall(long, long, long)') as unknown as (...of: number[]) => number
    return call(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) === 0
  } catch {
    return false
  }
}

const isFrom = (version: string, least: number): boolean => Number(/(\d+)\.\d+\.\d+/.exec(version)?.[1] ?? 0) >= least

/**
 * Tiles that multiply bf16 numbers (AMX): on Linux, where the processor has them and the kernel lets the process.
 * SCION_TILES=off does without them.
 */
const hasTilesOf = (cpu: string, version: string, isGnu: boolean): boolean =>
  process.env['SCION_TILES'] !== 'off' &&
  process.platform === 'linux' &&
  process.arch === 'x64' &&
  ['avx512bw', 'amx_tile', 'amx_bf16'].every((f) => cpu.split(' ').includes(f)) &&
  isGnu &&
  isFrom(version, 12) &&
  mayUseTiles()

const probe = (command: string): Checked<Compiler> =>
  E.tryCatch(
    () => {
      const text = run(command, ['--version'])
      const isGnu = text.includes('Free Software Foundation')
      const version = text.split('\n')[0] ?? text
      const cpu = cpuFlags()
      return { command, version, isGnu, cpu, widest: widestOf(cpu), hasTiles: hasTilesOf(cpu, version, isGnu) }
    },
    (e) => fault('a C compiler', `${command}: ${textOf(e)}`, 'install cc, name one in CC, or use target gpujs'),
  )

const known = new Map<string, Checked<Compiler>>()

/** `$CC`, else `cc`; asked once for each setting. */
export const findCompiler = (): Checked<Compiler> => {
  const command = process.env['CC'] ?? 'cc'
  const key = `${command} ${process.env['SCION_TILES'] ?? ''}`
  const found = known.get(key) ?? probe(command)
  known.set(key, found)
  return found
}

// --------------------------------------------------------------------------------------- the cache

const cacheFolder = (): string => {
  const base = process.env['XDG_CACHE_HOME']
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'scion')
}

/** A folder of this user's that nobody else may write to: objects in it are loaded without another look. */
const ownFolder = (path: string): string => {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const { uid, mode } = statSync(path)
  const user = process.getuid?.()
  if (user !== undefined && (uid !== user || (mode & 0o022) !== 0))
    throw new Error(`${path} belongs to, or is open to, other users`)
  return path
}

const usableFolder = (): string => {
  try {
    return ownFolder(cacheFolder())
  } catch {
    return ownFolder(join(tmpdir(), `scion-${String(process.getuid?.() ?? 'user')}`))
  }
}

/** The shared object for a source: from the cache, or compiled beside it and renamed, so that others see all or nothing. */
export const build = (compiler: Compiler, source: string, more: ReadonlyArray<string> = []): Checked<string> =>
  E.tryCatch(
    () => {
      const flags = [...flagsFor(compiler), ...more]
      const parts = [source, flags.join(' '), compiler.command, compiler.version, compiler.cpu]
      const hash = createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32)
      const folder = usableFolder()
      const object = join(folder, `${hash}.so`)
      if (existsSync(object)) return object
      const fresh = join(folder, `${hash}.${String(process.pid)}.${String(Date.now())}`)
      try {
        writeFileSync(`${fresh}.c`, source)
        run(compiler.command, [...flags, '-o', `${fresh}.so`, `${fresh}.c`, '-lm'])
        renameSync(`${fresh}.so`, object)
      } finally {
        rmSync(`${fresh}.c`, { force: true })
        rmSync(`${fresh}.so`, { force: true })
      }
      return object
    },
    (e) => fault(`${compiler.command} to compile the kernels`, textOf(e)),
  )
