/**
 * Compilers for tests. Where there is none the tests that need it are skipped with one visible line; in CI that is a
 * failure, for then a step of the set-up is missing.
 */
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, it } from 'vitest'
import { findCompiler, type Compiler } from '../src/codegen/runtime/c.ts'
import type { CudaCompiler } from '../src/codegen/runtime/cuda-compiler.ts'
import { findCudaCompiler } from '../src/codegen/runtime/find-cuda-compiler.ts'
import { showFaults, type Checked } from '../src/dsl/fault.ts'

const isCi = (process.env['CI'] ?? '') !== ''

const describeWith =
  <C>(language: string, found: Checked<C>, nameOf: (c: C) => string) =>
  (what: string, body: (compiler: C) => void): void => {
    if (E.isRight(found)) {
      describe(`${what} (${nameOf(found.right)})`, () => body(found.right))
      return
    }
    const reason = showFaults(found.left)
    if (!isCi) console.warn(`SKIPPED: no ${language} compiler, so not checked here: ${what} (${reason})`)
    describe(what, () => {
      it.skipIf(!isCi)(`a ${language} compiler is there, as it must be in CI`, () => expect(reason).toBe(''))
    })
  }

const c = findCompiler()

export const hasCompiler = E.isRight(c)

/** `describe` for what needs the C compiler. */
export const describeC: (what: string, body: (compiler: Compiler) => void) => void = describeWith(
  'C',
  c,
  ({ command }) => command,
)

/** `describe` for what needs the CUDA compiler: it is handed to the body. */
export const describeCuda: (what: string, body: (compiler: CudaCompiler) => void) => void = describeWith(
  'CUDA',
  findCudaCompiler(),
  ({ name }) => name,
)
