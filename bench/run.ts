/**
 * `npm run bench`: Scion and its rivals on the same work, in one run, on one pinned core.
 *
 *     npm run bench                                     everything; writes bench/results
 *     npm run bench -- --only lora,hra-8                cases whose names begin so; writes nothing without --out
 *     npm run bench -- --quick --peers none --only lora ours alone, a few repeats
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cases } from './case.ts'
import { barsOf, draw } from './chart.ts'
import { judge } from './claim.ts'
import { compilations } from './compilation.ts'
import { facts, meter } from './machine.ts'
import { play, type Effort } from './match.ts'
import type { Result } from './result.ts'
import { lookAround, scion, start, type Absent, type Contender, type Opponent } from './rival.ts'
import { showCase, showClaims, showResult } from './table.ts'

const RESULTS = fileURLToPath(new URL('results', import.meta.url))

// ---------------------------------------------------------------------------------------- options

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    peers: { type: 'string', default: 'c-vectors,torch,jax-js,tfjs,gpujs' },
    quick: { type: 'boolean', default: false },
    core: { type: 'string', default: '0' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  console.log(`--only NAMES    cases whose names begin so, with commas: ${[...cases.map((c) => c.name), 'compile'].join(', ')}
--peers NAMES   rivals whose names begin so: c-vectors (c without bf16 tiles), torch, jax-js, tfjs, gpujs; none
--quick         a few repeats
--core N        the core to pin cases to (0)
--out DIR       where JSON, table and chart go (bench/results for a whole run; nowhere where --only is given)`)
  process.exit(0)
}

const wanted = values.only.split(',').filter((w) => w !== '')
const isWanted = (name: string): boolean => wanted.length === 0 || wanted.some((w) => name.startsWith(w))
const unknown = wanted.filter((w) => ![...cases.map((c) => c.name), 'compile'].some((n) => n.startsWith(w)))
if (unknown.length > 0) throw new Error(`--only: no case begins with ${unknown.join(', ')}; see --help`)
const peers = values.peers.split(',').filter((w) => w !== '')
const isAsked = (c: Contender): boolean => c === scion || peers.some((p) => c.id.startsWith(p))
const core = Number(values.core)
const effort: Effort = values.quick ? { rounds: 3, turn: 40 } : { rounds: 9, turn: 80 }
const out = values.out ?? (wanted.length === 0 && !values.quick ? RESULTS : undefined)

// -------------------------------------------------------------------------------------------- run

const revision = (): string => {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'scion-bench-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))

const { found, absent: notFound } = lookAround()
const absent: Absent[] = notFound.filter((a) => peers.some((p) => a.id.startsWith(p)))
const machine = facts()
const measures = meter(scratch, core)
const bandwidth = [24 * 1024, 720 * 1024, 4.5 * 2 ** 20, 192 * 2 ** 20].map((bytes) => ({
  bytes,
  rate: measures.bandwidth(bytes, 0.2),
}))
const peak = measures.peak(0.2)
console.log(`${machine.processor}: ${peak.toFixed(0)} GFLOP/s, load ${machine.loadBefore.toFixed(1)}`)

const selected = cases.filter((c) => isWanted(c.name)).map((c) => c.make())
const needed = (c: Contender): boolean =>
  c.family === 'scion' || selected.some((s) => s.rivals.some((family) => family === c.family))

/** running rivals; one that left is started again for the next case */
const running = new Map<string, Opponent>()
const opponent = async (contender: Contender): Promise<Opponent | undefined> => {
  const known = running.get(contender.id)
  if (known !== undefined && known.alive()) return known
  try {
    const made = await start(contender, core)
    running.set(contender.id, made)
    return made
  } catch (e) {
    const reason = e instanceof Error ? e.message : String(e)
    if (!absent.some((a) => a.id === contender.id)) absent.push({ id: contender.id, reason })
    return undefined
  }
}
const contenders = found.filter((c) => isAsked(c) && needed(c))
for (const c of contenders) {
  const started = await opponent(c)
  if (started !== undefined) console.log(`${c.id}: ${started.build}`)
}
const torch = found.find((c) => c.family === 'torch')
const oracle =
  torch === undefined ? undefined : { ...torch, id: 'reference', args: [torch.args[0] ?? '', 'reference', 'float64'] }
absent.forEach((a) => console.log(`ABSENT ${a.id}: ${a.reason}`))

const results: Result['cases'][number][] = []
for (const c of selected) {
  const taking = contenders.filter((o) => o.family === 'scion' || c.rivals.some((family) => family === o.family))
  const present: Opponent[] = []
  for (const contender of taking) {
    const o = await opponent(contender)
    if (o !== undefined) present.push(o)
  }
  const reference = oracle === undefined ? undefined : await opponent(oracle)
  const result = await play(c, present, reference, measures, scratch, effort, console.log)
  results.push(result)
  console.log(`\n${showCase(result)}`)
}
const rivals = [...running.values()]
  .filter((o) => o.contender.id !== 'reference')
  .map(({ contender, build }) => ({ id: contender.id, family: contender.family, build }))
for (const o of running.values()) o.stop()

const compilation = isWanted('compile') ? compilations(scratch, core, [6, 24], values.quick ? 1 : 3) : undefined

const measured = { rivals, cases: results, ...(compilation === undefined ? {} : { compilation }) }
const result: Result = {
  when: new Date().toISOString(),
  revision: revision(),
  quick: values.quick,
  machine: { ...machine, peak, bandwidth },
  absent,
  ...measured,
  claims: judge(measured),
}
console.log(`\n${showClaims(result.claims.filter((c) => wanted.length === 0 || c.holds !== undefined))}`)

if (out !== undefined) {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'bench.json'), `${JSON.stringify(result, undefined, 1)}\n`)
  writeFileSync(join(out, 'bench.md'), showResult(result))
  const drawn = await draw(barsOf(result))
  if ('svg' in drawn) writeFileSync(join(out, 'bench.svg'), drawn.svg)
  else console.log(`NO CHART: ${drawn.reason}`)
  console.log(`written: ${out}`)
}
process.exit(0)
