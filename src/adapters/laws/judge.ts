/**
 * Judging claims on numbers. Both sides are evaluated in f64 beside a running bound of that evaluation;
 * they agree where  |l - r| <= bound(l) + bound(r) (+ slack).
 *
 * Teeth: a bound above 1e-3 of the value's scale says nothing (`vacuous`); a comparison that may fall
 * either way within its bound is `undecided`. Both are counted apart from what was tested.
 */
import * as E from 'fp-ts/lib/Either.js'
import { showFaults } from '../../dsl/fault.ts'
import { evaluateBounded, f64, type BoundedEvaluation, type Values } from '../../dsl/interpret.ts'
import { axisNames, type Node } from '../../dsl/node.ts'
import { threefry } from '../../dsl/primitives/leaf.ts'
import type { Bounded } from '../../dsl/primitive.ts'
import { check, trace, type Program } from '../../dsl/program.ts'
import { literal } from '../../dsl/dim.ts'
import { layOut, type Value } from '../../dsl/value.ts'
import type { Claim, Law } from '../adapter.ts'

// ---------------------------------------------------------------------------------------- model

/** The element where two sides are farthest apart, in units of the bound. */
export interface Worst {
  /** `y[token 1, out 0]` */
  readonly at: string
  readonly left: number
  readonly right: number
  readonly bound: number
}

export type Judgement =
  /** share: |l - r| / bound, at the worst element */
  | { readonly kind: 'held'; readonly share: number }
  | { readonly kind: 'vacuous'; readonly label: string }
  | { readonly kind: 'undecided'; readonly label: string }
  | {
      readonly kind: 'broken'
      readonly label: string
      readonly why: string
      readonly worst?: Worst
      readonly claim: Claim
    }

export const TEETH = 1e-3
/** tensors are of order one: a value that vanishes (the gradient of a unit that is off) is measured against this */
const SMALLEST = 1e-6
/** a nonzero claim is refuted only if the tensor vanishes at this many independent points */
const POINTS = 8

// --------------------------------------------------------------------------------- constructors

const hash = (text: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}

/** Generic numbers for an input: uniform in [low, high), a function of the seed and the input's name alone. */
export const genericValue = (
  input: Node,
  name: string,
  seed: number,
  [low, high]: readonly [number, number],
): Value => {
  const dims = input.type.dims.map((d) => ({ name: d.name, size: literal(d.size) ?? 0 }))
  const n = dims.reduce((k, d) => k * d.size, 1)
  const isKey = input.type.dtype === 'u32'
  const name32 = hash(name)
  const data = new Float64Array(n).map((_, i) => {
    const bits = threefry(seed | 0, name32, i, 0)[0]
    return isKey ? bits : low + ((high - low) * (bits + 0.5)) / 2 ** 32
  })
  return { dims, data }
}

const ORDER_ONE: readonly [number, number] = [-1.5, 1.5]

export const genericInputs = (program: Program, seed: number, domain?: Law['domain']): Values =>
  Object.fromEntries(
    program.inputs.map(({ name, node }) => [
      name,
      genericValue(node, name, seed, /^p\d*\./.test(name) ? (domain?.params ?? ORDER_ONE) : ORDER_ONE),
    ]),
  )

// ---------------------------------------------------------------------------------- combinators

/** `[token 1, out 0]` of a flat position */
const position = (v: Value, at: number): string => {
  let rest = at
  const parts = [...v.dims].reverse().map((d) => {
    const i = rest % d.size
    rest = Math.floor(rest / d.size)
    return `${d.name} ${String(i)}`
  })
  return `[${parts.reverse().join(', ')}]`
}

const largest = (xs: Float64Array): number => xs.reduce((m, x) => Math.max(m, Math.abs(x)), 0)

/** the bound laid out like its value */
const boundOf = (b: Bounded): Value => ({ dims: b.value.dims, data: b.bound })

