/** Soundness: a mutant that numbers refute is never proved. */
import { expect, test } from 'vitest'
import { proveEqual } from '../../src/autodiff/prove/prove.ts'
import { mutantsOf } from './mutants.ts'
import { agree, finite, valuesOf } from './numbers.ts'
import { specimens } from './specimens.ts'

const points = [
  { token: 3, in: 3, out: 2, blocks: 2, b: 3, rank: 2, m: 2, kv: 2, h: 2, prompt: 2 },
  { token: 2, in: 4, out: 3, blocks: 1, b: 2, rank: 3, m: 3, kv: 1, h: 3, prompt: 3 },
]

/** of each program; all of them with SCION_ALL_MUTANTS set: 1854, of which 951 are refuted, take 50 s */
const MOST = 25

const counts = { mutants: 0, refuted: 0, equivalent: 0, provedEquivalent: 0 }

test.each(specimens)(
  '$name: mutants',
  ({ left, right }) => {
    const all = mutantsOf(left)
    expect(all.length).toBeGreaterThan(3)
    const stride = process.env['SCION_ALL_MUTANTS'] === undefined ? Math.ceil(all.length / MOST) : 1
    const mutants = all.filter((_, i) => i % stride === 0)
    const here = { mutants: mutants.length, refuted: 0, equivalent: 0, provedEquivalent: 0 }
    for (const { what, node } of mutants) {
      const runs = points.map((sizes, i) => valuesOf([node, right], sizes, 7 * i + 1))
      const refuted = runs.some((v) => v !== undefined && !agree(v[0]!, v[1]!))
      const proof = proveEqual(node, right)
      if (!refuted) {
        here.equivalent += 1
        if (proof.verdict === 'proved') here.provedEquivalent += 1
        continue
      }
      here.refuted += 1
      if (proof.verdict !== 'proved') continue
      // the one way out: the point has no finite value, and the proof says that it takes one for granted
      const numbers = runs.some((v) => v !== undefined && finite(v[0]!) && !agree(v[0]!, v[1]!))
      expect(numbers || proof.assumes.length === 0, `${what}: proved, but refuted\n${JSON.stringify(proof)}`).toBe(
        false,
      )
    }
    for (const k of Object.keys(here) as (keyof typeof here)[]) counts[k] += here[k]
    expect(here.refuted).toBeGreaterThan(0)
    console.info(JSON.stringify(here))
  },
  120_000,
)

test('all together', () => {
  console.info(`mutants: ${JSON.stringify(counts)}`)
  expect(counts.refuted).toBeGreaterThan(100)
})
