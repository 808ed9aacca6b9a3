/**
 * The stages of a group at one point of its outer axes, as statements: a map in vectors, reductions as folds with a
 * register each, small dots as folds of products. What a stage leaves for later ones is a register where it has no inner
 * axes, else a local in scratch.
 */
import { dim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf, ReduceFn } from '../../../dsl/node.ts'
import { apply, expressions, number, type At, type Position } from '../../expression.ts'
import type { Accumulator, Group, Stage } from '../../group.ts'
import type { Buffer, Expr, Index, Stmt } from '../../kernel.ts'
import { dimAlong, namesOf } from '../../sizes.ts'
import { loopOver, within } from '../../statements.ts'
import { contiguity, loopsOf, spaceOf, usesOf, type Make, type Naming, type Space } from './space.ts'

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
  readonly addLocal: (b: Buffer) => void
  /** results of stages that are done, and values that are known otherwise */
  readonly homes: Map<Node, Home>
}

const isOuter = (g: Group, axis: string): boolean => g.outer.some((o) => o.name === axis)
export const innerOf = (g: Group, n: Node): ReadonlyArray<Axis> => n.type.dims.filter((d) => !isOuter(g, d.name))
const positionsOf = (n: Node, at: Position): ReadonlyArray<Index> => namesOf(n).map((a) => at.get(a)!)
const onlyOwn = (n: Node, at: Position): Position => new Map(namesOf(n).map((a) => [a, at.get(a)!]))

// ------------------------------------------------------------------------------------- expressions

/** expressions in which `known` stand for themselves, beside what is in buffers */
export const expressionsIn = (scene: Scene, known: ReadonlyMap<Node, Home> = new Map()): At<Expr> =>
  expressions((n, at) => {
    const home = known.get(n) ?? scene.homes.get(n)
    if (home !== undefined) return home(at)
    const buffer = scene.read.get(n)
    return buffer === undefined ? undefined : { kind: 'read', buffer, at: positionsOf(n, at) }
  })

/** Makes a local for a result with inner axes, and says how it is read and written. */
const localFor = (
  scene: Scene,
  n: Node,
): ((at: Position) => { readonly buffer: string; readonly at: ReadonlyArray<Index> }) => {
  const { lane, naming, group } = scene
  const inner = innerOf(group, n)
  const name = naming.fresh('row')
  const shape: ReadonlyArray<Dim> = [...inner.map((d) => d.size), ...(lane === undefined ? [] : [dim(lane.size)])]
  scene.addLocal({ name, shape, space: 'scratch', dtype: 'f32' })
  return (at) => ({
    buffer: name,
    at: [...inner.map((d) => at.get(d.name)!), ...(lane === undefined ? [] : [lane.index])],
  })
}

