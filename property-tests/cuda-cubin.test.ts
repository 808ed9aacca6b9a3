/** The reader of machine code against what the compiler itself reports, and on files that are broken. */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { showFaults } from '../src/dsl/fault.ts'
import { architectures } from '../src/codegen/runtime/cuda-compiler.ts'
import { readCubin, type CubinKernel } from '../src/codegen/runtime/cubin.ts'
import { openNvrtc } from '../src/codegen/runtime/nvrtc.ts'
import { describeCuda } from './compilers.ts'

const source = `
extern "C" __global__ void __launch_bounds__(128) axpy(const float *x, float *y, float a, int n) {
  int i = blockIdx.x * 128 + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}
extern "C" __global__ void __launch_bounds__(256) tile(const float *a, const float *b, float *c, int n) {
  __shared__ float s[16][16], t[16][16];
  int row = blockIdx.y * 16 + threadIdx.y, col = blockIdx.x * 16 + threadIdx.x;
  float acc = 0;
  for (int k = 0; k < n; k += 16) {
    s[threadIdx.y][threadIdx.x] = a[row * n + k + threadIdx.x];
    t[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + col];
    __syncthreads();
    for (int j = 0; j < 16; j++) acc += s[threadIdx.y][j] * t[j][threadIdx.x];
    __syncthreads();
  }
  c[row * n + col] = acc;
}
extern "C" __global__ void __launch_bounds__(64) dynamic(float *y, int n) {
  extern __shared__ float d[];
  __shared__ float own[3];
  if (threadIdx.x < 3) own[threadIdx.x] = y[threadIdx.x];
  d[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = d[n - 1 - threadIdx.x] + own[n % 3];
}
extern "C" __global__ void __launch_bounds__(1024) spiller(const float *x, float *y) {
  float v[96];
#pragma unroll
  for (int i = 0; i < 96; i++) v[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
  float a = 0;
#pragma unroll
  for (int i = 0; i < 96; i++) a += v[i] * v[95 - i] + a * v[(i * 7) % 96];
  y[threadIdx.x] = a;
}
__device__ __noinline__ float helper(float x, int n) {
  for (int i = 0; i < n; i++) x = x * x + 1.0f;
  return x;
}
extern "C" __global__ void caller(float *y, const short *s, char c, double d, int n) {
  y[threadIdx.x] = helper(y[threadIdx.x], n) + s[0] + c + (float)d;
}`

/** What ptxas says of each kernel. */
const reported = (log: string): ReadonlyMap<string, { registers: number; frame: number; shared: number }> =>
  new Map(
    log
      .split('Compiling entry function')
      .slice(1)
      .map((text) => {
        const n = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)
        const facts = {
          registers: n(/Used (\d+) registers/),
          frame: n(/(\d+) bytes stack frame/),
          shared: n(/(\d+) bytes smem/),
        }
        return [/'([^']+)'/.exec(text)?.[1] ?? '', facts]
      }),
  )

const layout = (k: CubinKernel | undefined): ReadonlyArray<readonly [number, number]> =>
  k?.parameters.map((p) => [p.offset, p.size] as const) ?? []

