/** Kernels y = f(x) for the rule of results in the place of operands: where it is legal, and each way in which it is not. */
import {
  addIndex,
  axisIndex,
  divIndex,
  minIndex,
  modIndex,
  scaleIndex,
  shiftIndex,
  whole,
} from '../../src/codegen/kernel/affine.ts'
import type { Expr, Index, Kernel, Stmt } from '../../src/codegen/kernel/kernel.ts'
import { buffer, loopFrom, loopOver, within } from '../../src/codegen/kernel/statements.ts'
import { dim, type Dim, type Sizes } from '../../src/dsl/dim.ts'

const [T, D] = [dim('T'), dim('D')]
const read = (b: string, ...at: ReadonlyArray<Index>): Expr => ({ kind: 'read', buffer: b, at })
const store = (b: string, at: ReadonlyArray<Index>, value: Expr): Stmt => ({ kind: 'store', buffer: b, at, value })
const twice = (e: Expr): Expr => ({ kind: 'apply', fn: 'add', args: [e, e] })
const register = (name: string): Expr => ({ kind: 'register', name })
const sum = (value: Expr): Stmt => ({ kind: 'fold', register: 's', fn: 'sum', value })
const unit: Stmt = { kind: 'unit', register: 's', fn: 'sum' }
const [t, i, j] = [axisIndex('t', T), axisIndex('i', D), axisIndex('j', D)]

const kernel = (
  body: ReadonlyArray<Stmt>,
  shape: ReadonlyArray<Dim> = [T, D],
  locals: Kernel['locals'] = [],
): Kernel => ({
  name: 'one',
  params: [buffer('x', shape)],
  outputs: [buffer('y', shape)],
  locals,
  body,
})
const rows = (body: ReadonlyArray<Stmt>) => within([loopOver('t', T, 'block')], body)
const over = (axis: string, body: ReadonlyArray<Stmt>) => within([loopOver(axis, D, 'loop')], body)
const cells = (body: ReadonlyArray<Stmt>) => rows(over('i', body))

/** lanes of four along D, the last ones cut */
const vectors = (axis: string, body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
  const start = axisIndex(`${axis}_0`, D)
  return within(
    [
      loopFrom(`${axis}_0`, D, whole(0), whole(D), 4, 'loop'),
      { ...loopFrom(axis, D, start, minIndex(shiftIndex(start, 4), whole(D)), 1, 'vector'), unroll: 4 },
    ],
    body,
  )
}

/**
 * Three rows at a time, packed whole before any of them is written; `columns`: how many blocks share the rows; `own`: how
 * many of the three the block writes.
 */
const packed = (columns: number, own = 3): Kernel => {
  const [rowsOf, c] = [axisIndex('rows', 7), axisIndex('columns', 8)]
  const [m, n] = [axisIndex('m', 7), axisIndex('n', 8)]
  const width = 8 / columns
  const ending = minIndex(shiftIndex(rowsOf, own), whole(7))
  return kernel(
    within(
      [
        loopFrom('rows', dim(7), whole(0), whole(7), own, 'block'),
        loopFrom('columns', dim(8), whole(0), whole(8), width, 'block'),
      ],
      [
        {
          kind: 'call',
          intrinsic: 'pack',
          places: [
            { buffer: 'left', at: [whole(0)] },
            { buffer: 'x', at: [rowsOf, whole(0)] },
          ],
          ints: [
            whole(3),
            minIndex(whole(3), addIndex(whole(7), scaleIndex(-1, rowsOf))),
            whole(8),
            whole(8),
            whole(1),
          ],
        },
        ...within(
          [loopFrom('m', dim(7), rowsOf, ending, 1, 'loop'), loopFrom('n', dim(8), c, shiftIndex(c, width), 1, 'loop')],
          [
            unit,
            ...within(
              [loopOver('k', 8, 'loop')],
              [sum(read('left', addIndex(scaleIndex(3, axisIndex('k', 8)), addIndex(m, scaleIndex(-1, rowsOf)))))],
            ),
            store('y', [m, n], register('s')),
          ],
        ),
      ],
    ),
    [dim(7), dim(8)],
    [buffer('left', [dim(24)], 'scratch')],
  )
}