/** statements that leave a result where later stages and readers find it; `homes` is told when all are made */
interface Sink {
  readonly write: (value: Expr, at: Position) => ReadonlyArray<Stmt>
  readonly settle: () => void
}
const sinkOf = (scene: Scene, n: Node): Sink => {
  const stored = scene.stored.get(n)
  const isRegister = innerOf(scene.group, n).length === 0
  const toStore = (value: Expr, at: Position): ReadonlyArray<Stmt> =>
    stored === undefined ? [] : [{ kind: 'store', buffer: stored, at: positionsOf(n, at), value }]
  if (isRegister) {
    const register = scene.naming.fresh('x')
    const value: Expr = { kind: 'register', name: register }
    return {
      write: (e, at) => [{ kind: 'let', name: register, value: e }, ...toStore(value, at)],
      settle: () => void scene.homes.set(n, () => value),
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

// ------------------------------------------------------------------------------------------ loops

/** loops without vectors */
const plainLoops = ({ sides, at }: Space, make: Make): ReadonlyArray<Stmt> =>
  within(
    sides.map((s) => loopOver(s.name, s.size, 'loop')),
    make(at),
  )

const nest = (
  scene: Scene,
  axes: ReadonlyArray<Axis>,
  at: Position,
  make: Make,
  isFold = false,
): ReadonlyArray<Stmt> => {
  const space = spaceOf(axes, at, make, scene.naming)
  return scene.lane === undefined
    ? loopsOf(space, make, scene.width, scene.naming, () => 'loop', isFold)
    : plainLoops(space, make)
}

// ----------------------------------------------------------------------------------------- stages

const write = (
  results: ReadonlyArray<Node>,
  sinks: ReadonlyArray<Sink>,
  expr: At<Expr>,
  at: Position,
): ReadonlyArray<Stmt> => results.flatMap((n, i) => sinks[i]!.write(expr(n, onlyOwn(n, at)), at))

const mapStage = (
  scene: Scene,
  results: ReadonlyArray<Node>,
  at: Position,
  known?: ReadonlyMap<Node, Home>,
): ReadonlyArray<Stmt> => {
  const sinks = results.map((n) => sinkOf(scene, n))
  const expr = expressionsIn(scene, known)
  const body = nest(scene, innerOf(scene.group, results[0]!), at, (point) => write(results, sinks, expr, point))
  sinks.forEach((s) => s.settle())
  return body
}

/** a sum over axes that ends in one register */
interface Fold {
  readonly fn: ReduceFn
  readonly axes: ReadonlyArray<Axis>
  readonly value: (expr: At<Expr>, at: Position) => Expr
}

const foldOfReduce = (r: NodeOf<'reduce'>): Fold => {
  const x = r.args[0]!
  return {
    fn: r.attrs.fn,
    axes: x.type.dims.filter((d) => r.attrs.over.includes(d.name)),
    value: (expr, at) => expr(x, onlyOwn(x, at)),
  }
}
const foldOfDot = (d: NodeOf<'dot'>): Fold => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  return {
    fn: 'sum',
    axes: d.attrs.over.map((name) => ({ name, size: dimAlong(a, name) })),
    value: (expr, at) => apply('mul', expr(a, onlyOwn(a, at)), expr(b, onlyOwn(b, at))),
  }
}

/** several folds, those over the same axes in one pass */
const foldAll = (
  scene: Scene,
  folds: ReadonlyArray<Fold>,
  at: Position,
  inVectors: boolean,
): { readonly stmts: ReadonlyArray<Stmt>; readonly registers: ReadonlyArray<Expr> } => {
  const registers = folds.map(() => scene.naming.fresh('s'))
  const expr = expressionsIn(scene)
  const passes = new Map<string, number[]>()
  folds.forEach((f, i) => {
    const key = f.axes
      .map((a) => a.name)
      .sort()
      .join()
    passes.set(key, [...(passes.get(key) ?? []), i])
  })
  const stmts = [...passes.values()].flatMap((members): ReadonlyArray<Stmt> => {
    const make: Make = (point) =>
      members.map((i) => ({
        kind: 'fold',
        register: registers[i]!,
        fn: folds[i]!.fn,
        value: folds[i]!.value(expr, point),
      }))
    const { axes } = folds[members[0]!]!
    const loops = inVectors
      ? nest(scene, axes, at, make, true)
      : plainLoops(spaceOf(axes, at, make, scene.naming), make)
    return [...members.map((i): Stmt => ({ kind: 'unit', register: registers[i]!, fn: folds[i]!.fn })), ...loops]
  })
  return { stmts, registers: registers.map((name) => ({ kind: 'register', name })) }
}

/** results from folds: `values` says what each known node is, given the folds' registers */
const foldStage = (
  scene: Scene,
  results: ReadonlyArray<Node>,
  folds: ReadonlyArray<Fold>,
  values: (registers: ReadonlyArray<Expr>, point: Position) => ReadonlyMap<Node, Home>,
  at: Position,
): ReadonlyArray<Stmt> => {
  const kept = innerOf(scene.group, results[0]!)
  const sinks = results.map((n) => sinkOf(scene, n))
  const body = (point: Position, inVectors: boolean): ReadonlyArray<Stmt> => {
    const { stmts, registers } = foldAll(scene, folds, point, inVectors)
    return [...stmts, ...write(results, sinks, expressionsIn(scene, values(registers, point)), point)]
  }
  const loops = ((): ReadonlyArray<Stmt> => {
    if (kept.length === 0) return body(at, true)
    const alongKept: Make = (point) => body(point, false)
    if (scene.lane !== undefined) return plainLoops(spaceOf(kept, at, alongKept, scene.naming, false), alongKept)
    // vectors along the results, or along what is summed: whichever the operands follow
    const space = spaceOf(kept, at, alongKept, scene.naming)
    const stmts = alongKept(space.at)
    const uses = usesOf(stmts, scene.naming.bufferOf)
    const scoreOf = (names: ReadonlyArray<string>): number =>
      Math.max(-Infinity, ...names.map((n) => contiguity(uses, n)))
    const summed = stmts.flatMap(loopsBelow)
    const last = space.sides[space.sides.length - 1]
    if (last === undefined || scoreOf(summed) > scoreOf([last.name]))
      return plainLoops(
        spaceOf(kept, at, (p) => body(p, true), scene.naming, false),
        (p) => body(p, true),
      )
    return loopsOf(space, alongKept, scene.width, scene.naming)
  })()
  sinks.forEach((s) => s.settle())
  return loops
}
const loopsBelow = (s: Stmt): ReadonlyArray<string> =>
  s.kind === 'for' ? [s.loop.axis, ...s.body.flatMap(loopsBelow)] : []

/** sum over terms of sign factor register */
export const weighted = (a: Accumulator, parts: ReadonlyArray<Expr>, expr: At<Expr>, at: Position): Expr => {
  const terms = a.terms.map(({ factor }, i) =>
    factor === undefined ? parts[i]! : apply('mul', expr(factor, onlyOwn(factor, at)), parts[i]!),
  )
  return terms
    .slice(1)
    .reduce(
      (sum, t, i) => apply(a.terms[i + 1]!.sign < 0 ? 'sub' : 'add', sum, t),
      a.terms[0]?.sign === -1 ? apply('neg', terms[0]!) : (terms[0] ?? number(0)),
    )
}

const dotStage = (scene: Scene, stage: Extract<Stage, { readonly kind: 'dot' }>, at: Position): ReadonlyArray<Stmt> => {
  const folds = stage.accumulators.flatMap((a) => a.terms.map((t) => foldOfDot(t.dot)))
  return foldStage(
    scene,
    stage.results,
    folds,
    (registers, point) => {
      const expr = expressionsIn(scene)
      let used = 0
      return new Map(
        stage.accumulators.map((a): readonly [Node, Home] => {
          const parts = registers.slice(used, (used += a.terms.length))
          const value = weighted(a, parts, expr, point)
          return [a.node, () => value]
        }),
      )
    },
    at,
  )
}

/** The statements of a stage at a point of the outer axes; what it leaves is in `scene.homes` afterwards. */
export const stageAt = (scene: Scene, stage: Stage, at: Position): ReadonlyArray<Stmt> => {
  switch (stage.kind) {
    case 'map':
      return mapStage(scene, stage.results, at)
    case 'reduce':
      return foldStage(
        scene,
        stage.results,
        stage.reduces.map(foldOfReduce),
        (registers) => new Map(stage.reduces.map((r, i): readonly [Node, Home] => [r, () => registers[i]!])),
        at,
      )
    case 'dot':
      return dotStage(scene, stage, at)
    case 'solve':
      return []
    default:
      return stage satisfies never
  }
}

/** results of a stage whose accumulators are already somewhere: its epilogue alone */
export const epilogueAt = (
  scene: Scene,
  results: ReadonlyArray<Node>,
  known: ReadonlyMap<Node, Home>,
  at: Position,
): ReadonlyArray<Stmt> => mapStage(scene, results, at, known)
