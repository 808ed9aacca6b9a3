/**
 * Lockstep: every kernel of a plan is given the oracle's values of its inputs, rounded to f32, and judged
 * under the bound of its own part of the graph at those very inputs. No tolerance is chosen anywhere.
 */
import * as E from 'fp-ts/lib/Either.js'
import { kit } from '../dsl/build.ts'
import type { Checked } from '../dsl/fault.ts'
import { evaluate, evaluateBounded, type Values } from '../dsl/interpret.ts'
import { topological, type Node } from '../dsl/node.ts'
import { substitute, type Program } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import type { Stages } from './pipeline.ts'
import type { Launch } from './plan.ts'

// ---------------------------------------------------------------------------------------- model

/** One kernel with the numbers it is to be judged on. */
export interface Case {
  readonly launch: Launch
  readonly inputs: ReadonlyArray<Float32Array>
  readonly value: Float64Array
  readonly bound: Float64Array
}

export interface Verdict {
  /** the largest |got - value| / bound; above 1 is wrong, whatever the bound says elsewhere */
  readonly worst: number
  /** the bound is above 1e-3 of the value's scale: it would let too much pass */
  readonly vacuous: boolean
}

// --------------------------------------------------------------------------------- constructors

/** the kernel's part of the graph as a program of its own */
const partOf = ({ root, args }: Launch): Program => {
  const inputs = args.map((a, i) => ({
    name: `in${String(i)}`,
    node: kit.input(`in${String(i)}`, a.type.dims, a.type.dtype),
  }))
  const [node] = substitute([root], new Map(args.map((a, i) => [a, inputs[i]!.node])))
  return { name: 'part', inputs, outputs: [{ name: 'out', node: node! }] }
}

/** A case for every launch of the plan, at these inputs of the bound program. */
export const casesOf = ({ split, plan }: Stages, inputs: Values): Checked<ReadonlyArray<Case>> => {
  const wanted = [...new Set(plan.launches.flatMap((l) => l.args))]
  const whole: Program = {
    ...split.device,
    inputs: topological(wanted).flatMap((n) => (n.op === 'input' ? [{ name: n.attrs.name, node: n }] : [])),
    outputs: wanted.map((node, i) => ({ name: String(i), node })),
  }
  return E.chain((drawn: Values) =>
    E.chain(({ outputs }: { readonly outputs: Values }): Checked<ReadonlyArray<Case>> => {
      const rounded = new Map<Node, Value>(
        wanted.map((n, i) => [
          n,
          { dims: outputs[String(i)]!.dims, data: Float64Array.from(Float32Array.from(outputs[String(i)]!.data)) },
        ]),
      )
      const cases: Case[] = []
      for (const launch of plan.launches) {
        const given = Object.fromEntries(launch.args.map((a, i) => [`in${String(i)}`, rounded.get(a)!]))
        const judged = evaluateBounded(partOf(launch), given)
        if (E.isLeft(judged)) return judged
        const { value, bound } = judged.right.outputs['out']!
        cases.push({
          launch,
          inputs: launch.args.map((a) => Float32Array.from(rounded.get(a)!.data)),
          value: value.data,
          bound,
        })
      }
      return E.right(cases)
    })(evaluate(whole, { ...inputs, ...split.constants, ...drawn })),
  )(
    split.random.outputs.length === 0
      ? E.right({})
      : E.map((r: { readonly outputs: Values }) => r.outputs)(evaluate(split.random, inputs)),
  )
}

// --------------------------------------------------------------------------------- interpreters

/** the share of the value's scale from which on a bound says nothing */
const TEETH = 1e-3

export const judge = ({ value, bound }: Case, got: ArrayLike<number>): Verdict => {
  let [worst, scale, widest] = [0, 0, 0]
  for (let i = 0; i < value.length; i++) {
    const [v, b] = [value[i]!, bound[i]!]
    scale = Math.max(scale, Math.abs(v))
    widest = Math.max(widest, b)
    const error = Math.abs(got[i]! - v)
    const isSame = Object.is(got[i], v) || error === 0 || (Number.isNaN(v) && Number.isNaN(got[i]))
    const share = isSame ? 0 : b === 0 || Number.isNaN(error) ? Infinity : error / b
    // storing the result rounds it once more where the bound is that of an exact operation
    worst = Math.max(worst, b === 0 && Math.fround(v) === got[i] ? 0 : share)
  }
  return {
    worst: value.length === got.length ? worst : Infinity,
    vacuous: widest > TEETH * scale && widest > 2 ** -120,
  }
}
