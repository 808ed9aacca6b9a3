/**
 * What a fused program has to be, whatever it computes: every value is there before it is read, is stored once, and every
 * result has the axes that its group keeps apart. Run between passes in tests.
 */
import type { Fault } from '../../dsl/fault.ts'
import type { Node } from '../../dsl/node.ts'
import type { Fused } from '../fuse.ts'
import { originOf } from './alias.ts'
import { resultsOf, type Group } from './group.ts'

const nameOf = (n: Node): string => `#${String(n.id)} ${n.op}`

const sameNodes = (a: ReadonlyArray<Node>, b: ReadonlyArray<Node>): boolean =>
  a.length === b.length && new Set([...a, ...b]).size === new Set(a).size

/** what results are made of, inlined on the way, ends in buffers that the group names or in its own earlier results */
const strays = (g: Group): ReadonlyArray<Node> => {
  const found = new Set<Node>()
  const before = new Set<Node>()
  const visit = (n: Node, top: boolean, seen: Set<Node>): void => {
    if (seen.has(n) || (!top && (before.has(n) || g.reads.includes(n)))) return
    if (!top && n.op === 'input') return void found.add(n)
    seen.add(n)
    n.args.forEach((a) => visit(a, false, seen))
  }
  for (const n of resultsOf(g)) {
    visit(n, true, new Set())
    before.add(n)
  }
  return [...found]
}

const faultsOf = (g: Group): ReadonlyArray<Fault> => {
  const results = resultsOf(g)
  const fault = (expected: string, actual: string): Fault => ({ at: `group ${g.name}`, expected, actual })
  return [
    ...(sameNodes([...g.stored, ...g.locals], results)
      ? []
      : [fault('every result stored or kept, one of the two', [...g.stored, ...g.locals].map(nameOf).join(', '))]),
    ...results.flatMap((n) =>
      g.outer
        .filter((a) => !n.type.dims.some((d) => d.name === a.name && d.size.key === a.size.key))
        .map((a) => fault(`results with the outer axis ${a.name}:${a.size.key}`, nameOf(n))),
    ),
    ...strays(g).map((n) => fault('only what it names to be read', nameOf(n))),
  ]
}

/** All faults; none where the program is well-formed. */
export const verifyFused = ({ program, launches }: Fused): ReadonlyArray<Fault> => {
  const faults: Fault[] = []
  const made = new Set<Node>()
  const isThere = (n: Node): boolean => n.op === 'input' || made.has(n)
  for (const groups of launches) {
    // groups of one launch run side by side
    for (const g of groups) {
      faults.push(...faultsOf(g))
      for (const n of g.reads)
        if (!isThere(n))
          faults.push({ at: `group ${g.name}`, expected: 'values made by earlier launches', actual: nameOf(n) })
    }
    for (const n of groups.flatMap((g) => g.stored)) {
      if (made.has(n)) faults.push({ at: program.name, expected: 'every value to be stored once', actual: nameOf(n) })
      made.add(n)
    }
  }
  for (const { name, node } of program.outputs) {
    const n = originOf(node)
    if (!isThere(n) && n.op !== 'const')
      faults.push({ at: `output ${name}`, expected: 'a value that some launch stores', actual: nameOf(n) })
  }
  return faults
}
