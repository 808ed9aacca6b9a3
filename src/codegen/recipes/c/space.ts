/**
 * The loops of a stage, found from what its statements read and write: axes that are only taken apart become two loops,
 * neighbours that are contiguous everywhere become one, and the loop that most addresses follow step by step is
 * innermost, where vectors lie along it. A guard on the innermost axis (a concat, a pad) cuts that loop in segments, so
 * that no test is left inside.
 */
import { dim, divDim, literal, mulDim, subDim, type Dim } from '../../../dsl/dim.ts'
import type { Axis } from '../../../dsl/node.ts'
import {
  addIndex,
  axisIndex,
  divIndex,
  flatten,
  minIndex,
  scaleIndex,
  shiftIndex,
  substituteIndex,
  unflatten,
  whole,
} from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import {
  bodyOf,
  indicesOf,
  indicesOfAtom,
  indicesOfStmt,
  mapParts,
  partsOf,
  valuesOf,
  type Atom,
  type Buffer,
  type Expr,
  type Index,
  type Loop,
  type Role,
  type Stmt,
} from '../../kernel/kernel.ts'
import { loopFrom, loopOver, within } from '../../kernel/statements.ts'

// ---------------------------------------------------------------------------------------- model

/** part of an axis: from <= it < to, both within 0 and its size */
export interface Range {
  readonly from: Index
  readonly to: Index
}

/** one loop; a node's axes are indices over these */
export interface Side {
  readonly name: string
  readonly size: Dim
  /** all that is needed, where a mask empties the rest */
  readonly range?: Range
}

export interface Space {
  readonly sides: ReadonlyArray<Side>
  readonly at: Position
}

/** what is done at a point: stores, folds */
export type Make = (at: Position) => ReadonlyArray<Stmt>

export interface Naming {
  /** a name that the kernel does not have yet */
  readonly fresh: (base: string) => string
  readonly bufferOf: (name: string) => Buffer
  /** axes of which only a part is needed now */
  readonly ranges?: ReadonlyMap<string, Range>
}

/** Names for one kernel: what is asked for where it is a plain identifier, with a number where it is taken. */
export const namer = (taken: Set<string> = new Set()): ((base: string) => string) => {
  return (base) => {
    const letters = base.replace(/[^A-Za-z0-9_]/g, '_')
    const plain = /^[a-z]/.test(letters) && !/^(n_|v\d|t\d)/.test(letters) ? letters : `i_${letters}`
    let name = reserved.has(plain) ? `${plain}_` : plain
    for (let i = 1; taken.has(name); i++) name = `${plain}_${String(i)}`
    taken.add(name)
    return name
  }
}
const reserved = new Set(
  (
    'auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short ' +
    'signed sizeof static struct switch typedef union unsigned void volatile while asm bool true false task tasks begin end scratch bc least ' +
    'whole clamp floordiv larger smaller exp log sin cos tanh sqrt pow abs floor y0 y1 yn j0 j1 jn gamma index kernels share part job now'
  ).split(' '),
)

// ------------------------------------------------------------------------------------- analyses

interface Uses {
  /** flat addresses; stores count twice when the innermost loop is chosen */
  readonly reads: ReadonlyArray<Index>
  readonly writes: ReadonlyArray<Index>
  /** indices that are tested or used as numbers */
  readonly others: ReadonlyArray<Index>
}

export const usesOf = (stmts: ReadonlyArray<Stmt>, bufferOf: (name: string) => Buffer | undefined): Uses => {
  const [reads, writes, others]: Index[][] = [[], [], []]
  const seen = new Set<Expr>()
  const flat = (name: string, at: ReadonlyArray<Index>): ReadonlyArray<Index> => {
    const b = bufferOf(name)
    return b === undefined ? [] : [flatten(at, b.shape)]
  }
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.kind === 'read') reads!.push(...flat(e.buffer, e.at))
    else others!.push(...indicesOf(e))
    partsOf(e).forEach(visit)
  }
  const stmt = (s: Stmt): void => {
    if (s.kind === 'store') writes!.push(...flat(s.buffer, s.at))
    else others!.push(...indicesOfStmt(s))
    valuesOf(s).forEach(visit)
    bodyOf(s).forEach(stmt)
  }
  stmts.forEach(stmt)
  return { reads: reads!, writes: writes!, others: others! }
}

