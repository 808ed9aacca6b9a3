/**
 * What a mask leaves empty is not computed: a causal mask, a window.
 *
 *     select(key <= token, score, -1e30)      rows first <= token < end:  keys from end on are masked for all of them
 *
 * A mask cuts an inner axis short: loops over it, columns and depths of dots end where the condition holds for no row of
 * the tile any more. That is legal where nothing outside is needed:
 *
 *     select          its other value stands there, whatever was to be chosen
 *     max, min        over the axis: of what is inside, and the other value
 *     sums and dots   over the axis: of what is zero outside: 0, a product or a quotient of it, a sum of such, and
 *                     e^x where that is 0 in floats: a claim, checked while the kernel runs; where it fails, all is computed
 *
 * Zero times what stands outside is zero here, even were that infinite or NaN: values that a mask hides are not looked at.
 */
import { literal, type Dim } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type Node, type NodeOf } from '../../../dsl/node.ts'
import { clampIndex, scaleIndex, shiftIndex, whole } from '../../kernel/affine.ts'
import { resultsOf, type Group, type Stage } from '../../fuse/group.ts'
import type { Index } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import { innerOf } from './scene.ts'
import type { Range } from './space.ts'

// ---------------------------------------------------------------------------------------- model

/** e^x that has to be 0 outside */
export interface Claim {
  readonly node: NodeOf<'map'>
  /** of a row of the tile; else it is known where tiles begin, for the whole axis if it depends on it */
  readonly isOfRow: boolean
  /** the outer and the inner axes that it depends on outside */
  readonly needs: ReadonlyArray<Axis>
  readonly along: ReadonlyArray<Axis>
}

export interface Mask {
  /** the inner axis that is cut short */
  readonly axis: Axis
  /** choose their other value outside */
  readonly selects: ReadonlyArray<NodeOf<'map'>>
  /** where the condition may hold for some row: first <= row < end */
  readonly inside: (first: Index, end: Index) => Range
  readonly claims: ReadonlyArray<Claim>
  /** index of the stage behind which the claims of rows can be checked; -1: before all */
  readonly since: number
}

// ------------------------------------------------------------------------------------- conditions

/** sum of multiples of axes' positions, and a number */
interface Linear {
  readonly terms: ReadonlyMap<string, number>
  readonly offset: number
}

const combine = (a: Linear, b: Linear, sign: 1 | -1): Linear => {
  const terms = new Map(a.terms)
  for (const [axis, factor] of b.terms) terms.set(axis, (terms.get(axis) ?? 0) + sign * factor)
  return { terms, offset: a.offset + sign * b.offset }
}

const linearOf = (n: Node): Linear | undefined => {
  const [a, b] = n.args
  if (n.op === 'iota') return { terms: new Map([[n.attrs.axis, 1]]), offset: 0 }
  if (n.op === 'const') return { terms: new Map(), offset: n.attrs.value }
  if (n.op === 'cast' || n.op === 'broadcast') return linearOf(a!)
  if (n.op !== 'map' || (n.attrs.fn !== 'add' && n.attrs.fn !== 'sub')) return undefined
  const [x, y] = [linearOf(a!), linearOf(b!)]
  return x === undefined || y === undefined ? undefined : combine(x, y, n.attrs.fn === 'add' ? 1 : -1)
}

/** numbers that are at least 0 where the condition holds */
const slacksOf = (condition: Node): ReadonlyArray<Linear> => {
  if (condition.op === 'broadcast') return slacksOf(condition.args[0]!)
  if (condition.op !== 'map') return []
  const [a, b] = condition.args
  const { fn } = condition.attrs
  if (fn === 'and') return [...slacksOf(a!), ...slacksOf(b!)]
  if (!['le', 'lt', 'ge', 'gt', 'eq'].includes(fn)) return []
  const [x, y] = [linearOf(a!), linearOf(b!)]
  if (x === undefined || y === undefined) return []
  const strict = (l: Linear): Linear => ({ ...l, offset: l.offset - 1 })
  const [up, down] = [combine(y, x, -1), combine(x, y, -1)]
  switch (fn) {
    case 'le':
      return [up]
    case 'lt':
      return [strict(up)]
    case 'ge':
      return [down]
    case 'gt':
      return [strict(down)]
    default:
      return [up, down]
  }
}

/** x <= r row + offset, or x >= r row + offset, r not 0 */
interface Bound {
  readonly side: 'from' | 'to'
  readonly row: number
  readonly offset: number
}

const boundsOf = (condition: Node, axis: string, row: string): ReadonlyArray<Bound> =>
  slacksOf(condition).flatMap(({ terms, offset }): ReadonlyArray<Bound> => {
    const [x, r] = [terms.get(axis) ?? 0, terms.get(row) ?? 0]
    const isOfBoth = [...terms].every(([a, factor]) => a === axis || a === row || factor === 0)
    if (!isOfBoth || Math.abs(x) !== 1 || r === 0 || !Number.isInteger(r) || !Number.isInteger(offset)) return []
    return [x < 0 ? { side: 'to', row: r, offset } : { side: 'from', row: -r, offset: -offset }]
  })

