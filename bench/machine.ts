/** The machine under the bench: what it is called, and what it can do, measured by `machine.c` in the same run. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findCompiler, widestVectors } from '../src/codegen/runtime/c.ts'
import { orFail } from './case.ts'
import { pinned } from './rival.ts'

// ---------------------------------------------------------------------------------------- model

/** No host name, no user: what a reader needs to judge the numbers. */
export interface Facts {
  readonly processor: string
  readonly cores: number
  readonly vectors: string
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  readonly caches: Readonly<Record<string, string>>
  readonly loadBefore: number
}

export interface Meter {
  /** GFLOP/s of fused multiply-adds at the widest vectors, one core */
  readonly peak: (seconds?: number) => number
  /** GB/s of a triad whose three arrays have so many bytes together */
  readonly bandwidth: (bytes: number, seconds?: number) => number
}

// --------------------------------------------------------------------------------- constructors

const cacheSizes = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    [0, 1, 2, 3].flatMap((i) => {
      try {
        const at = `/sys/devices/system/cpu/cpu0/cache/index${i}`
        const [level, type, size] = ['level', 'type', 'size'].map((f) => readFileSync(`${at}/${f}`, 'utf8').trim())
        return type === 'Instruction' ? [] : [[`L${level}`, size ?? '']]
      } catch {
        return []
      }
    }),
  )

export const facts = (): Facts => ({
  processor: cpus()[0]?.model ?? process.arch,
  cores: cpus().length,
  vectors: `${widestVectors() * 32} bits`,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${process.platform} ${release().split('-')[0]}`,
  node: process.version,
  caches: cacheSizes(),
  loadBefore: loadavg()[0] ?? NaN,
})

const SOURCE = fileURLToPath(new URL('machine.c', import.meta.url))

/** Compiles `machine.c` into the folder. Without a compiler there is nothing to measure: an error. */
export const meter = (folder: string, core: number): Meter => {
  const compiler = orFail(findCompiler())
  const program = join(folder, 'machine')
  const flags = ['-O3', '-march=native', '-mprefer-vector-width=512', `-DW=${widestVectors()}`]
  const portable = process.arch === 'x64' ? flags : flags.filter((f) => !f.startsWith('-mprefer'))
  execFileSync(compiler.command, [...portable, '-o', program, SOURCE])
  const measure = (...args: ReadonlyArray<string>): number => {
    const [command = '', ...rest] = [...pinned(core), program, ...args]
    return Number(execFileSync(command, rest, { encoding: 'utf8' }))
  }
  return {
    peak: (seconds = 0.03) => measure('fma', String(seconds)),
    bandwidth: (bytes, seconds = 0.1) => measure('triad', String(seconds), String(Math.round(bytes / 12))),
  }
}
