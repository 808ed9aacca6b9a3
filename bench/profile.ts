/**
 * Where the time of a case goes on our side, a case on the c target over and over in one process on one core: the
 * clock around every kernel called, and (where `perf` is installed) samples of every function of the generated object
 * and of what is around it.
 *
 *     npx tsx bench/profile.ts lora-8 [--form both] [--seconds 3] [--core 1] [--annotate FUNCTION]
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { simplify } from '../src/autodiff/simplify.ts'
import { compileNow } from '../src/codegen/index.ts'
import { compileNative } from '../src/codegen/native.ts'
import { caseNamed, orFail, type Case, type Form } from './case.ts'
import { fill } from './match.ts'
import { environment, pinned } from './rival.ts'
import { frozenValues, inputsFor, prepareOurs, programsOf } from './rivals/ours.ts'
import { median } from './statistics.ts'
import { showMs, table } from './table.ts'

const HERE = fileURLToPath(import.meta.url)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    form: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    core: { type: 'string', default: '1' },
    annotate: { type: 'string' },
    child: { type: 'boolean', default: false },
  },
})
const name = positionals[0] ?? ''
const seconds = Number(values.seconds)
const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** The clock around every kernel: the quickest of so many runs, which a busy machine blurs least. */
const kernels = (c: Case, form: Form): string => {
  const tensors = Object.fromEntries(c.tensors.map((t) => [t.name, fill(t)]))
  const program = programsOf(c)[form]
  if (program === undefined) throw new Error(`${name} has no form ${form}`)
  const frozen = frozenValues(c, tensors)
  const { report } = orFail(compileNow(program, { target: 'c', frozen }))
  const native = orFail(compileNative(program, { frozen }, simplify))
  const inputs = inputsFor(c, program, tensors)
  const best = new Float64Array(report.kernels.length).fill(Infinity)
  for (let i = 0; i < (c.kind === 'step' ? 10 : 100); i++)
    orFail(native.profile(inputs)).forEach((s, k) => (best[k] = Math.min(best[k]!, s)))
  const total = best.reduce((a, b) => a + b, 0)
  // kernels that do the same on the same sizes (layers) are one line
  const alike = new Map<string, { kernel: (typeof report.kernels)[number]; times: number; ms: number }>()
  report.kernels.forEach((k, i) => {
    const key = `${k.result} ${k.fused.join(' ')}`
    const known = alike.get(key) ?? { kernel: k, times: 0, ms: 0 }
    alike.set(key, { ...known, times: known.times + 1, ms: known.ms + 1e3 * best[i]! })
  })
  const shown = [...alike.values()].sort((x, y) => y.ms - x.ms).filter(({ ms }) => ms > 2 * total)
  return [
    `${name} ${form}: ${showMs(1e3 * total)} ms in ${report.kernels.length} kernels, ${(report.flops / total / 1e9).toFixed(0)} GFLOP/s; the quickest run of each`,
    table(
      ['ms', '%', 'times', 'GFLOP/s', 'GB/s', 'kernel', 'result', 'fused'],
      shown.map(({ kernel: k, times, ms }) => [
        showMs(ms),
        (ms / 10 / total).toFixed(1),
        String(times),
        ((times * k.flops) / ms / 1e6).toFixed(1),
        ((times * (k.bytesRead + k.bytesWritten)) / ms / 1e6).toFixed(1),
        k.name,
        k.result.slice(0, 60),
        k.fused.join(' ').slice(0, 60),
      ]),
    ),
  ].join('\n')
}

/** Runs the case until the parent has seen enough; says when it is warm, and what a call takes. */
const child = async (): Promise<void> => {
  const c = caseNamed(name)
  const form = (values.form as Form | undefined) ?? c.forms.at(-1) ?? 'forward'
  const prepared = prepareOurs('c')(c, Object.fromEntries(c.tensors.map((t) => [t.name, fill(t)])))
  const call = prepared.forms[form]
  if (call === undefined) throw new Error(`${name} has no form ${form}`)
  console.log(kernels(c, form))
  for (let i = 0; i < 3; i++) call()
  console.log('warm')
  const times: number[] = []
  const begun = performance.now()
  while (performance.now() - begun < 1000 * (seconds + 1)) {
    const before = cpu()
    call()
    times.push(cpu() - before)
  }
  console.log(JSON.stringify({ form, ms: median(times), calls: times.length }))
}

interface Line {
  readonly share: number
  readonly object: string
  readonly symbol: string
}

/** functions of the generated object one by one; what is around them by object */
const lines = (report: string): ReadonlyArray<Line> => {
  const shares = new Map<string, Line>()
  for (const text of report.split('\n')) {
    const found = /^\s*([\d.]+)%\s+(\S+)\s+\[.\]\s+(\S+)/.exec(text)
    if (found === null) continue
    const [, percent, object = '', name = ''] = found
    const generated = /^[0-9a-f]{32}\.so$/.test(object)
    const symbol = generated || object.startsWith('libc') ? name : ''
    const key = `${object} ${symbol}`
    const share = Number(percent) / 100 + (shares.get(key)?.share ?? 0)
    shares.set(key, { share, object: generated ? 'generated' : object, symbol })
  }
  return [...shares.values()].sort((x, y) => y.share - x.share)
}

const profile = async (): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'scion-profile-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'perf')
  const [command = '', ...args] = [
    ...pinned(Number(values.core)),
    ...[process.execPath, '--import', 'tsx', HERE, '--child', ...process.argv.slice(2)],
  ]
  const running = spawn(command, args, { env: environment(), stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  await new Promise<void>((resolve, reject) => {
    running.stdout.on('data', (chunk: Buffer) => {
      said += String(chunk)
      if (said.includes('\nwarm')) resolve()
    })
    running.on('close', () => reject(new Error(`${name} did not run`)))
  })
  console.log(said.replace(/\nwarm[^]*/, ''))
  execFileSync(
    'perf',
    [
      'record',
      '-q',
      '-e',
      'cpu-clock',
      '-F',
      '4999',
      '-p',
      String(running.pid),
      '-o',
      data,
      '--',
      'sleep',
      String(seconds),
    ],
    { stdio: 'ignore' },
  )
  await new Promise((resolve) => running.on('close', resolve))
  const { form, ms } = JSON.parse(said.trim().split('\n').at(-1) ?? '') as { form: string; ms: number }
  const asked = [
    'report',
    '-i',
    data,
    '--stdio',
    '--no-children',
    '-q',
    '--sort',
    'dso,symbol',
    '--percent-limit',
    '0.2',
  ]
  const report = execFileSync('perf', asked, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  console.log(`\n${name} ${form}: ${showMs(ms)} ms a call, sampled`)
  console.log(
    table(
      ['ms a call', '%', 'object', 'function'],
      lines(report).map((l) => [showMs(l.share * ms), (100 * l.share).toFixed(1), l.object, l.symbol]),
    ),
  )
  if (values.annotate !== undefined)
    console.log(
      execFileSync('perf', ['annotate', '-i', data, '--stdio', '-q', values.annotate], {
        encoding: 'utf8',
        maxBuffer: 2 ** 26,
      }),
    )
}

await (values.child ? child() : profile())
process.exit(0)
