/**
 * Cases of a primitive, drawn from its row's own `sample` through fast-check: sizes, attributes and
 * numbers all shrink. Numbers keep away from the row's kinks and from ties, so that derivatives exist.
 */
import fc from 'fast-check'
import { kit, make } from '../../src/dsl/build.ts'
import { evalDim, literal } from '../../src/dsl/dim.ts'
import { isFloat } from '../../src/dsl/dtype.ts'
import { showFault } from '../../src/dsl/fault.ts'
import { primitives, rowOf, type ArgSpec, type Gen, type Sample } from '../../src/dsl/primitive.ts'
import type { Dims, Node, Op } from '../../src/dsl/node.ts'
import { scalarOp, scalarOps as scalarNames } from '../../src/dsl/scalar.ts'
import { elements, tabulate, type ConcreteDims, type Value } from '../../src/dsl/value.ts'

// ---------------------------------------------------------------------------------------- model

export type Draw = fc.GeneratorValue

/** A node of the op over inputs `a0`, `a1`, ..., and numbers for them. */
export interface Case {
  readonly op: Op
  readonly node: Node
  readonly args: ReadonlyArray<Node>
  readonly specs: ReadonlyArray<ArgSpec>
  readonly attrs: Sample<Op>['attrs']
  readonly values: Readonly<Record<string, Value>>
}

// --------------------------------------------------------------------------------- constructors

/** The ops that compute something; `fault` is a misuse and has no meaning. */
export const ops = (Object.keys(primitives) as ReadonlyArray<Op>).filter((op) => op !== 'fault')

/** A Gen that shrinks. `fixed` forces every free size, for the tests at sizes 0 and 1. */
export const genFrom = (draw: Draw, fixed?: number): Gen => ({
  size: () => fixed ?? draw(fc.integer, { min: 0, max: 3 }),
  int: (min, max) => draw(fc.integer, { min, max }),
  pick: (from) => from[draw(fc.integer, { min: 0, max: from.length - 1 })]!,
})

export const concreteDims = (dims: Dims): ConcreteDims =>
  dims.map((d) => {
    const size = literal(d.size) ?? evalDim(d.size, {})
    if (typeof size !== 'number') throw new Error(`a sample's size is a number, found ${d.size.key}`)
    return { name: d.name, size }
  })

/** distance kept from kinks and ties: far more than the steps of the differences taken */
const MARGIN = 0.02

/** x moved off the row's kinks; where arguments may meet, each keeps to a lattice of its own */
const awayFrom = (node: Pick<Node, 'op' | 'attrs'>, k: number, element: number, n: number, x: number): number => {
  if (node.op === 'reduce' || node.op === 'argmax') return Math.round(x / 0.2) * 0.2 + (0.2 * element) / Math.max(1, n)
  if (node.op !== 'map') return x
  const row = scalarOp((node.attrs as { fn: string }).fn)
  const lattice = row?.tie === true ? Math.round(x / 0.1) * 0.1 + 0.05 * k : x
  const kink = k === 0 ? row?.kinks?.find((z) => Math.abs(lattice - z) < MARGIN) : undefined
  return kink === undefined ? lattice : kink + (lattice >= kink ? MARGIN : -MARGIN)
}

/** odd, so that the numbers fill all 24 bits of an f32 */
const STEPS = 15_015

/** Numbers for an argument, from its interval. */
export const drawValue = (draw: Draw, spec: ArgSpec, move: (i: number, n: number, x: number) => number): Value => {
  const dims = concreteDims(spec.type.dims)
  const [low, high] = spec.range
  const n = elements(dims)
  const floating = isFloat(spec.type.dtype)
  const flat = tabulate(dims, (i) => {
    const x = (low + high) / 2 + ((high - low) / 2) * (draw(fc.integer, { min: -STEPS, max: STEPS }) / STEPS)
    return floating ? Math.fround(move(i, n, x)) : Math.round(x)
  })
  const { diagonal } = spec
  if (diagonal === undefined) return flat
  const index = (axis: string) => {
    const at = dims.findIndex((d) => d.name === axis)
    const stride = elements(dims.slice(at + 1))
    return (p: number): number => Math.floor(p / stride) % dims[at]!.size
  }
  const [row, col] = [index(diagonal.row), index(diagonal.col)]
  return { dims, data: flat.data.map((x, p) => (row(p) === col(p) ? Math.fround(x + diagonal.plus) : x)) }
}

/** Numbers for the k-th argument of a case. */
export const drawArgument = (draw: Draw, c: Pick<Case, 'op' | 'specs' | 'attrs'>, k: number): Value =>
  drawValue(draw, c.specs[k]!, (i, n, x) => awayFrom({ op: c.op, attrs: c.attrs }, k, i, n, x))

export const caseOf = (op: Op, sample: Sample<Op>, draw: Draw): Case => {
  const args = sample.args.map((s, i) => kit.input(`a${String(i)}`, s.type.dims, s.type.dtype))
  const node = make(op, args, sample.attrs)
  if (node.op === 'fault') throw new Error(`the sample of ${op} is a misuse: ${showFault(node.attrs.fault)}`)
  const parts = { op, node, args, specs: sample.args, attrs: sample.attrs }
  const values = args.map((_, k) => [`a${String(k)}`, drawArgument(draw, parts, k)] as const)
  const own = node.op === 'input' ? [[node.attrs.name, tabulate(concreteDims(node.type.dims), () => 1.5)] as const] : []
  return { ...parts, values: Object.fromEntries([...values, ...own]) }
}

export const drawCase = (op: Op, draw: Draw, fixed?: number): Case =>
  caseOf(op, rowOf(op).sample(genFrom(draw, fixed)), draw)

/** One case for each scalar function: `map` with its name. */
export const drawScalarCase = (fn: string, draw: Draw, fixed?: number): Case => {
  const row = scalarOp(fn)!
  const gen = genFrom(draw, fixed)
  const names = Object.keys(scalarNames)
  const forced: Gen = { ...gen, pick: (from) => (from.length === names.length ? (fn as never) : gen.pick(from)) }
  const sample = rowOf('map').sample(forced)
  if ((sample.attrs as { fn: string }).fn !== fn || sample.args.length !== row.arity)
    throw new Error(`no sample of ${fn}`)
  return caseOf('map', sample, draw)
}

/** Every row to test: each primitive, and `map` once for every scalar function. */
export const rows: ReadonlyArray<{ readonly name: string; readonly draw: (draw: Draw, fixed?: number) => Case }> = [
  ...ops.filter((op) => op !== 'map').map((op) => ({ name: op, draw: (d: Draw, f?: number) => drawCase(op, d, f) })),
  ...Object.keys(scalarNames).map((fn) => ({
    name: `map ${fn}`,
    draw: (d: Draw, f?: number) => drawScalarCase(fn, d, f),
  })),
]

/** The float arguments' names: what a derivative is taken by. */
export const floatNames = (c: Case): ReadonlyArray<string> =>
  c.args.flatMap((a, i) => (isFloat(a.type.dtype) ? [`a${String(i)}`] : []))
