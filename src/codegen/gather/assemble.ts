/** A plan bound to a target: where every launch finds its arguments, and where the program's outputs come from. */
import * as E from 'fp-ts/lib/Either.js'
import { flow, pipe } from 'fp-ts/lib/function.js'
import * as TE from 'fp-ts/lib/TaskEither.js'
import type { Checked } from '../../dsl/fault.ts'
import type { Node } from '../../dsl/node.ts'
import { layOut, sameDims, type Value } from '../../dsl/value.ts'
import { checkInto, pour, type Arrays, type Executable, type Results, type Running } from '../executable.ts'
import { givensOf, type Given } from '../givens.ts'
import { checkFrozen, concreteDims } from '../oracle.ts'
import type { Stages } from '../pipeline.ts'
import type { Launch } from './plan.ts'
import type { Source } from '../runtime/gpujs.ts'
import { count } from '../sizes.ts'

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
      const givens = givensOf(bound, split, known, 'gpujs')
      const leaves = [...new Set(plan.launches.flatMap((l) => l.args.filter((a) => a.op === 'input')))]
      const { isCaptured } = givens
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
          data: givens.captured(n),
        })),
        results,
      })
      return E.map(({ run, runNow, dispose }: Loaded) => {
        const prepare = givens.of
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
        const lengths = Object.fromEntries(bound.outputs.map((o) => [o.name, count(o.node)]))
        return {
          dispose,
          run: (inputs: Arrays, into?: Results): Running<Results> =>
            pipe(
              TE.fromEither(E.flatMap(checkInto(lengths, into), () => prepare(inputs))),
              TE.chain((given) => TE.map(flow(named(given), pour(into)))(run(uploads.map(given)))),
            ),
          runNow: (inputs: Arrays, into?: Results): Checked<Results> =>
            E.flatMap(checkInto(lengths, into), () =>
              E.flatMap(prepare(inputs), (given) => E.map(flow(named(given), pour(into)))(runNow(uploads.map(given)))),
            ),
        }
      })(loaded)
    }),
  )
