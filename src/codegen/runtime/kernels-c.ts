/**
 * Kernels of the C target in memory: compiled as one object, called by a table of launches. Sizes, addresses and the order
 * of launches are arguments, so that one object serves every size and every number of layers.
 */
import * as E from 'fp-ts/lib/Either.js'
import koffi from 'koffi'
import { evalDim, type Dim, type Sizes } from '../../dsl/dim.ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { aligned } from '../arena.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { isOnStack, printSourceC, type SourceC } from '../print/c-function.ts'
import { build, findCompiler } from './c.ts'

// ---------------------------------------------------------------------------------------- model

/** kernel: its place in the list; buffers: addresses in order of its parameters and outputs */
export interface LaunchC {
  readonly kernel: number
  readonly buffers: ReadonlyArray<bigint>
}

export interface Bound {
  /** the launches' addresses, one after the other: changed in place for buffers that come and go with a run */
  readonly addresses: BigUint64Array
  /** seconds: one a launch, filled where given */
  readonly run: (seconds?: Float64Array) => void
}

export interface KernelsC {
  readonly source: SourceC
  readonly width: number
  /** Launches at these sizes; their memory is the caller's and has to outlive the answer. */
  readonly bind: (launches: ReadonlyArray<LaunchC>, sizes: Sizes, threads: number) => Bound
}

export interface KernelOptions {
  readonly width?: number
  /** compile the thread pool in */
  readonly threads?: boolean
}

type Run = (
  launches: Int32Array,
  count: number,
  buffers: BigUint64Array,
  sizes: Int32Array,
  scratch: Float32Array,
  scratchSize: number,
  threads: number,
  seconds: Float64Array | null,
) => void

// ------------------------------------------------------------------------------------- addresses

const nothing = new Float32Array(64)

/** The address of an array's memory. It stays where it is for as long as the array lives: small arrays are moved out of the collected heap first. */
export const addressOf = (a: Float32Array): bigint =>
  a.length === 0 ? koffi.address(nothing.buffer) : koffi.address(a.buffer) + BigInt(a.byteOffset)

/** Zeros in memory that begins on a cache line, so that no vector of a panel lies across two (about 5 % of a contraction). */
export const floats = (n: number): Float32Array => {
  const size = Math.max(64, n)
  const room = new Float32Array(size + 16)
  const over = Number(koffi.address(room.buffer) % 64n)
  const at = over === 0 ? 0 : (64 - over) / 4
  return room.subarray(at, at + size)
}

/** `at` floats behind an address */
export const behind = (address: bigint, at: number): bigint => address + BigInt(4 * at)

/** The number of a size; a program's inputs were checked to have whole ones. */
export const sizeAt = (d: Dim, sizes: Sizes): number => {
  const n = evalDim(d, sizes)
  if (E.isLeft(n)) throw new Error(`${d.key}: expected ${n.left}`)
  return n.right
}

/** Floats of scratch that one thread needs for a kernel. */
export const scratchOf = (k: Kernel, sizes: Sizes): number =>
  k.locals.reduce(
    (sum, b) => (isOnStack(b) ? sum : sum + aligned(b.shape.reduce((n, d) => n * sizeAt(d, sizes), 1))),
    0,
  )

// --------------------------------------------------------------------------------------- loading

const textOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** koffi unloads what a worker loaded when the worker ends, but the pool's threads still wait in there */
const staysLoaded = process.platform === 'linux' ? ['-Wl,-z,nodelete'] : []

/** Prints, compiles (or finds in the cache) and loads kernels that differ in more than their names. */
export const loadKernels = (kernels: ReadonlyArray<Kernel>, options: KernelOptions = {}): Checked<KernelsC> =>
  E.flatMap(findCompiler(), (compiler) => {
    const width = options.width ?? compiler.widest
    const source = printSourceC(kernels, width)
    const flags = options.threads === true ? ['-DTHREADS', '-pthread', ...staysLoaded] : []
    return E.flatMap(build(compiler, source.source, flags), (object) =>
      E.tryCatch(
        (): KernelsC => {
          const run = koffi
            .load(object)
            .func('void scion_run(int *, int, uint64_t *, int *, float *, long, int, double *)') as unknown as Run
          return { source, width, bind: bindTo(kernels, source, run) }
        },
        (e): [Fault] => [{ at: 'c', expected: 'the compiled kernels to be loaded', actual: textOf(e) }],
      ),
    )
  })

const bindTo =
  (kernels: ReadonlyArray<Kernel>, source: SourceC, run: Run): KernelsC['bind'] =>
  (launches, sizes, threads) => {
    const table: number[] = []
    const buffers: bigint[] = []
    const numbers: number[] = []
    const firstSize = new Map<number, number>()
    for (const { kernel, buffers: own } of launches) {
      if (!firstSize.has(kernel)) {
        firstSize.set(kernel, numbers.length)
        numbers.push(...source.functions[kernel]!.symbols.map((s) => sizes[s] ?? 0))
      }
      table.push(kernel, buffers.length, firstSize.get(kernel)!)
      buffers.push(...own)
    }
    const scratchSize = [...firstSize.keys()].reduce((most, k) => Math.max(most, scratchOf(kernels[k]!, sizes)), 0)
    const scratch = floats(scratchSize * threads)
    const [launchTable, bufferTable, sizeTable] = [
      Int32Array.from(table.length === 0 ? [0] : table),
      BigUint64Array.from(buffers.length === 0 ? [0n] : buffers),
      Int32Array.from(numbers.length === 0 ? [0] : numbers),
    ]
    return {
      addresses: bufferTable,
      run: (seconds) =>
        run(launchTable, launches.length, bufferTable, sizeTable, scratch, scratchSize, threads, seconds ?? null),
    }
  }
