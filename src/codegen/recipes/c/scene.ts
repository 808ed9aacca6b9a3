/**
 * Where a group's values are while its kernel runs: buffers that are read or written, registers of a point, locals in
 * scratch. Stages ask for expressions here, and leave their results here.
 */
import { dim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node } from '../../../dsl/node.ts'
import { expressions, type At, type Position } from '../../kernel/expression.ts'
import type { Group } from '../../fuse/group.ts'
import type { Buffer, Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import type { Naming } from './space.ts'

// ---------------------------------------------------------------------------------------- model

/** where the values of a node are found at a point */
export type Home = (at: Position) => Expr

export interface Scene {
  readonly group: Group
  readonly width: number
  readonly naming: Naming
  /** global buffers that are read or written */
  readonly read: ReadonlyMap<Node, string>
  readonly stored: ReadonlyMap<Node, string>
  /** lanes are points of an outer axis: no vectors within a stage, locals have the lane as their last extent */
  readonly lane: { readonly size: number; readonly index: Index } | undefined
  /** points are rows of a tile: locals have the row as their first extent */
  readonly tile: { readonly size: number; readonly row: (at: Position) => Index } | undefined
  readonly addLocal: (b: Buffer) => void
  /** results of stages that are done, and values that are known otherwise */
  readonly homes: Map<Node, Home>
  /** reductions along an axis of which only a part is looked at: of what is folded there, and of the rest */
  readonly joins: Map<Node, (folded: Expr, at: Position) => Expr>
  /** of a tile: homes behind the loop over its rows, where registers are gone */
  readonly later: Map<Node, Home>
}

const isOuter = (g: Group, axis: string): boolean => g.outer.some((o) => o.name === axis)
export const innerOf = (g: Group, n: Node): ReadonlyArray<Axis> => n.type.dims.filter((d) => !isOuter(g, d.name))
export const positionsOf = (n: Node, at: Position): ReadonlyArray<Index> => namesOf(n).map((a) => at.get(a)!)
export const onlyOwn = (n: Node, at: Position): Position => new Map(namesOf(n).map((a) => [a, at.get(a)!]))

// ------------------------------------------------------------------------------------- expressions

/** expressions in which `known` stand for themselves, beside what is in buffers */
export const expressionsIn = (scene: Scene, known: ReadonlyMap<Node, Home> = new Map()): At<Expr> =>
  expressions((n, at) => {
    const home = known.get(n) ?? scene.homes.get(n)
    if (home !== undefined) return home(at)
    const buffer = scene.read.get(n)
    return buffer === undefined ? undefined : { kind: 'read', buffer, at: positionsOf(n, at) }
  })

/** Makes a local for a result: its inner axes, the rows of a tile before them, lanes behind. */
const localFor = (
  scene: Scene,
  n: Node,
): ((at: Position) => { readonly buffer: string; readonly at: ReadonlyArray<Index> }) => {
  const { lane, tile, naming, group } = scene
  const inner = innerOf(group, n)
  const name = naming.fresh('row')
  const shape: ReadonlyArray<Dim> = [
    ...(tile === undefined ? [] : [dim(tile.size)]),
    ...inner.map((d) => d.size),
    ...(lane === undefined ? [] : [dim(lane.size)]),
  ]
  scene.addLocal({ name, shape, space: 'scratch', dtype: 'f32' })
  return (at) => ({
    buffer: name,
    at: [
      ...(tile === undefined ? [] : [tile.row(at)]),
      ...inner.map((d) => at.get(d.name)!),
      ...(lane === undefined ? [] : [lane.index]),
    ],
  })
}

/** statements that leave a result where later stages and readers find it; `homes` is told when all are made */
export interface Sink {
  readonly write: (value: Expr, at: Position) => ReadonlyArray<Stmt>
  readonly settle: () => void
}
export const sinkOf = (scene: Scene, n: Node): Sink => {
  const stored = scene.stored.get(n)
  const isRegister = innerOf(scene.group, n).length === 0
  const toStore = (value: Expr, at: Position): ReadonlyArray<Stmt> =>
    stored === undefined ? [] : [{ kind: 'store', buffer: stored, at: positionsOf(n, at), value }]
  if (isRegister) {
    const register = scene.naming.fresh('x')
    const value: Expr = { kind: 'register', name: register }
    const isKept = scene.tile !== undefined && scene.group.locals.includes(n)
    const place = isKept ? localFor(scene, n) : undefined
    const kept = (at: Position): ReadonlyArray<Stmt> =>
      place === undefined ? [] : [{ kind: 'store', ...place(at), value }]
    return {
      write: (e, at) => [{ kind: 'let', name: register, value: e }, ...kept(at), ...toStore(value, at)],
      settle: () => {
        scene.homes.set(n, () => value)
        if (place !== undefined) scene.later.set(n, (at) => ({ kind: 'read', ...place(at) }))
        else if (stored !== undefined)
          scene.later.set(n, (at) => ({ kind: 'read', buffer: stored, at: positionsOf(n, at) }))
      },
    }
  }
  if (!scene.group.locals.includes(n)) {
    const home: Home = (at) => ({ kind: 'read', buffer: stored!, at: positionsOf(n, at) })
    return { write: toStore, settle: () => void scene.homes.set(n, home) }
  }
  const place = localFor(scene, n)
  return {
    write: (value, at) => [{ kind: 'store', ...place(at), value }, ...toStore(value, at)],
    settle: () => void scene.homes.set(n, (at) => ({ kind: 'read', ...place(at) })),
  }
}
