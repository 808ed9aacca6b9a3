/**
 * NVRTC, wrapped and typed: the one place that knows its functions. The library is named by SCION_LIBNVRTC, or
 * found where `npm run cuda:compiler`, pip or a toolkit put it, or by its name on the loader's path. Linux only.
 */
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import koffi from 'koffi'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { commonOptions, faultsOf, includedBy, type Compiled, type CudaCompiler } from './cuda-compiler.ts'

// ---------------------------------------------------------------------------------------- model

type Handle = bigint | object | null
type Out<A> = [A]

/** the functions that are used, as nvrtc.h declares them */
interface Nvrtc {
  readonly version: (major: Out<number>, minor: Out<number>) => number
  readonly create: (made: Out<Handle>, source: string, name: string, headers: 0, contents: null, names: null) => number
  readonly compile: (program: Handle, count: number, options: ReadonlyArray<string>) => number
  readonly logSize: (program: Handle, size: Out<number | bigint>) => number
  readonly log: (program: Handle, text: Uint8Array) => number
  readonly cubinSize: (program: Handle, size: Out<number | bigint>) => number
  readonly cubin: (program: Handle, bytes: Uint8Array) => number
  readonly message: (code: number) => string
  readonly destroy: (program: Out<Handle>) => number
}

const signatures: Readonly<Record<keyof Nvrtc, string>> = {
  version: 'int nvrtcVersion(_Out_ int *, _Out_ int *)',
  create: 'int nvrtcCreateProgram(_Out_ void **, const char *, const char *, int, void *, void *)',
  compile: 'int nvrtcCompileProgram(void *, int, const char **)',
  logSize: 'int nvrtcGetProgramLogSize(void *, _Out_ size_t *)',
  log: 'int nvrtcGetProgramLog(void *, _Out_ uint8_t *)',
  cubinSize: 'int nvrtcGetCUBINSize(void *, _Out_ size_t *)',
  cubin: 'int nvrtcGetCUBIN(void *, _Out_ uint8_t *)',
  message: 'const char *nvrtcGetErrorString(int)',
  destroy: 'int nvrtcDestroyProgram(_Inout_ void **)',
}

/** the code of `nvrtcCompileProgram` for a source with errors, and for options that it does not take */
const REFUSED = [5, 6]

// ---------------------------------------------------------------------------------------- places

/** where `npm run cuda:compiler` installs, for all processes of a user */
export const installFolder = (): string => {
  const base = process.env['XDG_CACHE_HOME']
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'scion', 'cuda')
}

const entries = (folder: string): ReadonlyArray<string> => {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

const below = (folder: string, name: RegExp): ReadonlyArray<string> =>
  entries(folder)
    .filter((e) => name.test(e))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .map((e) => join(folder, e))

const given = (name: string): ReadonlyArray<string> => {
  const value = process.env[name]
  return value === undefined || value === '' ? [] : [value]
}

/** folders that hold `nvidia/cu13/lib` and `nvidia/cu13/include`, as pip's wheels lay them */
const wheelFolders = (): ReadonlyArray<string> =>
  [
    installFolder(),
    ...given('VIRTUAL_ENV').flatMap((v) => below(join(v, 'lib'), /^python3/).map((p) => join(p, 'site-packages'))),
  ].flatMap((f) => below(join(f, 'nvidia'), /^(cu\d+|cuda_nvrtc|cuda_runtime)$/))

const toolkits = (): ReadonlyArray<string> => [
  ...given('CUDA_HOME'),
  ...given('CUDA_PATH'),
  '/usr/local/cuda',
  ...below('/usr/local', /^cuda-\d/),
]

/** Where NVRTC may be: full paths that exist, then names for the loader. */
const candidates = (): ReadonlyArray<string> => [
  ...[...wheelFolders(), ...toolkits()]
    .flatMap((f) => [join(f, 'lib'), join(f, 'lib64')])
    .flatMap((f) => below(f, /^libnvrtc\.so\.\d+$/)),
  'libnvrtc.so.13',
  'libnvrtc.so.12',
]

/** The folder with all of these headers of the toolkit. */
const headersFolder = (names: ReadonlyArray<string>): string | undefined =>
  [...given('SCION_CUDA_INCLUDE'), ...[...wheelFolders(), ...toolkits()].map((f) => join(f, 'include'))].find((f) =>
    names.every((n) => existsSync(join(f, n))),
  )

// --------------------------------------------------------------------------------------- loading

const textOf = (e: unknown): string => (e instanceof Error ? e.message : String(e))

const fault = (expected: string, actual: string, hint?: string): NonEmptyArray<Fault> => [
  { at: 'NVRTC', expected, actual, ...(hint === undefined ? {} : { hint }) },
]

/** libraries are opened for their own use only, so what NVRTC opens by name must be there before it */
const kept: ReturnType<typeof koffi.load>[] = []
const load = (path: string): Nvrtc => {
  for (const builtins of path.includes('/') ? below(dirname(path), /^libnvrtc-builtins\.so\.\d+/) : [])
    // a handle that is collected closes its library
    kept.push(koffi.load(builtins))
  const library = koffi.load(path)
  return Object.fromEntries(
    Object.entries(signatures).map(([name, signature]) => [name, library.func(signature)]),
  ) as unknown as Nvrtc
}

// ------------------------------------------------------------------------------------- compiling

const textIn = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/\0[\s\S]*$/, '')

