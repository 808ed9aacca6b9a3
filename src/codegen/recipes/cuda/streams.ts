/**
 * Streams: rows whose inner values are contractions over axes too long to keep (attention's scores). A block has a tile
 * of rows and goes along the stream in chunks; scores of a chunk are computed from tiles in shared memory and used at
 * once. What a reduction needs of an earlier one (the maximum before the sum) is an earlier pass, with the scores
 * computed again; nothing as long as the stream is ever stored.
 *
 *     pass 1   m  = max_s x[row, s]
 *     pass 2   l  = sum_s e^(x[row, s] - m)        o[row, j] = sum_s e^(x[row, s] - m) v[s, j]
 */
import { literal } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf } from '../../../dsl/node.ts'
import type { Group, Stage } from '../../fuse/group.ts'
import { axesBeside, extentOf } from './draft.ts'

// ---------------------------------------------------------------------------------------- model

type Sum = NodeOf<'reduce'> | NodeOf<'dot'>

/** values along the stream, computed chunk by chunk: left[row, d] right[s, d] summed over d */
export interface Flow {
  readonly node: NodeOf<'dot'>
  readonly left: Node
  readonly right: Node
  readonly along: ReadonlyArray<Axis>
  readonly over: ReadonlyArray<Axis>
}

/** a number a row: a reduction of what flows by */
export interface Fold {
  readonly kind: 'fold'
  readonly node: Sum
}
/** numbers a row: left[row, s] right[s, j] summed over s */
export interface Gathered {
  readonly kind: 'gathered'
  readonly node: NodeOf<'dot'>
  readonly left: Node
  readonly right: Node
  readonly columns: ReadonlyArray<Axis>
  /** what the whole sum is divided by or multiplied with: sum_s (x / l) v = (sum_s x v) / l */
  readonly scale: Scale | undefined
}
export interface Scale {
  readonly fn: 'mul' | 'div'
  readonly by: Node
}

/** once along the stream */
export interface Pass {
  readonly along: ReadonlyArray<Axis>
  readonly flows: ReadonlyArray<Flow>
  readonly sums: ReadonlyArray<Fold | Gathered>
  /** stages whose sums are complete after this pass */
  readonly finished: ReadonlyArray<Stage>
  readonly online: Online | undefined
}

/**
 * A maximum and the sums of e^(x - m) ... in one pass: where a chunk raises m, what has been summed is multiplied with
 * e^(m_before - m). Milakov and Gimelshein 2018, arXiv 1805.02867.
 */
export interface Online {
  readonly max: Fold
  readonly stage: Stage
  readonly scaled: ReadonlySet<Node>
}

export interface Streaming {
  /** the axis of rows that a block has several of; the other outer axes are fixed in a block */
  readonly row: Axis
  readonly fixed: ReadonlyArray<Axis>
  readonly passes: ReadonlyArray<Pass>
}

/** a stream has more steps than this, or nobody knows how many */
const SHORT = 32
/** columns of a gathered result: registers of all threads hold them */
const WIDEST = 128

// ------------------------------------------------------------------------------------- analyses

const has = (n: Node, a: Axis): boolean => n.type.dims.some((d) => d.name === a.name)
const keyOf = (axes: ReadonlyArray<Axis>): string =>
  axes
    .map((a) => a.name)
    .sort()
    .join()

const sumsOf = (s: Stage): ReadonlyArray<Sum> =>
  s.kind === 'reduce'
    ? s.reduces
    : s.kind === 'dot'
      ? [...new Set(s.accumulators.flatMap((a) => a.terms.map((t) => t.dot)))]
      : []

const overOf = (n: Sum): ReadonlyArray<Axis> => n.args[0]!.type.dims.filter((d) => n.attrs.over.includes(d.name))

/** the dot's operands, the one with the row first */
const sidesOf = (n: NodeOf<'dot'>, row: Axis): readonly [Node, Node] | undefined => {
  const [a, b] = [n.args[0]!, n.args[1]!]
  return has(a, row) && !has(b, row) ? [a, b] : has(b, row) && !has(a, row) ? [b, a] : undefined
}

const flowOf = (n: NodeOf<'dot'>, row: Axis, outer: ReadonlyArray<Axis>): Flow | undefined => {
  const sides = sidesOf(n, row)
  const along = axesBeside(n, outer)
  if (sides === undefined || along.some((a) => has(sides[0], a) || !has(sides[1], a))) return undefined
  return { node: n, left: sides[0], right: sides[1], along, over: overOf(n) }
}

