/** Groups -> kernels for C. */
import type { Node } from '../../../dsl/node.ts'
import type { Group } from '../../fuse/group.ts'
import { cellsC, type Recipe } from './cells.ts'
import { contractionC } from './contraction.ts'
import { pointsC } from './rows.ts'
import { tileAxis } from './tile.ts'
import { tiledC } from './tiled.ts'
import { isThin, type Machine, type Width } from './tiles.ts'

export type { Recipe } from './cells.ts'
export type { Argument, Packed } from './operands.ts'
export type { Width } from './tiles.ts'

export interface Options extends Machine {
  readonly width: Width
  /** captured: its values never change */
  readonly isFrozen: (n: Node) => boolean
}

/** The kernel of a group, with what it reads and writes in order of its parameters and outputs. */
export const recipeC = (g: Group, { width, isFrozen, ...machine }: Options): Recipe => {
  switch (g.kind) {
    case 'cells':
      return cellsC(g, width)
    case 'contraction':
      return isThin(g, isFrozen) ? pointsC(g, width) : contractionC(g, { width, isFrozen, ...machine })
    case 'rows': {
      const axis = tileAxis(g)
      return axis === undefined ? pointsC(g, width) : tiledC(g, axis, width, isFrozen)
    }
    default:
      return g.kind satisfies never
  }
}
