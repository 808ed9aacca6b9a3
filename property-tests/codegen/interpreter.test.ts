/** The kernel interpreter: blocks, threads between barriers, local memory; and that it reports what a correct kernel never does. */
import { expect, test } from 'vitest'
import { dim, mulDim, type Dim } from '../../src/dsl/dim.ts'
import {
  addIndex,
  axisIndex,
  divIndex,
  flatten,
  minIndex,
  modIndex,
  scaleIndex,
  shiftIndex,
  whole,
} from '../../src/codegen/kernel/affine.ts'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { symbolsOfKernel, type Expr, type Index, type Kernel, type Stmt } from '../../src/codegen/kernel/kernel.ts'
import { buffer, loopFrom, loopOver, within } from '../../src/codegen/kernel/statements.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'

const [M, N, K] = [dim('M'), dim('N'), dim('K')]
const read = (b: string, ...at: ReadonlyArray<Index>): Expr => ({ kind: 'read', buffer: b, at })
const store = (b: string, at: ReadonlyArray<Index>, value: Expr): Stmt => ({ kind: 'store', buffer: b, at, value })
const mul = (...args: ReadonlyArray<Expr>): Expr => ({ kind: 'apply', fn: 'mul', args })
const register = (name: string): Expr => ({ kind: 'register', name })
const number = (value: number): Expr => ({ kind: 'number', value })
const barrier: Stmt = { kind: 'barrier', scope: 'block' }
const kinds = (k: Kernel, inputs: ReadonlyArray<ArrayLike<number>>, sizes = {}): ReadonlyArray<string> =>
  runKernel(k, inputs, sizes).reports.map((r) => r.kind)

// ------------------------------------------------------------------------------- a tiled product

const T = 4
const [m, n] = [axisIndex('m', T), axisIndex('n', T)]
const at = (i: Index, low: Dim, then: Expr): Expr => ({
  kind: 'guard',
  of: i,
  low: dim(0),
  high: low,
  then,
  otherwise: number(0),
})

/** c[i,j] = sum_k a[i,k] b[k,j], tiles of 4 x 4 in shared memory, a thread a cell; `barriers`: those that it has */
const tiled = (barriers: ReadonlyArray<boolean> = [true, true]): Kernel => {
  const [i0, j0, k0] = [axisIndex('i0', M), axisIndex('j0', N), axisIndex('k0', K)]
  const thread = axisIndex('t', T * T)
  const [i, j, r] = [addIndex(i0, m), addIndex(j0, n), axisIndex('r', T)]
  const wait = (b: number): ReadonlyArray<Stmt> => (barriers[b] === true ? [barrier] : [])
  const guarded = (of: Index, high: Dim, body: ReadonlyArray<Stmt>): Stmt => ({
    kind: 'if',
    of,
    low: dim(0),
    high,
    body,
  })
  const step: ReadonlyArray<Stmt> = [
    store('left', [m, n], at(i, M, at(addIndex(k0, n), K, read('a', i, addIndex(k0, n))))),
    store('right', [m, n], at(j, N, at(addIndex(k0, m), K, read('b', addIndex(k0, m), j)))),
    ...wait(0),
    ...within(
      [loopOver('r', T, 'reduce')],
      [{ kind: 'fold', register: 's', fn: 'sum', value: mul(read('left', m, r), read('right', r, n)) }],
    ),
    ...wait(1),
  ]
  const tile = (axis: string, size: Dim, role: 'block' | 'loop') => loopFrom(axis, size, whole(0), whole(size), T, role)
  return {
    name: 'product',
    params: [buffer('a', [M, K]), buffer('b', [K, N])],
    outputs: [buffer('c', [M, N])],
    locals: [buffer('left', [dim(T), dim(T)], 'shared'), buffer('right', [dim(T), dim(T)], 'shared')],
    body: within(
      [tile('i0', M, 'block'), tile('j0', N, 'block'), loopOver('t', T * T, 'thread')],
      [
        { kind: 'index', name: 'm', size: dim(T), value: divIndex(thread, T) },
        { kind: 'index', name: 'n', size: dim(T), value: modIndex(thread, T) },
        { kind: 'unit', register: 's', fn: 'sum' },
        ...within([tile('k0', K, 'loop')], step),
        guarded(i, M, [guarded(j, N, [store('c', [i, j], register('s'))])]),
      ],
    ),
  }
}
const product = (sizes: { M: number; N: number; K: number }) => {
  const a = Array.from({ length: sizes.M * sizes.K }, (_, i) => Math.sin(i))
  const b = Array.from({ length: sizes.K * sizes.N }, (_, i) => Math.cos(i))
  const want = Array.from({ length: sizes.M * sizes.N }, (_, c) => {
    const [i, j] = [Math.floor(c / sizes.N), c % sizes.N]
    return Array.from({ length: sizes.K }, (_v, k) => a[i * sizes.K + k]! * b[k * sizes.N + j]!).reduce(
      (x, y) => x + y,
      0,
    )
  })
  return { a, b, want }
}

