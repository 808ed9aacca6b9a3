/**
 * How a tensor lies in a buffer of at most three extents: neighbouring axes are merged into groups,
 * row-major. Axes that a reader merges lie in one group where that is possible, otherwise the leading
 * axes are merged, so that the fastest extent stays long and its index plain.
 */
import { dim, literal, productDim, type Dim } from '../../dsl/dim.ts'
import type { Node } from '../../dsl/node.ts'
import { axisIndex, flatten, unflatten, whole } from './affine.ts'
import type { Buffer, Index } from './kernel.ts'
import { dimAlong, namesOf, sizeAlong } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

/** axis names by extent, slowest first; axes of size 1 are left out */
export interface Layout {
  readonly groups: ReadonlyArray<ReadonlyArray<string>>
}

export const EXTENTS = 3
const GRID = ['z', 'y', 'x'] as const

// --------------------------------------------------------------------------------- constructors

/** `merged`: axes that some reader merges, each in its order */
export const layoutOf = (n: Node, merged: ReadonlyArray<ReadonlyArray<string>>): Layout => {
  const axes = namesOf(n).filter((a) => sizeAlong(n, a) !== 1)
  const glued = new Set<number>()
  for (const request of merged) {
    const wanted = request.filter((a) => axes.includes(a))
    const at = axes.indexOf(wanted[0] ?? '')
    if (at < 0 || wanted.some((a, i) => axes[at + i] !== a)) continue
    for (let i = at + 1; i < at + wanted.length; i++) glued.add(i)
  }
  const groups: string[][] = []
  axes.forEach((a, i) => (glued.has(i) && groups.length > 0 ? groups[groups.length - 1]!.push(a) : groups.push([a])))
  while (groups.length > EXTENTS) groups.splice(0, 2, [...groups[0]!, ...groups[1]!])
  return { groups }
}

// --------------------------------------------------------------------------------- interpreters

const extent = (n: Node, group: ReadonlyArray<string>): Dim => productDim(group.map((a) => dimAlong(n, a)))

export const bufferOf = (n: Node, layout: Layout, name: string): Buffer => ({
  name,
  shape: layout.groups.length === 0 ? [dim(1)] : layout.groups.map((g) => extent(n, g)),
  space: 'global',
  dtype: 'f32',
})

/** Literal extents: NaN where a symbol is left. */
export const shapeOf = (b: Buffer): ReadonlyArray<number> => b.shape.map((d) => literal(d) ?? NaN)

/** A buffer with one extent an axis, in the node's own order: how tensors lie on C and CUDA. */
export const ownBufferOf = (n: Node, name: string): Buffer => ({
  name,
  shape: n.type.dims.map((d) => d.size),
  space: 'global',
  dtype: 'f32',
})

/** Where the element at these axis positions lies. */
export const positionIn = (n: Node, layout: Layout, at: (axis: string) => Index): ReadonlyArray<Index> =>
  layout.groups.length === 0
    ? [whole(0)]
    : layout.groups.map((g) =>
        flatten(
          g.map(at),
          g.map((a) => dimAlong(n, a)),
        ),
      )

/** The grid axes of a kernel that fills the buffer, and each tensor axis in terms of them. */
export const gridOf = (
  n: Node,
  layout: Layout,
): {
  readonly grid: ReadonlyArray<{ readonly axis: string; readonly size: Dim }>
  readonly at: ReadonlyMap<string, Index>
} => {
  const names = GRID.slice(EXTENTS - Math.max(1, layout.groups.length))
  const groups = layout.groups.length === 0 ? [[]] : layout.groups
  const at = new Map<string, Index>(namesOf(n).map((a) => [a, whole(0)]))
  const grid = groups.map((g, i) => {
    const size = extent(n, g)
    const parts = unflatten(
      axisIndex(names[i]!, size),
      g.map((a) => dimAlong(n, a)),
    )
    g.forEach((a, k) => at.set(a, parts[k]!))
    return { axis: names[i]!, size }
  })
  return { grid, at }
}
