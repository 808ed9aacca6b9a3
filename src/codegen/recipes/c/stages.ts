/**
 * The stages of a group at one point of its outer axes, as statements: a map in vectors, reductions as folds with a
 * register each, small dots as folds of products. What a stage leaves for later ones is a register where it has no inner
 * axes, else a local in scratch.
 */
import { dim, literal } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf, ReduceFn } from '../../../dsl/node.ts'
import { shiftIndex, whole } from '../../kernel/affine.ts'
import { apply, number, type At, type Position } from '../../kernel/expression.ts'
import type { Accumulator, Stage } from '../../fuse/group.ts'
import { onlineIn } from '../../fuse/online.ts'
import type { Expr, Stmt } from '../../kernel/kernel.ts'
import { dimAlong } from '../../sizes.ts'
import { dearIn } from './dear.ts'
import { foldOnline } from './online.ts'
import { expressionsIn, innerOf, onlyOwn, sinkOf, type Home, type Scene, type Sink } from './scene.ts'
import { systemOf } from './solve.ts'
import { contiguity, loopsOf, plainLoops, spaceOf, usesOf, type Make } from './space.ts'

// ------------------------------------------------------------------------------------------ loops

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
  readonly of: ReadonlyArray<Node>
  readonly value: (expr: At<Expr>, at: Position) => Expr
}

const foldOfReduce = (r: NodeOf<'reduce'>): Fold => {
  const x = r.args[0]!
  return {
    fn: r.attrs.fn,
    axes: x.type.dims.filter((d) => r.attrs.over.includes(d.name)),
    of: [x],
    value: (expr, at) => expr(x, onlyOwn(x, at)),
  }
}
/** what reductions are, from what was folded; more than that where part of an axis was left out */
const valuesOf = (
  { joins }: Scene,
  reduces: ReadonlyArray<NodeOf<'reduce'>>,
  registers: ReadonlyArray<Expr>,
  at: Position,
): ReadonlyMap<Node, Home> =>
  new Map(reduces.map((r, i) => [r, () => joins.get(r)?.(registers[i]!, at) ?? registers[i]!]))

const foldOfDot = (d: NodeOf<'dot'>): Fold => {
  const [a, b] = [d.args[0]!, d.args[1]!]
  return {
    fn: 'sum',
    axes: d.attrs.over.map((name) => ({ name, size: dimAlong(a, name) })),
    of: [a, b],
    value: (expr, at) => apply('mul', expr(a, onlyOwn(a, at)), expr(b, onlyOwn(b, at))),
  }
}

/** rows at least so many vectors long are folded in two halves, side by side: a register waits for itself */
const HALVED = 8

/** the axis of folds that is done in halves: of even length, and of nothing dear, which takes longer than the waiting */
const halvedAxis = (
  { width, naming, lane, group }: Scene,
  axes: ReadonlyArray<Axis>,
  operands: ReadonlyArray<Node>,
): Axis | undefined => {
  const [only, ...more] = axes.filter((a) => literal(a.size) !== 1)
  const n = only === undefined ? undefined : literal(only.size)
  if (lane !== undefined || more.length > 0 || n === undefined || n % 2 !== 0 || n < HALVED * width) return undefined
  const isCheap = operands.every((x) => dearIn(group, x).length === 0)
  return naming.ranges?.has(only!.name) === true || !isCheap ? undefined : only
}

