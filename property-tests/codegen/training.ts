/** Whole training steps of small models, and numbers for them. */
import type { Adapter } from '../../src/adapters/adapter.ts'
import { literal } from '../../src/dsl/dim.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Program } from '../../src/dsl/program.ts'
import type { LlamaConfig } from '../../src/models/config.ts'
import { graftOnto } from '../../src/models/graft.ts'
import { llamaSites } from '../../src/models/llama.ts'
import { adamW } from '../../src/models/optimiser.ts'
import { stepProgram, type Recipe } from '../../src/models/train.ts'
import { diceOf } from '../codegen-graphs.ts'
import { get, smallConfigOf } from './traced.ts'

export const tiny: LlamaConfig = {
  ...{ dim: 16, hidden: 24, layers: 1, heads: 4, kvHeads: 2, headDim: 4, vocab: 20 },
  ...{ normEps: 1e-5, ropeTheta: 10000, tied: true, maxPositions: 16, eos: [] },
}
export const tinyRecipe: Recipe = {
  ...{ steps: 1, rows: 2, length: 6, peak: 1e-2, warmup: 1, seed: 0, clip: 1 },
  optimiser: adamW(),
}

/** Forward, backward, clipping and update, with an adapter or of the whole model. */
export const stepOf = (
  adapter: Adapter | undefined,
  config: LlamaConfig = tiny,
  recipe: Recipe = tinyRecipe,
): Program =>
  get(
    stepProgram(
      config,
      adapter === undefined ? undefined : get(graftOnto(llamaSites(config), adapter, smallConfigOf(adapter))),
      recipe,
    ),
  )

/** Numbers as training has them: weights below 0.2, second moments above 0, ids of the vocabulary. */
export const stepInputs = (program: Program, vocab: number, seed: number): Values => {
  const d = diceOf(seed)
  return Object.fromEntries(
    program.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => ({ name: a.name, size: literal(a.size)! }))
      const one = (): number =>
        node.type.dtype === 'i32'
          ? d.int(0, vocab - 1)
          : dims.length === 0
            ? Math.fround(0.9)
            : Math.fround(name.startsWith('v.') ? d.real() : 0.4 * d.real() - 0.2)
      return [name, { dims, data: Float64Array.from({ length: dims.reduce((s, a) => s * a.size, 1) }, one) }]
    }),
  )
}
