/**
 * How a kernel is launched: a grid of one dimension, its blocks the steps of the `block` loops, nest after nest, as an
 * expression over the sizes; threads a block; shared memory.
 */
import * as E from 'fp-ts/lib/Either.js'
import { evalDim, literal, subDim, type Dim, type Sizes } from '../../../dsl/dim.ts'
import { symbolsOfKernel, type Kernel, type Loop, type Stmt } from '../../kernel/kernel.ts'
import { showDimWith, symbolNames } from '../c-family.ts'

// ---------------------------------------------------------------------------------------- model

/** ceil(extent / step) blocks */
export interface Steps {
  readonly extent: Dim
  readonly step: number
}

/** sum over nests of the product of their steps */
export type Grid = ReadonlyArray<ReadonlyArray<Steps>>

export interface CudaLaunch {
  readonly grid: Grid
  /** threads a block */
  readonly block: number
  /** bytes of static shared memory a block */
  readonly shared: number
  /** the least architecture: 80 where bf16 goes through tensor cores, else 75 */
  readonly arch: 75 | 80
  /** sizes that are passed as `int`s behind the pointers, in order */
  readonly symbols: ReadonlyArray<string>
}

export interface Nest {
  readonly loops: ReadonlyArray<Loop>
  readonly threads: number
  readonly body: ReadonlyArray<Stmt>
}

// --------------------------------------------------------------------------------- constructors

const BYTES = { f32: 4, f16: 2, bf16: 2, i32: 4 } as const

/** A nest of block loops around a thread loop, taken apart. */
export const nestOf = (s: Stmt): Nest | undefined => {
  if (s.kind !== 'for') return undefined
  if (s.loop.role === 'thread') return { loops: [], threads: literal(s.loop.size) ?? 0, body: s.body }
  const [inner, ...others] = s.body
  if (s.loop.role !== 'block' || inner === undefined || others.length > 0) return undefined
  const below = nestOf(inner)
  return below === undefined ? undefined : { ...below, loops: [s.loop, ...below.loops] }
}

/** sizes of block loops are known when the kernel is launched: no atoms in their ends */
export const stepsOf = (l: Loop): Steps => ({ extent: subDim(l.to.offset, l.from.offset), step: l.step })

export const nestsOf = (k: Kernel): ReadonlyArray<Nest> => k.body.flatMap((s) => nestOf(s) ?? [])

/** Shared memory of a kernel, every buffer on 32 bytes. */
export const sharedBytes = (k: Kernel): number =>
  k.locals.reduce((sum, b) => {
    if (b.space !== 'shared') return sum
    const bytes = b.shape.reduce<number>((n, d) => n * (literal(d) ?? NaN), BYTES[b.dtype])
    return sum + 32 * Math.ceil(bytes / 32)
  }, 0)

/** What the driver needs to know of a kernel. */
export const launchOf = (k: Kernel): CudaLaunch => ({
  grid: nestsOf(k).map((n) => n.loops.map(stepsOf)),
  block: Math.max(0, ...nestsOf(k).map((n) => n.threads)),
  shared: sharedBytes(k),
  arch: k.locals.some((b) => b.space === 'register' && b.dtype === 'bf16') ? 80 : 75,
  symbols: symbolsOfKernel(k),
})

// --------------------------------------------------------------------------------- interpreters

/** The number of blocks at these sizes; left: the symbol that has none. */
export const blocksAt = (grid: Grid, sizes: Sizes): E.Either<string, number> => {
  let blocks = 0
  for (const nest of grid) {
    let product = 1
    for (const { extent, step } of nest) {
      const n = evalDim(extent, sizes)
      if (E.isLeft(n)) return n
      product *= Math.ceil(n.right / step)
    }
    blocks += product
  }
  return E.right(blocks)
}

const ceiling: Readonly<Record<'c' | 'js' | 'python', (n: string, step: number) => string>> = {
  c: (n, step) => `(${n} + ${String(step - 1)}) / ${String(step)}`,
  js: (n, step) => `Math.ceil((${n}) / ${String(step)})`,
  python: (n, step) => `-(-(${n}) // ${String(step)})`,
}

const showSteps = (
  { extent, step }: Steps,
  language: 'c' | 'js' | 'python',
  symbol: (name: string) => string,
): string => {
  const known = literal(extent)
  if (known !== undefined) return String(Math.ceil(known / step))
  const text = showDimWith(symbol)(extent)
  const exact = language === 'python' ? text.replaceAll(' / ', ' // ') : text
  return step === 1 ? exact : ceiling[language](exact, step)
}

/** The grid as an expression over the kernel's symbols, named as its parameters are. */
export const showGrid = (k: Kernel, language: 'c' | 'js' | 'python'): string => {
  const names = symbolNames(k)
  const nests = launchOf(k).grid.map((nest) => {
    const factors = nest.map((s) => showSteps(s, language, (n) => names.get(n) ?? n)).filter((f) => f !== '1')
    return factors.length === 0 ? '1' : factors.length === 1 ? factors[0]! : factors.map((f) => `(${f})`).join(' * ')
  })
  return nests.length === 0 ? '0' : nests.join(' + ')
}
