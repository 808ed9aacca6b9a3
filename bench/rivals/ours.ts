/** Scion's side of the bench: the public way from a program to an executable, and nothing else. */
import { pipe } from 'fp-ts/lib/function.js'
import * as E from 'fp-ts/lib/Either.js'
import { linearHost, type Adapter, type Config, type Params } from '../../src/adapters/adapter.ts'
import { adapterNamed } from '../../src/adapters/registry.ts'
import { vjpProgram } from '../../src/autodiff/vjp.ts'
import { compileNow, type Executable, type TargetName } from '../../src/codegen/index.ts'
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import { layOut } from '../../src/dsl/value.ts'
import { causalAttention, rmsNorm } from '../../src/models/layers.ts'
import { orFail, stepConfig, stepOf, stepRecipe, type Case } from '../case.ts'
import type { Prepared, Tensors } from './serve.ts'

// ------------------------------------------------------------------------------------- formulations

/** the case's tensors as inputs of a program; the caller names their axes */
const inputsOf =
  (c: Case) =>
  <A extends string>(name: string): L.Tensor<A> => {
    const found = c.tensors.find((t) => t.name === name)
    if (found === undefined) throw new Error(`${c.name} has no tensor ${name}`)
    const dims = found.axes.map((axis, i) => ({ name: axis, size: dim(found.shape[i] ?? 0) }))
    return L.wrap(kit.input(name, dims, 'f32'))
  }

/** an adapter around a frozen linear layer */
const onLinear =
  (name: string, config: (n: Case['numbers']) => Config) =>
  (c: Case): L.AnyTensor => {
    const adapter: Adapter = orFail(adapterNamed(name))
    const take = inputsOf(c)
    const W = take<'out' | 'in'>('W')
    const settings = config(c.numbers)
    const sizes = { in: L.sizeOf(W, 'in'), out: L.sizeOf(W, 'out') }
    const params: Params = Object.fromEntries(
      Object.keys(adapter.params(settings, sizes)).map((p) => [p, take<string>(p)]),
    )
    return adapter.apply(settings)(params, take<'token' | 'in'>('x'), linearHost(W), {})
  }

/** LLaMA-Adapter with the prompts' keys and values given: what its projections would have answered */
const onAttention = (c: Case): L.AnyTensor => {
  const take = inputsOf(c)
  const adapter = orFail(adapterNamed('llama-adapter'))
  const length = c.numbers['prompts'] ?? 0
  return adapter.apply({ length, layers: 0, gate: 'tanh', f16Gate: false })(
    { prompt: L.input('prompt', { prompt: length, in: 1 }), gate: take<'kv' | 'group'>('gate') },
    { q: take('q'), k: take('k'), v: take('v') },
    {
      projectKey: () => take<'token' | 'kv' | 'h'>('ak'),
      projectValue: () => take<'token' | 'kv' | 'h'>('av'),
      call: causalAttention(c.numbers['headDim'] ?? 0),
    },
    {},
  )
}

const formulations: Readonly<Record<Exclude<Case['kind'], 'step'>, (c: Case) => L.AnyTensor>> = {
  contraction: (c) => {
    const take = inputsOf(c)
    return pipe(take<'token' | 'in'>('x'), L.dot(take<'in' | 'out'>('W'), 'in'))
  },
  lora: onLinear('lora', ({ r = 8, s = 2 }) => ({ rank: r, alpha: s * r, rslora: false })),
  hra: onLinear('hra', ({ r = 8 }) => ({ rank: r, orthogonality: 0 })),
  oft: onLinear('oft', ({ b = 32 }) => ({ block: b, blockShare: false })),
  attention: onAttention,
  silu: (c) => pipe(inputsOf(c)<'token' | 'in'>('a'), L.silu, L.mul(inputsOf(c)<'token' | 'in'>('b'))),
  softmax: (c) => pipe(inputsOf(c)<'token' | 'in'>('a'), L.softmax('in')),
  rmsnorm: (c) => {
    const take = inputsOf(c)
    return rmsNorm(take<'in'>('gain'), 1e-5)(take<'token' | 'in'>('a'))
  },
}

