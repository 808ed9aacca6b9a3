/** Kernels for CUDA without a GPU: run by the kernel interpreter, judged under the oracle's bound, built by the compiler. */
import * as E from 'fp-ts/lib/Either.js'
import { simplify } from '../src/autodiff/simplify.ts'
import type { Group } from '../src/codegen/fuse/group.ts'
import type { Kernel } from '../src/codegen/kernel/kernel.ts'
import { runKernel, showReport } from '../src/codegen/kernel/interpret.ts'
import { blockStages } from '../src/codegen/pipeline.ts'
import { recipesCuda, type Recipe } from '../src/codegen/recipes/cuda/index.ts'
import { kit } from '../src/dsl/build.ts'
import { dim, evalDim, type Sizes } from '../src/dsl/dim.ts'
import type { Checked } from '../src/dsl/fault.ts'
import { roundToDType } from '../src/dsl/dtype.ts'
import { evaluate, evaluateBounded, type Values } from '../src/dsl/interpret.ts'
import { topological, type Node } from '../src/dsl/node.ts'
import { bindSizes, substitute, type Program } from '../src/dsl/program.ts'
import type { Value } from '../src/dsl/value.ts'
import { diceOf } from './codegen-graphs.ts'

// ---------------------------------------------------------------------------------------- model

/** One kernel with the numbers it is to be judged on. */
export interface Case {
  readonly recipe: Recipe
  readonly groups: ReadonlyArray<Group>
  readonly inputs: ReadonlyArray<Float64Array>
  /** by result: value and bound */
  readonly wanted: ReadonlyArray<{ readonly value: Float64Array; readonly bound: Float64Array }>
}

export interface Verdict {
  /** the largest |got - value| / bound */
  readonly worst: number
  readonly isVacuous: boolean
  readonly reports: ReadonlyArray<string>
}

export const get = <A>(c: Checked<A>): A => {
  if (E.isLeft(c)) throw new Error(JSON.stringify(c.left))
  return c.right
}

// --------------------------------------------------------------------------------- constructors

/** Numbers for a program's inputs: f32, whole where the dtype is. */
export const inputsFor = (p: Program, sizes: Sizes, seed: number, ids = 4, scale = 1): Values => {
  const d = diceOf(seed)
  return Object.fromEntries(
    p.inputs.map(({ name, node }) => {
      const dims = node.type.dims.map((a) => {
        const size = evalDim(a.size, sizes)
        return { name: a.name, size: E.isRight(size) ? size.right : 0 }
      })
      const length = dims.reduce((s, a) => s * a.size, 1)
      const isPositive = name.startsWith('v.')
      const one = (): number =>
        node.type.dtype === 'i32'
          ? d.int(0, ids - 1)
          : node.type.dtype === 'u32'
            ? d.int(0, 2 ** 31)
            : roundToDType[node.type.dtype](Math.fround(scale * (isPositive ? d.real() : 2 * d.real() - 1)))
      return [name, { dims, data: Float64Array.from({ length }, one) }]
    }),
  )
}

const bound = (p: Program, sizes: Sizes): Program =>
  bindSizes(p, Object.fromEntries(Object.entries(sizes).map(([k, n]) => [k, dim(n)])))

/** a group's results as functions of what the kernel reads */
const partOf = ({ args, results }: Recipe): Program => {
  const inputs = args.map((a, i) => ({
    name: `in${String(i)}`,
    node: kit.input(`in${String(i)}`, a.type.dims, a.type.dtype),
  }))
  const nodes = substitute(results, new Map(args.map((a, i) => [a, inputs[i]!.node])))
  return { name: 'part', inputs, outputs: nodes.map((node, i) => ({ name: `y${String(i)}`, node })) }
}

/** The kernels of a program, in order of their launches. */
export const kernelsOf = (program: Program, sizes: Sizes): ReadonlyArray<Kernel> =>
  get(blockStages(program, 'cuda', sizes, simplify)).fused.launches.flatMap((groups) =>
    get(recipesCuda(groups)).map((r) => r.kernel),
  )

/** A case for every kernel of the program, at these inputs and sizes. */
export const casesOf = (program: Program, sizes: Sizes, inputs: Values): ReadonlyArray<Case> => {
  const { split, fused } = get(blockStages(program, 'cuda', sizes, simplify))
  const recipes = fused.launches.flatMap((groups) => get(recipesCuda(groups)).map((recipe) => ({ recipe, groups })))
  const wanted = [...new Set(recipes.flatMap((r) => r.recipe.args))]
  const whole: Program = {
    ...split.device,
    inputs: topological(wanted).flatMap((n) => (n.op === 'input' ? [{ name: n.attrs.name, node: n }] : [])),
    outputs: wanted.map((node, i) => ({ name: String(i), node })),
  }
  const drawn = split.random.outputs.length === 0 ? {} : get(evaluate(bound(split.random, sizes), inputs)).outputs
  const { outputs } = get(evaluate(bound(whole, sizes), { ...inputs, ...split.constants, ...drawn }))
  const rounded = new Map<Node, Value>(
    wanted.map((n, i) => {
      const v = outputs[String(i)]!
      return [n, { dims: v.dims, data: Float64Array.from(Float32Array.from(v.data), roundToDType[n.type.dtype]) }]
    }),
  )
  return recipes.map(({ recipe, groups }) => {
    const given = Object.fromEntries(recipe.args.map((a, i) => [`in${String(i)}`, rounded.get(a)!]))
    const judged = get(evaluateBounded(bound(partOf(recipe), sizes), given)).outputs
    return {
      recipe,
      groups,
      inputs: recipe.args.map((a) => rounded.get(a)!.data),
      wanted: recipe.results.map((_, i) => {
        const { value, bound: b } = judged[`y${String(i)}`]!
        return { value: value.data, bound: b }
      }),
    }
  })
}

// --------------------------------------------------------------------------------- interpreters

const TEETH = 1e-3

/** The kernel by its interpreter, against the oracle. */
export const judge = ({ recipe, inputs, wanted }: Case, sizes: Sizes): Verdict => {
  const { outputs, reports } = runKernel(recipe.kernel, inputs, sizes)
  let [worst, isVacuous] = [0, false]
  wanted.forEach(({ value, bound: b }, r) => {
    let [scale, widest] = [0, 0]
    value.forEach((v, i) => {
      const got = outputs[r]![i]!
      scale = Math.max(scale, Math.abs(v))
      widest = Math.max(widest, b[i]!)
      const error = Math.abs(got - v)
      const isSame = Object.is(got, v) || error === 0 || (Number.isNaN(v) && Number.isNaN(got))
      worst = Math.max(worst, isSame ? 0 : b[i] === 0 || Number.isNaN(error) ? Infinity : error / b[i]!)
    })
    if (outputs[r]!.length !== value.length) worst = Infinity
    if (widest > TEETH * scale && widest > 2 ** -120) isVacuous = true
  })
  return { worst, isVacuous, reports: reports.map(showReport) }
}
