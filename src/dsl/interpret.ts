/**
 * The oracle: a Program evaluated in f64, and beside every value, when asked, a running bound on the
 * error of an evaluation in the target's format. See `bound` in the rows for the formulas.
 */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { dim, evalDim, literal, subDim, symbolsOf, type Dim, type Sizes } from './dim.ts'
import { dtypes, isFloat } from './dtype.ts'
import type { Checked, Fault } from './fault.ts'
import { axisOf, showType, topological, type Dims, type Node, type Region } from './node.ts'
import { rowOf, type Bounded } from './primitive.ts'
import type { Program } from './program.ts'
import { elements, layOut, type ConcreteDims, type Value } from './value.ts'

// ---------------------------------------------------------------------------------------- model

export type Values = Readonly<Record<string, Value>>

export interface Evaluation {
  readonly outputs: Readonly<Record<string, Value>>
  readonly sizes: Sizes
}

export interface BoundedEvaluation {
  readonly outputs: Readonly<Record<string, Bounded>>
  readonly sizes: Sizes
  /** a comparison or a position (argmax, a cast to integers) that may fall either way within its bound */
  readonly undecided: boolean
}

/** Whose rounding the bound speaks of: an evaluation in f64, as laws do, in place of the nodes' own formats. */
export interface Precision {
  readonly unitRoundoff: number
}
export const f64: Precision = { unitRoundoff: 2 ** -53 }

// --------------------------------------------------------------------------------- constructors

/** Sizes of all symbols, from the inputs whose axes are one symbol each; every other axis must then agree. */
export const inferSizes = (program: Program, inputs: Values, given: Sizes = {}): Checked<Sizes> => {
  const sizes: Record<string, number> = { ...given }
  const faults: Fault[] = []
  const fault = (at: string, expected: string, actual: string): void => void faults.push({ at, expected, actual })
  for (const { name, node } of program.inputs) {
    const v = inputs[name]
    if (v === undefined) {
      fault(`input '${name}'`, showType(node.type), 'nothing')
      continue
    }
    for (const d of node.type.dims) {
      const size = v.dims.find((e) => e.name === d.name)?.size
      const t = d.size.terms[0]
      if (size === undefined)
        fault(`input '${name}'`, `axis '${d.name}'`, `axes ${v.dims.map((e) => e.name).join(', ')}`)
      else if (d.size.terms.length === 1 && t?.atoms.length === 1 && t.coef === 1 && !t.atoms[0]!.startsWith('('))
        sizes[t.atoms[0]!] ??= size
    }
    const extra = v.dims.find((e) => !node.type.dims.some((d) => d.name === e.name))
    if (extra !== undefined) fault(`input '${name}'`, showType(node.type), `a further axis '${extra.name}'`)
    if (v.data.length !== elements(v.dims))
      fault(`input '${name}'`, `${String(elements(v.dims))} numbers`, String(v.data.length))
  }
  for (const { name, node } of program.inputs)
    for (const d of node.type.dims) {
      const size = inputs[name]?.dims.find((e) => e.name === d.name)?.size
      const want = evalDim(d.size, sizes)
      if (size === undefined) continue
      if (E.isLeft(want)) fault(`input '${name}', axis '${d.name}'`, want.left, 'none')
      else if (want.right !== size)
        fault(`input '${name}', axis '${d.name}'`, `${d.size.key} = ${String(want.right)}`, String(size))
    }
  const unknown = topological(program.outputs.map((o) => o.node))
    .flatMap((n) => n.type.dims.flatMap((d) => symbolsOf(d.size)))
    .find((s) => sizes[s] === undefined)
  if (unknown !== undefined && faults.length === 0)
    fault(`symbol '${unknown}'`, 'a size, from an input or given', 'none')
  return faults.length > 0 ? E.left(faults as unknown as NonEmptyArray<Fault>) : E.right(sizes)
}

