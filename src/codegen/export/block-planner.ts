/** How targets with blocks plan the halves of a program. */
import { blockStages, type BlockStages } from '../pipeline.ts'
import { simplifyInOrder, type Planner } from './plan-halves.ts'

/** What cells hold is pointwise work on other buffers: it is computed again rather than saved. */
export const blockPlanner = (target: 'c' | 'cuda'): Planner<BlockStages> => ({
  plan: (p) => blockStages(p, target, {}, simplifyInOrder),
  launched: ({ split, fused }) => ({
    program: fused.program,
    stored: new Set(fused.launches.flat().flatMap((g) => (g.kind === 'cells' ? [] : g.stored))),
    split,
  }),
})
