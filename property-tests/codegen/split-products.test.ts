/**
 * Products of float32 on bf16 tiles wherever a kernel may take them, however small: the zoo under the oracle's bounds, the
 * same bits for any number of threads and in place; numbers that are hard to split, beside ordinary ones; and systems that
 * refuse the tiles.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, test } from 'vitest'
import { legalInPlace } from '../../src/codegen/kernel/in-place.ts'
import { keyOfKernel, type Kernel, type Stmt } from '../../src/codegen/kernel/kernel.ts'
import { contractionC, type ContractionC } from '../../src/codegen/recipes/c/contraction.ts'
import { findCompiler } from '../../src/codegen/runtime/c.ts'
import { addressOf, floats, loadKernels, sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import type { Node, NodeOf } from '../../src/dsl/node.ts'
import { diceOf, type Dice } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import { compiledCases, onceEach, proveCompiled, runAll, type Case } from './compiled.ts'
import { get, inputsFor, zoo } from './zoo.ts'

const compiler = findCompiler()
const hasTiles = E.isRight(compiler) && compiler.right.hasTiles
if (!hasTiles) console.warn('SKIPPED: no tiles for bf16 here, so products of split operands are not run')

const MACHINE = { hasTiles: 'always' } as const

const isSplit = (k: Kernel): boolean => {
  const calls = (s: Stmt): boolean =>
    s.kind === 'call' ? s.intrinsic === 'mma_split' : s.kind === 'for' || s.kind === 'if' ? s.body.some(calls) : false
  return k.body.some(calls)
}

// --------------------------------------------------------------------------------- hard numbers

interface Shape {
  readonly m: number
  readonly n: number
  readonly k: number
  /** axes of the operands in memory, and which of them never change */
  readonly x: 'mk' | 'km'
  readonly w: 'nk' | 'kn'
  readonly frozen: ReadonlyArray<'x' | 'w'>
  /** the product and itself, two dots in one sum */
  readonly isTwice?: boolean
}

interface Product extends Shape {
  readonly a: Float32Array
  readonly b: Float32Array
}

interface Made {
  /** which nodes hold the first operand */
  readonly left: ReadonlySet<Node>
  readonly c: ContractionC
}

const made = (s: Shape): Made => {
  const size = { m: s.m, n: s.n, k: s.k, again: s.k }
  const input = (name: string, axes: ReadonlyArray<keyof typeof size>): Node =>
    kit.input(
      name,
      axes.map((a) => ({ name: a, size: dim(size[a]) })),
      'f32',
    )
  const pairs = (s.isTwice === true ? (['k', 'again'] as const) : (['k'] as const)).map((k) => ({
    x: input(`x ${k}`, s.x === 'mk' ? ['m', k] : [k, 'm']),
    w: input(`w ${k}`, s.w === 'nk' ? ['n', k] : [k, 'n']),
    k,
  }))
  const dots = pairs.map(({ x, w, k }) => kit.dot(x, w, [k]) as NodeOf<'dot'>)
  const node = dots.reduce<Node>((sum, d) => (sum === d ? d : kit.map('add', sum, d)), dots[0]!)
  const terms = dots.map((dot) => ({ dot, factor: undefined, sign: 1 as const }))
  const group = {
    ...{ name: 'product', kind: 'contraction' as const, outer: node.type.dims, reason: 'test' },
    stages: [{ kind: 'dot' as const, results: [node], accumulators: [{ node, terms }] }],
    ...{ stored: [node], locals: [], reads: pairs.flatMap(({ x, w }) => [x, w]) },
  }
  const frozen = new Set(s.frozen.flatMap((f) => pairs.map((p) => p[f])))
  const c = contractionC(group, { width: 16, ...MACHINE, isFrozen: (n) => frozen.has(n) })
  return { left: new Set(pairs.map((p) => p.x)), c }
}

const runProducts = (products: ReadonlyArray<Product>): ReadonlyArray<Float32Array> => {
  const all = products.map((p) => ({ p, ...made(p) }))
  const kernels: Kernel[] = []
  const numbers = new Map<string, number>()
  const numberOf = (k: Kernel): number => {
    const key = keyOfKernel(k)
    if (!numbers.has(key)) numbers.set(key, kernels.push(k) - 1)
    return numbers.get(key)!
  }
  for (const { c } of all) {
    expect(isSplit(c.kernel)).toBe(true)
    numberOf(c.kernel)
    for (const g of c.args) if (g.kind === 'packed') numberOf(g.packed.kernel)
  }
  const loaded = get(loadKernels(kernels, { width: 16 }))
  return all.map(({ p, left, c }) => {
    const dataOf = (n: Node): Float32Array => (left.has(n) ? p.a : p.b)
    const fill = (k: Kernel, given: ReadonlyArray<Float32Array>): Float32Array => {
      const out = floats(k.outputs[0]!.shape.reduce((n, d) => n * sizeAt(d, {}), 1)).fill(NaN)
      loaded.bind([{ kernel: numberOf(k), buffers: [...given, out].map(addressOf) }], {}, 1).run()
      return out
    }
    return fill(
      c.kernel,
      c.args.map((g) => (g.kind === 'node' ? dataOf(g.node) : fill(g.packed.kernel, g.packed.args.map(dataOf)))),
    )
  })
}

