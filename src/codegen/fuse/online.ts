/**
 * Sums of a row that can be kept up while its maximum is still found, so that the row is read once for both:
 *
 *     m = max_i x_i      s = sum_i e^(x_i - m)
 *
 * Where m rises to m', s becomes e^(m - m') s. Milakov and Gimelshein 2018, arXiv 1805.02867.
 */
import type { Node, NodeOf } from '../../dsl/node.ts'
import type { Stage } from './group.ts'

// ---------------------------------------------------------------------------------------- model

/** A stage that is a maximum alone, and a later one of sums of e^(x - it). */
export interface Online {
  readonly max: NodeOf<'reduce'>
  readonly sums: Extract<Stage, { readonly kind: 'reduce' }>
}

// ------------------------------------------------------------------------------------- analyses

/** m where the sum is sum_i e^(x_i - m), m = max_i x_i over the same axes */
export const maximumOf = ({ attrs, args }: NodeOf<'reduce'>): NodeOf<'reduce'> | undefined => {
  const [e] = args
  if (attrs.fn !== 'sum' || e?.op !== 'map' || e.attrs.fn !== 'exp') return undefined
  const [difference] = e.args
  if (difference?.op !== 'map' || difference.attrs.fn !== 'sub') return undefined
  const [x, m] = difference.args
  if (m?.op !== 'reduce' || m.attrs.fn !== 'max' || m.args[0] !== x) return undefined
  const isSame = m.attrs.over.length === attrs.over.length && m.attrs.over.every((o) => attrs.over.includes(o))
  return isSame ? m : undefined
}

/** Whether a maximum and such a sum are among these. */
export const hasOnline = (anchors: ReadonlyArray<Node>): boolean =>
  anchors.some((a) => {
    const m = a.op === 'reduce' ? maximumOf(a) : undefined
    return m !== undefined && anchors.includes(m)
  })

/** results among `made` that the expression of n reads */
const reads = (n: Node, made: ReadonlySet<Node>): boolean => {
  const seen = new Set<Node>()
  const visit = (m: Node): boolean => {
    if (made.has(m)) return true
    if (seen.has(m)) return false
    seen.add(m)
    return m.args.some(visit)
  }
  return n.args.some(visit)
}

/** The first stage and the one after it that it can be done with: sums that need nothing of the stages between. */
export const onlineIn = (stages: ReadonlyArray<Stage>): Online | undefined => {
  const [first] = stages
  if (first?.kind !== 'reduce' || first.results.length !== 1 || first.results[0] !== first.reduces[0]) return undefined
  const max = first.reduces[0]
  const between = new Set<Node>()
  for (const stage of stages.slice(1)) {
    if (stage.kind === 'reduce' && stage.reduces.every((r) => maximumOf(r) === max))
      return stage.results.some((r) => reads(r, between)) ? undefined : { max: max!, sums: stage }
    stage.results.forEach((r) => between.add(r))
  }
  return undefined
}
