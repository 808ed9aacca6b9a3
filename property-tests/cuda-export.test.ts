/** Exported CUDA through the real compiler: every kernel of every adapter, on every architecture, as its manifest says. */
import * as E from 'fp-ts/lib/Either.js'
import { afterAll, expect, it } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registry } from '../src/adapters/registry.ts'
import { architectures } from '../src/codegen/runtime/cuda-compiler.ts'
import { readCubin } from '../src/codegen/runtime/cubin.ts'
import { showFaults } from '../src/dsl/fault.ts'
import { describeCuda } from './compilers.ts'
import { exported, manifestHolds } from './cli/exported.ts'

const folder = mkdtempSync(join(tmpdir(), 'scion-cuda-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** every size open, everywhere; and fixed as in a small model, where vector loads are proved, on one */
const fixed = ['--size', 'token=128', '--size', 'in=64']
const cases = registry.flatMap((a) => [
  [a.name, 'sizes open', [], architectures] as const,
  [a.name, 'sizes fixed', a.site === 'linear' ? [...fixed, '--size', 'out=96'] : fixed, ['sm_80']] as const,
])

const most = { registers: 0, shared: 0, kernels: 0 }

describeCuda('exported kernels', (compiler) => {
  it.each(cases)(
    '%s, %s: compiled without spills; parameters and shared memory as in the manifest',
    async (name, how, sizes, targets) => {
      const read = await exported(join(folder, `${name} ${how}`), name, '--target', 'cuda', ...sizes)
      manifestHolds(read)
      for (const arch of targets) {
        const compiled = compiler.compile(read.source, arch)
        if (E.isLeft(compiled)) throw new Error(showFaults(compiled.left))
        const cubin = readCubin(compiled.right.cubin)
        if (E.isLeft(cubin)) throw new Error(showFaults(cubin.left))
        const found = new Map(cubin.right.kernels.map((k) => [k.name, k]))
        expect([...found.keys()].sort()).toEqual(read.manifest.kernels.map((k) => k.name).sort())
        for (const k of read.manifest.kernels) {
          const { frame, shared, maxThreads, parameters, registers } = found.get(k.name)!
          const where = `${k.name} for ${arch}: ${k.fused.join(' ')}`
          expect([where, frame]).toEqual([where, 0])
          expect([where, shared, maxThreads]).toEqual([where, k.sharedStatic, k.block])
          expect([where, parameters.map((p) => [p.offset, p.size])]).toEqual([
            where,
            k.parameters.map((p) => [p.offset, p.size]),
          ])
          // so many registers that one block does not fit would be a launch that fails
          expect(registers * (k.block ?? 0)).toBeLessThanOrEqual(65536)
          most.registers = Math.max(most.registers, registers)
          most.shared = Math.max(most.shared, shared)
          most.kernels += 1
        }
      }
    },
  )
})

afterAll(() => {
  console.log(
    `exported CUDA: ${String(most.kernels)} kernels compiled, at most ${String(most.registers)} registers a thread and ${String(most.shared)} bytes of shared memory a block`,
  )
})