/**
 * What is outside the bound of a dot, gamma_k sum |x y| + k 2^-126; where the sum is not finite, what is not it; sums that
 * may overflow on the way are not judged.
 */
const outside = ({ m, n, k, x, w, a, b, isTwice = false }: Product, y: Float32Array): string | undefined => {
  const [u, at] = [2 ** -24, { x: x === 'mk' ? [k, 1] : [1, m], w: w === 'nk' ? [k, 1] : [1, n] }]
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let [sum, size] = [0, 0]
      for (let c = 0; c < k; c++) {
        const product = a[i * at.x[0]! + c * at.x[1]!]! * b[j * at.w[0]! + c * at.w[1]!]!
        sum += product
        size += Math.abs(product)
      }
      const got = y[i * n + j]!
      const steps = isTwice ? 2 * k : k
      if (isTwice) [sum, size] = [2 * sum, 2 * size]
      const bound = (steps * u * size) / (1 - steps * u) + steps * 2 ** -126
      const isRight = Number.isFinite(sum)
        ? size >= 2 ** 127 || Math.abs(got - sum) <= bound
        : Object.is(got, sum) || (!Number.isNaN(sum) && Number.isNaN(got) && size === Infinity && hasHuge(a, b))
      if (!isRight) return `${String(i)} ${String(j)}: ${String(got)} for ${String(sum)} within ${String(bound)}`
    }
  return undefined
}
/** finite products that overflow beside infinite operands may make NaN of what is infinite in f64 */
const hasHuge = (...all: ReadonlyArray<Float32Array>): boolean =>
  all.some((x) => x.some((v) => Number.isFinite(v) && Math.abs(v) > 2 ** 60))

const wild = (d: Dice, from: number, to: number): number =>
  (d.int(0, 1) === 0 ? 1 : -1) * (1 + d.real()) * 2 ** d.int(from, to)
const plain = (d: Dice): number => 2 * d.real() - 1
const oneIn = (d: Dice, n: number, odd: () => number): number => (d.int(1, n) === 1 ? odd() : plain(d))

/** rounded to eight bits it is infinite */
const LARGEST = 2 ** 127 * (2 - 2 ** -23)

/** what operands are made of */
const KINDS: Readonly<Record<string, (d: Dice) => number>> = {
  'ordinary numbers': plain,
  'all exponents that cannot overflow': (d) => wild(d, -60, 60),
  'products that vanish': (d) => wild(d, -75, -50),
  'subnormal numbers beside ordinary ones': (d) => oneIn(d, 40, () => wild(d, -149, -127)),
  'numbers around the least that is split': (d) => oneIn(d, 10, () => wild(d, -102, -98)),
  'numbers too small for three parts, by large ones': (d) => (d.int(0, 1) === 0 ? wild(d, -130, -98) : wild(d, 55, 62)),
  'infinities and NaN beside ordinary ones': (d) =>
    oneIn(d, 300, () => d.pick([Infinity, -Infinity, NaN, 0, -0, 2 ** -149])),
  'the largest numbers beside small ones': (d) =>
    d.int(1, 100) === 1 ? d.pick([wild(d, 124, 127), -LARGEST]) : plain(d) * 2 ** -40,
  'zeros and few others': (d) => (d.int(0, 9) === 0 ? plain(d) : 0),
  'the largest middle and low parts': (d) => 1 + d.int(0, 3) * 2 ** -7 + 2 ** -8 - 2 ** -17 + 2 ** -17 - 2 ** -23,
}

const shapeOf = (d: Dice): Shape => {
  const k = d.pick([8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 100, 257])
  return {
    ...{ m: d.pick([1, 5, 16, 31, 32, 33, 50, 64]), n: d.pick([1, 7, 15, 16, 17, 32, 40, 64]), k },
    ...{ x: d.pick(['mk', 'km']), w: d.pick(['nk', 'kn']), frozen: d.pick([[], [], ['x'], ['w'], ['x', 'w']]) },
    // shorter ones have more roundings together than the bound of each allows
    isTwice: k >= 24 && d.int(0, 2) === 0,
  }
}
const shapes = ((d: Dice) => Array.from({ length: 30 }, () => shapeOf(d)))(diceOf(seed))

