/** Groups -> kernels for C, by kind. */
import type { Node } from '../../../dsl/node.ts'
import type { Group } from '../../group.ts'
import type { Kernel } from '../../kernel.ts'
import { cellsC, type Recipe } from './cells.ts'
import { contractionC, type Argument, type Options } from './contraction.ts'
import { rowsC } from './rows.ts'

export type { Argument, Options, Packed } from './contraction.ts'
export type { Width } from './tiles.ts'

export interface RecipeC {
  readonly kernel: Kernel
  /** in order of the kernel's parameters */
  readonly args: ReadonlyArray<Argument>
  /** in order of its outputs */
  readonly results: ReadonlyArray<Node>
}

const ofNodes = ({ kernel, args, results }: Recipe): RecipeC => ({
  kernel,
  args: args.map((node) => ({ kind: 'node', node })),
  results,
})

export const recipeC = (g: Group, options: Options): RecipeC => {
  switch (g.kind) {
    case 'contraction':
      return contractionC(g, options)
    case 'rows':
      return ofNodes(rowsC(g, options.width))
    case 'cells':
      return ofNodes(cellsC(g, options.width))
    default:
      return g.kind satisfies never
  }
}
