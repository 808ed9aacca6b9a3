/** A program with its gradient as one JavaScript module for gpu.js: kernels as functions, wired by the manifest's tables. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { Sizes } from '../../dsl/dim.ts'
import type { Checked } from '../../dsl/fault.ts'
import type { Program } from '../../dsl/program.ts'
import { stages, type Stages } from '../pipeline.ts'
import type { Launch } from '../gather/plan.ts'
import type { Printed } from '../print/gpujs.ts'
import { constantsOf, planHalves, simplifyInOrder, type Planner } from './plan-halves.ts'
import type { KernelEntry } from './manifest.ts'
import type { Exported, Header } from './exported.ts'
import { sequenceOf, showSize, type Planned } from './sequence.ts'

// ---------------------------------------------------------------------------------------- model

interface Entry {
  readonly entry: KernelEntry
  readonly printed: Printed
}

// ------------------------------------------------------------------------------------- planning

const planner = (sizes: Sizes): Planner<Stages> => ({
  plan: (p) => stages(p, sizes, simplifyInOrder),
  launched: ({ split, clusters }) => ({
    program: split.device,
    stored: new Set(clusters.roots.keys()),
    split,
  }),
})

// ------------------------------------------------------------------------------------- kernels

const IDENTIFIER = /[^A-Za-z0-9_]+/g

/** distinct kernels of several plans, each with a name */
const kernelsOf = (plans: ReadonlyArray<Stages>): ReadonlyMap<string, Entry> => {
  const kernels = new Map<string, Entry>()
  for (const l of plans.flatMap((s) => s.plan.launches)) {
    const key = keyOf(l)
    if (kernels.has(key)) continue
    const telling = l.ops.filter((o) => !['rename', 'broadcast', 'reshape', 'slice', 'iota'].includes(o))
    const name = ['k', String(kernels.size), ...new Set(telling.slice(0, 3))].join('_').replace(IDENTIFIER, '_')
    kernels.set(key, { printed: l.printed, entry: entryOf(name, l) })
  }
  return kernels
}

const keyOf = ({ printed }: Launch): string => `${printed.output.join('x')} ${printed.source}`

const entryOf = (name: string, { kernel, ops, reason }: Launch): KernelEntry => ({
  name,
  fused: ops,
  boundary: reason,
  parameters: [
    ...kernel.params.map((b) => ({ b, access: 'read' as const })),
    ...kernel.outputs.map((b) => ({ b, access: 'write' as const })),
  ].map(({ b, access }) => ({ name: b.name, kind: 'pointer', dtype: 'f32', access, shape: b.shape.map(showSize) })),
})

// ------------------------------------------------------------------------------------- printing

const comment = ({ entry }: Entry): string =>
  `// ${entry.fused.join(' ')}; ${entry.boundary}`.replace(/[\r\n\u2028\u2029]+/g, ' ')

const kernelText = (k: Entry): string => {
  const { output, loopMaxIterations, source } = k.printed
  const body = source.replace(/^function\s*\(/, `function ${k.entry.name}(`)
  return `${comment(k)}\nconst ${k.entry.name} = {\n  output: [${output.join(', ')}],\n  loopMaxIterations: ${String(loopMaxIterations)},\n  source: ${body.replace(/\n/g, '\n  ')},\n}`
}

/** one part of the wiring as a literal: names are strings, never code */
const literal = (value: unknown): string => JSON.stringify(value, null, 2)

const runner = `const volume = (shape) => shape.reduce((n, s) => n * s, 1)
const flat = (x) => (x instanceof Float32Array ? x : Float32Array.from(x.flatMap((y) => [...flat(y)])))

/**
 * Compiles the kernels. Both functions take a record of row-major Float32Arrays by tensor name, and answer with one;
 * \`backward\` takes what \`forward\` took and answered, and \`ct.<output>\` for each output.
 */
export const open = (mode = 'webasm') => {
  const gpu = new GPU({ mode })
  const compiled = Object.fromEntries(
    Object.entries(kernels).map(([name, { source, output, loopMaxIterations }]) => [
      name,
      gpu.createKernel(source, { output, precision: 'single', loopMaxIterations }),
    ]),
  )
  const run = (sequence) => (given) => {
    const made = {}
    for (const { name, values } of sequence.constants) made[name] = Float32Array.from(values)
    for (const { name, shape } of sequence.inputs) {
      const data = given[name]
      if (!(data instanceof Float32Array) || data.length !== volume(shape))
        throw new TypeError(\`\${name}: expected a Float32Array of \${volume(shape)} numbers\`)
      made[name] = data
    }
    for (const { kernel, inputs, result } of sequence.launches)
      made[result] = flat(compiled[kernel](...inputs.map(({ name, extents }) => new Input(made[name], extents))))
    return Object.fromEntries(sequence.outputs.map(({ name, from = name }) => [name, made[from]]))
  }
  return { forward: run(forward), backward: run(backward), destroy: () => gpu.destroy() }
}
`

// ------------------------------------------------------------------------------------- the export

/** The module and what its manifest says of it. All sizes must be numbers. */
export const exportGpuJs = (joint: Program, sizes: Sizes, header: Header): Checked<Exported> =>
  pipe(
    planHalves(planner(sizes), joint),
    E.map(({ forward, backward, saved, constants }) => {
      const kernels = kernelsOf([forward, backward])
      const sequences = [forward, backward].map((s) => {
        const own: Planned = {
          program: s.split.device,
          launches: s.plan.launches.map((l) => ({
            kernel: kernels.get(keyOf(l))!.entry.name,
            args: l.args,
            results: [l.root],
            sizes: [],
          })),
          constants: constantsOf(constants, s.split),
          originOf: (n) => n,
        }
        const entry = sequenceOf(own)
        const wiring = {
          inputs: entry.inputs.map((i) => ({ name: i.name, shape: i.shape.map(Number) })),
          constants: entry.constants.map((c) => ({ name: c.name, values: c.values })),
          outputs: entry.outputs.map((o) => ({ name: o.name, ...(o.from === undefined ? {} : { from: o.from }) })),
          launches: entry.launches.map((l, i) => ({
            kernel: l.kernel,
            inputs: s.plan.launches[i]!.args.map((a, k) => ({
              name: l.arguments[k],
              extents: [...s.plan.shapeOf(a)].reverse(),
            })),
            result: l.arguments.at(-1),
          })),
        }
        return { entry, wiring }
      })
      const entries = [...kernels.values()]
      const source = [
        header('//'),
        "import { GPU, Input } from 'gpu.js'",
        ...entries.map(kernelText),
        `const kernels = { ${entries.map((k) => k.entry.name).join(', ')} }`,
        `const forward = ${literal(sequences[0]!.wiring)}`,
        `const backward = ${literal(sequences[1]!.wiring)}`,
        runner,
      ].join('\n\n')
      return {
        source,
        extension: 'js',
        kernels: entries.map((k) => k.entry),
        forward: sequences[0]!.entry,
        backward: sequences[1]!.entry,
        saved: saved.map((s) => s.name),
        symbols: [],
        compile: { with: 'gpu.js', options: ["precision: 'single'"], architectures: [] },
        requirements: ['sizes are fixed', 'tensors are row-major and contiguous'],
      } satisfies Exported
    }),
  )