/** several folds, those over the same axes in one pass */
const foldAll = (
  scene: Scene,
  folds: ReadonlyArray<Fold>,
  at: Position,
  inVectors: boolean,
): { readonly stmts: ReadonlyArray<Stmt>; readonly registers: ReadonlyArray<Expr> } => {
  const registers = folds.map(() => scene.naming.fresh('s'))
  const values = registers.map((name): Expr => ({ kind: 'register', name }))
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
    const into = (names: ReadonlyArray<string>, point: Position): ReadonlyArray<Stmt> =>
      members.map((i) => ({ kind: 'fold', register: names[i]!, fn: folds[i]!.fn, value: folds[i]!.value(expr, point) }))
    const units = (names: ReadonlyArray<string>): ReadonlyArray<Stmt> =>
      members.map((i) => ({ kind: 'unit', register: names[i]!, fn: folds[i]!.fn }))
    const { axes } = folds[members[0]!]!
    const halved = inVectors
      ? halvedAxis(
          scene,
          axes,
          members.flatMap((i) => folds[i]!.of),
        )
      : undefined
    if (halved === undefined) {
      const make: Make = (point) => into(registers, point)
      const loops = inVectors
        ? nest(scene, axes, at, make, true)
        : plainLoops(spaceOf(axes, at, make, scene.naming), make)
      return [...units(registers), ...loops]
    }
    const others = registers.map((r) => scene.naming.fresh(r))
    const half = dim(literal(halved.size)! / 2)
    const make: Make = (point) => [
      ...into(registers, point),
      ...into(others, new Map([...point, [halved.name, shiftIndex(point.get(halved.name)!, half)]])),
    ]
    const loops = nest(
      scene,
      axes.map((a) => (a === halved ? { ...a, size: half } : a)),
      at,
      make,
      true,
    )
    members.forEach((i) => {
      const other: Expr = { kind: 'register', name: others[i]! }
      values[i] = apply({ sum: 'add', max: 'max', min: 'min' }[folds[i]!.fn], values[i]!, other)
    })
    return [...units(registers), ...units(others), ...loops]
  })
  return { stmts, registers: values }
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

/** the statements of a stage at a point of the outer axes; what it leaves is in `scene.homes` afterwards */
const stageAt = (scene: Scene, stage: Stage, at: Position): ReadonlyArray<Stmt> => {
  switch (stage.kind) {
    case 'map':
      return mapStage(scene, stage.results, at)
    case 'reduce':
      return foldStage(
        scene,
        stage.results,
        stage.reduces.map(foldOfReduce),
        (registers) => valuesOf(scene, stage.reduces, registers, at),
        at,
      )
    case 'dot':
      return dotStage(scene, stage, at)
    case 'solve': {
      const system = systemOf(scene, stage.solve, 1)
      const stmts = [...system.matrix(at), ...system.fill(at, whole(0)), ...system.call(whole(system.sides))]
      return [...stmts, ...epilogueAt(scene, stage.results, new Map([[stage.solve, system.home(() => whole(0))]]), at)]
    }
    default:
      return stage satisfies never
  }
}

type MapStage = Extract<Stage, { readonly kind: 'map' }>
type ReduceStage = Extract<Stage, { readonly kind: 'reduce' }>

/** a map and a reduction of all that it makes, in one pass: e^(x - max) and its sum */
const mapAndReduce = (
  scene: Scene,
  map: MapStage,
  { results, reduces }: ReduceStage,
  at: Position,
): ReadonlyArray<Stmt> => {
  const sinks = map.results.map((n) => sinkOf(scene, n))
  const expr = expressionsIn(scene)
  const folds = reduces.map(foldOfReduce)
  const registers = folds.map(() => scene.naming.fresh('s'))
  const make: Make = (point) => {
    // names of its own each time: an axis that a pad cuts in segments has this several times
    const names = map.results.map(() => scene.naming.fresh('y'))
    const lets = names.map((name): Expr => ({ kind: 'register', name }))
    const summand = expressionsIn(scene, new Map(map.results.map((n, i): readonly [Node, Home] => [n, () => lets[i]!])))
    return [
      ...map.results.flatMap((n, i): ReadonlyArray<Stmt> => [
        { kind: 'let', name: names[i]!, value: expr(n, onlyOwn(n, point)) },
        ...sinks[i]!.write(lets[i]!, point),
      ]),
      ...folds.map((f, i): Stmt => ({
        kind: 'fold',
        register: registers[i]!,
        fn: f.fn,
        value: f.value(summand, point),
      })),
    ]
  }
  const loops = nest(scene, folds[0]!.axes, at, make, true)
  sinks.forEach((k) => k.settle())
  const values = valuesOf(
    scene,
    reduces,
    registers.map((name) => ({ kind: 'register', name })),
    at,
  )
  const ends = results.map((n) => sinkOf(scene, n))
  const after = write(results, ends, expressionsIn(scene, values), at)
  ends.forEach((k) => k.settle())
  return [...folds.map((f, i): Stmt => ({ kind: 'unit', register: registers[i]!, fn: f.fn })), ...loops, ...after]
}