/** a factor that does not change along the stream, taken out of what flows by */
const peeled = (n: Node, along: ReadonlyArray<Axis>): { readonly node: Node; readonly scale: Scale | undefined } => {
  const [x, y] = n.args
  const isFixed = (m: Node): boolean => !along.some((a) => has(m, a))
  if (n.op !== 'map' || x === undefined || y === undefined) return { node: n, scale: undefined }
  if (n.attrs.fn === 'div' && isFixed(y)) return { node: x, scale: { fn: 'div', by: y } }
  if (n.attrs.fn === 'mul' && isFixed(y)) return { node: x, scale: { fn: 'mul', by: y } }
  if (n.attrs.fn === 'mul' && isFixed(x)) return { node: y, scale: { fn: 'mul', by: x } }
  return { node: n, scale: undefined }
}

/** the group as passes along streams; undefined: it has no streams, or something else besides */
export const streamingOf = (g: Group): Streaming | undefined => {
  if (g.kind !== 'rows') return undefined
  const stored = new Set(g.stored)
  const inner = (n: Node): ReadonlyArray<Axis> => axesBeside(n, g.outer)
  const flowing = g.stages.flatMap((s) => {
    const [result] = s.results
    const isFlow = s.kind === 'dot' && s.results.length === 1 && result!.op === 'dot' && !stored.has(result)
    return isFlow && inner(result).length > 0 ? [result] : []
  })
  const isLong = (n: Node): boolean => (literal(extentOf(inner(n))) ?? Infinity) > SHORT
  if (!flowing.some(isLong)) return undefined
  // rows of a block share what streams by: an axis that the streaming operands lack
  const rows = g.outer.filter((a) => flowing.every((n) => sidesOf(n, a) !== undefined))
  const row = [...rows].sort((a, b) => (literal(b.size) ?? Infinity) - (literal(a.size) ?? Infinity))[0]
  if (row === undefined) return undefined
  const flows = new Map<Node, Flow>()
  for (const n of flowing) {
    const flow = flowOf(n, row, g.outer)
    if (flow === undefined) return undefined
    flows.set(n, flow)
  }
  const alongs = new Set([...flows.values()].map((f) => keyOf(f.along)))

  const results = new Map<Node, number>(g.stages.flatMap((s, i) => s.results.map((r) => [r, i] as const)))
  const levels = new Map<number, number>()
  interface Placed {
    readonly sum: Fold | Gathered
    readonly along: ReadonlyArray<Axis>
    readonly level: number
    readonly flows: ReadonlyArray<Flow>
    /** numbers of the row that it reads */
    readonly needs: ReadonlySet<Node>
  }
  const placed: Placed[] = []
  const stageOf = new Map<Stage, ReadonlyArray<Sum>>()

  for (const [i, s] of g.stages.entries()) {
    if (s.results.some((r) => flows.has(r))) continue
    if (s.kind === 'solve') return undefined
    if (s.kind === 'map') {
      // a value along the stream is computed in place; one that is stored would be as long as the stream
      if (s.results.some((r) => stored.has(r) || !alongs.has(keyOf(inner(r))))) return undefined
      continue
    }
    const sums = sumsOf(s)
    stageOf.set(s, sums)
    let level = 1
    for (const n of sums) {
      const over = overOf(n)
      if (!alongs.has(keyOf(over)) || over.some((a) => g.outer.some((o) => o.name === a.name))) return undefined
      const used: Flow[] = []
      const needs = new Set<Node>()
      let own = 1
      const seen = new Set<Node>()
      const visit = (m: Node): boolean => {
        if (seen.has(m)) return true
        seen.add(m)
        const flow = flows.get(m)
        if (flow !== undefined) {
          used.push(flow)
          return keyOf(flow.along) === keyOf(over)
        }
        const at = results.get(m)
        if (at !== undefined && g.stages[at]!.kind !== 'map') {
          // numbers of the row, from an earlier pass
          if (at >= i || inner(m).length > 0) return false
          own = Math.max(own, 1 + levels.get(at)!)
          needs.add(m)
          return true
        }
        return m.op === 'input' || g.reads.includes(m) || m.args.every(visit)
      }
      const columns = inner(n)
      let sum: Fold | Gathered = { kind: 'fold', node: n }
      if (columns.length > 0) {
        const sides = n.op === 'dot' ? sidesOf(n, row) : undefined
        const isWide = (literal(extentOf(columns)) ?? Infinity) > WIDEST
        if (n.op !== 'dot' || sides === undefined || isWide || columns.some((c) => has(sides[0], c))) return undefined
        const { node: left, scale } = peeled(sides[0], over)
        sum = { kind: 'gathered', node: n, left, right: sides[1], columns, scale }
      }
      const operands = sum.kind === 'fold' ? n.args : [sum.left, sum.right]
      if (!operands.every(visit)) return undefined
      placed.push({ sum, along: flowsOver(flows, over), level: own, flows: used, needs })
      level = Math.max(level, own)
    }
    // a stage's results have the axes of its sums
    if (s.results.some((r) => sums.some((n) => keyOf(inner(n)) !== keyOf(inner(r))))) return undefined
    levels.set(i, level)
  }

  const order = [...placed].sort((a, b) => a.level - b.level)
  const groups = new Map<string, Placed[]>()
  for (const p of order) {
    const key = `${String(p.level)} ${keyOf(p.along)}`
    groups.set(key, [...(groups.get(key) ?? []), p])
  }
  const done = new Set<Sum>()
  const finished = new Set<Stage>()
  const available = (): ReadonlySet<Node> => new Set([...finished].flatMap((s) => s.results))
  const left = [...groups.values()]
  const passes: Pass[] = []
  for (let ps = left.shift(); ps !== undefined; ps = left.shift()) {
    const along = keyOf(ps[0]!.along)
    const next = left.find((qs) => keyOf(qs[0]!.along) === along)
    const online = next === undefined ? undefined : onlineOf(g, ps, next, available())
    if (online !== undefined) left.splice(left.indexOf(next!), 1)
    const all = online === undefined ? ps : [...ps, ...next!]
    all.forEach((p) => done.add(p.sum.node))
    const now = [...stageOf].filter(([s, sums]) => !finished.has(s) && sums.every((n) => done.has(n))).map(([s]) => s)
    now.forEach((s) => finished.add(s))
    passes.push({
      along: ps[0]!.along,
      flows: [...new Set(all.flatMap((p) => p.flows))],
      sums: all.map((p) => p.sum),
      finished: now,
      online,
    })
  }
  return { row, fixed: g.outer.filter((a) => a !== row), passes }
}

