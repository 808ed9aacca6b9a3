/**
 * Results in the place of an operand. The rule on kernels written for it, each harm that it has to see; on every kernel of
 * the zoo: what it allows is run with the two in one memory, in the interpreter and compiled, and changes no bit.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { originOf } from '../../src/codegen/fuse/alias.ts'
import {
  axisIndex,
  addIndex,
  divIndex,
  minIndex,
  modIndex,
  scaleIndex,
  shiftIndex,
  whole,
} from '../../src/codegen/kernel/affine.ts'
import { alikeIn, legalInPlace, type Pair } from '../../src/codegen/kernel/in-place.ts'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { keyOfKernel, type Expr, type Index, type Kernel, type Stmt } from '../../src/codegen/kernel/kernel.ts'
import { buffer, loopFrom, loopOver, within } from '../../src/codegen/kernel/statements.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { compileNative, type Native } from '../../src/codegen/native.ts'
import { findCompiler } from '../../src/codegen/runtime/c.ts'
import { addressOf, loadKernels, sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import { elementsOf } from '../../src/codegen/schedule.ts'
import { dim, type Dim, type Sizes } from '../../src/dsl/dim.ts'
import { evaluateBounded, type Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { seed } from '../seed.ts'
import { randomChain } from './chains.ts'
import { buffersFor, casesFor, type MadeCase, type Target } from './parts.ts'
import { get } from './traced.ts'
import { zoo } from './zoo.ts'

// --------------------------------------------------------------------------- kernels for the rule

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

/** rows in tiles of three, packed whole before any of them is written; `columns`: how many blocks share the rows */
const packed = (columns: number): Kernel => {
  const [rowsOf, c] = [axisIndex('rows', 7), axisIndex('columns', 8)]
  const [m, n] = [axisIndex('m', 7), axisIndex('n', 8)]
  const width = 8 / columns
  const ending = minIndex(shiftIndex(rowsOf, 3), whole(7))
  return kernel(
    within(
      [
        loopFrom('rows', dim(7), whole(0), whole(7), 3, 'block'),
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
const sizes: Sizes = { T: 6, D: 6 }

const legal: Readonly<Record<string, Kernel>> = {
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

const illegal: Readonly<Record<string, Kernel>> = {
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

const inputsFor = (k: Kernel): ReadonlyArray<Float64Array> =>
  k.params.map((b) => {
    const length = b.shape.reduce((n, d) => n * (d.key === 'T' || d.key === 'D' ? 6 : Number(d.key)), 1)
    return b.name === 'at'
      ? Float64Array.from({ length }, (_, n) => length - 1 - n)
      : Float64Array.from({ length }, (_, n) => Math.sin(n + 1))
  })

const xy: ReadonlyArray<Pair> = [{ operand: 'x', result: 'y' }]

describe('the rule', () => {
  test.each(Object.entries(legal))('%s: in one place, and nothing changes', (_, k) => {
    expect(verifyKernel(k)).toEqual([])
    expect(legalInPlace(k)).toEqual(xy)
    const [apart, together] = [[], xy].map((pairs) => runKernel(k, inputsFor(k), sizes, undefined, pairs))
    expect(together!.reports.map(showReport)).toEqual([])
    expect(together!.outputs).toEqual(apart!.outputs)
  })

  test.each(Object.entries(illegal))('%s: refused, and the interpreter sees why', (_, k) => {
    expect(verifyKernel(k)).toEqual([])
    expect(runKernel(k, inputsFor(k), sizes).reports.map(showReport)).toEqual([])
    expect(legalInPlace(k)).toEqual([])
    const kinds = runKernel(k, inputsFor(k), sizes, undefined, xy).reports.map((r) => r.kind)
    expect(kinds.some((r) => r === 'overwritten' || r === 'race')).toBe(true)
  })
})

// -------------------------------------------------------------------------- the kernels of the zoo

/** every distinct kernel of a target, at several sizes */
const kernelsOf = (target: Target): ReadonlyMap<string, ReadonlyArray<readonly [MadeCase, Sizes]>> => {
  const found = new Map<string, (readonly [MadeCase, Sizes])[]>()
  for (const animal of zoo)
    for (const at of animal.sizes)
      for (const c of casesFor(animal, target, at, 1)) {
        if (alikeIn(c.part.kernel).length === 0) continue
        const key = keyOfKernel(c.part.kernel)
        found.set(key, [...(found.get(key) ?? []), [c, at]])
      }
  return found
}

const isSame = (a: ReadonlyArray<ArrayLike<number>>, b: ReadonlyArray<ArrayLike<number>>): boolean =>
  a.every((x, n) => Array.from(x).every((v, m) => Object.is(v, b[n]![m])))

describe.each(['c', 'cuda'] as const)('kernels for %s', (target) => {
  test('what is allowed changes nothing; what changes something is reported', { timeout: 300_000 }, () => {
    const tally = { allowed: 0, refused: 0, harmful: 0 }
    for (const cases of kernelsOf(target).values())
      cases.forEach(([c, at], n) => {
        const { kernel: k } = c.part
        const allowed = new Set(legalInPlace(k).map((p) => `${p.result} for ${p.operand}`))
        const pairs = alikeIn(k).filter((p) => n === 0 || allowed.has(`${p.result} for ${p.operand}`))
        if (pairs.length === 0) return
        const buffers = buffersFor(c, at)
        const apart = runKernel(k, buffers, at)
        for (const pair of pairs) {
          const name = `${pair.result} for ${pair.operand}`
          const where = `${k.name} ${JSON.stringify(at)} ${name}`
          const { outputs, reports } = runKernel(k, buffers, at, undefined, [pair])
          if (allowed.has(name)) {
            tally.allowed += 1
            expect(reports.map(showReport), where).toEqual([])
            expect(isSame(outputs, apart.outputs), where).toBe(true)
          } else {
            tally.refused += 1
            if (reports.length > 0) tally.harmful += 1
            // nothing goes wrong silently: other tests rely on the reports
            if (!isSame(outputs, apart.outputs)) expect(reports.length, where).toBeGreaterThan(0)
          }
        }
      })
    const { allowed, refused, harmful } = tally
    console.log(
      `${target}: ${String(allowed)} allowed, ${String(refused)} refused, ${String(harmful)} of them would be wrong`,
    )
    expect(allowed).toBeGreaterThan(30)
    expect(harmful).toBeGreaterThan(30)
  })
})

// ---------------------------------------------------------------------------------- whole programs

/** the launches of a program with memory of its own for every value: nothing shares a place */
const runApart = (
  { schedule }: Native,
  inputs: Values,
  at: Sizes,
  threads: number,
): ReadonlyMap<Node, Float32Array> => {
  const memory = new Map<Node, Float32Array>()
  const of = (n: Node): Float32Array => {
    const known =
      memory.get(n) ??
      (n.op === 'input'
        ? Float32Array.from(inputs[n.attrs.name]!.data)
        : new Float32Array(sizeAt(elementsOf(n), at)).fill(NaN))
    memory.set(n, known)
    return known
  }
  const loaded = get(loadKernels(schedule.kernels, { threads: threads > 1 }))
  const launches = schedule.launches.flat().map(({ kernel: k, args, results }) => ({
    kernel: k,
    buffers: [...args.flatMap((a) => (a.kind === 'node' ? [a.node] : [])), ...results].map((n) => addressOf(of(n))),
  }))
  loaded.bind(launches, at, threads).run()
  return memory
}

describe.runIf(E.isRight(findCompiler()))('programs on c', () => {
  test.each([1, 3])('chains of layers mean what the oracle says, with %d threads', { timeout: 300_000 }, (threads) => {
    const tally = { values: 0, inPlace: 0, undecided: 0, programs: 0 }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 8, max: 20 }), (s, length) => {
        const { program, inputs } = randomChain(s, length)
        const native = get(compileNative(program, { threads }, simplify))
        const given = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))
        // twice: what the first run left in the arena is of no use to the second
        get(native.runNow(given))
        const got = get(native.runNow(given))
        const apart = runApart(native, inputs, {}, threads)
        const { outputs } = native.stages.fused.program
        const wanted = get(evaluateBounded(program, inputs))
        tally.programs += 1
        tally.values += native.schedule.launches.flat().reduce((n, c) => n + c.results.length, 0)
        tally.inPlace += native.schedule.takes.size
        if (wanted.undecided) tally.undecided += 1
        outputs.forEach(({ name, node }, i) => {
          const own = apart.get(originOf(node))
          const dims = program.outputs[i]!.node.type.dims.map((a) => a.name).join()
          if (own !== undefined && node.type.dims.map((a) => a.name).join() === dims)
            expect(isSame([got[name]!], [own]), `${program.name} ${name}`).toBe(true)
          const { value, bound } = wanted.outputs[name]!
          if (!wanted.undecided)
            expect(judgeAll([{ value: value.data, bound }], [got[name]!]).worst, program.name).toBeLessThanOrEqual(1)
        })
        native.dispose()
      }),
      { numRuns: 25, seed },
    )
    console.log(
      `${String(tally.programs)} chains, ${String(tally.inPlace)} of ${String(tally.values)} values in place, ${String(tally.undecided)} undecided`,
    )
    expect(tally.inPlace).toBeGreaterThan(tally.programs / 2)
    expect(tally.undecided).toBeLessThan(0.2 * tally.programs)
  })

  test('what may alias is printed without restrict, and nothing else', () => {
    const { program } = randomChain(3, 12)
    const { schedule, source } = get(compileNative(program, {}, simplify))
    expect(schedule.takes.size).toBeGreaterThan(0)
    schedule.kernels.forEach((k, n) => {
      const head = source.functions[n]!.source.split('\n')[0]!
      for (const b of [...k.params, ...k.outputs])
        expect(new RegExp(`float \\*${b.name}[,)]`).test(head), `${head}: ${b.name}`).toBe(
          k.mayAlias?.has(b.name) === true,
        )
    })
    const may = schedule.kernels.flatMap((k) => [...(k.mayAlias ?? [])])
    expect(may.length).toBeGreaterThanOrEqual(2)
  })
})