const compare = (
  claim: Extract<Claim, { kind: 'equal' | 'zero' }>,
  l: Bounded,
  r: Bounded,
  slack?: Bounded,
  size?: Bounded,
): Judgement => {
  const { label } = claim
  const { dims } = l.value
  const right = layOut(r.value, dims).data
  const rightBound = layOut(boundOf(r), dims).data
  const extra = slack === undefined ? undefined : layOut(slack.value, dims).data
  const own = claim.kind === 'zero' ? 1 : Math.max(SMALLEST, largest(l.value.data), largest(right))
  const scale = Math.max(own, size === undefined ? 0 : largest(size.value.data))
  let share = 0
  let widest = 0
  let worst: Worst | undefined
  for (let i = 0; i < l.value.data.length; i++) {
    const [a, b] = [l.value.data[i]!, right[i]!]
    const bound = l.bound[i]! + rightBound[i]! + (extra?.[i] ?? 0)
    const gap = Math.abs(a - b)
    widest = Number.isFinite(bound) ? Math.max(widest, bound) : Infinity
    if (!Number.isFinite(bound) || gap === 0) continue
    const ratio = Number.isNaN(gap) ? Infinity : gap / bound
    if (ratio > Math.max(1, share)) worst = { at: position(l.value, i), left: a, right: b, bound }
    share = Math.max(share, ratio)
  }
  if (worst !== undefined) return { kind: 'broken', label, why: 'the sides differ', worst, claim }
  return Number.isFinite(widest) && widest <= TEETH * scale ? { kind: 'held', share } : { kind: 'vacuous', label }
}

// --------------------------------------------------------------------------------- interpreters

type Port = readonly [name: string, node: Node]

const portsOf = (claims: ReadonlyArray<Claim>): ReadonlyArray<Port> =>
  claims.flatMap((c, i): ReadonlyArray<Port> => {
    switch (c.kind) {
      case 'equal':
        return [
          [`${String(i)}.left`, c.left.node],
          [`${String(i)}.right`, c.right.node],
          ...(c.slack === undefined ? [] : [[`${String(i)}.slack`, c.slack.node] as const]),
          ...(c.scale === undefined ? [] : [[`${String(i)}.scale`, c.scale.node] as const]),
        ]
      case 'zero':
      case 'nonzero':
      case 'executed':
        return [[`${String(i)}.left`, c.tensor.node]]
      case 'golden':
      case 'holds':
        return []
      default:
        return c satisfies never
    }
  })

const axesDiffer = (c: Claim): string | undefined => {
  if (c.kind !== 'equal') return undefined
  const [l, r] = [c.left.node, c.right.node].map((n) => [...axisNames(n.type)].sort().join(', '))
  return l === r ? undefined : `axes ${l ?? ''} and ${r ?? ''}`
}

/** whether every element (or some element) is surely not zero at one of the points */
const nonzero = (claim: Extract<Claim, { kind: 'nonzero' }>, points: ReadonlyArray<Bounded>): Judgement => {
  const first = points[0]
  if (first === undefined || first.value.data.length === 0) return { kind: 'held', share: 0 }
  const alive = [...first.value.data].map((_, i) => points.some((p) => Math.abs(p.value.data[i]!) > p.bound[i]!))
  const holds = claim.each === true ? alive.every(Boolean) : alive.some(Boolean)
  return holds
    ? { kind: 'held', share: 0 }
    : {
        kind: 'broken',
        label: claim.label,
        why: `zero at ${String(points.length)} generic points`,
        claim,
        worst: { at: position(first.value, Math.max(0, alive.indexOf(false))), left: 0, right: 0, bound: 0 },
      }
}

/** a target's answer against the oracle's, inputs rounded to f32, under the bound of f32 */
const executed = (claim: Extract<Claim, { kind: 'executed' }>, seed: number, domain: Law['domain']): Judgement => {
  const broken = (why: string): Judgement => ({ kind: 'broken', label: claim.label, why, claim })
  const program = check(
    trace('executed', { y: claim.tensor, ...(claim.scale === undefined ? {} : { scale: claim.scale }) }),
  )
  if (E.isLeft(program)) return broken(showFaults(program.left))
  const inputs = Object.fromEntries(
    Object.entries(genericInputs(program.right, seed, domain)).map(([n, v]) => [
      n,
      {
        ...v,
        data: v.data.map((x) =>
          program.right.inputs.find((i) => i.name === n)?.node.type.dtype === 'f32' ? Math.fround(x) : x,
        ),
      },
    ]),
  )
  const oracle = evaluateBounded(program.right, inputs)
  const target = claim.execute(program.right, inputs)
  if (E.isLeft(oracle)) return broken(showFaults(oracle.left))
  if (E.isLeft(target)) return broken(showFaults(target.left))
  const y = oracle.right.outputs['y']!
  const got = target.right['y']!
  if (oracle.right.undecided) return { kind: 'undecided', label: claim.label }
  return compare(
    { kind: 'equal', label: claim.label, left: claim.tensor, right: claim.tensor },
    y,
    { value: got, bound: new Float64Array(got.data.length) },
    undefined,
    oracle.right.outputs['scale'],
  )
}

