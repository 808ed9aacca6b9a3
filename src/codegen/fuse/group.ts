/**
 * Groups: what is computed together, without any loops yet. A recipe makes a kernel of a group; `fuse.ts` finds them.
 * A stage's results are read by later stages at the same point of the outer axes; everything between a result and the
 * buffers or locals that it reads is inlined where it is needed.
 */
import type { Axis, Node, NodeOf } from '../../dsl/node.ts'

// ---------------------------------------------------------------------------------------- model

/** factor dot, added or subtracted; `factor` is a node without axes, absent for 1 */
export interface Weighted {
  readonly dot: NodeOf<'dot'>
  readonly factor: Node | undefined
  readonly sign: 1 | -1
}

/** node = sum over terms of sign factor dot, in one accumulator */
export interface Accumulator {
  readonly node: Node
  readonly terms: ReadonlyArray<Weighted>
}

export type Stage =
  /** pointwise work and movement; results of the same axes */
  | { readonly kind: 'map'; readonly results: ReadonlyArray<Node> }
  /** reductions to the same axes, then their pointwise epilogues */
  | {
      readonly kind: 'reduce'
      readonly results: ReadonlyArray<Node>
      readonly reduces: ReadonlyArray<NodeOf<'reduce'>>
    }
  /** contractions to the same axes, then their pointwise epilogues */
  | { readonly kind: 'dot'; readonly results: ReadonlyArray<Node>; readonly accumulators: ReadonlyArray<Accumulator> }
  /** a system a point of the outer axes */
  | {
      readonly kind: 'solve'
      readonly results: ReadonlyArray<Node>
      readonly solve: NodeOf<'solve'> | NodeOf<'triSolve'>
    }

export type GroupKind = 'cells' | 'contraction' | 'rows'

export interface Group {
  readonly name: string
  readonly kind: GroupKind
  /**
   * Axes that every stage has and none mixes: their points are independent of one another. Of cells and contractions
   * all axes of the results; of rows the row axes, a stage's other axes are inner.
   */
  readonly outer: ReadonlyArray<Axis>
  readonly stages: ReadonlyArray<Stage>
  /** results with a buffer, in order */
  readonly stored: ReadonlyArray<Node>
  /** results that stay within the group */
  readonly locals: ReadonlyArray<Node>
  /** buffers read: inputs and other groups' results, in order of first use */
  readonly reads: ReadonlyArray<Node>
  /** why the group ends where it does */
  readonly reason: string
}

// --------------------------------------------------------------------------------- interpreters

/** Nodes between a result and what a group has in buffers, locals and accumulators: all that one evaluation inlines. */
export const resultsOf = (g: Group): ReadonlyArray<Node> => g.stages.flatMap((s) => s.results)

const label = (n: Node): string =>
  n.op === 'input' ? n.attrs.name : `#${String(n.id)}${n.op === 'map' ? n.attrs.fn : n.op}`

const showStage = (s: Stage): string => {
  const results = s.results.map((n) => `${label(n)}{${n.type.dims.map((d) => d.name).join(' ')}}`).join(', ')
  switch (s.kind) {
    case 'map':
      return `map ${results}`
    case 'reduce':
      return `reduce ${s.reduces.map((r) => `${r.attrs.fn} over ${r.attrs.over.join(' ')}`).join(', ')} -> ${results}`
    case 'dot':
      return `dot ${s.accumulators
        .map((a) =>
          a.terms.map((t) => `${t.sign < 0 ? '-' : '+'}${label(t.dot)} over ${t.dot.attrs.over.join(' ')}`).join(' '),
        )
        .join(' | ')} -> ${results}`
    case 'solve':
      return `${s.solve.op} -> ${results}`
    default:
      return s satisfies never
  }
}

/** A group as text. */
export const showGroup = (g: Group): string =>
  [
    `${g.name}: ${g.kind} by ${g.outer.map((a) => `${a.name}:${a.size.key}`).join(', ')}; ${g.reason}`,
    ...g.stages.map((s) => `  ${showStage(s)}`),
    `  reads ${g.reads.map(label).join(', ')}; stores ${g.stored.map(label).join(', ')}${
      g.locals.length === 0 ? '' : `; keeps ${g.locals.map(label).join(', ')}`
    }`,
  ].join('\n')
