/**
 * Installs NVIDIA's run-time compiler for the tests (`npm run cuda:compiler`): the wheel of the `nvidia-cuda-nvrtc`
 * package, by pip, into the user's cache folder; 90 MB, no GPU and no driver. Where pip can't, nvcc on PATH will do.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import * as E from 'fp-ts/lib/Either.js'
import { showFaults } from '../src/dsl/fault.ts'
import { openNvcc } from '../src/codegen/runtime/nvcc.ts'
import { installFolder, openNvrtc } from '../src/codegen/runtime/nvrtc.ts'

const wheel = 'nvidia-cuda-nvrtc==13.0.88'

/** Whole or not at all: into a folder beside it, then renamed. What pip said, where it failed. */
const install = (): string | undefined => {
  const target = installFolder()
  const fresh = `${target}.${String(process.pid)}`
  mkdirSync(dirname(target), { recursive: true })
  try {
    const quiet = ['--quiet', '--disable-pip-version-check', '--retries', '1']
    const args = ['-m', 'pip', 'install', ...quiet, '--no-deps', '--only-binary', ':all:', '--target', fresh, wheel]
    const ran = spawnSync('python3', args, { encoding: 'utf8' })
    if (ran.status !== 0) return ran.error?.message ?? ran.stderr.trim().split('\n').slice(-3).join('\n')
    rmSync(target, { recursive: true, force: true })
    renameSync(fresh, target)
    return undefined
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

const found = openNvrtc()
if (E.isRight(found)) console.log(`${found.right.name} is there`)
else {
  console.log(`pip installs ${wheel} into ${installFolder()}`)
  const failed = install()
  const now = openNvrtc()
  const nvcc = openNvcc()
  if (E.isRight(now)) console.log(`${now.right.name} is installed`)
  else if (E.isRight(nvcc)) console.log(`NVRTC is not installed (${failed ?? ''}); the tests take ${nvcc.right.name}`)
  else {
    console.error(`no CUDA compiler: ${failed ?? showFaults(now.left)}`)
    process.exitCode = 1
  }
}
