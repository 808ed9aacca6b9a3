/** What comes from outside in one run: the caller's arrays, captured constants, random values drawn by the oracle. */
import * as E from 'fp-ts/lib/Either.js'
import type { Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import { evaluate } from '../dsl/interpret.ts'
import type { Node } from '../dsl/node.ts'
import type { Program } from '../dsl/program.ts'
import type { Value } from '../dsl/value.ts'
import type { Arrays } from './executable.ts'
import { checkInputs, valuesOf } from './oracle.ts'
import type { Split } from './split.ts'

export type Given = (n: Node) => Float32Array

export interface Givens {
  /** known when the program is compiled */
  readonly isCaptured: (n: Node) => boolean
  readonly captured: Given
  /** arrays of one run, checked */
  readonly of: (inputs: Arrays) => Checked<Given>
}

/** whole numbers from here on are not exact in f32 */
const EXACT = 2 ** 24

/** integers must survive the way through f32 */
const checkExact = (name: string, node: Node, data: ArrayLike<number>, target: string): ReadonlyArray<Fault> => {
  if (node.type.dtype !== 'i32') return []
  for (let i = 0; i < data.length; i++)
    if (!(Math.abs(data[i]!) < EXACT))
      return [
        {
          at: `input '${name}'`,
          expected: `whole numbers below 2^24, for ${target} stores f32`,
          actual: `${String(data[i])} at ${String(i)}`,
        },
      ]
  return []
}

const toF32 = (data: ArrayLike<number>): Float32Array => (data instanceof Float32Array ? data : Float32Array.from(data))

const nameOf = (n: Node): string => (n.op === 'input' ? n.attrs.name : '')

/** `bound`: the program at literal sizes; `frozen`: captured values in the layout of its inputs. */
export const givensOf = (
  bound: Program,
  { constants, random }: Split,
  frozen: ReadonlyMap<string, Value>,
  target: string,
  sizes: Sizes = {},
): Givens => {
  const captured = new Map<string, Value>([...frozen, ...Object.entries(constants)])
  const drawn = (inputs: Arrays): Checked<Readonly<Record<string, Value>>> => {
    if (random.outputs.length === 0) return E.right({})
    const wanted = random.inputs.map((i) => i.name)
    const values = valuesOf({ ...bound, inputs: bound.inputs.filter((i) => wanted.includes(i.name)) }, frozen, inputs)
    return E.map(({ outputs }: { readonly outputs: Readonly<Record<string, Value>> }) => outputs)(
      evaluate(random, values, sizes),
    )
  }
  return {
    isCaptured: (n) => captured.has(nameOf(n)),
    captured: (n) => Float32Array.from(captured.get(nameOf(n))?.data ?? []),
    of: (inputs) =>
      E.flatMap(checkInputs(bound, frozen, inputs), () => {
        const [first, ...rest] = bound.inputs.flatMap(({ name, node }) =>
          inputs[name] === undefined ? [] : checkExact(name, node, inputs[name], target),
        )
        if (first !== undefined) return E.left([first, ...rest])
        return E.map((values: Readonly<Record<string, Value>>) => (n: Node): Float32Array => {
          const value = captured.get(nameOf(n)) ?? values[nameOf(n)]
          return value !== undefined ? Float32Array.from(value.data) : toF32(inputs[nameOf(n)] ?? [])
        })(drawn(inputs))
      }),
  }
}
