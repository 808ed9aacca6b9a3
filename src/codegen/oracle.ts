/** The oracle as a target, and the checks of inputs that both targets share. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import type { Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import { evaluate } from '../dsl/interpret.ts'
import { showType, type Node } from '../dsl/node.ts'
import type { Program } from '../dsl/program.ts'
import { layOut, type ConcreteDims, type Value } from '../dsl/value.ts'
import type { Arrays, Results } from './executable.ts'
import { bind } from './pipeline.ts'
import { count, sizesOf } from './sizes.ts'

// ---------------------------------------------------------------------------------- inputs checked

export const concreteDims = (n: Node): ConcreteDims =>
  n.type.dims.map((d, i) => ({ name: d.name, size: sizesOf(n)[i]! }))

/** Frozen values in the layout of their nodes. */
export const checkFrozen = (
  program: Program,
  frozen: Readonly<Record<string, Value>>,
): Checked<ReadonlyMap<string, Value>> => {
  const faults: Fault[] = []
  const laid = new Map<string, Value>()
  for (const [name, v] of Object.entries(frozen)) {
    const node = program.inputs.find((i) => i.name === name)?.node
    // a frozen value that nothing needs is no mistake: a model has more tensors than one program reads
    if (node === undefined) continue
    const dims = concreteDims(node)
    const fits =
      v.dims.length === dims.length && dims.every((d) => v.dims.some((e) => e.name === d.name && e.size === d.size))
    if (!fits || v.data.length !== count(node))
      faults.push({
        at: `frozen input '${name}'`,
        expected: showType(node.type),
        actual: v.dims.map((d) => `${d.name}:${String(d.size)}`).join(', '),
      })
    else laid.set(name, layOut(v, dims))
  }
  const [first, ...rest] = faults
  return first === undefined ? E.right(laid) : E.left([first, ...rest])
}

/** Every input that is not frozen is there and has as many numbers as its node. */
export const checkInputs = (program: Program, frozen: ReadonlyMap<string, Value>, inputs: Arrays): Checked<Arrays> => {
  const faults = program.inputs.flatMap(({ name, node }): ReadonlyArray<Fault> => {
    if (frozen.has(name)) return []
    const data = inputs[name]
    const at = `input '${name}'`
    if (data === undefined)
      return [{ at, expected: `${String(count(node))} numbers, ${showType(node.type)}`, actual: 'nothing' }]
    if (data.length !== count(node))
      return [{ at, expected: `${String(count(node))} numbers, ${showType(node.type)}`, actual: String(data.length) }]
    return []
  })
  const [first, ...rest] = faults
  return first === undefined ? E.right(inputs) : E.left([first, ...rest] as NonEmptyArray<Fault>)
}

export const valuesOf = (
  program: Program,
  frozen: ReadonlyMap<string, Value>,
  inputs: Arrays,
): Readonly<Record<string, Value>> =>
  Object.fromEntries(
    program.inputs.map(({ name, node }) => [
      name,
      frozen.get(name) ?? { dims: concreteDims(node), data: Float64Array.from(inputs[name]!) },
    ]),
  )

// ------------------------------------------------------------------------------------ the target

/** Runs on the f64 interpreter; results are rounded to f32 at the end. */
export const compileOracle = (
  program: Program,
  sizes: Sizes,
  frozen: Readonly<Record<string, Value>>,
): Checked<(inputs: Arrays) => Checked<Results>> =>
  pipe(
    E.Do,
    E.bind('bound', () => bind(program, sizes)),
    E.bind('known', ({ bound }) => checkFrozen(bound, frozen)),
    E.map(
      ({ bound, known }) =>
        (inputs: Arrays): Checked<Results> =>
          pipe(
            checkInputs(bound, known, inputs),
            E.chain(() => evaluate(bound, valuesOf(bound, known, inputs))),
            E.map(({ outputs }) =>
              Object.fromEntries(Object.entries(outputs).map(([n, v]) => [n, Float32Array.from(v.data)])),
            ),
          ),
    ),
  )