/** the case's programs, by form */
export const programsOf = (c: Case): Readonly<Partial<Record<Case['forms'][number], L.Program>>> => {
  if (c.kind === 'step') {
    const { vocab = 0, layers = 0, dim: width, rows, length } = c.numbers
    const config = { ...stepConfig(vocab, layers), ...sizesOf(c, width) }
    return { step: stepOf(config, stepRecipe(rows, length)).program }
  }
  const forward = orFail(L.program(c.name, { y: formulations[c.kind](c) }))
  return { forward, ...(c.wrt.length === 0 ? {} : { both: inCaseLayout(c, orFail(vjpProgram(forward, c.wrt))) }) }
}

/** Results in the layout that the case promises: a sum has the axes of its first term, in their order. */
const inCaseLayout = (c: Case, p: L.Program): L.Program => ({
  ...p,
  outputs: p.outputs.map(({ name, node }) => {
    const wanted = (c.results[name] ?? []).flatMap((a) => node.type.dims.find((d) => d.name === a) ?? [])
    const asIs = wanted.every((d, i) => d === node.type.dims[i])
    return { name, node: asIs ? node : kit.map('add', kit.broadcast(kit.scalar(0), wanted), node) }
  }),
})

const sizesOf = ({ numbers: n }: Case, width = 0) => ({
  ...{ dim: width, hidden: n['hidden'] ?? 0, heads: n['heads'] ?? 0, kvHeads: n['kvHeads'] ?? 0 },
  ...{ headDim: n['headDim'] ?? 0, normEps: n['eps'] ?? 0, ropeTheta: n['theta'] ?? 0 },
})

// --------------------------------------------------------------------------------------- running

/** what changes from run to run */
export const inputsFor = (c: Case, program: L.Program, tensors: Tensors): Tensors =>
  Object.fromEntries(
    program.inputs.flatMap(({ name }) =>
      c.frozen.includes(name) || tensors[name] === undefined ? [] : [[name, tensors[name]]],
    ),
  )

export const frozenValues = (c: Case, tensors: Tensors): Readonly<Record<string, L.Value>> =>
  Object.fromEntries(
    c.tensors
      .filter((t) => c.frozen.includes(t.name))
      .map((t) => [
        t.name,
        {
          dims: t.axes.map((name, i) => ({ name, size: t.shape[i] ?? 0 })),
          data: Float64Array.from(tensors[t.name] ?? []),
        },
      ]),
  )

/** a result in the layout that the case promises */
const inLayout = (p: L.Program, name: string, axes: ReadonlyArray<string>, data: Float32Array): Float32Array => {
  const dims = (p.outputs.find((o) => o.name === name)?.node.type.dims ?? []).map((d) => ({
    name: d.name,
    size: Number(d.size.key),
  }))
  const wanted = axes.map((a) => {
    const found = dims.find((d) => d.name === a)
    if (found === undefined) throw new Error(`${name} has axes ${dims.map((d) => d.name).join(', ')}, not ${a}`)
    return found
  })
  return Float32Array.from(layOut({ dims, data: Float64Array.from(data) }, wanted).data)
}

/** A case compiled for a target: every form, and its results in the case's layout. */
export const prepareOurs =
  (target: TargetName) =>
  (c: Case, tensors: Tensors): Prepared => {
    const programs = programsOf(c)
    const made: Executable[] = []
    const compiled = c.forms.flatMap((form) => {
      const program = programs[form]
      if (program === undefined) return []
      const executable = orFail(compileNow(program, { target, frozen: frozenValues(c, tensors) }))
      made.push(executable)
      const inputs = inputsFor(c, program, tensors)
      // as a training loop calls it: results go where the last ones were
      let into: Readonly<Record<string, Float32Array>> | undefined
      const call = (): Readonly<Record<string, Float32Array>> => {
        const ran = executable.runNow(inputs, into)
        if (E.isLeft(ran)) throw new Error(L.showFaults(ran.left))
        into = ran.right
        return into
      }
      return [{ form, program, call }]
    })
    return {
      forms: Object.fromEntries(compiled.map(({ form, call }) => [form, call])),
      results: () => {
        const last = compiled.at(-1)
        if (last === undefined) throw new Error(`${c.name}: nothing to run`)
        const out = last.call()
        return Object.fromEntries(
          Object.entries(c.results).map(([name, axes]) => {
            const data = out[name]
            if (data === undefined) throw new Error(`no result ${name}`)
            return [name, inLayout(last.program, name, axes, data)]
          }),
        )
      },
      dispose: () => made.forEach((e) => e.dispose()),
    }
  }