/** over rows first <= row < end, ends of x within 0 and the size; `rows`: how many there are in all */
const insideOf =
  (bounds: ReadonlyArray<Bound>, size: Dim, rows: Dim) =>
  (first: Index, end: Index): Range => {
    const last = shiftIndex(end, -1)
    const [from] = bounds.filter((b) => b.side === 'from')
    const [to] = bounds.filter((b) => b.side === 'to')
    const at = (b: Bound, i: Index, more: number): Index => {
      const x = shiftIndex(scaleIndex(b.row, i), b.offset + more)
      const isRow = rows.key === size.key && (x.key === first.key || x.key === end.key)
      return isRow ? x : clampIndex(x, 0, size)
    }
    return {
      from: from === undefined ? whole(0) : at(from, from.row > 0 ? first : last, 0),
      to: to === undefined ? whole(size) : at(to, to.row > 0 ? last : first, 1),
    }
  }

// --------------------------------------------------------------------------------- what is outside

const isMovement = (n: Node): boolean => n.op === 'cast' || n.op === 'broadcast' || n.op === 'stopGrad'

/** what a mask does to a group's values */
const outsideOf = (g: Group, axis: string, row: string, condition: Node) => {
  const reads = new Set(g.reads)
  const results = new Set(resultsOf(g))
  const isMasked = (n: Node): boolean => n.op === 'map' && n.attrs.fn === 'select' && n.args[0] === condition
  const isMoved = (n: NodeOf<'rename'>): boolean =>
    Object.entries(n.attrs.axes).some(([a, b]) => a !== b && [a, b].some((x) => x === axis || x === row))

  /** what an expression is made of outside, down to what is in memory */
  const leavesOf = (n: Node): ReadonlyArray<Node> | undefined => {
    if (reads.has(n) || n.op === 'const' || n.op === 'iota') return [n]
    if (results.has(n) && !hasAxis(n.type, axis)) return [n]
    if (n.op === 'rename' ? isMoved(n) : n.op !== 'map' && !isMovement(n)) return undefined
    const parts = (isMasked(n) ? [n.args[2]!] : n.args).map(leavesOf)
    return parts.every((p) => p !== undefined) ? parts.flat() : undefined
  }

  const claimOf = (n: NodeOf<'map'>): Claim | undefined => {
    const leaves = leavesOf(n.args[0]!)
    if (leaves === undefined) return undefined
    const isOf = (d: Axis): boolean => leaves.some((l) => hasAxis(l.type, d.name))
    const own = { node: n, needs: g.outer.filter(isOf), along: innerOf(g, n).filter(isOf) }
    const inMemory = leaves.every((l) => !results.has(l))
    if (inMemory && !leaves.some((l) => hasAxis(l.type, row))) return { ...own, isOfRow: false }
    return leaves.some((l) => hasAxis(l.type, axis)) ? undefined : { ...own, isOfRow: true }
  }

  const zeros = new Map<Node, ReadonlyArray<Claim> | undefined>()
  /** the claims by which a value is zero outside; undefined where it is not */
  const zeroOf = (n: Node): ReadonlyArray<Claim> | undefined => {
    if (!zeros.has(n)) zeros.set(n, findZero(n))
    return zeros.get(n)
  }
  const findZero = (n: Node): ReadonlyArray<Claim> | undefined => {
    const [a, b, c] = n.args
    const both = (x: Node, y: Node): ReadonlyArray<Claim> | undefined => {
      const [p, q] = [zeroOf(x), zeroOf(y)]
      return p === undefined || q === undefined ? undefined : [...p, ...q]
    }
    if (n.op === 'const') return n.attrs.value === 0 ? [] : undefined
    if (reads.has(n) || !hasAxis(n.type, axis)) return undefined
    if (n.op === 'rename') return isMoved(n) ? undefined : zeroOf(a!)
    if (isMovement(n)) return zeroOf(a!)
    if (n.op !== 'map') return undefined
    switch (n.attrs.fn) {
      case 'select':
        return isMasked(n) ? zeroOf(c!) : both(b!, c!)
      case 'mul': {
        const known = [zeroOf(a!), zeroOf(b!)].filter((z) => z !== undefined)
        return known.sort((x, y) => x.length - y.length)[0]
      }
      case 'div':
      case 'neg':
        return zeroOf(a!)
      case 'add':
      case 'sub':
        return both(a!, b!)
      case 'exp': {
        const claim = claimOf(n)
        return claim === undefined ? undefined : [claim]
      }
      default:
        return undefined
    }
  }

  /** whether values that are there inside only are read elsewhere too; what a masked select hides is not read */
  const isShielded = (hidden: Node, roots: ReadonlyArray<Node>): boolean => {
    const seen = new Set<Node>()
    const visit = (n: Node): boolean => {
      if (n === hidden) return false
      if (seen.has(n) || reads.has(n)) return true
      seen.add(n)
      return (isMasked(n) ? [n.args[2]!] : n.args).every(visit)
    }
    return roots.every((r) => r === hidden || visit(r))
  }
  return { leavesOf, zeroOf, isShielded, results }
}