/** y[t] = x[t] + x[t + 1] by a product that does not say what it reads */
const multiplied = (): Kernel => {
  const row = axisIndex('row', 7)
  const one = (b: string, ...at: ReadonlyArray<Index>) => ({ buffer: b, at })
  return kernel(
    within(
      [loopFrom('row', dim(7), whole(0), whole(6), 1, 'block')],
      [
        ...[0, 1].map((k) => store('ones', [whole(k)], { kind: 'number', value: 1 })),
        {
          kind: 'call',
          intrinsic: 'mma',
          places: [one('ones', whole(0)), one('x', row, whole(0)), one('acc', whole(0))],
          ints: [8, 1, 8, 2, 1, 8, 8, 0].map((n) => whole(n)),
        },
        ...within([loopOver('n', 8, 'loop')], [store('y', [row, axisIndex('n', 8)], read('acc', axisIndex('n', 8)))]),
      ],
    ),
    [dim(7), dim(8)],
    [buffer('ones', [dim(2)], 'scratch'), buffer('acc', [dim(8)], 'scratch')],
  )
}

/** 64 threads; rows of 32 numbers, a warp each; `of`: rows; the last block's surplus warps take the last row once more */
const warps = (of: number): Kernel => {
  const thread = axisIndex('thread', 64)
  const first = axisIndex('first', of)
  const own = addIndex(first, divIndex(thread, 32))
  const [row, lane] = [minIndex(own, whole(of - 1)), modIndex(thread, 32)]
  return kernel(
    within(
      [loopFrom('first', dim(of), whole(0), whole(of), 2, 'block'), loopOver('thread', 64, 'thread')],
      [
        { kind: 'let', name: 'v', value: read('x', row, lane) },
        { kind: 'if', of: own, low: dim(0), high: dim(of), body: [store('y', [row, lane], twice(register('v')))] },
      ],
    ),
    [dim(of), dim(32)],
  )
}

/** what one thread reads another writes, a barrier between */
const exchanged = (): Kernel => {
  const thread = axisIndex('thread', 64)
  const other = addIndex(whole(63), scaleIndex(-1, thread))
  return kernel(
    within(
      [loopOver('block', 2, 'block'), loopOver('thread', 64, 'thread')],
      [
        store('kept', [thread], read('x', axisIndex('block', 2), thread)),
        store('y', [axisIndex('block', 2), other], twice(read('kept', thread))),
      ],
    ),
    [dim(2), dim(64)],
    [buffer('kept', [dim(64)], 'shared')],
  )
}

const square = [D, D]
/** of the symbols of both */
export const sizes: Sizes = { T: 6, D: 6 }

/** y may take x's place */
export const legal: Readonly<Record<string, Kernel>> = {
  'a point each': kernel(cells([store('y', [t, i], twice(read('x', t, i)))])),
  'lanes, the last ones cut': kernel(rows(vectors('i', [store('y', [t, i], twice(read('x', t, i)))]))),
  'a row read before it is written, then each point again': kernel(
    rows([
      unit,
      ...vectors('j', [sum(read('x', t, j))]),
      ...vectors('i', [store('y', [t, i], { kind: 'apply', fn: 'div', args: [read('x', t, i), register('s')] })]),
    ]),
  ),
  'flattened into tasks': kernel(
    within(
      [
        loopFrom('task', dim(64), whole(0), whole(64), 16, 'block'),
        loopFrom('p', dim(64), axisIndex('task', 64), shiftIndex(axisIndex('task', 64), 16), 1, 'loop'),
      ],
      [
        store(
          'y',
          [divIndex(axisIndex('p', 64), 8), modIndex(axisIndex('p', 64), 8)],
          twice(read('x', divIndex(axisIndex('p', 64), 8), modIndex(axisIndex('p', 64), 8))),
        ),
      ],
    ),
    [dim(8), dim(8)],
  ),
  'packed by the only block that writes those rows': packed(1),
  'warps on rows that all blocks have in full': warps(6),
  'a symbol of size, no blocks': kernel(
    within([loopOver('t', T, 'loop')], over('i', [store('y', [t, i], twice(read('x', t, i)))])),
  ),
}

