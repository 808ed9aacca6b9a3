/**
 * Programs to executables. `compile` picks the target, runs the passes of `pipeline.ts` and answers with
 * something to run; `explain` answers with what would be run, and why.
 */
import { availableParallelism } from 'node:os'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { simplify } from '../autodiff/simplify.ts'
import type { Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import type { Program } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import { assemble } from './gather/assemble.ts'
import { checkInto, pour, type Arrays, type Executable, type Results, type Running } from './executable.ts'
import { compileOracle } from './oracle.ts'
import type { Fused } from './fuse.ts'
import { explainCuda } from './report/cuda.ts'
import { compileNative, type Native } from './native.ts'
import { blockStages, stages, type BlockStages, type Stages } from './pipeline.ts'
import { printSourceC } from './print/c-function.ts'
import { emptyReport, reportOf, type Report } from './report/report.ts'
import { reportOfGroups } from './report/groups.ts'
import { findCompiler, widestVectors } from './runtime/c.ts'
import { scheduleOf, type Schedule } from './schedule.ts'
import { loadGpuJs, type Mode } from './runtime/gpujs.ts'

export type { Arrays, Executable, Numbers, Results, Running } from './executable.ts'
export { showReport, type KernelReport, type Report } from './report/report.ts'

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
  /** false or absent: one. c: how many, true for one a core; gpu.js: its own, of WebAssembly. Results do not depend on it. */
  readonly threads?: boolean | number
}

// --------------------------------------------------------------------------------- constructors

const compileGpuJs = (program: Program, options: CompileOptions, reason: string): Checked<Executable> =>
  pipe(
    stages(program, options.sizes ?? {}, simplify),
    E.chain((s) =>
      pipe(
        assemble(s, options.frozen ?? {}, (b) =>
          loadGpuJs(
            { ...b, threads: options.threads === true || Number(options.threads ?? 0) > 1 },
            options.mode ?? 'webasm',
          ),
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

const compileC = (program: Program, options: CompileOptions, reason: string): Checked<Executable> =>
  E.map(({ run, runNow, dispose, stages: { fused }, schedule, source }: Native) => {
    let report: Report | undefined
    return {
      target: 'c',
      reason,
      run,
      runNow,
      dispose,
      // made when it is asked for: most programs are run and never looked at
      get report() {
        report ??= reportC(
          fused,
          schedule,
          source.functions.map((f) => f.source),
          options.sizes ?? {},
        )
        return report
      },
    }
  })(
    compileNative(
      program,
      {
        ...(options.sizes === undefined ? {} : { sizes: options.sizes }),
        ...(options.frozen === undefined ? {} : { frozen: options.frozen }),
        threads:
          options.threads === true ? availableParallelism() : Math.max(1, Math.floor(Number(options.threads ?? 1))),
      },
      simplify,
    ),
  )

/** every group with the function that runs it */
const reportC = (
  fused: Fused,
  { launches, takes }: Schedule,
  functions: ReadonlyArray<string>,
  sizes: Sizes,
): Report => {
  const kernelOf = new Map(launches.flat().map((c) => [c.group, c.kernel]))
  return reportOfGroups(fused, 'c', sizes, takes, (g) => {
    const kernel = kernelOf.get(g) ?? -1
    return { source: functions[kernel] ?? '', key: String(kernel) }
  })
}

/** c where a compiler is found and takes the program, else gpujs; options of gpu.js ask for it */
const compileFastest = (program: Program, options: CompileOptions): Checked<Executable> => {
  if (options.mode !== undefined) return compileGpuJs(program, options, 'gpujs: a mode of its own was given')
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
            return E.map((compute: (inputs: Arrays) => Checked<Results>) => {
              const runNow = (inputs: Arrays, into?: Results) =>
                E.chain((made: Results) =>
                  E.map(() => pour(into)(made))(
                    checkInto(Object.fromEntries(Object.entries(made).map(([n, d]) => [n, d.length])), into),
                  ),
                )(compute(inputs))
              return {
                target: 'oracle',
                reason: 'asked for',
                runNow,
                run: (inputs: Arrays, into?: Results) => async () => runNow(inputs, into),
                report: emptyReport(program.name, 'oracle'),
                dispose: () => undefined,
              }
            })(compileOracle(program, options.sizes ?? {}, options.frozen ?? {}))
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

/** The C target's report without a compiler: what would be printed for this machine's vectors. */
const explainC = (program: Program, sizes: Sizes): Checked<Report> =>
  E.map(({ fused }: BlockStages) => {
    const width = widestVectors()
    const compiler = findCompiler()
    const hasTiles = E.isRight(compiler) && compiler.right.hasTiles
    const schedule = scheduleOf(fused, { width, hasTiles, isFrozen: () => false })
    return reportC(
      fused,
      schedule,
      printSourceC(schedule.kernels, width).functions.map((f) => f.source),
      sizes,
    )
  })(blockStages(program, 'c', sizes, simplify))

/** What `compile` would make for a target, without making it; the oracle has no kernels. CUDA is exported, not run here. */
export const explain = (program: Program, sizes: Sizes = {}, target: TargetName | 'cuda' = 'auto'): Checked<Report> => {
  switch (target) {
    case 'oracle':
      return E.right(emptyReport(program.name, target))
    case 'cuda':
      return explainCuda(program, sizes)
    case 'c':
      return explainC(program, sizes)
    case 'auto':
      return E.isRight(findCompiler()) ? explainC(program, sizes) : explain(program, sizes, 'gpujs')
    case 'gpujs':
      return E.map((s: Stages) => reportOf(s.plan, 'gpujs'))(stages(program, sizes, simplify))
    default:
      return target satisfies never
  }
}