describe.skipIf(!hasTiles)('products of split operands', () => {
  test.each(Object.entries(KINDS))(
    '%s, at every edge of tiles and steps',
    (_, kind) => {
      const d = diceOf(seed)
      const products = shapes.map((s): Product => {
        const array = (n: number): Float32Array =>
          floats(n)
            .subarray(0, n)
            .map(() => kind(d))
        return { ...s, a: array(s.m * s.k), b: array(s.n * s.k) }
      })
      const wrong = runProducts(products).flatMap((y, i) => {
        const { a: _a, b: _b, ...s } = products[i]!
        const found = outside(products[i]!, y)
        return found === undefined ? [] : [`${JSON.stringify(s)} ${found}`]
      })
      expect(wrong.slice(0, 3)).toEqual([])
    },
    120_000,
  )

  test('a number that is not split leaves those beside it as they are', () => {
    // every place of a step, in rows and in columns: 32 ones and one number below 2^-126 in place of one of them
    const [m, n, k] = [32, 32, 32]
    const odd = [0x0000_7f80, 0x007f_ffff, 0x8000_1234].map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]!)
    const ones = (length: number): Float32Array => floats(length).fill(1)
    for (const x of ['mk', 'km'] as const) {
      const a = ones(m * k)
      for (let i = 0; i < m; i++) a[x === 'mk' ? i * k + i : i * m + i] = odd[i % 3]!
      const shape = { m, n, k, x, w: 'nk', frozen: [] } as const
      const turned = { ...shape, x: 'mk', w: x === 'mk' ? 'nk' : 'kn' } as const
      const results = runProducts([
        { ...shape, a, b: ones(n * k) },
        { ...turned, a: ones(m * k), b: a },
      ])
      for (const y of results) expect([...new Set(y)]).toEqual([31])
    }
  })

  test('products that the tiles take for 0, where what remains cancels', () => {
    // x = c (1 + 2^-9 + 2^-18), x' = -c (1 + 2^-9), y = c / 2: only l h' = 2^-127 remains, for every pair of k
    const [m, n, k, c] = [32, 32, 64, 2 ** -54]
    const [one, other] = [c * (1 + 2 ** -9 + 2 ** -18), -c * (1 + 2 ** -9)]
    const a = floats(m * k).map((_, i) => (i % 2 === 0 ? one : other))
    const b = floats(n * k).fill(c / 2)
    const [y] = runProducts([{ m, n, k, x: 'mk', w: 'nk', frozen: [], a, b }])
    expect([...new Set(y)]).toEqual([32 * 2 ** -127])
  })

  test('the zoo wherever tiles may be, within the bounds; threads and places in common change no bit', () => {
    const cases = zoo.flatMap((a) =>
      a.sizes.flatMap((s) => compiledCases(a.name, a.program, s, inputsFor(a.program, s, 1, a.ids), 16, MACHINE)),
    )
    const all: ReadonlyArray<Case> = cases.filter(({ case: c }) => isSplit(c.part.kernel))
    expect(all.length).toBeGreaterThan(20)
    proveCompiled('the zoo on bf16 tiles', all, 16)
    const bits = (of: ReturnType<typeof runAll>): ReadonlyArray<ReadonlyArray<Uint32Array>> =>
      of.map((k) => k.map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length)))
    const apart = bits(runAll(all, 16))
    expect(bits(runAll(all, 16, 3))).toEqual(apart)
    expect(bits(runAll(all, 16, 3, (k) => onceEach(legalInPlace(k))))).toEqual(apart)
  }, 120_000)

  test('a process that the system refuses tiles does without them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'scion-tiles-'))
    const [refuse, fixtures] = [join(folder, 'refuse'), join(import.meta.dirname, '../fixtures')]
    const node = [process.execPath, '--import', 'tsx', join(fixtures, 'product-once.ts')]
    const run = ([command, ...args]: ReadonlyArray<string>): string =>
      execFileSync(command!, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    try {
      execFileSync('cc', ['-o', refuse, join(fixtures, 'refuse-tiles.c')])
      expect(run(node)).toBe('true true 128')
      expect(run([refuse, ...node])).toBe('false false 128')
    } finally {
      rmSync(folder, { recursive: true })
    }
  }, 60_000)
})
