/**
 * Group of rows -> kernel for C. A point of the outer axes after the other, its stages in order, vectors along an inner
 * axis; or, where memory is contiguous along an outer axis instead, W points of it at once in the lanes.
 */
import { literal } from '../../../dsl/dim.ts'
import type { Axis } from '../../../dsl/node.ts'
import { axisIndex, subIndex } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Group } from '../../fuse/group.ts'
import {
  bodyOf,
  indicesOfStmt,
  partsOf,
  partsOfIndex,
  valuesOf,
  type Buffer,
  type Expr,
  type Index,
  type Stmt,
} from '../../kernel/kernel.ts'
import { shareWork } from '../../kernel/share.ts'
import { loopOver, within } from '../../kernel/statements.ts'
import { kernelName, memoryOf, type Recipe } from './cells.ts'
import { keepDear } from './dear.ts'
import type { Argument, Packed } from './operands.ts'
import { contiguity, indexMentions, usesOf, vectorLoop, type Naming, type Range } from './space.ts'
import type { Scene } from './scene.ts'
import { stagesAt } from './stages.ts'

/** Buffers, names and an empty scene for a group. */
export const sceneOf = (g: Group, width: number) => {
  const { fresh, params, outputs, read, stored } = memoryOf(g)
  const buffers = new Map([...params, ...outputs].map((b) => [b.name, b]))
  const locals = new Map<string, Buffer>()
  const packed: { readonly name: string; readonly packed: Packed }[] = []
  const addLocal = (b: Buffer): void => {
    locals.set(b.name, b)
    buffers.set(b.name, b)
  }
  const addPacked = (p: Packed): string => {
    const known = packed.find((q) => q.packed.key === p.key)
    if (known !== undefined) return known.name
    const name = fresh('w')
    packed.push({ name, packed: p })
    buffers.set(name, { ...p.buffer, name })
    return name
  }
  const ranges = new Map<string, Range>()
  const naming: Naming = { fresh, bufferOf: (n) => buffers.get(n)!, ranges }
  const scene = (lane?: Scene['lane'], tile?: Scene['tile']): Scene => ({
    ...{ group: g, width, naming, read, stored, lane, tile, addLocal },
    homes: new Map(),
    joins: new Map(),
    later: new Map(),
  })
  const finish = (body: ReadonlyArray<Stmt>): Recipe => {
    const used = usedBuffers(body)
    const all: ReadonlyArray<{ readonly b: Buffer; readonly arg: Argument }> = [
      ...g.reads.map((node, i) => ({ b: params[i]!, arg: { kind: 'node', node } as const })),
      ...packed.map((p) => ({ b: buffers.get(p.name)!, arg: { kind: 'packed', packed: p.packed } as const })),
    ]
    // an operand that was packed beforehand may not be read here at all
    const kept = all.filter((a) => used.has(a.b.name))
    return {
      kernel: {
        ...{ name: kernelName(g), params: kept.map((a) => a.b), outputs },
        locals: [...locals.values()].filter((b) => used.has(b.name)),
        body: shareWork(body),
      },
      args: kept.map((a) => a.arg),
      results: g.stored,
    }
  }
  return { naming, ranges, scene, finish, addLocal, setLocal: addLocal, addPacked, globals: [...params, ...outputs] }
}

/** buffers that the statements name; locals of attempts that were not taken are left out */
const usedBuffers = (body: ReadonlyArray<Stmt>): ReadonlySet<string> => {
  const used = new Set<string>()
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.kind === 'read') used.add(e.buffer)
    partsOf(e).forEach(visit)
  }
  const stmt = (s: Stmt): void => {
    if (s.kind === 'store') used.add(s.buffer)
    if (s.kind === 'call') s.places.forEach((p) => used.add(p.buffer))
    indicesOfStmt(s).flatMap(partsOfIndex).forEach(visit)
    valuesOf(s).forEach(visit)
    bodyOf(s).forEach(stmt)
  }
  body.forEach(stmt)
  return used
}

const atPoint = (outer: ReadonlyArray<Axis>, names: ReadonlyMap<string, string>): Position =>
  new Map(outer.map((o) => [o.name, axisIndex(names.get(o.name)!, o.size)]))

/** the outer axis to put in the lanes: memory is more contiguous along it than along what the stages loop over */
const laneAxis = (g: Group, width: number): Axis | undefined => {
  if (g.outer.length === 0 || g.stages.some((s) => s.kind === 'solve')) return undefined
  const { naming, scene, globals } = sceneOf(g, width)
  const names = new Map(g.outer.map((o) => [o.name, naming.fresh(o.name)]))
  const s = scene()
  const stmts = stagesAt(s, g.stages, atPoint(g.outer, names))
  const shown = new Set(globals.map((b) => b.name))
  // addresses in locals say nothing about memory
  const uses = usesOf(stmts, (n) => (shown.has(n) ? naming.bufferOf(n) : undefined))
  const axes = new Set(
    [...uses.reads, ...uses.writes].flatMap((i) =>
      i.terms.flatMap((t) => (t.atom.kind === 'axis' ? [t.atom.name] : [])),
    ),
  )
  const outerNames = new Set(names.values())
  const inner = [...axes].filter((a) => !outerNames.has(a))
  /** each address by the inner axis that it follows best */
  const best = [...uses.reads, ...uses.writes].reduce((n, i) => {
    const own = inner.filter((a) => indexMentions(i, a))
    return (
      n + (own.length === 0 ? 0 : Math.max(...own.map((a) => contiguity({ reads: [i], writes: [], others: [] }, a))))
    )
  }, 0)
  const scored = g.outer
    .filter((o) => (literal(o.size) ?? width) >= width)
    .map((o) => ({
      o,
      score: contiguity({ reads: [...uses.reads, ...uses.writes], writes: [], others: [] }, names.get(o.name)!),
    }))
    .sort((a, b) => b.score - a.score)
  const [first] = scored
  return first !== undefined && first.score > best ? first.o : undefined
}

/** A kernel that does its points one by one, or W at once. */
export const pointsC = (group: Group, width: number): Recipe => {
  const g = keepDear(group)
  const { naming, scene, finish } = sceneOf(g, width)
  const lane = laneAxis(g, width)
  const names = new Map(g.outer.map((o) => [o.name, naming.fresh(o.name)]))
  const loops = g.outer
    .filter((o) => o !== lane && literal(o.size) !== 1)
    .map((o) => loopOver(names.get(o.name)!, o.size, 'block'))
  if (lane === undefined) {
    const s = scene()
    return finish(within(loops, stagesAt(s, g.stages, atPoint(g.outer, names))))
  }
  const side = { name: names.get(lane.name)!, size: lane.size }
  const body = (i: Index, start: Index): ReadonlyArray<Stmt> => {
    const s = scene({ size: width, index: subIndex(i, start) })
    return stagesAt(s, g.stages, atPoint(g.outer, names))
  }
  return finish(within(loops, vectorLoop(side, width, body, naming.fresh, 'block', 1)))
}
