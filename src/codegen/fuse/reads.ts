/** What a root's expression reads, and which of its axes stay what they are on the way there. */
import type { Node } from '../../dsl/node.ts'
import { namesOf } from './costs.ts'

export interface Reads {
  /** kept nodes and inputs, with the axes of the root that are the same axis there, on every path */
  readonly intact: ReadonlyMap<Node, ReadonlySet<string>>
  /** ephemeral nodes that are computed on the way */
  readonly ephemeral: ReadonlySet<Node>
}

const without = (axes: ReadonlySet<string>, gone: ReadonlyArray<string>): ReadonlySet<string> =>
  gone.some((g) => axes.has(g)) ? new Set([...axes].filter((a) => !gone.includes(a))) : axes

/** the axes of `n` that mean the same in its argument number `i` */
const through = (n: Node, i: number, axes: ReadonlySet<string>): ReadonlySet<string> => {
  switch (n.op) {
    case 'rename':
      return without(axes, [...Object.keys(n.attrs.axes), ...Object.values(n.attrs.axes)])
    case 'reshape':
      return without(axes, [...n.attrs.from, ...n.attrs.to.map((d) => d.name)])
    case 'slice':
    case 'pad':
    case 'concat':
      return without(axes, [n.attrs.axis])
    case 'gather':
      return i === 0 ? without(axes, [n.attrs.axis]) : axes
    case 'reduce':
    case 'dot':
      return without(axes, n.attrs.over)
    case 'solve':
    case 'triSolve':
      return without(axes, [n.attrs.row, n.attrs.col])
    default:
      return axes
  }
}

export const readsOf = (root: Node, isKept: (n: Node) => boolean, ephemeral: ReadonlySet<Node>): Reads => {
  const intact = new Map<Node, ReadonlySet<string>>()
  const passed = new Set<Node>()
  const seen = new Set<string>()
  const visit = (n: Node, axes: ReadonlySet<string>): void => {
    const key = `${String(n.id)}|${[...axes].join()}`
    if (seen.has(key)) return
    seen.add(key)
    if (n !== root && (n.op === 'input' || isKept(n))) {
      const names = namesOf(n)
      const known = intact.get(n)
      intact.set(n, new Set([...axes].filter((a) => names.includes(a) && known?.has(a) !== false)))
      return
    }
    if (ephemeral.has(n)) passed.add(n)
    n.args.forEach((a, i) => visit(a, through(n, i, axes)))
  }
  visit(root, new Set(namesOf(root)))
  return { intact, ephemeral: passed }
}