const mentions = (a: Atom, axis: string): boolean =>
  a.kind === 'axis'
    ? a.name === axis
    : a.kind === 'data'
      ? dataMentions(a.of, axis)
      : indicesOfAtom(a).some((i) => indexMentions(i, axis))
export const indexMentions = (i: Index, axis: string): boolean => i.terms.some((t) => mentions(t.atom, axis))
const dataMentions = (e: Expr, axis: string): boolean =>
  indicesOf(e).some((i) => indexMentions(i, axis)) || partsOf(e).some((p) => dataMentions(p, axis))

/** how far a step along an axis moves; undefined where that is not one distance */
export const strideOf = (i: Index, axis: string): Dim | undefined => {
  let by: Dim = subDim(0, 0)
  for (const { factor, atom } of i.terms) {
    if (atom.kind === 'axis' && atom.name === axis) by = factor
    else if (mentions(atom, axis)) return undefined
  }
  return by
}

/** the better the more addresses follow the axis one by one, or do not move */
export const contiguity = ({ reads, writes }: Uses, axis: string): number => {
  const score = (i: Index): number => {
    const by = strideOf(i, axis)?.key
    return by === '1' ? 2 : by === '0' ? 0 : -3
  }
  return reads.reduce((n, i) => n + score(i), 0) + 2 * writes.reduce((n, i) => n + score(i), 0)
}

// --------------------------------------------------------------------------------- constructors

const everyIndex = (u: Uses): ReadonlyArray<Index> => [...u.reads, ...u.writes, ...u.others]

/** the sizes by which some index takes a whole axis apart evenly */
const partsOfAxis = (side: Side, uses: Uses): ReadonlyArray<Dim> => {
  const found = new Map<string, Dim>()
  const look = (i: Index): void => {
    for (const { atom } of i.terms) {
      if ((atom.kind === 'div' || atom.kind === 'mod') && atom.of.key === side.name) found.set(atom.by.key, atom.by)
      indicesOfAtom(atom).forEach(look)
    }
  }
  everyIndex(uses).forEach(look)
  return [...found.values()].filter((n) => {
    const [size, by] = [literal(side.size), literal(n)]
    return size !== undefined && by !== undefined ? size % by === 0 : !divDim(side.size, n).key.includes('/')
  })
}

const replaceAxis = (at: Position, name: string, by: Index): Position => {
  const expr = (e: Expr): Expr => mapParts(e, index, expr)
  const index = (i: Index): Index => substituteIndex(i, (n) => (n === name ? by : undefined), expr)
  return new Map([...at].map(([a, i]) => [a, index(i)]))
}

