/**
 * Where and when a kernel reads and writes its global buffers: each access with the loops around it and its address as
 * one index over them. Every loop has a name of its own here, also where the kernel uses a name twice.
 */
import { dim, literal, type Dim } from '../../dsl/dim.ts'
import {
  addIndex,
  axisIndex,
  flatten,
  literalIndex,
  rangeOf,
  scaleIndex,
  subIndex,
  substituteIndex,
  whole,
} from './affine.ts'
import { intrinsic } from './intrinsics.ts'
import {
  bodyOf,
  buffersOf,
  indicesOfStmt,
  partsOf,
  partsOfIndex,
  valuesOf,
  type Buffer,
  type Expr,
  type Index,
  type Kernel,
  type Place,
  type Role,
  type Stmt,
} from './kernel.ts'

// ---------------------------------------------------------------------------------------- model

/**
 * A loop: axis = from + step * turn, 0 <= turn < turns. Where `from` is a number the axis is written so everywhere, and
 * `turn` alone stands in addresses.
 */
export interface Around {
  readonly name: string
  readonly role: Role
  readonly axis: Index
  readonly from: Index
  readonly step: number
  readonly turn: Index
}

export interface Access {
  readonly buffer: string
  readonly kind: 'read' | 'write'
  /** the flat position; undefined: nothing is known of it */
  readonly address: Index | undefined
  /** outermost first */
  readonly loops: ReadonlyArray<Around>
  /** its statement: places in the lists of statements from the outermost down */
  readonly path: ReadonlyArray<number>
  /** a store reads what its value needs before it writes: such reads and the write are one statement */
  readonly isStore: boolean
}

// ------------------------------------------------------------------------------------- analyses

/** the least number that `to - from` surely does not exceed */
const spanOf = (from: Index, to: Index): number | undefined => {
  const [only] = to.terms
  const ends =
    to.terms.length === 1 && only!.atom.kind === 'min' && only!.factor.key === '1' && to.offset.key === '0'
      ? only!.atom.of
      : [to]
  const spans = ends.flatMap((end) => {
    const { high } = rangeOf(subIndex(end, from))
    const n = high === undefined ? undefined : literal(high)
    return n === undefined ? [] : [Math.max(0, n)]
  })
  return spans.length === 0 ? undefined : Math.min(...spans)
}

/** a count as a size that it does not exceed */
const mostOf = (count: Index): Dim | undefined => {
  const known = spanOf(whole(0), count)
  return known !== undefined ? dim(known) : count.terms.length === 0 ? count.offset : undefined
}

interface Scope {
  readonly loops: ReadonlyArray<Around>
  readonly path: ReadonlyArray<number>
  readonly names: Map<string, Index>
}

/** Every access of these buffers, in the order of the source. */
export const accessesOf = (k: Kernel, wanted: ReadonlySet<string>): ReadonlyArray<Access> => {
  const buffers = new Map<string, Buffer>(buffersOf(k).map((b) => [b.name, b]))
  const found: Access[] = []
  let fresh = 0
  const named = (i: Index, { names }: Scope): Index =>
    substituteIndex(
      i,
      (name) => names.get(name),
      (e) => e,
    )
  const addressOf = (name: string, at: ReadonlyArray<Index>, scope: Scope): Index =>
    named(flatten(at, buffers.get(name)!.shape), scope)

  const reads = (roots: ReadonlyArray<Expr>, scope: Scope, isStore: boolean): void => {
    const seen = new Set<Expr>()
    const visit = (e: Expr): void => {
      if (seen.has(e)) return
      seen.add(e)
      if (e.kind === 'read' && wanted.has(e.buffer))
        found.push({ ...scope, buffer: e.buffer, kind: 'read', address: addressOf(e.buffer, e.at, scope), isStore })
      partsOf(e).forEach(visit)
    }
    roots.forEach(visit)
  }

  /** what an intrinsic reaches from a place on */
  const reached = (p: Place, ints: ReadonlyArray<Index>, row: number, name: string, scope: Scope): Index | undefined =>
    intrinsic(name)
      ?.places[row]?.reach?.(ints)
      .reduce<Index | undefined>(
        (sum, { step, count }) => {
          const most = mostOf(named(count, scope))
          return sum === undefined || step.terms.length > 0 || most === undefined
            ? undefined
            : addIndex(sum, scaleIndex(step.offset, axisIndex(`reach ${String(fresh++)}`, most)))
        },
        addressOf(p.buffer, p.at, scope),
      )

  const list = (stmts: ReadonlyArray<Stmt>, outer: Scope): void => {
    // names that an `index` statement gives hold for the rest of its list
    const names = new Map(outer.names)
    stmts.forEach((s, i) => {
      const scope: Scope = { loops: outer.loops, path: [...outer.path, i], names }
      reads([...indicesOfStmt(s).flatMap(partsOfIndex), ...valuesOf(s)], scope, s.kind === 'store')
      switch (s.kind) {
        case 'index':
          names.set(s.name, named(s.value, scope))
          break
        case 'store':
          if (wanted.has(s.buffer))
            found.push({
              ...{ buffer: s.buffer, kind: 'write', address: addressOf(s.buffer, s.at, scope), isStore: true },
              ...{ loops: scope.loops, path: scope.path },
            })
          break
        case 'call':
          s.places.forEach((p, n) => {
            if (!wanted.has(p.buffer)) return
            const address = reached(p, s.ints, n, s.intrinsic, scope)
            const access = intrinsic(s.intrinsic)?.places[n]?.access ?? 'update'
            const one = { buffer: p.buffer, address, loops: scope.loops, path: scope.path, isStore: false }
            if (access !== 'write') found.push({ ...one, kind: 'read' })
            if (access !== 'read') found.push({ ...one, kind: 'write' })
          })
          break
        case 'for': {
          const around = loopAround(s.loop, scope)
          const inner = new Map(names).set(s.loop.axis, around.axis)
          list(s.body, { loops: [...scope.loops, around], path: scope.path, names: inner })
          break
        }
        default:
          list(bodyOf(s), { ...scope, names: new Map(names) })
      }
    })
  }

  const loopAround = (loop: Extract<Stmt, { readonly kind: 'for' }>['loop'], scope: Scope): Around => {
    const name = `${loop.axis} ${String(fresh++)}`
    const [from, to] = [named(loop.from, scope), named(loop.to, scope)]
    const span = spanOf(from, to)
    const turns = span === undefined ? loop.size : dim(Math.max(1, Math.ceil(span / loop.step)))
    const turn = axisIndex(`${name} turn`, turns)
    // the axis itself is below its size, which turns of a loop that is cut short need not show
    const isPlain = turn.terms.length === 0 || (literalIndex(from) !== undefined && span !== undefined)
    const axis = isPlain ? addIndex(from, scaleIndex(loop.step, turn)) : axisIndex(name, loop.size)
    return { name, role: loop.role, axis, from, step: loop.step, turn }
  }

  list(k.body, { loops: [], path: [], names: new Map() })
  return found
}
