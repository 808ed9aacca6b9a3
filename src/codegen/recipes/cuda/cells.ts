/**
 * Element-wise groups four cells a thread, where the results' fastest axis is known to be a multiple of four: buffers
 * with that axis last are read and written as float4, everything else cell by cell.
 */
import { dim, literal } from '../../../dsl/dim.ts'
import { addIndex, axisIndex, scaleIndex, whole } from '../../kernel/affine.ts'
import type { Group } from '../../fuse/group.ts'
import type { Stmt } from '../../kernel/kernel.ts'
import { THREADS } from './axes.ts'
import { extentOf, joined, pointAt, wordsOf, type Draft } from './draft.ts'
import { call, named, note, repeat, store, unrolled, when } from './statements.ts'

/** The nest; undefined where nothing is known to come in fours. */
export const cells = (draft: Draft, g: Group): Stmt | undefined => {
  const [first] = g.stored
  if (g.kind !== 'cells' || first === undefined) return undefined
  const { dims } = first.type
  const last = dims.at(-1)
  const size = last === undefined ? undefined : literal(last.size)
  const order = dims.map((d) => d.name).join()
  const isAlike = g.stored.every((n) => n.type.dims.map((d) => d.name).join() === order && n.type.dtype === 'f32')
  if (last === undefined || size === undefined || size % 4 !== 0 || size === 0 || !isAlike) return undefined
  const outer = [...dims.slice(0, -1), { name: last.name, size: dim(size / 4) }]
  const fours = extentOf(outer)
  const names = { first: draft.fresh('first'), four: draft.fresh('four'), lane: draft.fresh('lane') }
  const own = addIndex(axisIndex(names.first, fours), axisIndex('thread', THREADS))
  const at = pointAt(outer, axisIndex(names.four, fours))
  const lane = axisIndex(names.lane, 4)
  const start = scaleIndex(4, at.get(last.name)!)
  const here = joined(at, new Map([[last.name, addIndex(start, lane)]]))
  const results = g.stored.map((node) => ({ node, buffer: draft.local('result', 'register', [dim(4)]) }))
  const { loads, body } = draft.byFours({ index: addIndex(start, lane), start, lane }, () =>
    draft.evaluate(
      results.map(({ node }) => ({ node, at: here })),
      (vs) => results.map(({ buffer }, i) => store(buffer, [lane], vs[i]!)),
    ),
  )
  const stores = results.map(({ node, buffer }) =>
    call('store4', [draft.outputOf(node, joined(at, new Map([[last.name, start]]))), { buffer, at: [whole(0)] }]),
  )
  const work = [
    ...(fours.key === '1' ? [] : [named(names.four, fours, own)]),
    ...loads,
    unrolled(names.lane, 4, body),
    ...stores,
  ]
  const threads = repeat('thread', 'thread', dim(THREADS), [
    note(`four cells a thread: ${wordsOf(g)}`),
    when(own, dim(0), fours, work),
  ])
  return repeat('block', names.first, fours, [threads], { step: THREADS })
}
