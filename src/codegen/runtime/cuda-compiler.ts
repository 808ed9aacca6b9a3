/**
 * The real CUDA compiler, for which no GPU and no driver is needed: NVRTC where its library is found (it is
 * what runs at a user's, and the stricter of the two: no headers of its own), else nvcc on PATH.
 */
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked, Fault } from '../../dsl/fault.ts'

// ---------------------------------------------------------------------------------------- model

/** what kernels are compiled for in the tests: Turing, Ampere, Hopper, and both Blackwells */
export const architectures = ['sm_75', 'sm_80', 'sm_90', 'sm_100', 'sm_120'] as const

export interface Compiled {
  /** an ELF file, see `cubin.ts` */
  readonly cubin: Uint8Array
  /** warnings, and for every kernel registers, stack frame and spills in ptxas's words */
  readonly log: string
}

export interface CudaCompiler {
  /** `NVRTC 13.0`, `nvcc 13.0` */
  readonly name: string
  /** CUDA C to machine code of `arch`, such as `sm_80`. Errors: what the compiler says of the source, one fault a message */
  readonly compile: (source: string, arch: string) => Checked<Compiled>
}

// --------------------------------------------------------------------------------- constructors

/** options that both compilers are given; register and spill counts are part of the log */
export const commonOptions = (arch: string): ReadonlyArray<string> => [
  `--gpu-architecture=${arch}`,
  '--std=c++17',
  '--ptxas-options=-v',
]

/** headers of the toolkit that a source asks for: kernels in f32 ask for none */
export const includedBy = (source: string): ReadonlyArray<string> =>
  [...source.matchAll(/^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm)].flatMap((m) => m[1] ?? [])

const MESSAGE =
  /^(?<file>[^\s(:]+)\((?<line>\d+)\)\s*:\s*(?:catastrophic |fatal )?error(?: #[\w-]+)?\s*:\s*(?<text>.*)$/

/** The compiler's messages as faults: those with a line of the source, or all that it said where there is none. */
export const faultsOf = (compiler: string, arch: string, log: string): NonEmptyArray<Fault> => {
  const at = `${compiler}, ${arch}`
  const expected = 'CUDA C that compiles'
  const [first, ...rest] = log.split('\n').flatMap((line): ReadonlyArray<Fault> => {
    const found = MESSAGE.exec(line)?.groups
    return found === undefined
      ? []
      : [{ at, expected, actual: found['text'] ?? '', site: `${found['file'] ?? ''}:${found['line'] ?? ''}` }]
  })
  const said = log.trim().split('\n').slice(0, 6).join('\n')
  return first === undefined
    ? [{ at, expected, actual: said === '' ? 'no message' : said }]
    : [first, ...rest.slice(0, 19)]
}