describeCuda('cubins', (compiler) => {
  const compiled = (arch: string): { readonly cubin: Uint8Array; readonly log: string } => {
    const made = compiler.compile(source, arch)
    if (E.isLeft(made)) throw new Error(showFaults(made.left))
    return made.right
  }

  it.each(architectures)('%s: registers, stack and shared memory are those that ptxas reports', (arch) => {
    const { cubin, log } = compiled(arch)
    const read = readCubin(cubin)
    if (E.isLeft(read)) throw new Error(showFaults(read.left))
    expect(`sm_${String(read.right.arch)}`).toBe(arch)
    const said = reported(log)
    expect(read.right.kernels.map((k) => k.name).sort()).toEqual(['axpy', 'caller', 'dynamic', 'spiller', 'tile'])
    for (const { name, registers, frame, shared } of read.right.kernels)
      expect([name, { registers, frame, shared }]).toEqual([name, said.get(name)])
    const by = new Map(read.right.kernels.map((k) => [k.name, k]))
    expect(by.get('spiller')?.frame).toBeGreaterThan(0)
    expect([by.get('axpy')?.frame, by.get('tile')?.frame, by.get('tile')?.shared]).toEqual([0, 0, 2048])
    expect(by.get('axpy')?.maxThreads).toBe(128)
    expect(by.get('caller')?.maxThreads).toBe(0)
    expect(layout(by.get('axpy'))).toEqual([
      [0, 8],
      [8, 8],
      [16, 4],
      [20, 4],
    ])
    expect(layout(by.get('caller'))).toEqual([
      [0, 8],
      [8, 8],
      [16, 1],
      [24, 8],
      [32, 4],
    ])
    expect(by.get('caller')?.parameterBytes).toBe(36)
    for (const k of read.right.kernels) expect(k.code).toBeGreaterThan(0)
  })

  it('a source with errors is one fault a message, with its line', () => {
    const bad = 'extern "C" __global__ void k(float *y) {\n  y[0] = nowhere;\n  float q = ;\n}'
    const made = compiler.compile(bad, 'sm_80')
    expect(E.isLeft(made) ? made.left.map((f) => [f.actual, f.site]) : made.right.log).toEqual([
      ['identifier "nowhere" is undefined', 'kernels.cu:2'],
      ['expected an expression', 'kernels.cu:3'],
    ])
    for (const arch of ['sm_1', 'compute_80'])
      expect(compiler.compile('__global__ void k() {}', arch)._tag).toBe('Left')
  })

  it('a library that is named and does not load is a fault, not a reason to take another', () => {
    const before = process.env['SCION_LIBNVRTC']
    try {
      process.env['SCION_LIBNVRTC'] = '/nowhere/libnvrtc.so'
      const opened = openNvrtc()
      expect(E.isLeft(opened) ? opened.left[0].actual : opened.right.name).toContain('/nowhere/libnvrtc.so')
    } finally {
      if (before === undefined) delete process.env['SCION_LIBNVRTC']
      else process.env['SCION_LIBNVRTC'] = before
    }
  })

  const whole = compiled('sm_90').cubin

  it('cut short anywhere: a fault', () => {
    // the section headers come last but for the program headers, which are not read
    const end = Number(new DataView(whole.buffer, whole.byteOffset).getBigUint64(40, true))
    fc.assert(
      fc.property(fc.integer({ min: 0, max: end }), (length) => {
        expect(readCubin(whole.slice(0, length))._tag).toBe('Left')
      }),
    )
  })

  it('bytes changed anywhere: kernels or a fault, never an exception', () => {
    let faults = 0
    const near = fc.oneof(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 0, max: whole.length - 1 }))
    const changes = fc.array(fc.tuple(near, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(changes, (edits) => {
        const bytes = whole.slice()
        for (const [at, value] of edits) bytes[at] = value
        const read = readCubin(bytes)
        if (E.isRight(read)) return
        faults++
        expect(read.left.every((f) => f.at.startsWith('cubin') && f.expected !== '')).toBe(true)
      }),
      { numRuns: 500 },
    )
    expect(faults).toBeGreaterThan(50)
  })

  it('every length in the headers and records that is too large is found', () => {
    const view = new DataView(whole.buffer, whole.byteOffset)
    const table = Number(view.getBigUint64(40, true))
    const count = view.getUint16(60, true)
    // sections with bytes that are read: names, symbols, facts
    const read = Array.from({ length: count }, (_, i) => table + 64 * i).filter((at) =>
      [2, 3, 0x70000000].includes(view.getUint32(at + 4, true)),
    )
    expect(read.length).toBeGreaterThan(5)
    for (const at of read)
      for (const [field, value] of [
        [24, 0xffffffffn],
        [32, 0xffffffffffn],
        [32, 0xffffffffffffffffn],
      ] as const) {
        const bytes = whole.slice()
        new DataView(bytes.buffer).setBigUint64(at + field, value, true)
        expect([at, field, readCubin(bytes)._tag]).toEqual([at, field, 'Left'])
      }
  })

  it.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('.version 9.0\n.target sm_80\n'.repeat(9))],
    ['zeros', new Uint8Array(4096)],
  ])('%s is no cubin', (_, bytes) => {
    expect(readCubin(bytes)._tag).toBe('Left')
  })
})
