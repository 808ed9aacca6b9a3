/** A program with its gradient planned as two: the joint plan says what to save, then each half is planned by itself. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { simplify } from '../../autodiff/simplify.ts'
import { kit } from '../../dsl/build.ts'
import type { Checked } from '../../dsl/fault.ts'
import { topological, type Node } from '../../dsl/node.ts'
import { substitute, trace, withOutputs, type Port, type Program } from '../../dsl/program.ts'
import { reorder } from '../lower.ts'
import type { Split } from '../split.ts'
import { halvesOf } from './halves.ts'

// ---------------------------------------------------------------------------------------- model

export type Constants = Readonly<Record<string, ReadonlyArray<number>>>

/** How a target plans: its stages, and in them the program that is launched and which of its nodes have buffers. */
export interface Planner<S> {
  readonly plan: (p: Program) => Checked<S>
  readonly launched: (s: S) => { readonly program: Program; readonly stored: ReadonlySet<Node>; readonly split: Split }
}

export interface PlannedHalves<S> {
  readonly forward: S
  readonly backward: S
  readonly saved: ReadonlyArray<Port>
  /** values of the halves' inputs that are known beforehand */
  readonly constants: Constants
}

// --------------------------------------------------------------------------------- constructors

/** Constants that the host computed for the joint program: inputs of its halves, whose own constants have the same names. */
const heldFrom = ({
  program,
  stored,
  split,
}: ReturnType<Planner<unknown>['launched']>): {
  readonly program: Program
  readonly stored: ReadonlySet<Node>
  readonly constants: Constants
} => {
  const renamed = new Map(
    program.inputs.flatMap(({ name, node }) =>
      split.constants[name] === undefined
        ? []
        : [[node, kit.input(`held.${name}`, node.type.dims, node.type.dtype)] as const],
    ),
  )
  const nodes = topological(program.outputs.map((o) => o.node))
  const made = substitute(nodes, renamed)
  const of = new Map(nodes.map((n, i) => [n, made[i]!]))
  const outputs = Object.fromEntries(program.outputs.map((o) => [o.name, { node: of.get(o.node) ?? o.node }]))
  return {
    program: trace(program.name, outputs),
    stored: new Set([...stored].map((n) => of.get(n) ?? n)),
    constants: Object.fromEntries(
      Object.entries(split.constants).map(([name, v]) => [`held.${name}`, [...v.data]] as const),
    ),
  }
}

const withoutRandom = ({ random }: Split, p: Program): Checked<void> =>
  random.outputs.length === 0
    ? E.right(undefined)
    : E.left([{ at: `export ${p.name}`, expected: 'a program without random numbers', actual: 'one that draws them' }])

/** Every gradient with its axes in the order that its input has: optimisers and other hosts walk the two together. */
const asInputs = (p: Program, inputs: ReadonlyArray<Port>): Program =>
  withOutputs(
    p,
    p.outputs.map(({ name, node }) => {
      const input = inputs.find((i) => `d.${i.name}` === name)
      return input === undefined ? node : reorder(node, input.node)
    }),
  )

/** The optimiser's rules; outputs keep the order of their axes, which is a promise here. */
export const simplifyInOrder = (p: Program): Program => {
  const simple = simplify(p)
  return withOutputs(
    simple,
    simple.outputs.map((o, i) => reorder(o.node, p.outputs[i]!.node)),
  )
}

/** Faults: what the target's passes find; random numbers, which are drawn outside of kernels. */
export const planHalves = <S>({ plan, launched }: Planner<S>, joint: Program): Checked<PlannedHalves<S>> =>
  pipe(
    E.Do,
    E.bind('whole', () => plan(joint)),
    E.tap(({ whole }) => withoutRandom(launched(whole).split, joint)),
    E.let('held', ({ whole }) => heldFrom(launched(whole))),
    E.let('halves', ({ held }) => halvesOf(held.program, (n) => held.stored.has(n))),
    E.bind('forward', ({ halves }) => plan(halves.forward)),
    E.bind('backward', ({ halves }) => plan(asInputs(halves.backward, joint.inputs))),
    E.map(({ held, halves, forward, backward }) => ({
      forward,
      backward,
      saved: halves.saved,
      constants: held.constants,
    })),
  )

/** Constants of one half: those held from the joint program, and those that the host computes for the half itself. */
export const constantsOf = (held: Constants, split: Split): Constants => ({
  ...held,
  ...Object.fromEntries(Object.entries(split.constants).map(([name, v]) => [name, [...v.data]] as const)),
})
