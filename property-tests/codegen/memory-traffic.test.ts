/**
 * What row and element-wise kernels ask of memory, as the interpreter sees it: their distinct elements, read or written,
 * against inputs once and outputs once. Printed beside it: the same by block, which is what blocks ask of the cache that
 * they share (a row of gains is asked for by every block), and all requests.
 *
 * Not modelled: how much a cache keeps, transactions wider than an element, and what local memory costs.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { expect, test } from 'vitest'
import { runKernel } from '../../src/codegen/kernel/interpret.ts'
import type { Kernel } from '../../src/codegen/kernel/kernel.ts'
import { evalDim, type Sizes } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import type { Node } from '../../src/dsl/node.ts'
import type { Program } from '../../src/dsl/program.ts'
import { rmsNorm } from '../../src/models/layers.ts'
import { adamW } from '../../src/models/optimiser.ts'
import { buffersFor, casesFor, type Target } from './parts.ts'
import { get } from './zoo.ts'

// ---------------------------------------------------------------------------------- the programs

const sizes: Sizes = { T: 48, D: 160 }
const x = L.input('x', { token: 'T', in: 'D' })
const like = (name: string): L.Tensor<'token' | 'in'> => L.input(name, { token: 'T', in: 'D' })

const step = (): Program => {
  const [p, g, m, v] = ['p', 'g', 'm', 'v.p'].map((n) => like(n).node)
  const numbers = Object.fromEntries(['lr', 'correction1', 'correction2'].map((n) => [n, L.input(n, {}).node]))
  const { param, state } = adamW().update(p!, g!, { m: m!, v: v! }, numbers)
  return get(L.program('adamw', { param: { node: param }, m: { node: state['m']! }, v: { node: state['v']! } }))
}

const programs: ReadonlyArray<Program> = [
  get(L.program('rms-norm', { y: rmsNorm(L.input('gain', { in: 'D' }), 1e-5)(x) })),
  get(L.program('softmax', { y: pipe(x, L.softmax('in')) })),
  get(L.program('log-sum-exp', { y: pipe(x, L.logSumExp('in')) })),
  get(L.program('silu', { y: pipe(x, L.silu, L.mul(like('b'))) })),
  step(),
]

// ------------------------------------------------------------------------------------- the counts

interface Moved {
  readonly distinct: number
  readonly byBlock: number
  readonly requests: number
}

const movedBy = (k: Kernel, buffers: ReadonlyArray<ArrayLike<number>>): Moved => {
  const global = new Map([...k.params, ...k.outputs].map((b, i) => [b.name, i]))
  const [seen, inBlock] = [new Set<string>(), new Set<string>()]
  let requests = 0
  runKernel(k, buffers, sizes, (buffer, flat, _, { block }) => {
    const i = global.get(buffer)
    if (i === undefined) return
    requests += 1
    seen.add(`${String(i)} ${String(flat)}`)
    inBlock.add(`${String(block)} ${String(i)} ${String(flat)}`)
  })
  return { distinct: seen.size, byBlock: inBlock.size, requests }
}

const leastOf = (p: Program): number => {
  const count = (n: Node): number => n.type.dims.reduce((s, d) => s * get(evalDim(d.size, sizes)), 1)
  return [...p.inputs, ...p.outputs].reduce((s, { node }) => s + count(node), 0)
}

const targets: ReadonlyArray<Target> = ['c', 'cuda']

test.each(targets.flatMap((t) => programs.map((p) => [p.name, t, p] as const)))(
  '%s on %s moves at most 1.3 of the least',
  (name, target, program) => {
    const animal = { name, program, sizes: [sizes], large: [], ids: 4 }
    const moved = casesFor(animal, target, sizes, 2).map((c) => movedBy(c.part.kernel, buffersFor(c, sizes)))
    const share = (of: keyof Moved): number => moved.reduce((s, m) => s + m[of], 0) / leastOf(program)
    const shown = (['distinct', 'byBlock', 'requests'] as const).map((of) => `${of} ${share(of).toFixed(3)}`)
    console.log(`${name} on ${target}, of the least: ${shown.join(', ')}`)
    expect(share('distinct')).toBeLessThanOrEqual(1.3)
    // the kernels do read and write all of it
    expect(share('distinct')).toBeGreaterThanOrEqual(1)
  },
)