// --------------------------------------------------------------------------------- the analysis

/** axes of a side that is flattened */
const isAlone = (axes: ReadonlyArray<Axis>, axis: string): boolean =>
  axes.every((a) => a.name === axis || literal(a.size) === 1)

const argsOf = (s: Stage): ReadonlyArray<Node> =>
  s.kind === 'dot'
    ? s.accumulators.flatMap((a) => a.terms.flatMap((t) => t.dot.args))
    : s.kind === 'reduce'
      ? s.reduces.flatMap((r) => r.args)
      : []

/** The mask of a group by one condition along one axis, where it is legal. */
const maskBy = (
  g: Group,
  axis: Axis,
  row: Axis,
  condition: Node,
  selects: ReadonlyArray<NodeOf<'map'>>,
): Mask | undefined => {
  const bounds = boundsOf(condition, axis.name, row.name)
  if (bounds.length === 0) return undefined
  const { leavesOf, zeroOf, isShielded, results } = outsideOf(g, axis.name, row.name, condition)
  const hasIt = (n: Node): boolean => hasAxis(n.type, axis.name)
  const claims = new Map<Node, Claim>()
  /** the first stage that a claim of rows is needed at */
  let needed = Infinity
  const isZero = (stage: number, ...either: ReadonlyArray<Node>): boolean => {
    const known = either.map(zeroOf).filter((z) => z !== undefined)
    const least = known.sort((x, y) => x.length - y.length)[0]
    least?.forEach((c) => claims.set(c.node, c))
    if (least?.some((c) => c.isOfRow) === true) needed = Math.min(needed, stage)
    return least !== undefined
  }
  const isLegal = (s: Stage, at: number): boolean => {
    if (s.results.some((n) => hasIt(n) && g.stored.includes(n))) return false
    switch (s.kind) {
      case 'map':
        return true
      case 'reduce':
        return s.reduces.every((r) => {
          const x = r.args[0]!
          if (!r.attrs.over.includes(axis.name)) return true
          if (r.attrs.fn === 'sum') return isZero(at, x)
          const isOnly = isAlone(
            x.type.dims.filter((d) => r.attrs.over.includes(d.name)),
            axis.name,
          )
          const other = leavesOf(x)
          return isOnly && other !== undefined && other.every((l) => !hasIt(l) && !results.has(l))
        })
      case 'dot':
        return s.accumulators.every((a) => {
          const isColumn = hasIt(a.node)
          if (isColumn && !isAlone(innerOf(g, a.node), axis.name)) return false
          return a.terms.every(({ dot }) => {
            if (!dot.attrs.over.includes(axis.name)) return true
            const over = dot.args[0]!.type.dims.filter((d) => dot.attrs.over.includes(d.name))
            return isAlone(over, axis.name) && isZero(at, dot.args[0]!, dot.args[1]!)
          })
        })
      case 'solve':
        return !s.solve.args.some(hasIt)
      default:
        return s satisfies never
    }
  }
  if (!g.stages.every(isLegal)) return undefined

  // claims of rows are known behind the stages that make what they are of
  const ofRows = [...claims.values()].filter((c) => c.isOfRow)
  const made = new Map(g.stages.flatMap((s, i) => s.results.map((n) => [n, i] as const)))
  const since = Math.max(-1, ...ofRows.flatMap((c) => leavesOf(c.node.args[0]!)!.map((l) => made.get(l) ?? -1)))
  if (since >= needed) return undefined
  const early = g.stages.slice(0, since + 1).flatMap((s) => s.results.filter(hasIt))
  const roots = g.stages.flatMap((s) => [...s.results, ...argsOf(s)])
  if (!early.every((n) => isShielded(n, roots))) return undefined
  return { axis, selects, inside: insideOf(bounds, axis.size, row.size), claims: [...claims.values()], since }
}

/** axes shorter than this are not worth it */
const SHORT = 32

/** The mask that cuts an inner axis short for tiles of rows, if there is one. */
export const maskOf = (g: Group, row: Axis): Mask | undefined => {
  const reads = new Set(g.reads)
  const conditions = new Map<Node, NodeOf<'map'>[]>()
  const seen = new Set<Node>()
  const visit = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    if (n.op === 'map' && n.attrs.fn === 'select')
      conditions.set(n.args[0]!, [...(conditions.get(n.args[0]!) ?? []), n])
    if (!reads.has(n)) n.args.forEach(visit)
  }
  g.stages.forEach((s) => [...s.results, ...argsOf(s)].forEach(visit))
  for (const [condition, selects] of conditions) {
    if (!namesOf(condition).includes(row.name)) continue
    const axes = condition.type.dims.filter(
      (d) => !g.outer.some((o) => o.name === d.name) && (literal(d.size) ?? SHORT) >= SHORT,
    )
    for (const axis of axes) {
      const mask = maskBy(g, axis, row, condition, selects)
      if (mask !== undefined) return mask
    }
  }
  return undefined
}
