/** nvcc as a child process: where NVRTC is not installed. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { commonOptions, faultsOf, type Compiled, type CudaCompiler } from './cuda-compiler.ts'

const fault = (expected: string, e: unknown): NonEmptyArray<Fault> => [
  { at: 'nvcc', expected, actual: e instanceof Error ? (e.message.split('\n')[0] ?? '') : String(e) },
]

const compileIn = (folder: string, name: string, source: string, arch: string): Checked<Compiled> => {
  const [from, to] = ['kernels.cu', 'kernels.cubin']
  writeFileSync(join(folder, from), source)
  const ran = spawnSync('nvcc', ['-cubin', ...commonOptions(arch), '-o', to, from], { cwd: folder, encoding: 'utf8' })
  const log = `${ran.stdout}${ran.stderr}`
  return ran.status === 0
    ? E.right({ cubin: new Uint8Array(readFileSync(join(folder, to))), log })
    : E.left(faultsOf(name, arch, log))
}

const compileWith =
  (name: string): CudaCompiler['compile'] =>
  (source, arch) =>
    E.flatten(
      E.tryCatch(
        () => {
          const folder = mkdtempSync(join(tmpdir(), 'scion-nvcc-'))
          try {
            return compileIn(folder, name, source, arch)
          } finally {
            rmSync(folder, { recursive: true, force: true })
          }
        },
        (e) => fault('kernels to be compiled', e),
      ),
    )

/** nvcc on PATH. Errors: none. */
export const openNvcc = (): Checked<CudaCompiler> =>
  E.tryCatch(
    () => {
      const said = execFileSync('nvcc', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      const name = `nvcc ${/release (\d+\.\d+)/.exec(said)?.[1] ?? ''}`.trim()
      return { name, compile: compileWith(name) }
    },
    (e) => fault('nvcc on PATH', e),
  )
