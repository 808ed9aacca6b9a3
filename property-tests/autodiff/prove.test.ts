/** What must be proved is proved, for all sizes. */
import { expect, test } from 'vitest'
import { proveEqual } from '../../src/autodiff/prove/prove.ts'
import type { Adapter } from '../../src/adapters/adapter.ts'
import { specimen } from '../../src/adapters/laws/specimen.ts'
import { standardLaws } from '../../src/adapters/laws/standard.ts'
import { variable } from '../../src/autodiff/prove/position.ts'
import { dim } from '../../src/dsl/dim.ts'
import { specimens } from './specimens.ts'
import { named } from '../adapters/named.ts'

const bottleneck = named('bottleneck')
const hra = named('hra')
const llamaAdapter = named('llama-adapter')
const lora = named('lora')
const oft = named('oft')

test.each(specimens)('$name', ({ left, right }) => {
  const proof = proveEqual(left, right)
  expect(proof.verdict, JSON.stringify(proof)).toBe('proved')
})

// ------------------------------------------------------------------------ the adapters themselves

const needed: ReadonlyArray<readonly [Adapter, string]> = [
  [lora, 'identityAtInit'],
  [oft, 'identityAtInit'],
  [bottleneck, 'identityAtInit'],
  [llamaAdapter, 'identityAtInit'],
  [lora, 'mergeEquivalent'],
  [oft, 'orthogonal'],
  [hra, 'orthogonal'],
]

test.each(needed.map(([a, law]) => [a.name, law, a] as const))(
  '%s: %s is proved in the default config',
  (_, name, a) => {
    const law = [...(a.laws ?? []), ...standardLaws].find((l) => l.name === name)
    expect(law, `${a.name} states no law '${name}'`).toBeDefined()
    const config = Object.fromEntries(Object.entries(a.config).map(([k, f]) => [k, f.default]))
    const claims = law!.claims(specimen(a, config)).filter((c) => c.kind === 'equal')
    expect(claims.length).toBeGreaterThan(0)
    for (const c of claims) {
      const proof = proveEqual(c.left.node, c.right.node)
      expect(proof.verdict, `${c.label}: ${JSON.stringify(proof)}`).toBe('proved')
    }
  },
)

/** a proof once hung on whether v999 or v1000 is the lesser text: the numbers of variables pass a power of ten inside it */
test.each([100_000, 1_000_000])('a proof does not depend on how many variables there were, near %s', (power) => {
  const law = oft.laws?.find((l) => l.name === 'orthogonal')
  const config = Object.fromEntries(Object.entries(oft.config).map(([k, f]) => [k, f.default]))
  const [claim] = law?.claims(specimen(oft, config)) ?? []
  if (claim?.kind !== 'equal') return expect.unreachable('orthogonal is a claim of equality')
  for (let id = 0; id < power - 400;) id = variable(dim(2)).id
  for (let n = 0; n < 12; n++)
    expect(proveEqual(claim.left.node, claim.right.node).verdict, `run ${String(n)}`).toBe('proved')
})
