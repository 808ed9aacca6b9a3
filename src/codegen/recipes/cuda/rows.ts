/** Rows and cells: the stages of a group one after another, by a team of threads a row. */
import { literal } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf } from '../../../dsl/node.ts'
import type { Group, Stage } from '../../fuse/group.ts'
import type { Stmt } from '../../kernel/kernel.ts'
import { axesBeside, extentOf, joined, pointAt, wordsOf, type Draft } from './draft.ts'
import { isWorthwhile, keepFor, settle, type Result } from './keep.ts'
import { fitsShared, solveStage } from './solve.ts'
import { sumStage } from './sums.ts'
import { forRows, overCells, teams, type Place, type Team } from './team.ts'

// ------------------------------------------------------------------------------------ the team

/** up to this many steps a row is one thread's work; up to this many a warp's */
const STEPS = { cell: 4, warp: 1024 } as const

const sumsOf = (s: Stage): ReadonlyArray<NodeOf<'reduce'> | NodeOf<'dot'>> =>
  s.kind === 'reduce'
    ? s.reduces
    : s.kind === 'dot'
      ? [...new Set(s.accumulators.flatMap((a) => a.terms.map((t) => t.dot)))]
      : []

/** the most steps that one stage takes a row; undefined: not known */
const stepsOf = (g: Group): number | undefined => {
  const axes = g.stages.flatMap((s): ReadonlyArray<ReadonlyArray<Axis>> => [
    ...s.results.map((r) => axesBeside(r, g.outer)),
    ...sumsOf(s).map((n) => n.args[0]!.type.dims.filter((d) => n.attrs.over.includes(d.name))),
    ...(s.kind === 'solve' ? [s.solve.args[0]!.type.dims.filter((d) => d.name === s.solve.attrs.row)] : []),
  ])
  const sizes = axes.map((a) => literal(extentOf(a)))
  return sizes.every((n) => n !== undefined) ? Math.max(1, ...sizes) : undefined
}

/** the first operand's fastest axis is a row axis: neighbouring rows are neighbours in memory */
const isByColumns = (g: Group): boolean => {
  const sums = g.stages.flatMap(sumsOf)
  const names = new Set(g.outer.map((a) => a.name))
  const scalar = g.stages.every((s) => s.results.every((r) => axesBeside(r, g.outer).length === 0))
  return (
    scalar &&
    g.stages.every((s) => s.kind !== 'solve') &&
    sums.length > 0 &&
    sums.every((n) =>
      n.args.some((a) => {
        const last = a.type.dims.filter((d) => literal(d.size) !== 1).at(-1)
        return a.type.dims.length > 1 && last !== undefined && names.has(last.name)
      }),
    )
  )
}

export const teamFor = (g: Group): Team | undefined => {
  const solves = g.stages.flatMap((s) => (s.kind === 'solve' ? [s.solve] : []))
  if (solves.length > 0) {
    const small = solves.every(
      (s) => (literal(s.args[0]!.type.dims.find((d) => d.name === s.attrs.row)!.size) ?? 99) <= 8,
    )
    if (small && solves.every((s) => fitsShared(s, g.outer, teams.warp.rows))) return teams.warp
    return solves.every((s) => fitsShared(s, g.outer, 1)) ? teams.block : undefined
  }
  if (g.kind === 'cells') return teams.cell
  const steps = stepsOf(g)
  if (steps !== undefined && steps <= STEPS.cell) return teams.cell
  if (isByColumns(g)) return teams.columns
  return steps !== undefined && steps <= STEPS.warp ? teams.warp : teams.block
}

// ------------------------------------------------------------------------------------- stages

const byInner = (results: ReadonlyArray<Result>, outer: ReadonlyArray<Axis>): ReadonlyArray<ReadonlyArray<Result>> => {
  const groups = new Map<string, Result[]>()
  for (const r of results) {
    const key = axesBeside(r.node, outer)
      .map((a) => a.name)
      .join()
    groups.set(key, [...(groups.get(key) ?? []), r])
  }
  return [...groups.values()]
}

export const mapStage = (place: Place, results: ReadonlyArray<Result>): ReadonlyArray<Stmt> =>
  byInner(results, place.outer).flatMap((same) => {
    const inner = axesBeside(same[0]!.node, place.outer)
    const keeps = same.map((r) => keepFor(place, r))
    const body = overCells(place, inner, (cell) => {
      const at = joined(place.at, pointAt(inner, cell))
      return place.draft.evaluate(
        keeps.map((k) => ({ node: k.node, at })),
        (vs) => keeps.flatMap((k, i) => k.write(at, vs[i]!)),
      )
    })
    return [...body, ...settle(place, keeps)]
  })

/** nodes that the expressions of `from` reach without passing a result of the group */
const reaches = (from: ReadonlyArray<Node>, results: ReadonlySet<Node>): ReadonlySet<Node> => {
  const seen = new Set<Node>()
  const visit = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    if (!results.has(n)) n.args.forEach(visit)
  }
  from.forEach((n) => n.args.forEach(visit))
  return seen
}

const stageOf = (place: Place, stage: Stage, wanted: ReadonlyArray<Result>): ReadonlyArray<Stmt> => {
  switch (stage.kind) {
    case 'map':
      return mapStage(place, wanted)
    case 'reduce':
    case 'dot':
      return sumStage(place, sumsOf(stage), wanted, (rest) => mapStage(place, rest))
    case 'solve':
      return solveStage(place, stage.solve, wanted)
    default:
      return stage satisfies never
  }
}

/** right-hand sides too many for a block, or of unknown number: each a row of its own, with the matrix eliminated again */
const sidesApart = (g: Group): Group | undefined => {
  const [stage] = g.stages
  if (g.stages.length !== 1 || stage?.kind !== 'solve') return undefined
  const sides = axesBeside(stage.solve, g.outer).filter((a) => a.name !== stage.solve.attrs.col)
  const isEverywhere = g.stored.every((n) => sides.every((a) => n.type.dims.some((d) => d.name === a.name)))
  return sides.length === 0 || !isEverywhere ? undefined : { ...g, outer: [...g.outer, ...sides] }
}

/** The group as one block nest; undefined: no team of threads can hold it. */
export const rows = (draft: Draft, g: Group): Stmt | undefined => {
  const team = teamFor(g)
  if (team === undefined) {
    const apart = sidesApart(g)
    return apart === undefined ? undefined : rows(draft, apart)
  }
  const results = new Set(g.stages.flatMap((s) => s.results))
  return forRows(draft, team, g.outer, wordsOf(g), (place) =>
    g.stages.flatMap((stage, i) => {
      const later = reaches(
        g.stages.slice(i + 1).flatMap((s) => s.results),
        results,
      )
      const wanted = stage.results
        .map((node) => ({ node, isStored: g.stored.includes(node), isRead: later.has(node) }))
        .filter((r) => isWorthwhile(place, r))
      return wanted.length === 0 ? [] : stageOf(place, stage, wanted)
    }),
  )
}