const sameAxes = (a: ReadonlyArray<Axis>, b: ReadonlyArray<Axis>): boolean =>
  a.length === b.length && a.every((x) => b.some((y) => y.name === x.name && y.size.key === x.size.key))

/** Whether two stages are done in one pass. */
const isOnePass = (scene: Scene, map: Stage, reduce: Stage | undefined): reduce is ReduceStage => {
  if (map.kind !== 'map' || reduce?.kind !== 'reduce' || scene.lane !== undefined) return false
  const axes = innerOf(scene.group, map.results[0]!)
  return (
    axes.length > 0 &&
    innerOf(scene.group, reduce.results[0]!).length === 0 &&
    map.results.every((n) => sameAxes(innerOf(scene.group, n), axes)) &&
    reduce.reduces.every((r) => sameAxes(foldOfReduce(r).axes, axes))
  )
}

/** the first stage, a maximum, and the sums that are kept up with it; what is left of the stages */
const onlineAt = (scene: Scene, stages: ReadonlyArray<Stage>, at: Position) => {
  const found = onlineIn(stages)
  const folded = found === undefined ? undefined : foldOnline(scene, found.max, found.sums.reduces, at)
  if (found === undefined || folded === undefined) return undefined
  const writeAll = (results: ReadonlyArray<Node>, values: ReadonlyMap<Node, Home>): ReadonlyArray<Stmt> => {
    const sinks = results.map((n) => sinkOf(scene, n))
    const stmts = write(results, sinks, expressionsIn(scene, values), at)
    sinks.forEach((s) => s.settle())
    return stmts
  }
  const { max, sums } = found
  const stmts = [
    ...folded.stmts,
    ...writeAll([max], new Map([[max, () => folded.max]])),
    ...writeAll(sums.results, valuesOf(scene, sums.reduces, folded.sums, at)),
  ]
  return { stmts, rest: stages.slice(1).filter((s) => s !== sums) }
}

/** The statements of several stages at a point, in order. */
export const stagesAt = (scene: Scene, stages: ReadonlyArray<Stage>, at: Position): ReadonlyArray<Stmt> => {
  const [first, second, ...rest] = stages
  if (first === undefined) return []
  const online = onlineAt(scene, stages, at)
  if (online !== undefined) return [...online.stmts, ...stagesAt(scene, online.rest, at)]
  if (first.kind === 'map' && isOnePass(scene, first, second)) {
    const both = mapAndReduce(scene, first, second, at)
    return [...both, ...stagesAt(scene, rest, at)]
  }
  const own = stageAt(scene, first, at)
  return [...own, ...stagesAt(scene, stages.slice(1), at)]
}

/** Results of a stage whose accumulators or solution are already somewhere: what is made of them. */
export const epilogueAt = (
  scene: Scene,
  results: ReadonlyArray<Node>,
  known: ReadonlyMap<Node, Home>,
  at: Position,
): ReadonlyArray<Stmt> => {
  const isThere = (n: Node): boolean => known.has(n) && !scene.stored.has(n)
  results.filter(isThere).forEach((n) => scene.homes.set(n, known.get(n)!))
  const made = results.filter((n) => !isThere(n))
  return made.length === 0 ? [] : mapStage(scene, made, at, known)
}
