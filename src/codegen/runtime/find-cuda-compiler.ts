/** The CUDA compiler of this machine. */
import * as E from 'fp-ts/lib/Either.js'
import { concat } from 'fp-ts/lib/NonEmptyArray.js'
import type { Checked } from '../../dsl/fault.ts'
import type { CudaCompiler } from './cuda-compiler.ts'
import { openNvcc } from './nvcc.ts'
import { openNvrtc } from './nvrtc.ts'

let known: Checked<CudaCompiler> | undefined

const search = (): Checked<CudaCompiler> => {
  const nvrtc = openNvrtc()
  // a library that was named and does not load is an answer, not a reason to take another compiler
  if (E.isRight(nvrtc) || process.env['SCION_LIBNVRTC'] !== undefined) return nvrtc
  const nvcc = openNvcc()
  return E.isRight(nvcc) ? nvcc : E.left(concat(nvcc.left)(nvrtc.left))
}

/** NVRTC, else nvcc on PATH; looked for once. Errors: neither, with both reasons. */
export const findCudaCompiler = (): Checked<CudaCompiler> => (known ??= search())
