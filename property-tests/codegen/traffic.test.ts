/** Kernels and bytes as the README's table counts them: by hand on a small program, and in order on every adapter. */
import { pipe } from 'fp-ts/lib/function.js'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, it } from 'vitest'
import { registry } from '../../src/adapters/registry.ts'
import { defaultsOf, siteProgram, typicalSizes } from '../../src/cli/site-program.ts'
import { blockPlanner } from '../../src/codegen/export/block-planner.ts'
import { planHalves } from '../../src/codegen/export/plan-halves.ts'
import { fusedTraffic, leastTraffic, unfusedTraffic } from '../../src/codegen/report/traffic.ts'
import * as L from '../../src/dsl/index.ts'

const get = <A>(c: L.Checked<A>): A => {
  if (E.isLeft(c)) throw new Error(L.showFaults(c.left))
  return c.right
}
const { plan } = blockPlanner('c')

describe('kernels and bytes', () => {
  it('y = relu(x W^T + b), by hand', () => {
    const [T, I, O] = [7, 5, 3]
    const [x, w, b] = [L.input('x', { token: T, in: I }), L.input('w', { out: O, in: I }), L.input('b', { out: O })]
    const program = get(L.program('layer', { y: pipe(x, L.dot(w, 'in'), L.add(b), L.relu) }))
    const { split, fused } = get(plan(program))
    const [inputs, y] = [4 * (T * I + O * I + O), 4 * T * O]
    expect(leastTraffic(program)).toBe(inputs + y)
    expect(fusedTraffic(fused)).toEqual({ kernels: 1, bytes: inputs + y })
    const { kernels, bytes } = unfusedTraffic(split.device)
    // dot; add; and relu, which is one operation or a comparison and a choice
    expect(kernels).toBeGreaterThanOrEqual(3)
    expect(bytes).toBe(inputs + y + (kernels - 1) * 2 * y)
  })

  it.each(registry.map((a) => [a.name, a] as const))('%s: least <= fused < unfused', (_, adapter) => {
    const joint = get(siteProgram(adapter, defaultsOf(adapter), typicalSizes(adapter, { in: 64, out: 64, tokens: 32 })))
    const { forward, backward } = get(planHalves(blockPlanner('c'), joint))
    const unfused = unfusedTraffic(get(plan(joint)).split.device)
    const halves = [fusedTraffic(forward.fused), fusedTraffic(backward.fused)]
    const bytes = halves.reduce((n, h) => n + h.bytes, 0)
    expect(bytes).toBeGreaterThanOrEqual(leastTraffic(joint))
    expect(bytes).toBeLessThan(unfused.bytes)
    expect(halves.reduce((n, h) => n + h.kernels, 0)).toBeLessThan(unfused.kernels)
  })
})
