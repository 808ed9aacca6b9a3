/** How targets with blocks plan the halves of a program. */
import { simplify } from '../../autodiff/simplify.ts'
import { blockStages, type BlockStages } from '../pipeline.ts'
import type { Planner } from './plan-halves.ts'

/** What cells hold is pointwise work on other buffers: it is computed again rather than saved. */
export const blockPlanner = (target: 'c' | 'cuda'): Planner<BlockStages> => ({
  plan: (p) => blockStages(p, target, {}, simplify),
  launched: ({ split, fused }) => ({
    program: fused.program,
    stored: new Set(fused.launches.flat().flatMap((g) => (g.kind === 'cells' ? [] : g.stored))),
    split,
  }),
})
