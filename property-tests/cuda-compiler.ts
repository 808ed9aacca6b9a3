/**
 * The CUDA compiler for tests. Where there is none the tests that need it are skipped with one visible line; in CI that
 * is a failure, for then a step of the set-up is missing.
 */
import * as E from 'fp-ts/lib/Either.js'
import { describe, expect, it } from 'vitest'
import { showFaults } from '../src/dsl/fault.ts'
import type { CudaCompiler } from '../src/codegen/runtime/cuda-compiler.ts'
import { findCudaCompiler } from '../src/codegen/runtime/find-cuda-compiler.ts'

const found = findCudaCompiler()
const isCi = (process.env['CI'] ?? '') !== ''

/** `describe` for what needs the compiler: it is handed to the body. */
export const describeCuda = (what: string, body: (compiler: CudaCompiler) => void): void => {
  if (E.isRight(found)) {
    describe(`${what} (${found.right.name})`, () => body(found.right))
    return
  }
  const reason = showFaults(found.left)
  if (!isCi) console.warn(`SKIPPED: no CUDA compiler, so not checked here: ${what} (${reason})`)
  describe(what, () => {
    it.skipIf(!isCi)('a CUDA compiler is there, as it must be in CI', () => expect(reason).toBe(''))
  })
}