const concrete = (dims: Dims, size: (d: Dim) => number): ConcreteDims =>
  dims.map((d) => ({ name: d.name, size: size(d.size) }))

// --------------------------------------------------------------------------------- interpreters

/** nodes in order, each with how many later nodes still need it: values are dropped after their last use */
const schedule = (roots: ReadonlyArray<Node>): { order: ReadonlyArray<Node>; uses: Map<Node, number> } => {
  const order = topological(roots)
  const uses = new Map<Node, number>()
  for (const n of [...order.flatMap((o) => o.args), ...roots]) uses.set(n, (uses.get(n) ?? 0) + 1)
  return { order, uses }
}

const runNodes = <A>(
  roots: ReadonlyArray<Node>,
  given: ReadonlyMap<Node, A>,
  step: (n: Node, args: ReadonlyArray<A>) => A,
): ReadonlyArray<A> => {
  const { order, uses } = schedule(roots)
  const env = new Map<Node, A>(given)
  for (const n of order) {
    if (!env.has(n))
      env.set(
        n,
        step(
          n,
          n.args.map((a) => env.get(a)!),
        ),
      )
    for (const a of n.args) {
      const left = uses.get(a)! - 1
      uses.set(a, left)
      if (left === 0) env.delete(a)
    }
  }
  return roots.map((r) => env.get(r)!)
}

/** sizes are checked before: a dim that cannot be evaluated here is a quotient inside, reported as NaN-sized by `check` */
const sizer =
  (sizes: Sizes) =>
  (d: Dim): number => {
    const n = literal(d) ?? evalDim(d, sizes)
    return typeof n === 'number' ? n : E.isRight(n) ? n.right : 0
  }

const evaluateNodes = (
  roots: ReadonlyArray<Node>,
  given: ReadonlyMap<Node, Value>,
  sizes: Sizes,
): ReadonlyArray<Value> => {
  const size = sizer(sizes)
  const region = (r: Region, args: ReadonlyArray<Value>): ReadonlyArray<Value> =>
    evaluateNodes(r.results, new Map(r.params.map((p, i) => [p, args[i]!])), sizes)
  const run = { size, region, boundedRegion: () => [] }
  return runNodes(roots, given, (n, args) => {
    const dims = concrete(n.type.dims, size)
    const row = rowOf(n.op)
    return { dims, data: row.meaning(args, n.attrs, { dims, dtype: n.type.dtype }, run) }
  })
}

const boundNodes = (
  roots: ReadonlyArray<Node>,
  given: ReadonlyMap<Node, Bounded>,
  sizes: Sizes,
  precision: Precision | undefined,
  onTie: () => void,
): ReadonlyArray<Bounded> => {
  const size = sizer(sizes)
  const boundedRegion = (r: Region, args: ReadonlyArray<Bounded>): ReadonlyArray<Bounded> =>
    boundNodes(r.results, new Map(r.params.map((p, i) => [p, args[i]!])), sizes, precision, onTie)
  const region = (r: Region, args: ReadonlyArray<Value>): ReadonlyArray<Value> =>
    evaluateNodes(r.results, new Map(r.params.map((p, i) => [p, args[i]!])), sizes)
  const run = { size, region, boundedRegion }
  return runNodes(roots, given, (n, args) => {
    const dims = concrete(n.type.dims, size)
    const out = { dims, dtype: n.type.dtype }
    const row = rowOf(n.op)
    const data = row.meaning(
      args.map((a) => a.value),
      n.attrs,
      out,
      run,
    )
    const u = isFloat(n.type.dtype) ? (precision ?? dtypes[n.type.dtype]).unitRoundoff : 0
    const bound = row.bound(args, n.attrs, { ...out, data }, u, run)
    if (!isFloat(n.type.dtype) && bound.some((e) => e > 0)) onTie()
    return { value: { dims, data }, bound }
  })
}

