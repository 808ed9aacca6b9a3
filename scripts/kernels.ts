/** Writes the README's table of kernels and bytes: `npm run kernels`; with `--check`, fails where it is not up to date. */
import { readFileSync, writeFileSync } from 'node:fs'
import * as E from 'fp-ts/lib/Either.js'
import { registry, type Adapter } from '../src/adapters/index.ts'
import { defaultsOf, siteProgram, typicalSizes } from '../src/cli/site-program.ts'
import { blockPlanner } from '../src/codegen/export/block-planner.ts'
import { planHalves } from '../src/codegen/export/plan-halves.ts'
import { fusedTraffic, leastTraffic, unfusedTraffic } from '../src/codegen/report/traffic.ts'
import { showFaults, type Checked } from '../src/dsl/index.ts'

const file = new URL('../README.md', import.meta.url)
const [begin, end] = ['<!-- npm run kernels -->', '<!-- end of npm run kernels -->']
const asked = { in: 768, out: 768, tokens: 256 }

const right = <A>(c: Checked<A>): A => {
  if (E.isRight(c)) return c.right
  console.error(showFaults(c.left))
  process.exit(1)
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)

const rowOf = (adapter: Adapter): ReadonlyArray<string> => {
  const joint = right(siteProgram(adapter, defaultsOf(adapter), typicalSizes(adapter, asked)))
  const planner = blockPlanner('c')
  const { forward, backward } = right(planHalves(planner, joint))
  const unfused = unfusedTraffic(right(planner.plan(joint)).split.device)
  const [there, back] = [fusedTraffic(forward.fused), fusedTraffic(backward.fused)]
  const [bytes, least] = [there.bytes + back.bytes, leastTraffic(joint)]
  return [
    adapter.name,
    String(unfused.kernels),
    `${String(there.kernels)} + ${String(back.kernels)}`,
    megabytes(unfused.bytes),
    megabytes(bytes),
    megabytes(least),
    `${(bytes / least).toFixed(2)} x`,
  ]
}

const head = ['adapter', 'kernels, unfused', 'fused', 'MB, unfused', 'fused', 'least', 'fused / least']
const table = [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...registry.map(rowOf)]
  .map((r) => `| ${r.join(' | ')} |`)
  .join('\n')

const text = readFileSync(file, 'utf8')
const [from, to] = [text.indexOf(begin), text.indexOf(end)]
if (from < 0 || to < from) {
  console.error(`README.md has no place for the table: ${begin} ... ${end}`)
  process.exit(1)
}
const written = `${text.slice(0, from + begin.length)}\n\n${table}\n\n${text.slice(to)}`
if (!process.argv.includes('--check')) writeFileSync(file, written)
else if (text !== written) {
  console.error("README.md's table of kernels is out of date: npm run kernels")
  process.exitCode = 1
}