test.each([
  { M: 1, N: 1, K: 1 },
  { M: 8, N: 4, K: 8 },
  { M: 5, N: 7, K: 9 },
  { M: 3, N: 6, K: 0 },
])('a tiled product at %o', (sizes) => {
  const { a, b, want } = product(sizes)
  const k = tiled()
  expect(verifyKernel(k)).toEqual([])
  expect(symbolsOfKernel(k)).toEqual(['K', 'M', 'N'])
  const { outputs, reports } = runKernel(k, [a, b], sizes)
  expect(reports.map(showReport)).toEqual([])
  // the same terms in the same order, and zeros
  expect([...outputs[0]!]).toEqual(want)
})

test.each([
  [[false, true], 'threads read what others have not stored yet'],
  [[true, false], 'threads store what others still read'],
])('without the barrier %o: %s', (barriers) => {
  const sizes = { M: 5, N: 7, K: 9 }
  const { a, b } = product(sizes)
  expect(kinds(tiled(barriers), [a, b], sizes)).toContain('race')
})

// ----------------------------------------------------------------------------------- the reports

const one = (body: ReadonlyArray<Stmt>, locals: Kernel['locals'] = [], out: Dim = N): Kernel => ({
  name: 'one',
  params: [buffer('a', [N])],
  outputs: [buffer('out', [out])],
  locals,
  body,
})
const [i, t] = [axisIndex('i', N), axisIndex('t', 64)]
const threads = (body: ReadonlyArray<Stmt>) => within([loopOver('t', 64, 'thread')], body)
const blocks = (body: ReadonlyArray<Stmt>) => within([loopOver('i', N, 'block')], body)
const five = [1, 2, 3, 4, 5]

test('a read and a write outside of a buffer', () => {
  const outside = one(blocks([store('out', [i], read('a', shiftIndex(i, 1)))]))
  expect(runKernel(outside, [five], { N: 5 }).reports.map(showReport)).toEqual([
    'bounds: a[5] of [5] (block 4, thread 0)',
  ])
  expect(kinds(one(blocks([store('out', [shiftIndex(i, -1)], read('a', i))])), [five], { N: 5 })).toEqual(['bounds'])
})

test('a local is unknown until it is written, and again in the next block', () => {
  const local = [buffer('x', [N], 'scratch')]
  const copy = store('out', [i], read('x', whole(0)))
  expect(kinds(one(blocks([copy]), local), [five], { N: 5 })).toEqual(['unwritten'])
  const first: Stmt = { kind: 'if', of: i, low: dim(0), high: dim(1), body: [store('x', [whole(0)], number(1))] }
  const [run] = [runKernel(one(blocks([first, copy]), local), [five], { N: 5 })]
  expect(run.reports.map((r) => [r.kind, r.block])).toEqual([['unwritten', 1]])
  // what stands before all blocks is known to all of them
  const before = one([store('x', [whole(0)], number(7)), ...blocks([copy])], local)
  expect(runKernel(before, [five], { N: 5 })).toEqual({ outputs: [new Float64Array(5).fill(7)], reports: [] })
})

test('two blocks at one element', () => {
  expect(kinds(one(blocks([store('out', [whole(0)], read('a', i))])), [five], { N: 5 })).toEqual(['race'])
})

test('two threads at one element, though they store the same', () => {
  expect(kinds(one(threads([store('out', [whole(0)], number(1))])), [five], { N: 5 })).toEqual(['race'])
})

test('a barrier that not all threads reach', () => {
  const half: Stmt = { kind: 'if', of: t, low: dim(0), high: dim(32), body: [barrier] }
  const k = one(threads([half]))
  expect(kinds(k, [five], { N: 5 })).toEqual(['divergence'])
  expect(verifyKernel(k).map((f) => f.expected)).toEqual(['a condition that all threads share around a barrier'])
  const loop = within([loopFrom('j', 64, whole(0), t, 1, 'loop')], [barrier])
  expect(kinds(one(threads(loop)), [five], { N: 5 })).toEqual(['divergence'])
})

test('an axis beyond its size, a parameter written, names and intrinsics that are not there', () => {
  const beyond = one(within([loopFrom('i', N, whole(0), shiftIndex(whole(N), 1), 1, 'loop')], []))
  expect(kinds(beyond, [five], { N: 5 })).toEqual(['range'])
  expect(kinds(one(blocks([store('a', [i], number(0))])), [five], { N: 5 })).toEqual(['readonly'])
  const unknown = one([{ kind: 'call', intrinsic: 'none', places: [], ints: [] }])
  expect(kinds(unknown, [five], { N: 5 })).toEqual(['unknown'])
})

