/** What must be proved is proved, for all sizes. */
import { expect, test } from 'vitest'
import { proveEqual } from '../../src/autodiff/prove/prove.ts'
import type { Adapter } from '../../src/adapters/adapter.ts'
import { bottleneck, hra, llamaAdapter, lora, oft } from '../../src/adapters/builtin.ts'
import { specimen } from '../../src/adapters/laws/specimen.ts'
import { standardLaws } from '../../src/adapters/laws/standard.ts'
import { specimens } from './specimens.ts'

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