/** n = e^(x - m) times what does not depend on m */
const isScaled = (n: Node, max: NodeOf<'reduce'>, dependsOn: (n: Node) => boolean): boolean => {
  if (n.op !== 'map') return false
  const [x, y] = n.args
  if (n.attrs.fn === 'exp')
    return x?.op === 'map' && x.attrs.fn === 'sub' && x.args[0] === max.args[0] && x.args[1] === max
  if (y === undefined) return false
  if (n.attrs.fn === 'mul')
    return (isScaled(x!, max, dependsOn) && !dependsOn(y)) || (isScaled(y, max, dependsOn) && !dependsOn(x!))
  return n.attrs.fn === 'div' && isScaled(x!, max, dependsOn) && !dependsOn(y)
}

/** whether the sums of the next pass can be kept up while the maximum is still found */
const onlineOf = (
  g: Group,
  first: ReadonlyArray<{ readonly sum: Fold | Gathered }>,
  next: ReadonlyArray<{ readonly sum: Fold | Gathered; readonly needs: ReadonlySet<Node> }>,
  available: ReadonlySet<Node>,
): Online | undefined => {
  const [only] = first
  if (first.length !== 1 || only!.sum.kind !== 'fold') return undefined
  const max = only!.sum.node
  if (max.op !== 'reduce' || max.attrs.fn !== 'max') return undefined
  const stage = g.stages.find((s) => s.results.length === 1 && s.results[0] === max)
  if (stage === undefined) return undefined
  const known = new Map<Node, boolean>()
  const dependsOn = (n: Node): boolean => {
    if (n === max) return true
    const done = known.get(n) ?? n.args.some(dependsOn)
    known.set(n, done)
    return done
  }
  const scaled = new Set<Node>()
  for (const { sum, needs } of next) {
    if ([...needs].some((n) => n !== max && !available.has(n))) return undefined
    if (!needs.has(max)) continue
    if (sum.node.op === 'reduce' && sum.node.attrs.fn !== 'sum') return undefined
    const [a, b] = sum.kind === 'gathered' ? [sum.left, sum.right] : [sum.node.args[0]!, sum.node.args[1]]
    const isOne = isScaled(a, max, dependsOn) && (b === undefined || !dependsOn(b))
    if (!isOne && !(b !== undefined && isScaled(b, max, dependsOn) && !dependsOn(a))) return undefined
    scaled.add(sum.node)
  }
  return { max: only!.sum, stage, scaled }
}

/** the stream's axes in the order of what flows along it */
const flowsOver = (flows: ReadonlyMap<Node, Flow>, over: ReadonlyArray<Axis>): ReadonlyArray<Axis> =>
  [...flows.values()].find((f) => keyOf(f.along) === keyOf(over))!.along