/** y may not take x's place */
export const illegal: Readonly<Record<string, Kernel>> = {
  'a shifted read': kernel(
    rows(
      within(
        [loopFrom('i', D, whole(1), whole(D), 1, 'loop')],
        [store('y', [t, i], twice(read('x', t, shiftIndex(i, -1))))],
      ),
    ),
  ),
  'a read that is shifted by a row': kernel(
    within(
      [loopFrom('t', T, whole(1), whole(T), 1, 'block')],
      over('i', [store('y', [t, i], twice(read('x', shiftIndex(t, -1), i)))]),
    ),
  ),
  'a transposed read': kernel(
    within([loopOver('i', D, 'block')], over('j', [store('y', [i, j], twice(read('x', j, i)))])),
    square,
  ),
  'a broadcast read': kernel(cells([store('y', [t, i], twice(read('x', t, whole(0))))])),
  'a row read of every block': kernel(cells([store('y', [t, i], twice(read('x', whole(0), i)))])),
  'a reduction beside the store': kernel(
    rows(over('i', [unit, ...over('j', [sum(read('x', t, j))]), store('y', [t, i], register('s'))])),
  ),
  'a read behind the store': kernel(
    rows([
      ...over('i', [store('y', [t, i], twice(read('x', t, i)))]),
      unit,
      ...over('j', [sum(read('x', t, j))]),
      store('y', [t, whole(0)], register('s')),
    ]),
  ),
  'a read before all blocks': kernel(
    [store('kept', [], read('x', whole(0), whole(0))), ...cells([store('y', [t, i], read('kept'))])],
    [T, D],
    [buffer('kept', [], 'scratch')],
  ),
  'another nest of blocks': {
    ...kernel([
      ...within([loopOver('u', T, 'block')], [store('z', [axisIndex('u', T)], read('x', axisIndex('u', T), whole(0)))]),
      ...cells([store('y', [t, i], { kind: 'number', value: 1 })]),
    ]),
    outputs: [buffer('y', [T, D]), buffer('z', [T])],
  },
  'packed by several blocks that each write some columns': packed(2),
  'an intrinsic that does not say what it reads': multiplied(),
  'packed with a row that the next block writes': packed(1, 2),
  'a warp too many that reads the last row': warps(5),
  'what one thread reads another writes': exchanged(),
  'an address that was read': {
    ...kernel(cells([store('y', [t, i], twice(read('x', t, { ...axisIndex('i', D), ...dataAt('at', i) })))])),
    params: [buffer('x', [T, D]), buffer('at', [D])],
  },
  'written twice, read between': kernel(
    rows([
      ...over('i', [store('y', [t, i], { kind: 'number', value: 0 })]),
      ...over('i', [store('y', [t, i], twice(read('x', t, i)))]),
    ]),
  ),
}

function dataAt(b: string, at: Index): Index {
  const clamped = { kind: 'clamp' as const, of: dataOf(read(b, at)), low: dim(0), high: dim(5) }
  return { offset: dim(0), terms: [{ factor: dim(1), atom: clamped }], key: `clamp(${b})` }
}
function dataOf(e: Expr): Index {
  return { offset: dim(0), terms: [{ factor: dim(1), atom: { kind: 'data', of: e } }], key: 'data' }
}

/** numbers for the kernel's parameters */
export const inputsFor = (k: Kernel): ReadonlyArray<Float64Array> =>
  k.params.map((b) => {
    const length = b.shape.reduce((n, d) => n * (d.key === 'T' || d.key === 'D' ? 6 : Number(d.key)), 1)
    return b.name === 'at'
      ? Float64Array.from({ length }, (_, n) => length - 1 - n)
      : Float64Array.from({ length }, (_, n) => Math.sin(n + 1))
  })

/** y written in place of x before all blocks, which every thread does for itself on c */
export const repeated: Kernel = {
  ...kernel([
    ...within([loopOver('t', T, 'loop')], over('i', [store('y', [t, i], twice(read('x', t, i)))])),
    ...within([loopOver('u', T, 'block')], [store('z', [axisIndex('u', T)], { kind: 'number', value: 1 })]),
  ]),
  outputs: [buffer('y', [T, D]), buffer('z', [T])],
}