test('a warp reduces by shuffles without a barrier, and a warp barrier orders its own threads only', () => {
  const x = [buffer('x', [], 'register'), buffer('y', [dim(64)], 'shared')]
  const sum: ReadonlyArray<Stmt> = [
    store('x', [], { kind: 'index', of: t }),
    { kind: 'call', intrinsic: 'warp_sum', places: [{ buffer: 'x', at: [] }], ints: [] },
    store('out', [t], read('x')),
  ]
  const { outputs, reports } = runKernel(one(threads(sum), x, dim(64)), [five], { N: 5 })
  expect(reports).toEqual([])
  expect([outputs[0]![0], outputs[0]![63]]).toEqual([496, 1520])

  const exchange = (from: Index): Kernel =>
    one(
      threads([
        store('y', [t], { kind: 'index', of: t }),
        { kind: 'barrier', scope: 'warp' },
        store('out', [t], read('y', from)),
      ]),
      x,
      dim(64),
    )
  const inWarp = addIndex(scaleIndex(32, divIndex(t, 32)), modIndex(shiftIndex(t, 1), 32))
  expect(kinds(exchange(inWarp), [five], { N: 5 })).toEqual([])
  expect(kinds(exchange(modIndex(shiftIndex(t, 1), 64)), [five], { N: 5 })).toEqual(['race'])
})

test('mma and pack mean what their formulas say', () => {
  const [rows, columns, depth] = [3, 2, 4]
  const from = Array.from({ length: 40 }, (_, v) => v + 1)
  const place = (b: string) => ({ buffer: b, at: [whole(0)] })
  const ints = (...xs: ReadonlyArray<number>) => xs.map((v) => whole(v))
  const k: Kernel = {
    name: 'mma',
    params: [buffer('x', [dim(40)]), buffer('b', [dim(40)])],
    outputs: [buffer('out', [dim(rows * columns)])],
    locals: [buffer('p', [dim(4 * depth)], 'scratch')],
    body: [
      { kind: 'call', intrinsic: 'pack', places: [place('p'), place('x')], ints: ints(4, rows, depth, 5, 1) },
      {
        kind: 'call',
        intrinsic: 'mma',
        places: [place('p'), place('b'), place('out')],
        ints: ints(8, rows, columns, depth, 4, columns, columns, 0),
      },
    ],
  }
  expect(verifyKernel(k)).toEqual([])
  const { outputs, reports } = runKernel(k, [from, from])
  expect(reports).toEqual([])
  const want = Array.from({ length: rows * columns }, (_, c) => {
    const [r, s] = [Math.floor(c / columns), c % columns]
    return [0, 1, 2, 3].reduce((sum, d) => sum + from[r * 5 + d]! * from[d * columns + s]!, 0)
  })
  expect([...outputs[0]!]).toEqual(want)
})

test('mmaRows means what its formula says, rows that end early included', () => {
  const [mr, rows, columns, depth] = [4, 3, 2, 5]
  const from = Array.from({ length: 40 }, (_, v) => v + 1)
  const place = (b: string) => ({ buffer: b, at: [whole(0)] })
  const k: Kernel = {
    name: 'rows',
    params: [buffer('x', [dim(40)]), buffer('b', [dim(40)])],
    outputs: [buffer('out', [dim(rows * columns)])],
    locals: [],
    body: [0, 1].map((accumulate) => ({
      kind: 'call',
      intrinsic: 'mmaRows',
      places: [place('x'), place('b'), place('out')],
      ints: [8, mr, columns, rows, depth, 7, 3, columns, accumulate].map((v) => whole(v)),
    })),
  }
  expect(verifyKernel(k)).toEqual([])
  const { outputs, reports } = runKernel(k, [from, from])
  expect(reports).toEqual([])
  const want = Array.from({ length: rows * columns }, (_, c) => {
    const [r, s] = [Math.floor(c / columns), c % columns]
    return [0, 1, 2, 3, 4].reduce((sum, d) => sum + 2 * from[r * 7 + d]! * from[d * 3 + s]!, 0)
  })
  expect([...outputs[0]!]).toEqual(want)
})

test('what is stored in f16 and bf16 is rounded to it', () => {
  const k = (dtype: 'f16' | 'bf16'): Kernel => ({
    ...one(blocks([store('out', [i], read('a', i))])),
    outputs: [buffer('out', [N], 'global', dtype)],
  })
  expect([...runKernel(k('f16'), [[1 + 2 ** -11, 1e6]], { N: 2 }).outputs[0]!]).toEqual([1, Infinity])
  expect([...runKernel(k('bf16'), [[1 + 2 ** -7, 1 + 2 ** -8]], { N: 2 }).outputs[0]!]).toEqual([1 + 2 ** -7, 1])
})

test('a tile that ends early', () => {
  const from = axisIndex('b', N)
  const body = within(
    [
      loopFrom('b', N, whole(0), whole(N), 4, 'block'),
      loopFrom('i', N, from, minIndex(shiftIndex(from, 4), whole(N)), 1, 'loop'),
    ],
    [store('out', [i], read('a', i))],
  )
  const { outputs, reports } = runKernel(one(body), [five], { N: 5 })
  expect(reports).toEqual([])
  expect([...outputs[0]!]).toEqual(five)
  expect(flatten([from, i], [mulDim(N, 2), N]).key).toBe('N*b+i')
})
