/**
 * The passes, in order; the first file to read. Each is pure and its result can be printed.
 *
 * gpu.js, whose kernels gather:
 *
 *     Program --bind--> Program --lower--> Program --simplify--> Program --split--> Split
 *             --cluster--> Clusters --nest, plan--> Plan --print--> sources --load--> Executable
 *
 * c and cuda, whose kernels run blocks (symbols stay symbols, and become run-time integers):
 *
 *     Program --lower--> Program --simplify--> Program --split, scatter--> Split
 *             --fuse--> Fused --recipe--> kernels --plan--> launches, arena --print--> sources --load--> Executable
 *
 * bind      sizes become literals: gpu.js has no run-time loop bounds that it does not cut short
 * lower     what a target lacks, in primitives that it has (see Notes [Gathers only] and [Blocks])
 * simplify  the optimiser's rules, after lowering, so that what lowering wrote is simplified as well
 * split     constants and random values go to the host (see Note [Host values])
 * scatter   what is scattered is gathered or contracted
 * cluster   which nodes get a buffer, and why
 * fuse      which values are computed together, which are stored, which are computed again (see `fuse.ts`)
 * recipe    a group as loops, tiles and blocks, for one target
 * plan      a layout for every buffer, a kernel for every cluster; on c and cuda places in one memory (`schedule.ts`, `plan.ts`)
 * print     one source a kernel; equal kernels have equal sources
 */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { pipe } from 'fp-ts/lib/function.js'
import { dim, literal, type Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import { topological } from '../dsl/node.ts'
import { bindSizes, check, withOutputs, type Program } from '../dsl/program.ts'
import { fuse, type Fused } from './fuse.ts'
import { cluster, type Clusters } from './gather/cluster.ts'
import { lower, reorder } from './lower.ts'
import { plan, type Plan } from './gather/plan.ts'
import { placeScatters } from './scatter.ts'
import { splitHost, type Split } from './split.ts'

// ---------------------------------------------------------------------------------------- model

/** Everything that the passes made of one program. */
export interface Stages {
  readonly bound: Program
  readonly lowered: Program
  readonly split: Split
  readonly clusters: Clusters
  readonly plan: Plan
}

/** Everything that the passes made of one program for targets with blocks, up to what is fused. */
export interface BlockStages {
  readonly lowered: Program
  readonly split: Split
  readonly fused: Fused
}

// --------------------------------------------------------------------------------------- passes

/** Symbols replaced by numbers; every size must then be a literal of at least 0. */
export const bind = (p: Program, sizes: Sizes): Checked<Program> => {
  const bound = bindSizes(p, Object.fromEntries(Object.entries(sizes).map(([k, v]) => [k, dim(v)])))
  const nodes = topological([...bound.outputs, ...bound.inputs].map((o) => o.node))
  const faults = new Map<string, Fault>()
  for (const n of nodes)
    for (const d of n.type.dims) {
      const size = literal(d.size)
      if (size === undefined || size < 0 || !Number.isInteger(size))
        faults.set(`${d.name} ${d.size.key}`, {
          at: `compile ${p.name}: axis '${d.name}' of ${n.op}`,
          expected: 'a size',
          actual: d.size.key,
        })
    }
  const [first, ...rest] = faults.values()
  return first === undefined ? E.right(bound) : E.left([first, ...rest] as NonEmptyArray<Fault>)
}

/** indices are computed in f32 by some backends */
const LARGEST_EXTENT = 2 ** 24

const checkExtents = (p: Plan): Checked<Plan> => {
  const nodes = [...p.launches.map((l) => l.root), ...p.launches.flatMap((l) => l.args)]
  const big = nodes.find((n) => p.shapeOf(n).some((s) => s >= LARGEST_EXTENT))
  return big === undefined
    ? E.right(p)
    : E.left([
        {
          at: `gpujs: ${big.op}`,
          expected: 'extents below 2^24',
          actual: p.shapeOf(big).join(' x '),
          hint: 'split the axis',
        },
      ])
}

/** All passes up to the plan. */
export const stages = (program: Program, sizes: Sizes, simplify: (p: Program) => Program): Checked<Stages> =>
  pipe(
    E.Do,
    E.bind('bound', () => bind(program, sizes)),
    E.let('lowered', ({ bound }) => simplify(lower(bound, 'gathers'))),
    E.bind('split', ({ lowered }) => splitHost(lowered, 'gpujs')),
    E.let('clusters', ({ split }) => cluster(split.device)),
    E.bind('plan', ({ clusters }) =>
      checkExtents(plan(clusters, topological(clusters.program.outputs.map((o) => o.node)))),
    ),
  )

/** All passes up to what is fused. Symbols stay; `sizes` are for constants that need them, which the host computes. */
export const blockStages = (
  program: Program,
  target: 'c' | 'cuda',
  sizes: Sizes,
  simplify: (p: Program) => Program,
): Checked<BlockStages> =>
  pipe(
    E.Do,
    E.bind('checked', () => check(program)),
    E.let('lowered', ({ checked }) => simplify(lower(checked, 'blocks'))),
    E.bind('split', ({ lowered }) => E.map(placeScatters)(splitHost(lowered, target, sizes))),
    // what simplify made of an output may have its axes in another order: kernels write the promised one
    E.let('fused', ({ checked, split }) =>
      fuse(
        withOutputs(
          split.device,
          split.device.outputs.map((o, i) => reorder(o.node, checked.outputs[i]!.node)),
        ),
      ),
    ),
  )
