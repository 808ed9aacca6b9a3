/**
 * A whole program -> one C source: a static function for every distinct kernel, and one entry that calls
 * the launches in order. Inputs, constants and outputs are three blocks; what lies between is in an arena.
 *
 *     void scion_step(const float *inputs, const float *constants, float *outputs, float *arena)
 */
import { aligned, placeInArena, type Life } from '../arena.ts'
import { keyOfKernel, type Kernel } from '../kernel.ts'
import { shapeOf } from '../layout.ts'
import { printKernelC, type PrintedC } from './c/kernel.ts'
import { prelude } from './c/prelude.ts'

// ---------------------------------------------------------------------------------------- model

/** where a launch finds a parameter */
export type Origin =
  | { readonly from: 'input'; readonly index: number }
  | { readonly from: 'constant'; readonly index: number }
  | { readonly from: 'launch'; readonly index: number }

export interface Sequence {
  readonly launches: ReadonlyArray<{ readonly kernel: Kernel; readonly args: ReadonlyArray<Origin> }>
  /** shapes of what comes from outside */
  readonly inputs: ReadonlyArray<ReadonlyArray<number>>
  readonly constants: ReadonlyArray<ReadonlyArray<number>>
  /** launches whose results are wanted */
  readonly results: ReadonlyArray<number>
}

/** consecutive buffers in one block, each on its own cache lines */
export interface Block {
  readonly offsets: ReadonlyArray<number>
  readonly sizes: ReadonlyArray<number>
  readonly size: number
}

export interface ProgramC {
  readonly source: string
  readonly inputs: Block
  readonly constants: Block
  readonly outputs: Block
  /** floats, scratch of the kernels included */
  readonly arena: number
  /** temporaries and where they lie, for those who check */
  readonly lives: ReadonlyArray<Life>
  readonly places: ReadonlyArray<number>
  readonly kernels: number
}

// --------------------------------------------------------------------------------- constructors

const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((a, b) => a * b, 1)

const blockOf = (sizes: ReadonlyArray<number>): Block => {
  const offsets: number[] = []
  const size = sizes.reduce((at, n) => (offsets.push(at), at + aligned(n)), 0)
  return { offsets, sizes, size }
}

/** Temporaries with the launches they live through. */
export const livesOf = ({
  launches,
  results,
}: Sequence): { readonly of: ReadonlyArray<number>; readonly lives: ReadonlyArray<Life> } => {
  const last = launches.map((_, i) => i)
  launches.forEach((l, i) => l.args.forEach((a) => (a.from === 'launch' ? (last[a.index] = i) : undefined)))
  const of = launches.flatMap((_, i) => (results.includes(i) ? [] : [i]))
  return {
    of,
    lives: of.map((i) => ({ size: sizeOf(shapeOf(launches[i]!.kernel.outputs[0]!)), from: i, to: last[i]! })),
  }
}

export const printC = (s: Sequence, widest: number): ProgramC => {
  const functions = new Map<string, string>()
  /** equal kernels are printed once */
  const byText = new Map<string, PrintedC>()
  const printed = s.launches.map(({ kernel }) => {
    const text = keyOfKernel(kernel)
    const made = byText.get(text) ?? printKernelC(kernel, widest)
    byText.set(text, made)
    return made
  })
  const inputs = blockOf(s.inputs.map(sizeOf))
  const constants = blockOf(s.constants.map(sizeOf))
  const outputs = blockOf(s.results.map((r) => sizeOf(shapeOf(s.launches[r]!.kernel.outputs[0]!))))
  const { of, lives } = livesOf(s)
  const { offsets, size } = placeInArena(lives)
  const ofLaunch = (i: number): string => {
    const result = s.results.indexOf(i)
    return result >= 0 ? `outputs + ${String(outputs.offsets[result]!)}` : `arena + ${String(offsets[of.indexOf(i)]!)}`
  }
  const find = (o: Origin): string =>
    o.from === 'input'
      ? `inputs + ${String(inputs.offsets[o.index]!)}`
      : o.from === 'constant'
        ? `constants + ${String(constants.offsets[o.index]!)}`
        : ofLaunch(o.index)
  const calls = s.launches.map((l, i) => {
    const { body, parameters } = printed[i]!
    const key = `${parameters.map((p) => `const float *RESTRICT ${p}, `).join('')}float *RESTRICT out, float *RESTRICT scratch) {\n${body}\n}`
    const name = functions.get(key) ?? `kernel_${String(functions.size)}`
    functions.set(key, name)
    return `  ${name}(${[...l.args.map(find), ofLaunch(i), `arena + ${String(size)}`].join(', ')});`
  })
  const source = [
    prelude,
    ...[...functions].map(([key, name]) => `static __attribute__((noinline)) void ${name}(${key}\n`),
    'void scion_step(const float *inputs, const float *constants, float *outputs, float *arena) {',
    ...calls,
    '}',
    '',
  ].join('\n')
  const scratch = printed.reduce((n, p) => Math.max(n, p.scratch), 0)
  return {
    source,
    inputs,
    constants,
    outputs,
    arena: size + aligned(scratch),
    lives,
    places: offsets,
    kernels: functions.size,
  }
}
