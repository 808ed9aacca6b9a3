/** Small groups that do not need each other go into one launch, told apart by the number of the block. */
import type { Node } from '../../dsl/node.ts'
import type { Group } from './group.ts'
import { volume } from './costs.ts'

/** elements up to which a result does not fill a device */
const SMALL = 2 ** 16
const MOST_BODIES = 4

const isSmall = (g: Group): boolean => g.stored.every((n) => volume(n) <= SMALL)

/** `groups`, in order, as launches. A group goes as far back as the latest launch that it fits in. */
export const horizontal = (groups: ReadonlyArray<Group>): ReadonlyArray<ReadonlyArray<Group>> => {
  const launches: Group[][] = []
  const launchOf = new Map<Node, number>()
  for (const g of groups) {
    const after = Math.max(-1, ...g.reads.map((n) => launchOf.get(n) ?? -1))
    const fits = (l: ReadonlyArray<Group>): boolean =>
      l.length < MOST_BODIES && l.every((h) => h.kind === g.kind && isSmall(h))
    let open = isSmall(g) ? launches.length - 1 : after
    while (open > after && !fits(launches[open]!)) open -= 1
    const at = open > after ? open : launches.push([]) - 1
    launches[at]!.push(g)
    for (const n of g.stored) launchOf.set(n, at)
  }
  return launches
}
