/**
 * Teams: how the threads of a block share rows. A row (a point of a group's outer axes) belongs to one team.
 *
 *     cell      one thread a row
 *     warp      32 lanes a row, several rows a block: short rows
 *     block     a whole block a row: long rows
 *     columns   32 neighbouring rows and 8 lanes: reductions over an axis that is not the fastest in memory
 */
import { dim, literal, mulDim, subDim, type Dim } from '../../../dsl/dim.ts'
import type { Axis } from '../../../dsl/node.ts'
import { addIndex, axisIndex, divIndex, minIndex, modIndex, whole } from '../../kernel/affine.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { extentOf, pointAt, type Draft } from './draft.ts'
import { barrier, named, note, repeat, warpBarrier, when } from './statements.ts'

// ---------------------------------------------------------------------------------------- model

export type Form = 'cell' | 'warp' | 'block' | 'columns'

export interface Team {
  readonly form: Form
  readonly threads: number
  /** rows a block */
  readonly rows: number
  /** threads a row */
  readonly lanes: number
  /** lanes of one warp that share a row: they are reduced by shuffles */
  readonly shuffled: number
}

/** What stages write with: the draft, the team, and where its row is. */
export interface Place {
  readonly draft: Draft
  readonly team: Team
  readonly outer: ReadonlyArray<Axis>
  /** the row's position */
  readonly at: Position
  readonly lane: Index
  /** the row's number within the block */
  readonly slot: Index
  /** shared memory that is left */
  readonly room: { bytes: number }
  /** what only a real row does: teams beyond the last row repeat it and store nothing */
  readonly real: (body: ReadonlyArray<Stmt>) => ReadonlyArray<Stmt>
}

// --------------------------------------------------------------------------------- constructors

/** All of 256 threads, so that any of them can share a launch. */
export const teams: Readonly<Record<Form, Team>> = {
  cell: { form: 'cell', threads: 256, rows: 256, lanes: 1, shuffled: 1 },
  warp: { form: 'warp', threads: 256, rows: 8, lanes: 32, shuffled: 32 },
  block: { form: 'block', threads: 256, rows: 1, lanes: 256, shuffled: 32 },
  columns: { form: 'columns', threads: 256, rows: 32, lanes: 8, shuffled: 1 },
}

const told: Readonly<Record<Form, string>> = {
  cell: 'a thread a cell',
  warp: 'a warp a row',
  block: 'a block a row',
  columns: '32 columns a block',
}

const SHARED_BYTES = 48 * 1024

/** The block and thread loops around the stages of one row. */
export const forRows = (
  draft: Draft,
  team: Team,
  outer: ReadonlyArray<Axis>,
  what: string,
  stages: (p: Place) => ReadonlyArray<Stmt>,
): Stmt => {
  const rows = extentOf(outer)
  const first = draft.fresh('first_row')
  const thread = axisIndex('thread', team.threads)
  const isSideBySide = team.form === 'columns' || team.form === 'cell'
  const [lane, slot] = isSideBySide
    ? [divIndex(thread, team.rows), modIndex(thread, team.rows)]
    : [modIndex(thread, team.lanes), divIndex(thread, team.lanes)]
  const [laneName, rowName] = [draft.fresh('lane'), draft.fresh('row')]
  const own = addIndex(axisIndex(first, rows), slot)
  const inside = (body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => [when(own, dim(0), rows, body)]
  const place = (row: Index): Place => ({
    draft,
    team,
    outer,
    at: pointAt(outer, row),
    lane: team.lanes === 1 ? whole(0) : axisIndex(laneName, team.lanes),
    slot: team.rows === 1 ? whole(0) : slot,
    room: { bytes: SHARED_BYTES },
    real: team.form === 'cell' || team.rows === 1 ? (body) => body : inside,
  })
  const body = (): ReadonlyArray<Stmt> => {
    if (team.rows === 1) return stages(place(own))
    const row = axisIndex(rowName, rows)
    return team.form === 'cell'
      ? inside([named(rowName, rows, own), ...stages(place(row))])
      : [named(rowName, rows, minIndex(own, whole(subDim(rows, 1)))), ...stages(place(row))]
  }
  const bound = team.lanes === 1 ? [] : [named(laneName, dim(team.lanes), lane)]
  return repeat(
    'block',
    first,
    rows,
    [repeat('thread', 'thread', dim(team.threads), [note(`${told[team.form]}: ${what}`), ...bound, ...body()])],
    {
      step: team.rows,
    },
  )
}

// ---------------------------------------------------------------------------------- combinators

/** Every lane of the team has written what the others read. */
export const together = ({ team }: Place): ReadonlyArray<Stmt> =>
  team.form === 'cell' ? [] : [team.form === 'warp' ? warpBarrier : barrier]

/** `body` for each of n cells, shared out over the team's lanes. */
export const overLanes = (
  { draft, team, lane }: Place,
  cells: Dim,
  body: (cell: Index) => ReadonlyArray<Stmt>,
  role: 'loop' | 'reduce' = 'loop',
): ReadonlyArray<Stmt> => {
  if (cells.key === '1' && role === 'loop') return onFirstLane({ team, lane }, body(whole(0)))
  const name = draft.fresh(role === 'loop' ? 'cell' : 'step')
  const inner = body(axisIndex(name, cells))
  // no loop where the lanes suffice for one step each
  const n = literal(cells)
  if (role === 'loop' && n === team.lanes) return [named(name, cells, lane), ...inner]
  return [repeat(role, name, cells, inner, { from: lane, step: team.lanes })]
}

/** what one lane of the team does for all */
export const onFirstLane = (
  { team, lane }: Pick<Place, 'team' | 'lane'>,
  body: ReadonlyArray<Stmt>,
): ReadonlyArray<Stmt> => (team.lanes === 1 || body.length === 0 ? body : [when(lane, dim(0), dim(1), body)])

/** `body` for every cell of these axes; a value without axes is computed by every lane, which then has it. */
export const overCells = (
  place: Place,
  axes: ReadonlyArray<Axis>,
  body: (cell: Index) => ReadonlyArray<Stmt>,
): ReadonlyArray<Stmt> => (axes.length === 0 ? body(whole(0)) : overLanes(place, extentOf(axes), body))

/** Bytes of a float array. */
export const bytesOf = (shape: ReadonlyArray<Dim>): number | undefined => {
  const n = literal(shape.reduce<Dim>((s, d) => mulDim(s, d), dim(1)))
  return n === undefined ? undefined : 4 * n
}
