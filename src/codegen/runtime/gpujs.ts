/**
 * gpu.js, wrapped and typed: the one place that knows its API and catches what it throws. A plan becomes
 * one `createPipeline`; kernels of equal source and output are compiled once.
 */
import * as E from 'fp-ts/lib/Either.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { GPU, Input } from 'gpu.js'
import type { Checked, Fault } from '../../dsl/fault.ts'
import type { Printed } from '../print/gpujs.ts'

// ---------------------------------------------------------------------------------------- model

export type Mode = 'webasm' | 'cpu'

/** where a launch finds a parameter */
export type Source =
  | { readonly from: 'input'; readonly index: number }
  | { readonly from: 'constant'; readonly index: number }
  | { readonly from: 'launch'; readonly index: number }

export interface GpuProgram {
  readonly launches: ReadonlyArray<{ readonly printed: Printed; readonly args: ReadonlyArray<Source> }>
  /** shapes, slowest extent first */
  readonly inputs: ReadonlyArray<ReadonlyArray<number>>
  readonly constants: ReadonlyArray<{ readonly shape: ReadonlyArray<number>; readonly data: Float32Array }>
  /** launches whose results are wanted */
  readonly results: ReadonlyArray<number>
  readonly threads: boolean
}

export interface GpuExecutable {
  readonly mode: Mode
  /** distinct kernels compiled */
  readonly kernels: number
  readonly run: (
    inputs: ReadonlyArray<Float32Array>,
  ) => TE.TaskEither<NonEmptyArray<Fault>, ReadonlyArray<Float32Array>>
  /** the same kernels called one after the other, without a pipeline: slower, and at once */
  readonly runNow: (inputs: ReadonlyArray<Float32Array>) => Checked<ReadonlyArray<Float32Array>>
  readonly dispose: () => void
}

/** the part of gpu.js that is used; its own types do not fit it (see `Input` and `loopMaxIterations`) */
interface Handle {
  readonly handle: never
}
type Kernel = ((...args: ReadonlyArray<unknown>) => Handle) & {
  readonly kernel: { readonly constructor: { readonly mode: string }; readonly fallbackReason?: string | null }
}
type Nested = Float32Array | ReadonlyArray<Nested>
interface Pipeline {
  (...args: ReadonlyArray<unknown>): Promise<Readonly<Record<string, Nested>>>
  readonly executorKind: string
  readonly fallbackReason: string | null
  readonly destroy: () => void
}
interface Gpu {
  readonly createKernel: (source: string, settings: Readonly<Record<string, unknown>>) => Kernel
  readonly createPipeline: (
    fn: (...args: ReadonlyArray<unknown>) => Readonly<Record<string, Handle>>,
    settings: Readonly<Record<string, unknown>>,
  ) => Pipeline
  readonly destroy: () => Promise<void>
}

// --------------------------------------------------------------------------------- constructors

const InputOf = Input as unknown as new (data: Float32Array, size: ReadonlyArray<number>) => unknown
const wrapped = (data: Float32Array, shape: ReadonlyArray<number>): unknown => new InputOf(data, [...shape].reverse())

const faultOf = (mode: Mode, expected: string, e: unknown): NonEmptyArray<Fault> => [
  { at: `gpu.js ${mode}`, expected, actual: e instanceof Error ? e.message : String(e) },
]

const flat = (x: Nested): Float32Array => {
  if (x instanceof Float32Array) return x
  const parts = x.map(flat)
  const all = new Float32Array(parts.reduce((n, p) => n + p.length, 0))
  parts.reduce((at, p) => (all.set(p, at), at + p.length), 0)
  return all
}

/** kernels are created here and compiled at the first run; what cannot be compiled is a Fault then */
export const loadGpuJs = (p: GpuProgram, mode: Mode): Checked<GpuExecutable> =>
  E.tryCatch(
    () => {
      const gpu = new GPU({ mode: mode as 'cpu' }) as unknown as Gpu
      const kernels = new Map<string, Kernel>()
      const kernelOf = ({ source, output, loopMaxIterations }: Printed): Kernel => {
        const key = `${output.join('x')} ${source}`
        const known = kernels.get(key)
        if (known !== undefined) return known
        const made = gpu.createKernel(source, { output, precision: 'single', loopMaxIterations })
        kernels.set(key, made)
        return made
      }
      const constants = p.constants.map((c) => wrapped(c.data, c.shape))
      const compiled = p.launches.map((l) => kernelOf(l.printed))
      const orchestrate = (...args: ReadonlyArray<unknown>): Readonly<Record<string, Handle>> => {
        const made: Handle[] = []
        const find = (s: Source): unknown =>
          s.from === 'input' ? args[s.index] : s.from === 'constant' ? constants[s.index] : made[s.index]
        p.launches.forEach((l, i) => made.push(compiled[i]!(...l.args.map(find))))
        return Object.fromEntries(p.results.map((r) => [`r${String(r)}`, made[r]!]))
      }
      // gpu.js traces with as many handles as the function has parameters
      Object.defineProperty(orchestrate, 'length', { value: p.inputs.length })
      const pipeline = gpu.createPipeline(orchestrate, { threads: p.threads })
      let isChecked = false

      /** nothing may have been moved to another backend in silence */
      const degraded = (isPiped = true): NonEmptyArray<Fault> | undefined => {
        const wrong = [...kernels.values()].find((k) => k.kernel.constructor.mode !== mode)
        if (wrong !== undefined)
          return faultOf(
            mode,
            `kernels on ${mode}`,
            `${wrong.kernel.constructor.mode}: ${String(wrong.kernel.fallbackReason)}`,
          )
        if (isPiped && mode === 'webasm' && !pipeline.executorKind.startsWith('fused'))
          return faultOf(mode, 'one fused pipeline', `${pipeline.executorKind}: ${String(pipeline.fallbackReason)}`)
        return undefined
      }
      return {
        mode,
        kernels: kernels.size,
        run: (inputs) =>
          p.results.length === 0
            ? TE.right([])
            : TE.chain(
                (
                  results: Readonly<Record<string, Nested>>,
                ): TE.TaskEither<NonEmptyArray<Fault>, ReadonlyArray<Float32Array>> => {
                  const fault = isChecked ? undefined : degraded()
                  isChecked = true
                  return fault === undefined
                    ? TE.right(p.results.map((r) => flat(results[`r${String(r)}`]!)))
                    : TE.left(fault)
                },
              )(
                TE.tryCatch(
                  () => pipeline(...inputs.map((x, i) => wrapped(x, p.inputs[i]!))),
                  (e) => faultOf(mode, 'the program to compile and run', e),
                ),
              ),
        runNow: (inputs) =>
          E.flatten(
            E.tryCatch(
              () => {
                const made: Float32Array[] = []
                const find = (x: Source): unknown =>
                  x.from === 'input'
                    ? wrapped(inputs[x.index]!, p.inputs[x.index]!)
                    : x.from === 'constant'
                      ? constants[x.index]
                      : wrapped(made[x.index]!, [...p.launches[x.index]!.printed.output].reverse())
                p.launches.forEach((l, i) => made.push(flat(compiled[i]!(...l.args.map(find)) as unknown as Nested)))
                const fault = degraded(false)
                return fault === undefined ? E.right(p.results.map((r) => made[r]!)) : E.left(fault)
              },
              (e) => faultOf(mode, 'the program to compile and run', e),
            ),
          ),
        dispose: () => {
          pipeline.destroy()
          void gpu.destroy().catch(() => undefined)
        },
      }
    },
    (e) => faultOf(mode, 'kernels to be created', e),
  )
