/**
 * A real pretrained model: stories260K (karpathy/tinyllamas), which lies beside the project in development
 * only. Its greedy text and its loss on Grimms' tales are known from two other implementations (llama2.c's
 * published text; transformers, bench/peft/stories.py).
 */
import * as E from 'fp-ts/lib/Either.js'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { showFaults, type Checked, type Fault } from '../../src/dsl/index.ts'
import type { TargetName } from '../../src/codegen/index.ts'
import { findCompiler } from '../../src/codegen/runtime/c.ts'
import { loadModel } from '../../src/models/files/load.ts'
import { generate } from '../../src/models/generate.ts'
import { llamaValues } from '../../src/models/llama.ts'
import { heldOutLoss } from '../../src/models/train.ts'

const DATA = new URL('../../../shared/data/', import.meta.url).pathname
const there = existsSync(`${DATA}stories260K/stories260K.bin`) && existsSync(`${DATA}grimm/grimm.txt`)
if (!there) console.warn('SKIPPED: stories260K and Grimm are not beside the project; its text and loss are not checked')

/** measured by transformers in f64 (bench/peft/stories.py) */
const LOSS = 3.5430808

const targets: ReadonlyArray<TargetName> = ['gpujs', ...(E.isRight(findCompiler()) ? (['c'] as const) : [])]

const PUBLISHED =
  'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.'

const right = <A>(c: Checked<A> | E.Either<ReadonlyArray<Fault>, A>): A => {
  if (E.isLeft(c)) throw new Error(showFaults(c.left))
  return c.right
}

describe.skipIf(!there)('stories260K', () => {
  const load = () => {
    const model = right(loadModel(`${DATA}stories260K`))
    const { config, tokenizer } = model
    if (tokenizer === undefined) throw new Error('no tokenizer')
    return { config, tokenizer, weights: llamaValues(config, model.tensors) }
  }

  // half a digit of the print; in f32 eight roundings of the number itself: an estimate, as for all whole models
  test.each<readonly [TargetName, number]>([
    ['oracle', 5e-8],
    ...targets.map((target) => [target, 5e-8 + 8 * 2 ** -24 * LOSS] as const),
  ])('loss on Grimm, %s', { timeout: 240_000 }, async (target, within) => {
    const { config, tokenizer, weights } = load()
    const text = readFileSync(`${DATA}grimm/grimm.txt`, 'utf8')
      .replace(/^\uFEFF/, '')
      .replaceAll('\r\n', '\n')
    const tokens = tokenizer.encode(text.slice(0, 9000)).slice(0, 12 * 256 + 1)
    const loss = right(await heldOutLoss({ config, weights, target }, {}, tokens, 3, 256)())
    expect(Math.abs(loss - LOSS)).toBeLessThanOrEqual(within)
  })

  test.each(targets)('greedy text from BOS, %s', { timeout: 240_000 }, async (target) => {
    const { config, tokenizer, weights } = load()
    const speaker = { config, weights, params: {}, target }
    const ids = right(await generate(speaker, [1], 75, { temperature: 0, topP: 1, seed: 0 })())
    const text = tokenizer.decode([1, ...ids])
    expect(text.slice(0, PUBLISHED.length)).toBe(PUBLISHED)
  })
})