/** What `fill` writes into as many bytes as `size` asks for. */
const bytesBy = (size: (out: Out<number | bigint>) => number, fill: (bytes: Uint8Array) => number): Uint8Array => {
  const out: Out<number | bigint> = [0]
  if (size(out) !== 0) return new Uint8Array()
  const bytes = new Uint8Array(Number(out[0]))
  return fill(bytes) === 0 ? bytes : new Uint8Array()
}

const compileWith =
  (nvrtc: Nvrtc, name: string): CudaCompiler['compile'] =>
  (source, arch) => {
    const included = includedBy(source)
    const headers = included.length === 0 ? [] : [headersFolder(included)]
    if (headers.includes(undefined))
      return E.left(
        fault(`the headers ${included.join(', ')}`, 'no folder that has them', 'name one in SCION_CUDA_INCLUDE'),
      )
    const options = [...commonOptions(arch), ...headers.map((f) => `--include-path=${String(f)}`)]
    const made: Out<Handle> = [null]
    const created = nvrtc.create(made, source, 'kernels.cu', 0, null, null)
    if (created !== 0) return E.left(fault('a program to be created', nvrtc.message(created)))
    const [program] = made
    try {
      const done = nvrtc.compile(program, options.length, options)
      const log = textIn(
        bytesBy(
          (n) => nvrtc.logSize(program, n),
          (b) => nvrtc.log(program, b),
        ),
      )
      if (REFUSED.includes(done)) return E.left(faultsOf(name, arch, log))
      if (done !== 0) return E.left(fault('kernels to be compiled', nvrtc.message(done)))
      const cubin = bytesBy(
        (n) => nvrtc.cubinSize(program, n),
        (b) => nvrtc.cubin(program, b),
      )
      return cubin.length === 0
        ? E.left(fault('machine code', `none, for ${arch}`, 'a real architecture: sm_80, not compute_80'))
        : E.right({ cubin, log } satisfies Compiled)
    } finally {
      nvrtc.destroy([program])
    }
  }

const open = (path: string): Checked<CudaCompiler> =>
  E.tryCatch(
    () => {
      const nvrtc = load(path)
      const [major, minor]: [Out<number>, Out<number>] = [[0], [0]]
      nvrtc.version(major, minor)
      const name = `NVRTC ${String(major[0])}.${String(minor[0])}`
      return { name, compile: compileWith(nvrtc, name) }
    },
    (e) => fault('a library that can be loaded', `${path}: ${textOf(e)}`),
  )

/** NVRTC, opened. Errors: no library; one that SCION_LIBNVRTC names and that does not load. */
export const openNvrtc = (): Checked<CudaCompiler> => {
  const [named] = given('SCION_LIBNVRTC')
  if (named !== undefined) return open(named)
  for (const path of candidates()) {
    const opened = open(path)
    if (E.isRight(opened)) return opened
  }
  return E.left(fault('libnvrtc', 'none where pip, a toolkit or the loader would have it', 'npm run cuda:compiler'))
}
