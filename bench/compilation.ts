/**
 * How long compiling the training step takes, in CPU time on one core: a fresh process and an empty cache for each
 * depth; the C compiler's own time is taken by a script that stands in for it (`CC`).
 *
 *     node --import tsx bench/compilation.ts step LAYERS | sizes      the child's side: one JSON line
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipe } from 'fp-ts/lib/function.js'
import { fileURLToPath } from 'node:url'
import { compileNow } from '../src/codegen/index.ts'
import * as L from '../src/dsl/index.ts'
import { orFail, stepConfig, stepOf, stepRecipe } from './case.ts'
import type { Compilation, CompileResult } from './result.ts'
import { environment, pinned } from './rival.ts'

const HERE = fileURLToPath(import.meta.url)

// --------------------------------------------------------------------------------- the child's side

/** CPU milliseconds of this process, the compiler's not among them */
interface Child {
  readonly trace: number
  readonly compile: number
  readonly launches: number
}

const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const compileStep = (layers: number): Child => {
  const begun = cpu()
  const { program } = stepOf(stepConfig(512, layers), stepRecipe())
  const traced = cpu()
  const executable = orFail(compileNow(program, { target: 'c' }))
  const compiled = cpu()
  return { trace: traced - begun, compile: compiled - traced, launches: executable.report.launches }
}

/** one program with a symbol for its rows, at two sizes */
const compileTwoSizes = (): Child => {
  const x = L.input('x', { token: 'T', in: 64 })
  const w = L.input('w', { out: 48, in: 64 })
  const y = pipe(x, L.dot(w, 'in'), L.rename({ out: 'in' }), L.softmax('in'))
  const program = orFail(L.program('sizes', { y }))
  const begun = cpu()
  const made = [32, 96].map((T) => orFail(compileNow(program, { target: 'c', sizes: { T } })))
  return { trace: 0, compile: cpu() - begun, launches: made[0]?.report.launches ?? 0 }
}

// --------------------------------------------------------------------------------- the parent's side

const clockedCompiler = (log: string, compiler: string): string => `#!/bin/sh
# the C compiler; its CPU time goes to a file. Questions about its version are not counted
case "$*" in --version) exec ${compiler} "$@" ;; esac
${compiler} "$@"
code=$?
times > ${log}.now
tail -n 1 ${log}.now >> ${log}
exit $code
`

/** "0m1.230000s 0m0.120000s": user and system time of a shell's children, in milliseconds */
export const readTimes = (line: string): number =>
  [...line.matchAll(/(\d+)m([\d.]+)s/g)].reduce((ms, [, m, s]) => ms + 60_000 * Number(m) + 1000 * Number(s), 0)

const inChild = (scratch: string, core: number, ...args: ReadonlyArray<string>): Child & { times: number[] } => {
  const folder = mkdtempSync(join(scratch, 'compile-'))
  try {
    const [log, cc] = [join(folder, 'times'), join(folder, 'cc')]
    writeFileSync(log, '')
    writeFileSync(cc, clockedCompiler(log, process.env['CC'] ?? 'cc'))
    chmodSync(cc, 0o755)
    const [command = '', ...rest] = [...pinned(core), process.execPath, '--import', 'tsx', HERE, ...args]
    const out = execFileSync(command, rest, {
      encoding: 'utf8',
      env: { ...environment(), CC: cc, XDG_CACHE_HOME: join(folder, 'cache') },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const times = readFileSync(log, 'utf8')
      .split('\n')
      .filter((l) => l !== '')
      .map(readTimes)
    return { ...(JSON.parse(out.trim().split('\n').at(-1) ?? '') as Child), times }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Compiles the step at each depth, `repeats` times, and keeps the quickest of each. */
export const compilations = (
  scratch: string,
  core: number,
  depths: ReadonlyArray<number>,
  repeats: number,
): Compilation => {
  const once = (layers: number): CompileResult => {
    const { trace, compile, launches, times } = inChild(scratch, core, 'step', String(layers))
    const compiler = times.reduce((a, b) => a + b, 0)
    return { layers, launches, trace, compile: compile + compiler, compiler, runs: times.length }
  }
  return {
    steps: depths.map((layers) =>
      Array.from({ length: repeats }, () => once(layers)).reduce((a, b) =>
        b.trace + b.compile < a.trace + a.compile ? b : a,
      ),
    ),
    runsForTwoSizes: inChild(scratch, core, 'sizes').times.length,
  }
}

if (process.argv[1] === HERE) {
  const [what, layers] = process.argv.slice(2)
  console.log(JSON.stringify(what === 'sizes' ? compileTwoSizes() : compileStep(Number(layers))))
}
