/**
 * Programs to executables. `compile` picks the target, runs the passes of `pipeline.ts` and answers with
 * something to run; `explain` answers with what would be run, and why.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { simplify } from '../autodiff/simplify.ts'
import type { Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import type { Program } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import { assemble } from './assemble.ts'
import type { Arrays, Executable, Running } from './executable.ts'
import { compileOracle } from './oracle.ts'
import { stages, type Stages } from './pipeline.ts'
import type { Launch } from './plan.ts'
import { emptyReport, reportOf, type Report } from './report.ts'
import { printKernelC } from './print/c/kernel.ts'
import { findCompiler, loadC, widestVectors } from './runtime/c.ts'
import { loadGpuJs, type Mode } from './runtime/gpujs.ts'

export type { Arrays, Executable, Numbers, Results, Running } from './executable.ts'
export { showReport, type KernelReport, type Report } from './report.ts'

// ---------------------------------------------------------------------------------------- model

export type TargetName = 'c' | 'gpujs' | 'oracle' | 'auto'

export interface CompileOptions {
  readonly target: TargetName
  /** a size for every symbol of the program */
  readonly sizes?: Sizes
  /** inputs whose values never change: captured, and left out of `run` */
  readonly frozen?: Readonly<Record<string, Value>>
  /** gpu.js: WebAssembly, or its plain JavaScript backend on request */
  readonly mode?: Mode
  readonly threads?: boolean
}

// --------------------------------------------------------------------------------- constructors

const compileGpuJs = (program: Program, options: CompileOptions, reason: string): Checked<Executable> =>
  pipe(
    stages(program, options.sizes ?? {}, simplify),
    E.chain((s) =>
      pipe(
        assemble(s, options.frozen ?? {}, (b) =>
          loadGpuJs({ ...b, threads: options.threads ?? false }, options.mode ?? 'webasm'),
        ),
        E.map(({ run, runNow, dispose }) => ({
          target: `gpujs (${options.mode ?? 'webasm'})`,
          reason,
          run,
          runNow,
          dispose,
          report: reportOf(s.plan, `gpujs (${options.mode ?? 'webasm'})`),
        })),
      ),
    ),
  )

/** the body of a launch's function, as wide as this machine's vectors */
const sourceC = ({ kernel }: Launch): string => printKernelC(kernel, widestVectors()).body

const compileC = (program: Program, options: CompileOptions, reason: string): Checked<Executable> =>
  pipe(
    stages(program, options.sizes ?? {}, simplify),
    E.chain((s) =>
      pipe(
        assemble(s, options.frozen ?? {}, ({ launches, inputs, constants, results }) =>
          loadC(
            { launches, inputs, constants: constants.map((c) => c.shape), results },
            constants.map((c) => c.data),
          ),
        ),
        E.map(({ run, runNow, dispose }) => ({
          target: 'c',
          reason,
          run,
          runNow,
          dispose,
          report: reportOf(s.plan, 'c', sourceC),
        })),
      ),
    ),
  )

/** c where a compiler is found and takes the program, else gpujs; options of gpu.js ask for it */
const compileFastest = (program: Program, options: CompileOptions): Checked<Executable> => {
  if (options.mode !== undefined || options.threads !== undefined)
    return compileGpuJs(program, options, 'gpujs: its own options were given')
  const compiler = findCompiler()
  if (E.isLeft(compiler))
    return compileGpuJs(program, options, `gpujs, for c needs a compiler: ${causeOf(compiler.left)}`)
  const native = compileC(program, options, `c: the fastest target, ${compiler.right.version}`)
  return E.isRight(native) ? native : compileGpuJs(program, options, `gpujs, for c failed: ${causeOf(native.left)}`)
}

const causeOf = ([first]: NonEmptyArray<Fault>): string => first.actual.split('\n')[0] ?? ''

/**
 * The program, ready to run. Faults: a symbol without a size, what the target cannot hold or round, frozen
 * values that do not fit, a backend that does not start.
 */
export const compileNow = (program: Program, options: CompileOptions): Checked<Executable> =>
  E.flatten(
    E.tryCatch(
      () => {
        switch (options.target) {
          case 'oracle':
            return E.map((runNow: Executable['runNow']) => ({
              target: 'oracle',
              reason: 'asked for',
              runNow,
              run: (inputs: Arrays) => async () => runNow(inputs),
              report: emptyReport(program.name, 'oracle'),
              dispose: () => undefined,
            }))(compileOracle(program, options.sizes ?? {}, options.frozen ?? {}))
          case 'c':
            return compileC(program, options, 'asked for')
          case 'gpujs':
            return compileGpuJs(program, options, 'asked for')
          case 'auto':
            return compileFastest(program, options)
          default:
            return options.target satisfies never
        }
      },
      (e): NonEmptyArray<Fault> => [
        {
          at: `compile ${program.name}`,
          expected: 'the passes to finish',
          actual: e instanceof Error ? e.message : String(e),
        },
      ],
    ),
  )

/** The same as a task. */
export const compile =
  (program: Program, options: CompileOptions): Running<Executable> =>
  async () =>
    compileNow(program, options)

/** What `compile` would make for a target, without making it; the oracle has no kernels. */
export const explain = (program: Program, sizes: Sizes = {}, target: TargetName = 'auto'): Checked<Report> =>
  target === 'oracle'
    ? E.right(emptyReport(program.name, target))
    : E.map((s: Stages) => (target === 'c' ? reportOf(s.plan, 'c', sourceC) : reportOf(s.plan, 'gpujs')))(
        stages(program, sizes, simplify),
      )
