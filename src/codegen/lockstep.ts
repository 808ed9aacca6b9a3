/**
 * Lockstep: every kernel of a plan is given the oracle's values of its inputs, rounded to their format, and each of its
 * results is judged under the bound of its own part of the graph at those very inputs. No tolerance is chosen anywhere.
 */
import * as E from 'fp-ts/lib/Either.js'
import { kit } from '../dsl/build.ts'
import { dim, type Sizes } from '../dsl/dim.ts'
import { roundToDType, type DType } from '../dsl/dtype.ts'
import type { Checked } from '../dsl/fault.ts'
import { evaluate, evaluateBounded, type BoundedEvaluation, type Precision, type Values } from '../dsl/interpret.ts'
import { topological, type Node } from '../dsl/node.ts'
import { bindSizes, substitute, type Program } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import type { Stages } from './pipeline.ts'
import type { Launch } from './gather/plan.ts'
import type { Split } from './split.ts'

// ---------------------------------------------------------------------------------------- model

/** What a kernel computes of what: nodes behind its parameters and its outputs, in order. */
export interface Part {
  readonly args: ReadonlyArray<Node>
  readonly results: ReadonlyArray<Node>
}

export interface Wanted {
  readonly value: Float64Array
  readonly bound: Float64Array
}

/** A kernel with the numbers that each of its results is to be judged on. */
export interface PartCase<P extends Part> {
  readonly part: P
  /** in order of `args`, numbers of their own format */
  readonly inputs: ReadonlyArray<Float64Array>
  /** in order of `results` */
  readonly wanted: ReadonlyArray<Wanted>
  /** a comparison or position that may fall either way: the results are then no judgement */
  readonly undecided: boolean
}

/** One gather kernel with the numbers it is to be judged on. */
export interface Case extends Wanted {
  readonly launch: Launch
  readonly inputs: ReadonlyArray<Float32Array>
}

export interface Verdict {
  /** the largest |got - value| / bound; above 1 is wrong, whatever the bound says elsewhere */
  readonly worst: number
  /** the bound is above 1e-3 of the value's scale: it would let too much pass */
  readonly vacuous: boolean
}

// --------------------------------------------------------------------------------- constructors

/** the kernel's part of the graph as a program of its own */
const partOf = ({ args, results }: Part): Program => {
  const inputs = args.map((a, i) => ({
    name: `in${String(i)}`,
    node: kit.input(`in${String(i)}`, a.type.dims, a.type.dtype),
  }))
  const nodes = substitute(results, new Map(args.map((a, i) => [a, inputs[i]!.node])))
  return { name: 'part', inputs, outputs: nodes.map((node, i) => ({ name: `out${String(i)}`, node })) }
}

const roundTo: Readonly<Record<DType, (x: number) => number>> = { ...roundToDType, f32: Math.fround }

/**
 * A case for every part of a program that `split` prepared, at these inputs and sizes of its symbols. `precision`:
 * whose rounding the bounds speak of, where that is not the nodes' own format.
 */
export const partCases = <P extends Part>(
  parts: ReadonlyArray<P>,
  split: Split,
  inputs: Values,
  sizes: Sizes = {},
  precision?: Precision,
): Checked<ReadonlyArray<PartCase<P>>> => {
  const dims = Object.fromEntries(Object.entries(sizes).map(([k, n]) => [k, dim(n)]))
  const bound = (p: Program): Program => bindSizes(p, dims)
  const wanted = [...new Set(parts.flatMap((p) => p.args))]
  const whole: Program = {
    ...split.device,
    inputs: topological(wanted).flatMap((n) => (n.op === 'input' ? [{ name: n.attrs.name, node: n }] : [])),
    outputs: wanted.map((node, i) => ({ name: String(i), node })),
  }
  const judged = (part: P, values: ReadonlyMap<Node, Value>): Checked<PartCase<P>> => {
    const given = Object.fromEntries(part.args.map((a, i) => [`in${String(i)}`, values.get(a)!]))
    return E.map(({ outputs, undecided }: BoundedEvaluation) => ({
      part,
      inputs: part.args.map((a) => values.get(a)!.data),
      wanted: part.results.map((_, i) => {
        const { value, bound: b } = outputs[`out${String(i)}`]!
        return { value: value.data, bound: b }
      }),
      undecided,
    }))(evaluateBounded(bound(partOf(part)), given, {}, {}, precision))
  }
  const drawn: Checked<Values> =
    split.random.outputs.length === 0
      ? E.right({})
      : E.map((r: { readonly outputs: Values }) => r.outputs)(evaluate(bound(split.random), inputs))
  return E.chain((random: Values) =>
    E.chain(({ outputs }: { readonly outputs: Values }): Checked<ReadonlyArray<PartCase<P>>> => {
      const values = new Map(
        wanted.map((n, i): readonly [Node, Value] => {
          const v = outputs[String(i)]!
          return [n, { dims: v.dims, data: v.data.map(roundTo[n.type.dtype]) }]
        }),
      )
      const cases: PartCase<P>[] = []
      for (const part of parts) {
        const made = judged(part, values)
        if (E.isLeft(made)) return made
        cases.push(made.right)
      }
      return E.right(cases)
    })(evaluate(bound(whole), { ...inputs, ...split.constants, ...random })),
  )(drawn)
}

/** A case for every launch of a plan of gather kernels, at these inputs of the bound program. */
export const casesOf = ({ split, plan }: Stages, inputs: Values): Checked<ReadonlyArray<Case>> =>
  E.map((cases: ReadonlyArray<PartCase<Part & { readonly launch: Launch }>>) =>
    cases.map((c) => ({
      launch: c.part.launch,
      inputs: c.inputs.map((x) => Float32Array.from(x)),
      ...c.wanted[0]!,
    })),
  )(
    partCases(
      plan.launches.map((launch) => ({ launch, args: launch.args, results: [launch.root] })),
      split,
      inputs,
    ),
  )

// --------------------------------------------------------------------------------- interpreters

/** the share of the value's scale from which on a bound says nothing */
const TEETH = 1e-3

export const judge = ({ value, bound }: Wanted, got: ArrayLike<number>): Verdict => {
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

/** All results of a case: the worst of them. */
export const judgeAll = (wanted: ReadonlyArray<Wanted>, got: ReadonlyArray<ArrayLike<number>>): Verdict => {
  const verdicts = wanted.map((w, i) => judge(w, got[i] ?? []))
  return {
    worst: verdicts.reduce((m, v) => Math.max(m, v.worst), 0),
    vacuous: verdicts.some((v) => v.vacuous),
  }
}
