/**
 * Where and when a kernel reads and writes its global buffers: each access with the loops around it and its address as
 * one index over them. Every loop has a name of its own here, also where the kernel uses a name twice. Indices are made
 * when they are asked for: most questions are answered without them.
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
import type { Reach } from './intrinsics/row.ts'
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
  type Loop,
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
  readonly step: number
  readonly axis: () => Index
  readonly from: () => Index
  readonly turn: () => Index
}

export interface Access {
  readonly buffer: string
  readonly kind: 'read' | 'write'
  /** the flat position; undefined: nothing is known of it */
  readonly address: () => Index | undefined
  /** outermost first */
  readonly loops: ReadonlyArray<Around>
  /** its statement: places in the lists of statements from the outermost down */
  readonly path: ReadonlyArray<number>
  /** a store reads what its value needs before it writes: such reads and the write are one statement */
  readonly isStore: boolean
}

type Names = ReadonlyMap<string, () => Index>

interface Scope {
  readonly loops: ReadonlyArray<Around>
  readonly path: ReadonlyArray<number>
  /** what loops and `index` statements call their values */
  readonly names: Names
}

const once = <A>(f: () => A): (() => A) => {
  let known: { readonly value: A } | undefined
  return () => (known ??= { value: f() }).value
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

const named = (i: Index, names: Names): Index =>
  substituteIndex(
    i,
    (name) => names.get(name)?.(),
    (e) => e,
  )

const loopAround = ({ axis, size, from, to, step, role }: Loop, names: Names, id: number): Around => {
  const name = `${axis} ${String(id)}`
  const parts = once(() => {
    const [first, end] = [named(from, names), named(to, names)]
    const span = spanOf(first, end)
    const turns = span === undefined ? size : dim(Math.max(1, Math.ceil(span / step)))
    const turn = axisIndex(`${name} turn`, turns)
    // the axis itself is below its size, which turns of a loop that is cut short need not show
    const isPlain = turn.terms.length === 0 || (literalIndex(first) !== undefined && span !== undefined)
    return { first, turn, axis: isPlain ? addIndex(first, scaleIndex(step, turn)) : axisIndex(name, size) }
  })
  return { name, role, step, axis: () => parts().axis, from: () => parts().first, turn: () => parts().turn }
}

/** Every access of these buffers, in the order of the source. */
export const accessesOf = (k: Kernel, wanted: ReadonlySet<string>): ReadonlyArray<Access> => {
  const buffers = new Map<string, Buffer>(buffersOf(k).map((b) => [b.name, b]))
  const found: Access[] = []
  let ids = 0
  const add = (
    { buffer, at }: Place,
    kind: Access['kind'],
    { loops, path, names }: Scope,
    isStore: boolean,
    reach: ReadonlyArray<Reach> | undefined = [],
  ): void => {
    const id = ids++
    const address = (): Index | undefined =>
      reach.reduce<Index | undefined>(
        (sum, { step, count }, n) => {
          const most = mostOf(named(count, names))
          return sum === undefined || step.terms.length > 0 || most === undefined
            ? undefined
            : addIndex(sum, scaleIndex(step.offset, axisIndex(`reach ${String(id)} ${String(n)}`, most)))
        },
        named(flatten(at, buffers.get(buffer)!.shape), names),
      )
    found.push({ buffer, kind, address: once(address), loops, path, isStore })
  }
  /** what is passed to an intrinsic that does not say what it reaches */
  const addUnknown = ({ buffer }: Place, kind: Access['kind'], { loops, path }: Scope): void =>
    void found.push({ buffer, kind, address: () => undefined, loops, path, isStore: false })

  const reads = (roots: ReadonlyArray<Expr>, scope: Scope, isStore: boolean): void => {
    const seen = new Set<Expr>()
    const visit = (e: Expr): void => {
      if (seen.has(e)) return
      seen.add(e)
      if (e.kind === 'read' && wanted.has(e.buffer)) add(e, 'read', scope, isStore)
      partsOf(e).forEach(visit)
    }
    roots.forEach(visit)
  }

  const call = (s: Extract<Stmt, { readonly kind: 'call' }>, scope: Scope): void =>
    s.places.forEach((p, n) => {
      if (!wanted.has(p.buffer)) return
      const passed = intrinsic(s.intrinsic)?.places[n]
      const kinds = (['read', 'write'] as const).filter(
        (kind) => passed?.access !== (kind === 'read' ? 'write' : 'read'),
      )
      for (const kind of kinds)
        if (passed?.reach === undefined) addUnknown(p, kind, scope)
        else add(p, kind, scope, false, passed.reach(s.ints))
    })

  const list = (stmts: ReadonlyArray<Stmt>, outer: Scope): void => {
    // names that an `index` statement gives hold for the rest of its list
    let { names } = outer
    stmts.forEach((s, i) => {
      const scope: Scope = { loops: outer.loops, path: [...outer.path, i], names }
      reads([...indicesOfStmt(s).flatMap(partsOfIndex), ...valuesOf(s)], scope, s.kind === 'store')
      if (s.kind === 'index')
        names = new Map(names).set(
          s.name,
          once(() => named(s.value, scope.names)),
        )
      else if (s.kind === 'store' && wanted.has(s.buffer)) add(s, 'write', scope, true)
      else if (s.kind === 'call') call(s, scope)
      else if (s.kind === 'for') {
        const around = loopAround(s.loop, names, ids++)
        const inner = new Map(names).set(s.loop.axis, around.axis)
        list(s.body, { loops: [...scope.loops, around], path: scope.path, names: inner })
      } else list(bodyOf(s), scope)
    })
  }

  list(k.body, { loops: [], path: [], names: new Map() })
  return found
}
