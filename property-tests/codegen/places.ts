/** What must hold of the places of values in one arena, checked from the launches alone. */
import { overlapInTime } from '../../src/codegen/arena.ts'
import type { Lived } from '../../src/codegen/in-place.ts'
import { legalInPlace } from '../../src/codegen/kernel/in-place.ts'
import type { Schedule } from '../../src/codegen/schedule.ts'
import type { Node } from '../../src/dsl/node.ts'

/**
 * Values that live at once and share memory, each pair a line, but for those that may: a result lies exactly where an
 * operand of its kernel does, of the same size, that no later launch reads and nothing else in this launch, and the
 * kernel's addresses make it legal. Values that leave the arena.
 */
export const misplacedIn = (
  { launches, kernels }: Schedule,
  lived: ReadonlyArray<Lived>,
  { offsets, size }: { readonly offsets: ReadonlyMap<Node, number>; readonly size: number },
): ReadonlyArray<string> => {
  const at = (l: Lived): number => offsets.get(l.node)!
  const meet = (a: Lived, b: Lived): boolean => at(a) < at(b) + b.life.size && at(b) < at(a) + a.life.size
  /** `a` is an operand of the launch that makes `b` */
  const mayShare = (a: Lived, b: Lived): boolean => {
    if (at(a) !== at(b) || a.life.size !== b.life.size || a.life.to !== b.life.from || a.life.from >= a.life.to)
      return false
    const calls = launches[b.life.from]!
    const reads = calls.flatMap((c) => c.args.filter((x) => x.kind === 'node' && x.node === a.node))
    const call = calls.find((c) => c.results.includes(b.node))!
    const place = call.args.findIndex((x) => x.kind === 'node' && x.node === a.node)
    if (reads.length !== 1 || place < 0) return false
    const kernel = kernels[call.kernel]!
    const [operand, result] = [kernel.params[place]!.name, kernel.outputs[call.results.indexOf(b.node)]!.name]
    return (
      kernel.mayAlias?.has(operand) === true &&
      kernel.mayAlias.has(result) &&
      legalInPlace(kernel).some((p) => p.operand === operand && p.result === result)
    )
  }
  const name = (l: Lived): string => `#${String(l.node.id)} ${l.node.op}`
  return lived.flatMap((a, i) => [
    ...(at(a) + a.life.size > size ? [`${name(a)} leaves the arena`] : []),
    ...lived
      .slice(0, i)
      .filter((b) => overlapInTime(a.life, b.life) && meet(a, b) && !mayShare(a, b) && !mayShare(b, a))
      .map((b) => `${name(a)} and ${name(b)}`),
  ])
}