/** The loops over these axes, outermost first, for the statements of a point. `chooses`: the loop that vectors lie along is chosen; else the order stays. */
export const spaceOf = (
  axes: ReadonlyArray<Axis>,
  around: Position,
  make: Make,
  { fresh, bufferOf, ranges }: Naming,
  chooses = true,
): Space => {
  let sides: Side[] = []
  let own = new Map<string, Index>()
  for (const a of axes) {
    const name = fresh(a.name)
    own.set(a.name, axisIndex(name, a.size))
    const range = ranges?.get(a.name)
    if (literal(a.size) !== 1) sides.push({ name, size: a.size, ...(range === undefined ? {} : { range }) })
  }
  const at = (): Position => new Map([...around, ...own])
  let uses = usesOf(make(at()), bufferOf)

  // axes that are only taken apart
  for (let again = true, rounds = 0; again && rounds < 6; rounds++) {
    again = false
    for (const [i, side] of sides.entries()) {
      if (side.range !== undefined) continue
      const by = [...partsOfAxis(side, uses)].sort((a, b) => (literal(b) ?? 0) - (literal(a) ?? 0))[0]
      if (by === undefined) continue
      const [major, minor] = [
        { name: fresh(side.name), size: divDim(side.size, by) },
        { name: fresh(side.name), size: by },
      ]
      const sum = addIndex(scaleIndex(by, axisIndex(major.name, major.size)), axisIndex(minor.name, minor.size))
      own = new Map([...replaceAxis(own, side.name, sum)])
      sides.splice(i, 1, ...[major, minor].filter((s) => literal(s.size) !== 1))
      uses = usesOf(make(at()), bufferOf)
      again = true
      break
    }
  }

  // the loop that most addresses follow is innermost
  if (chooses && sides.length > 1) {
    const scores = sides.map((s) => contiguity(uses, s.name))
    const best = Math.max(...scores)
    if (scores[scores.length - 1]! < best) {
      const [last] = sides.splice(scores.lastIndexOf(best), 1)
      sides.push(last!)
    }
  }

  // neighbours that are contiguous everywhere
  const isOne = (a: Side, b: Side): boolean => {
    const { reads, writes, others } = uses
    if (a.range !== undefined || b.range !== undefined) return false
    if (others.some((i) => indexMentions(i, a.name) || indexMentions(i, b.name))) return false
    return [...reads, ...writes].every((i) => {
      const [x, y] = [strideOf(i, a.name), strideOf(i, b.name)]
      return x !== undefined && y !== undefined && x.key === mulDim(y, b.size).key
    })
  }
  for (let i = sides.length - 2; i >= 0; i--) {
    const [a, b] = [sides[i]!, sides[i + 1]!]
    if (!isOne(a, b)) continue
    const one = { name: fresh(a.name), size: mulDim(a.size, b.size) }
    const [x, y] = unflatten(axisIndex(one.name, one.size), [a.size, b.size])
    own = new Map([...replaceAxis(replaceAxis(own, a.name, x!), b.name, y!)])
    sides = [...sides.slice(0, i), one, ...sides.slice(i + 2)]
    uses = usesOf(make(at()), bufferOf)
  }
  return { sides, at: at() }
}

// ------------------------------------------------------------------------------------- segments

const isCertainlyPositive = (d: Dim): boolean => d.terms.length > 0 && d.terms.every((t) => t.coef > 0)

/** Where guards cut the axis, in order, ends included; only where the order is certain */
export const cutsOf = (side: Side, stmts: ReadonlyArray<Stmt>): ReadonlyArray<Dim> => {
  const found = new Map<string, Dim>()
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.kind === 'guard' && e.of.terms.length === 1 && strideOf(e.of, side.name)?.key === '1')
      for (const d of [e.low, e.high]) {
        const cut = subDim(d, e.of.offset)
        found.set(cut.key, cut)
      }
    partsOf(e).forEach(visit)
  }
  const stmt = (s: Stmt): void => {
    valuesOf(s).forEach(visit)
    bodyOf(s).forEach(stmt)
  }
  stmts.forEach(stmt)
  const inside = [...found.values()].filter((c) => isCertainlyPositive(c) && isCertainlyPositive(subDim(side.size, c)))
  const sorted = inside.sort((a, b) => (isCertainlyPositive(subDim(b, a)) ? -1 : 1))
  const ordered = sorted.every((c, i) => i === 0 || isCertainlyPositive(subDim(c, sorted[i - 1]!)))
  return ordered && sorted.length <= 4 ? [subDim(0, 0), ...sorted, side.size] : [subDim(0, 0), side.size]
}

// ---------------------------------------------------------------------------------------- loops

/** elements of a task, where a launch is one long loop */
const CHUNK = 4096

