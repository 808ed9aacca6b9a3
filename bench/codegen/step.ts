/**
 * One training step of a 260 thousand parameter LLaMA (dim 64, 5 layers, 4 x 128 tokens) on a target, with
 * random weights: kernels, compile time and the CPU time of a step, which a busy machine blurs less than the clock.
 *
 *     npx tsx bench/codegen/step.ts lora --target c       # or gpujs; or another adapter's name; none: the whole model is trained
 */
import { parseArgs } from 'node:util'
import * as E from 'fp-ts/lib/Either.js'
import { adapterNamed } from '../../src/adapters/registry.ts'
import { compile } from '../../src/codegen/index.ts'
import { literal } from '../../src/dsl/dim.ts'
import { graftOnto } from '../../src/models/graft.ts'
import { llamaSites } from '../../src/models/llama.ts'
import { adamW } from '../../src/models/optimiser.ts'
import { stepProgram } from '../../src/models/train.ts'

const get = <A>(c: E.Either<unknown, A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}
const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const config = {
  ...{ dim: 64, hidden: 172, layers: 5, heads: 8, kvHeads: 4, headDim: 8, vocab: 512 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 512, eos: [] },
}
const recipe = { steps: 1, rows: 4, length: 128, peak: 1e-2, warmup: 1, seed: 0, clip: 1, optimiser: adamW() }
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { target: { type: 'string', default: 'gpujs' } },
})
const [name] = positionals
const target = (['c', 'gpujs', 'auto'] as const).find((t) => t === values.target)
if (target === undefined) throw new Error(`--target: expected c, gpujs or auto, got ${values.target}`)

const graft = (wanted: string) => {
  const adapter = get(adapterNamed(wanted))
  const defaults = Object.fromEntries(Object.entries(adapter.config).map(([k, f]) => [k, f.default]))
  return get(graftOnto(llamaSites(config), adapter, defaults))
}
const step = get(stepProgram(config, name === undefined ? undefined : graft(name), recipe))

let seed = 1
const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647
const arrays = Object.fromEntries(
  step.inputs.map(({ name: n, node }) => {
    const length = node.type.dims.reduce((s, d) => s * literal(d.size)!, 1)
    const one = (): number =>
      node.type.dtype === 'i32'
        ? Math.floor(random() * config.vocab)
        : node.type.dims.length === 0
          ? 0.9
          : n.startsWith('v.')
            ? random()
            : 0.2 * (random() - 0.5)
    return [n, Float32Array.from({ length }, one)]
  }),
)

let begun = cpu()
const executable = get(await compile(step, { target })())
const { launches, distinctKernels, flops } = executable.report
console.log(
  `${executable.target}, ${name ?? 'whole model'}: ${launches} launches of ${distinctKernels} kernels, ${(flops / 1e9).toFixed(3)} GFLOP`,
)
console.log(`passes ${(cpu() - begun).toFixed(0)} ms CPU`)
begun = cpu()
get(await executable.run(arrays)())
console.log(`first run (gpu.js compiles then), ${(cpu() - begun).toFixed(0)} ms CPU`)
const times: number[] = []
for (let i = 0; i < 5; i++) {
  begun = cpu()
  get(await executable.run(arrays)())
  times.push(cpu() - begun)
}
const median = times.sort((a, b) => a - b)[2]!
console.log(`step ${median.toFixed(0)} ms CPU (median of 5), ${(flops / median / 1e6).toFixed(2)} GFLOP/s`)
executable.dispose()
