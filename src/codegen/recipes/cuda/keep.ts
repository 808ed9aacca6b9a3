/** Where the values of a stage go: a register, shared memory, an output, or nowhere (computed again where needed). */
import { dim } from '../../../dsl/dim.ts'
import type { Node } from '../../../dsl/node.ts'
import type { Position } from '../../kernel/expression.ts'
import type { Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { axesBeside, type Draft } from './draft.ts'
import { assign, read, register, store } from './statements.ts'
import { bytesOf, onFirstLane, together, type Place } from './team.ts'

// ---------------------------------------------------------------------------------------- model

/** what a stage computes, and what is to become of it */
export interface Result {
  readonly node: Node
  readonly isStored: boolean
  /** later stages read it */
  readonly isRead: boolean
}

export interface Keep {
  readonly node: Node
  /** the value at a position has been computed */
  readonly write: (at: Position, value: Expr) => ReadonlyArray<Stmt>
  /** later stages find it there */
  readonly settle: () => void
  /** lanes read what other lanes wrote */
  readonly isVisible: boolean
}

// --------------------------------------------------------------------------------- constructors

const outputHome =
  (draft: Draft, n: Node) =>
  (at: Position): Expr =>
    draft.stored(n, at)

/** bytes of the copy that later stages read */
const bytesFor = ({ team, outer }: Place, node: Node): number | undefined =>
  bytesOf([dim(team.form === 'cell' ? 1 : team.rows), ...axesBeside(node, outer).map((a) => a.size)])

const LARGEST_REGISTERS = 256

const hasRoom = ({ team, room }: Place, bytes: number | undefined): bytes is number =>
  bytes !== undefined && (team.form === 'cell' ? bytes <= LARGEST_REGISTERS : bytes <= room.bytes)

/** Whether anything is to be done: what is neither stored nor finds room is computed again by those who need it. */
export const isWorthwhile = (place: Place, r: Result): boolean =>
  r.isStored || (r.isRead && hasRoom(place, bytesFor(place, r.node)))

export const keepFor = (place: Place, { node, isStored, isRead }: Result): Keep => {
  const { draft, team, outer, room, slot, real } = place
  const inner = axesBeside(node, outer)
  const put = (at: Position, value: Expr): ReadonlyArray<Stmt> => (isStored ? real([draft.put(node, at, value)]) : [])
  if (inner.length === 0) {
    const name = draft.fresh('r')
    return {
      node,
      write: (at, value) => [assign(name, value), ...onFirstLane(place, put(at, register(name)))],
      settle: () => draft.settle(node, () => register(name)),
      isVisible: false,
    }
  }
  const position = (at: Position): ReadonlyArray<Index> => inner.map((a) => at.get(a.name)!)
  const shape = inner.map((a) => a.size)
  const bytes = bytesFor(place, node)
  if (isRead && hasRoom(place, bytes)) {
    const own = team.rows === 1 || team.form === 'cell' ? [] : [slot]
    const first = own.length === 0 ? [] : [dim(team.rows)]
    const name = draft.local('kept', team.form === 'cell' ? 'register' : 'shared', [...first, ...shape])
    if (team.form !== 'cell') room.bytes -= bytes
    const home = (at: Position): Expr => read(name, [...own, ...position(at)])
    return {
      node,
      write: (at, value) => {
        const to = [...own, ...position(at)]
        if (!isStored) return [store(name, to, value)]
        const v = draft.fresh('r')
        return [assign(v, value), store(name, to, register(v)), ...put(at, register(v))]
      },
      settle: () => draft.settle(node, home),
      isVisible: true,
    }
  }
  return {
    node,
    write: put,
    settle: () => {
      if (isRead && isStored) draft.settle(node, outputHome(draft, node))
    },
    isVisible: isRead && isStored,
  }
}

/** After the stage's last statement: what was kept can be read by all lanes. */
export const settle = (place: Place, keeps: ReadonlyArray<Keep>): ReadonlyArray<Stmt> => {
  keeps.forEach((k) => k.settle())
  return keeps.some((k) => k.isVisible) ? together(place) : []
}
