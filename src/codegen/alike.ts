/**
 * Groups that are alike: the same work on other values, as the layers of a model. What a group reads is replaced by
 * stand-ins named by their places; nodes are hash-consed, so that groups that are alike then consist of the very same
 * nodes. A recipe is found once for all of them: a step's compile time does not grow with its layers.
 */
import { kit } from '../dsl/build.ts'
import { sameType, type Node, type NodeOf } from '../dsl/node.ts'
import type { Group, Stage } from './fuse/group.ts'
import { keyOfKernel } from './kernel/kernel.ts'
import type { Argument, Options, Recipe } from './recipes/c/index.ts'

// ---------------------------------------------------------------------------------------- model

/** A group over stand-ins: equal keys are alike, and `realOf` says what each stand-in or result stands for. */
interface Stencil {
  readonly key: string
  readonly group: Group
  readonly frozen: ReadonlySet<Node>
  readonly realOf: ReadonlyMap<Node, Node>
}

// --------------------------------------------------------------------------------- constructors

const stageOver = (s: Stage, over: (n: Node) => Node): Stage => {
  const results = s.results.map(over)
  switch (s.kind) {
    case 'map':
      return { kind: 'map', results }
    case 'reduce':
      return { kind: 'reduce', results, reduces: s.reduces.map((r) => over(r) as NodeOf<'reduce'>) }
    case 'dot': {
      const accumulators = s.accumulators.map(({ node, terms }) => ({
        node: over(node),
        terms: terms.map((t) => ({
          dot: over(t.dot) as NodeOf<'dot'>,
          factor: t.factor === undefined ? undefined : over(t.factor),
          sign: t.sign,
        })),
      }))
      return { kind: 'dot', results, accumulators }
    }
    case 'solve':
      return { kind: 'solve', results, solve: over(s.solve) as typeof s.solve }
    default:
      return s satisfies never
  }
}

const ids = (ns: ReadonlyArray<Node>): string => ns.map((n) => String(n.id)).join(' ')

const keyOfStage = (s: Stage): string => {
  switch (s.kind) {
    case 'map':
      return `map ${ids(s.results)}`
    case 'reduce':
      return `reduce ${ids(s.reduces)} -> ${ids(s.results)}`
    case 'dot': {
      const terms = s.accumulators.map(
        (a) =>
          `${String(a.node.id)}=${a.terms
            .map((t) => `${String(t.sign)}*${t.factor === undefined ? '' : String(t.factor.id)}*${String(t.dot.id)}`)
            .join('+')}`,
      )
      return `dot ${terms.join(' ')} -> ${ids(s.results)}`
    }
    case 'solve':
      return `solve ${String(s.solve.id)} -> ${ids(s.results)}`
    default:
      return s satisfies never
  }
}

/**
 * Nothing where a node over stand-ins would have another type than its own, and for systems: whether they need pivots is
 * seen in how the matrix was made, behind what the group reads.
 */
const stencilOf = (g: Group, isFrozen: (n: Node) => boolean): Stencil | undefined => {
  if (g.stages.some((s) => s.kind === 'solve')) return undefined
  const over = new Map<Node, Node>(
    g.reads.map((n, i) => [n, kit.input(`read ${String(i)}`, n.type.dims, n.type.dtype)]),
  )
  let isFaithful = true
  const stand = (n: Node): Node => {
    const known = over.get(n)
    if (known !== undefined) return known
    const made = kit.rebuild(n, n.args.map(stand))
    if (!sameType(made.type, n.type)) isFaithful = false
    over.set(n, made)
    return made
  }
  const group: Group = {
    ...g,
    stages: g.stages.map((s) => stageOver(s, stand)),
    stored: g.stored.map(stand),
    locals: g.locals.map(stand),
    reads: g.reads.map(stand),
  }
  if (!isFaithful) return undefined
  const isFrozenRead = g.reads.map((n) => n.op === 'input' && isFrozen(n))
  const key = [
    ...[g.kind, g.outer.map((a) => `${a.name}:${a.size.key}`).join(' '), ids(group.reads)],
    ...[isFrozenRead.map(Number).join(''), ids(group.stored), ids(group.locals)],
    ...group.stages.map(keyOfStage),
  ].join('\n')
  return {
    key,
    group,
    frozen: new Set(group.reads.filter((_, i) => isFrozenRead[i]!)),
    realOf: new Map([...over].map(([real, made]) => [made, real])),
  }
}

/** a recipe over stand-ins, for the values of one of the groups that are alike; equal panels of equal values have equal keys */
const recipeFor = (
  { realOf }: Stencil,
  { kernel, args, results }: Recipe,
  keyOfPanels: (a: Argument) => string,
): Recipe => {
  const real = (n: Node): Node => realOf.get(n) ?? n
  return {
    kernel,
    results: results.map(real),
    args: args.map((a): Argument => {
      if (a.kind === 'node') return { kind: 'node', node: real(a.node) }
      const own = a.packed.args.map(real)
      return { kind: 'packed', packed: { ...a.packed, args: own, key: `${keyOfPanels(a)} ${ids(own)}` } }
    }),
  }
}

/** The recipe of every group, found once for all that are alike. */
export const onceForAlike = (
  recipe: (g: Group, options: Options) => Recipe,
  options: Options,
): ((g: Group) => Recipe) => {
  const found = new Map<string, Recipe>()
  const keys = new Map<Argument, string>()
  const keyOfPanels = (a: Argument): string => {
    const known = keys.get(a) ?? (a.kind === 'packed' ? keyOfKernel(a.packed.kernel) : '')
    keys.set(a, known)
    return known
  }
  return (g) => {
    const stencil = stencilOf(g, options.isFrozen)
    if (stencil === undefined) return recipe(g, options)
    const { key, group, frozen } = stencil
    const known = found.get(key) ?? recipe(group, { ...options, isFrozen: (n) => frozen.has(n) })
    found.set(key, known)
    return recipeFor(stencil, known, keyOfPanels)
  }
}