/** the last multiple of `step` that is not above it */
export const floorTo = (step: number, i: Index): Index => scaleIndex(step, divIndex(i, step))

/** A loop over a side, or over what is needed of it. */
const loopAlong = ({ name, size, range }: Side, role: Role): Loop =>
  range === undefined ? loopOver(name, size, role) : loopFrom(name, size, range.from, range.to, 1, role)

/** Loops over all sides, without vectors. */
export const plainLoops = ({ sides, at }: Space, make: Make): ReadonlyArray<Stmt> =>
  within(
    sides.map((s) => loopAlong(s, 'loop')),
    make(at),
  )

/**
 * Vectors along an axis: a loop over their beginnings, none where one vector is enough, and in tasks where the role is
 * block. Where only a part is needed, those that have any of it.
 */
export const vectorLoop = (
  side: Side,
  width: number,
  body: (i: Index, start: Index) => ReadonlyArray<Stmt>,
  fresh: Naming['fresh'],
  role: Role = 'loop',
  /** vectors in a task */
  chunk = CHUNK / width,
): ReadonlyArray<Stmt> => {
  const size = literal(side.size)
  const isOne = size !== undefined && size <= width && side.range === undefined
  const start = isOne ? whole(0) : axisIndex(fresh(`${side.name}_0`), side.size)
  const isEven = size !== undefined && size % width === 0
  const until = isEven ? shiftIndex(start, width) : minIndex(shiftIndex(start, width), whole(side.size))
  const lanes = { ...loopFrom(side.name, side.size, start, until, 1, 'vector'), unroll: width }
  const inner = within([lanes], body(axisIndex(side.name, side.size), start))
  const [first] = start.terms
  if (first?.atom.kind !== 'axis') return inner
  const { name } = first.atom
  const { from, to } = side.range ?? { from: whole(0), to: whole(side.size) }
  if (role !== 'block') return within([loopFrom(name, side.size, floorTo(width, from), to, width, role)], inner)
  const task = fresh(`${side.name}_task`)
  const begin = axisIndex(task, side.size)
  const end =
    size !== undefined && size % (chunk * width) === 0
      ? shiftIndex(begin, chunk * width)
      : minIndex(shiftIndex(begin, chunk * width), whole(side.size))
  return within(
    [
      loopFrom(task, side.size, whole(0), whole(side.size), chunk * width, 'block'),
      loopFrom(name, side.size, begin, end, width, 'loop'),
    ],
    inner,
  )
}

/** The loops of a space around its statements, the innermost in vectors, cut where guards change. */
export const loopsOf = (
  { sides, at }: Space,
  make: Make,
  width: number,
  naming: Naming,
  roles: (i: number, n: number) => Role = () => 'loop',
  folds = false,
): ReadonlyArray<Stmt> => {
  const last = sides[sides.length - 1]
  if (last === undefined) return make(at)
  const outer = sides.slice(0, -1)
  const cuts = last.range === undefined ? cutsOf(last, make(at)) : [dim(0), last.size]
  const pieces = cuts.slice(1).flatMap((end, i): ReadonlyArray<Stmt> => {
    const start = cuts[i]!
    const size = subDim(end, start)
    const isWhole = cuts.length === 2
    const side = isWhole ? last : { name: naming.fresh(last.name), size }
    const inner = isWhole ? at : replaceAxis(at, last.name, shiftIndex(axisIndex(side.name, size), start))
    // folds across lanes keep one register, plain loops around the vectors share it
    const body = (): ReadonlyArray<Stmt> => make(inner)
    if (literal(size) === 1) return make(isWhole ? at : replaceAxis(at, last.name, whole(start)))
    return vectorLoop(side, width, body, naming.fresh, outer.length === 0 && !folds ? roles(0, 1) : 'loop')
  })
  return within(
    outer.map((s, i) => loopAlong(s, roles(i, sides.length))),
    pieces,
  )
}
