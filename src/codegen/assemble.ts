/** A plan bound to a target: where every launch finds its arguments, and where the program's outputs come from. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Checked, Fault } from '../dsl/fault.ts'
import { evaluate } from '../dsl/interpret.ts'
import type { Node } from '../dsl/node.ts'
import { layOut, sameDims, type Value } from '../dsl/value.ts'
import type { Arrays, Executable, Results, Running } from './executable.ts'
import { checkFrozen, checkInputs, concreteDims, valuesOf } from './oracle.ts'
import type { Stages } from './pipeline.ts'
import type { Launch } from './plan.ts'
import type { Source } from './runtime/gpujs.ts'
import { count } from './sizes.ts'

/** whole numbers from here on are not exact in f32 */
const EXACT = 2 ** 24

/** integers must survive the way through f32 */
const checkExact = (name: string, node: Node, data: ArrayLike<number>): ReadonlyArray<Fault> => {
  if (node.type.dtype !== 'i32') return []
  for (let i = 0; i < data.length; i++)
    if (!(Math.abs(data[i]!) < EXACT))
      return [
        {
          at: `input '${name}'`,
          expected: 'whole numbers below 2^24, for gpu.js stores f32',
          actual: `${String(data[i])} at ${String(i)}`,
        },
      ]
  return []
}

const toF32 = (data: ArrayLike<number>): Float32Array => (data instanceof Float32Array ? data : Float32Array.from(data))

/** a pass may have made a node of the same value whose axes lie in another order; the caller was promised the program's own */
const inOrder = (data: Float32Array, made: Node, promised: Node): Float32Array => {
  const [from, to] = [concreteDims(made), concreteDims(promised)]
  return sameDims(from, to) ? data : Float32Array.from(layOut({ dims: from, data: Float64Array.from(data) }, to).data)
}

/** the launches with their arguments found, and what comes from outside: what a target is handed */
export interface Bound {
  readonly launches: ReadonlyArray<Pick<Launch, 'kernel' | 'printed'> & { readonly args: ReadonlyArray<Source> }>
  readonly inputs: ReadonlyArray<ReadonlyArray<number>>
  readonly constants: ReadonlyArray<{ readonly shape: ReadonlyArray<number>; readonly data: Float32Array }>
  /** launches whose results are wanted */
  readonly results: ReadonlyArray<number>
}

/** A target's own answer: arrays in the order of inputs and results. */
export interface Loaded {
  readonly run: (inputs: ReadonlyArray<Float32Array>) => Running<ReadonlyArray<Float32Array>>
  readonly runNow: (inputs: ReadonlyArray<Float32Array>) => Checked<ReadonlyArray<Float32Array>>
  readonly dispose: () => void
}

export const assemble = (
  { bound, split, plan }: Stages,
  frozen: Readonly<Record<string, Value>>,
  load: (b: Bound) => Checked<Loaded>,
): Checked<Pick<Executable, 'run' | 'runNow' | 'dispose'>> =>
  pipe(
    checkFrozen(bound, frozen),
    E.chain((known) => {
      const captured = new Map<string, Value>([...known, ...Object.entries(split.constants)])
      const leaves = [...new Set(plan.launches.flatMap((l) => l.args.filter((a) => a.op === 'input')))]
      const nameOf = (n: Node): string => (n.op === 'input' ? n.attrs.name : '')
      const isCaptured = (n: Node): boolean => captured.has(nameOf(n))
      const uploads = leaves.filter((n) => !isCaptured(n))
      const constants = leaves.filter(isCaptured)
      const launchOf = new Map(plan.launches.map((l, i) => [l.root, i]))
      const sourceOf = (n: Node): Source =>
        n.op !== 'input'
          ? { from: 'launch', index: launchOf.get(n)! }
          : isCaptured(n)
            ? { from: 'constant', index: constants.indexOf(n) }
            : { from: 'input', index: uploads.indexOf(n) }
      const outputs = split.device.outputs
      const results = [...new Set(outputs.flatMap((o) => launchOf.get(o.node) ?? []))]
      const loaded = load({
        launches: plan.launches.map(({ kernel, printed, args }) => ({ kernel, printed, args: args.map(sourceOf) })),
        inputs: uploads.map(plan.shapeOf),
        constants: constants.map((n) => ({
          shape: plan.shapeOf(n),
          data: Float32Array.from(captured.get(nameOf(n))!.data),
        })),
        results,
      })
      return E.map(({ run, runNow, dispose }: Loaded) => {
        type Given = (n: Node) => Float32Array
        const prepare = (inputs: Arrays): Checked<Given> =>
          E.flatMap(checkInputs(bound, known, inputs), () => gather(inputs))
        const named =
          (given: Given) =>
          (arrays: ReadonlyArray<Float32Array>): Results =>
            Object.fromEntries(
              outputs.map(({ name, node }, i) => {
                const launch = launchOf.get(node)
                if (node.op === 'const') return [name, Float32Array.of(node.attrs.value)]
                const data =
                  launch !== undefined
                    ? arrays[results.indexOf(launch)]!
                    : count(node) === 0
                      ? new Float32Array(0)
                      : given(node).slice()
                return [name, inOrder(data, node, bound.outputs[i]!.node)]
              }),
            )
        return {
          dispose,
          run: (inputs: Arrays): Running<Results> =>
            pipe(
              TE.fromEither(prepare(inputs)),
              TE.chain((given) => TE.map(named(given))(run(uploads.map(given)))),
            ),
          runNow: (inputs: Arrays): Checked<Results> =>
            E.flatMap(prepare(inputs), (given) => E.map(named(given))(runNow(uploads.map(given)))),
        }
      })(loaded)

      /** the arrays of this run: the caller's, the captured ones, and random values from the oracle */
      function gather(inputs: Arrays): Checked<(n: Node) => Float32Array> {
        const faults = bound.inputs.flatMap(({ name, node }) =>
          inputs[name] === undefined ? [] : checkExact(name, node, inputs[name]),
        )
        const [first, ...rest] = faults
        if (first !== undefined) return E.left([first, ...rest])
        const random =
          split.random.outputs.length === 0
            ? E.right<never, Readonly<Record<string, Value>>>({})
            : E.map(({ outputs: o }: { readonly outputs: Readonly<Record<string, Value>> }) => o)(
                evaluate(split.random, pickInputs(inputs)),
              )
        return E.map((drawn: Readonly<Record<string, Value>>) => (n: Node): Float32Array => {
          const name = nameOf(n)
          const value = captured.get(name) ?? drawn[name]
          return value !== undefined ? Float32Array.from(value.data) : toF32(inputs[name] ?? [])
        })(random)
      }

      function pickInputs(inputs: Arrays): Readonly<Record<string, Value>> {
        const wanted = split.random.inputs.map((i) => i.name)
        return valuesOf({ ...bound, inputs: bound.inputs.filter((i) => wanted.includes(i.name)) }, known, inputs)
      }
    }),
  )
