/** Groups -> kernels for CUDA: blocks of threads, shared memory, warps. */
import * as E from 'fp-ts/lib/Either.js'
import { literal } from '../../../dsl/dim.ts'
import type { Checked } from '../../../dsl/fault.ts'
import type { Group } from '../../fuse/group.ts'
import type { Stmt } from '../../kernel/kernel.ts'
import { contractionOf, tileFor } from './axes.ts'
import { cells } from './cells.ts'
import { contraction } from './contraction.ts'
import { draftOf, wordsOf, type Draft, type Recipe } from './draft.ts'
import { rows } from './rows.ts'
import { stream } from './stream.ts'
import { streamingOf } from './streams.ts'
import { halvesOf, tensorCores } from './tensor-cores.ts'

export type { Recipe } from './draft.ts'

/** what one block may have in shared memory without asking for more */
const SHARED_BYTES = 48 * 1024

const sharedBytes = ({ kernel }: Recipe): number =>
  kernel.locals.reduce(
    (sum, b) => sum + (b.space === 'shared' ? b.shape.reduce((n, d) => n * (literal(d) ?? Infinity), 4) : 0),
    0,
  )

const nestFor = (draft: Draft, g: Group): Stmt | undefined => {
  draft.forgetAll()
  const streaming = streamingOf(g)
  if (streaming !== undefined) return stream(draft, streaming, g.stored, wordsOf(g))
  const c = contractionOf(g)
  const tile = c === undefined ? undefined : tileFor(c)
  const half = c === undefined || tile === undefined ? undefined : halvesOf(draft, c)
  if (c !== undefined && half !== undefined) return tensorCores(draft, c, half, g.stored, wordsOf(g))
  return c === undefined || tile === undefined
    ? (cells(draft, g) ?? rows(draft, g))
    : contraction(draft, c, tile, g.stored, wordsOf(g))
}

const together = (groups: ReadonlyArray<Group>): Checked<Recipe> => {
  const draft = draftOf(groups)
  const nests = groups.map((g) => ({ g, nest: nestFor(draft, g) }))
  const failed = nests.find((n) => n.nest === undefined)
  return failed !== undefined
    ? E.left([
        {
          at: `cuda: ${failed.g.name}`,
          expected: 'a linear system that fits the shared memory of a block',
          actual: 'one of unknown or larger size',
        },
      ])
    : E.right(draft.finish(nests.flatMap((n) => n.nest ?? [])))
}

/**
 * The kernels of one launch: one with a range of blocks for each group, or one for each where their shared memory does
 * not fit together. Faults: a linear system that is too large or of unknown size.
 */
export const recipesCuda = (launch: ReadonlyArray<Group>): Checked<ReadonlyArray<Recipe>> => {
  const made = together(launch)
  if (E.isLeft(made)) return made
  if (launch.length === 1 || sharedBytes(made.right) <= SHARED_BYTES) return E.right([made.right])
  return launch.reduce<Checked<ReadonlyArray<Recipe>>>(
    (all, g) => E.chain((rs: ReadonlyArray<Recipe>) => E.map((r: Recipe) => [...rs, r])(together([g])))(all),
    E.right([]),
  )
}