/** another implementation's answer, under the bound of f32 */
const golden = (claim: Extract<Claim, { kind: 'golden' }>): Judgement => {
  const oracle = E.chain((program: Program) => evaluateBounded(program, claim.inputs))(
    check(trace('golden', { y: claim.tensor })),
  )
  if (E.isLeft(oracle)) return { kind: 'broken', label: claim.label, why: showFaults(oracle.left), claim }
  const expected = { value: claim.expected, bound: new Float64Array(claim.expected.data.length) }
  return compare(
    { ...claim, kind: 'equal', left: claim.tensor, right: claim.tensor },
    oracle.right.outputs['y']!,
    expected,
  )
}

/** Judges all claims of a law at one seed. */
export const judge = (claims: ReadonlyArray<Claim>, seed: number, domain?: Law['domain']): ReadonlyArray<Judgement> => {
  const mismatch = claims.find((c) => axesDiffer(c) !== undefined)
  if (mismatch !== undefined)
    return [
      { kind: 'broken', label: mismatch.label, why: `the sides have ${axesDiffer(mismatch) ?? ''}`, claim: mismatch },
    ]
  const ports = portsOf(claims)
  const program = check(trace('law', Object.fromEntries(ports.map(([n, node]) => [n, { node }]))))
  if (E.isLeft(program)) {
    const faulty = claims.find((c) => portsOf([c]).some(([, n]) => n.op === 'fault')) ?? claims[0]!
    return [{ kind: 'broken', label: faulty.label, why: showFaults(program.left), claim: faulty }]
  }
  const at = (point: number): E.Either<string, BoundedEvaluation> =>
    E.mapLeft(showFaults)(
      evaluateBounded(program.right, genericInputs(program.right, seed + 7919 * point, domain), {}, {}, f64),
    )
  const first = at(0)
  if (E.isLeft(first)) return [{ kind: 'broken', label: claims[0]!.label, why: first.left, claim: claims[0]! }]
  let points: ReadonlyArray<BoundedEvaluation> = [first.right]
  const more = (): ReadonlyArray<BoundedEvaluation> => {
    if (points.length === 1)
      points = [
        first.right,
        ...Array.from({ length: POINTS - 1 }, (_, i) => at(i + 1)).flatMap((e) => (E.isRight(e) ? [e.right] : [])),
      ]
    return points
  }
  return claims.map((c, i): Judgement => {
    const out = (side: string, e = first.right): Bounded | undefined => e.outputs[`${String(i)}.${side}`]
    switch (c.kind) {
      case 'holds':
        return c.reason === undefined
          ? { kind: 'held', share: 0 }
          : { kind: 'broken', label: c.label, why: c.reason, claim: c }
      case 'executed':
        return executed(c, seed, domain)
      case 'golden':
        return golden(c)
      case 'nonzero': {
        const here = nonzero(c, [out('left')!])
        return here.kind === 'held'
          ? here
          : nonzero(
              c,
              more().flatMap((e) => out('left', e) ?? []),
            )
      }
      case 'zero':
      case 'equal': {
        const left = out('left')!
        const none = {
          value: { dims: left.value.dims, data: new Float64Array(left.value.data.length) },
          bound: new Float64Array(left.bound.length),
        }
        const judged = compare(c, left, out('right') ?? none, out('slack'), out('scale'))
        return judged.kind === 'vacuous' && first.right.undecided ? { kind: 'undecided', label: c.label } : judged
      }
      default:
        return c satisfies never
    }
  })
}