/** the stretches of an axis that a node reads or writes beyond its dims: none may be negative */
const stretches = (n: Node): ReadonlyArray<readonly [axis: string, part: Dim]> => {
  if (n.op === 'pad') return [n.attrs.before, n.attrs.after].map((d) => [n.attrs.axis, d])
  if (n.op !== 'slice') return []
  const { axis, start, size } = n.attrs
  const whole = axisOf(n.args[0]!.type, axis)?.size ?? dim(0)
  return [start, subDim(subDim(whole, start), size)].map((d) => [axis, d])
}

/** at these sizes every quotient is exact, no size negative, and every slice inside its axis; in regions too */
const sizeFaults = (roots: ReadonlyArray<Node>, sizes: Sizes): ReadonlyArray<Fault> =>
  topological(roots).flatMap((n) => {
    const sized = [...n.type.dims.map((d) => [d.name, d.size] as const), ...stretches(n)]
    const own = sized.flatMap(([name, d]): ReadonlyArray<Fault> => {
      const s = evalDim(d, sizes)
      if (E.isRight(s) && s.right >= 0) return []
      const [expected, actual] = E.isLeft(s)
        ? [s.left, d.key]
        : ['a size of at least 0', `${d.key} = ${String(s.right)}`]
      return [{ at: `${n.op}, axis '${name}'`, expected, actual }]
    })
    return n.op === 'call' ? [...own, ...sizeFaults(n.attrs.body.results, sizes)] : own
  })

const checkSizes = (program: Program, sizes: Sizes): Checked<Sizes> => {
  const faults = sizeFaults(
    program.outputs.map((o) => o.node),
    sizes,
  )
  return faults.length > 0 ? E.left(faults as unknown as NonEmptyArray<Fault>) : E.right(sizes)
}

const prepare = (
  program: Program,
  inputs: Values,
  given: Sizes,
): Checked<{ readonly sizes: Sizes; readonly env: ReadonlyMap<Node, Value> }> =>
  E.map((sizes: Sizes) => ({
    sizes,
    env: new Map(
      program.inputs.map(({ name, node }) => [node, layOut(inputs[name]!, concrete(node.type.dims, sizer(sizes)))]),
    ),
  }))(E.chain((sizes: Sizes) => checkSizes(program, sizes))(inferSizes(program, inputs, given)))

const byName = <A>(program: Program, results: ReadonlyArray<A>): Readonly<Record<string, A>> =>
  Object.fromEntries(program.outputs.map((o, i) => [o.name, results[i]!]))

/** The outputs in f64. Inputs may lay their axes out in any order. */
export const evaluate = (program: Program, inputs: Values, given: Sizes = {}): Checked<Evaluation> =>
  E.map(({ sizes, env }: { sizes: Sizes; env: ReadonlyMap<Node, Value> }) => ({
    outputs: byName(
      program,
      evaluateNodes(
        program.outputs.map((o) => o.node),
        env,
        sizes,
      ),
    ),
    sizes,
  }))(prepare(program, inputs, given))

/**
 * The outputs in f64 with bounds, the inputs taken as exact numbers of the target's format (or with the bounds
 * given). With `f64` for `precision` the bound is that of the evaluation itself, much narrower than a target's.
 */
export const evaluateBounded = (
  program: Program,
  inputs: Values,
  given: Sizes = {},
  inputBounds: Readonly<Record<string, Float64Array>> = {},
  precision?: Precision,
): Checked<BoundedEvaluation> =>
  E.map(({ sizes, env }: { sizes: Sizes; env: ReadonlyMap<Node, Value> }) => {
    const bounded = new Map(
      program.inputs.map(({ name, node }) => {
        const v = env.get(node)!
        return [node, { value: v, bound: inputBounds[name] ?? new Float64Array(v.data.length) }] as const
      }),
    )
    let undecided = false
    const results = boundNodes(
      program.outputs.map((o) => o.node),
      bounded,
      sizes,
      precision,
      () => {
        undecided = true
      },
    )
    return { outputs: byName(program, results), sizes, undecided }
  })(prepare(program, inputs, given))
