/** Values that lie in memory as another value does: renamed axes, neighbours merged or one taken apart in place. */
import type { Node } from '../../dsl/node.ts'
import { namesOf } from './costs.ts'

const isInPlace = (n: Node): boolean => {
  if (n.op === 'rename' || n.op === 'stopGrad') return true
  if (n.op !== 'reshape') return false
  const [before, after] = [namesOf(n.args[0]!), namesOf(n)]
  const at = before.indexOf(n.attrs.from[0] ?? '')
  if (at < 0 || n.attrs.from.some((f, i) => before[at + i] !== f)) return false
  const to = n.attrs.to.map((d) => d.name)
  const expected = [...before.slice(0, at), ...to, ...before.slice(at + n.attrs.from.length)]
  return expected.every((a, i) => a === after[i])
}

/** The value whose memory this one shares; itself where there is none. */
export const originOf = (n: Node): Node => (isInPlace(n) ? originOf(n.args[0]!) : n)
