/** Group of cells -> kernel for C: plain loops over the results' axes, vectors along the innermost, several results in one pass. */
import type { Node } from '../../../dsl/node.ts'
import { dimAlong, namesOf } from '../../sizes.ts'
import { expressions } from '../../kernel/expression.ts'
import type { Group } from '../../fuse/group.ts'
import type { Kernel, Role, Stmt } from '../../kernel/kernel.ts'
import { shareWork } from '../../kernel/share.ts'
import { buffer } from '../../kernel/statements.ts'
import type { Argument } from './operands.ts'
import { loopsOf, namer, spaceOf, type Make, type Naming } from './space.ts'

export interface Recipe {
  readonly kernel: Kernel
  /** in order of the kernel's parameters: buffers of nodes, or operands in panels that are packed once */
  readonly args: ReadonlyArray<Argument>
  /** in order of its outputs */
  readonly results: ReadonlyArray<Node>
}

const letter = (i: number): string => (i < 20 ? String.fromCharCode(97 + i) : `in${String(i)}`)
const isIdentifier = (s: string): boolean => /^[a-z][A-Za-z0-9_]*$/.test(s)

/** Buffers of a group by name: `a`, `b`, ... are read, `out`, `out1`, ... written. */
export const memoryOf = (g: Group) => {
  const names = new Set<string>()
  const fresh = namer(names)
  const params = g.reads.map((n, i) =>
    buffer(
      fresh(letter(i)),
      n.type.dims.map((d) => d.size),
    ),
  )
  const outputs = g.stored.map((n, i) =>
    buffer(
      fresh(i === 0 ? 'out' : `out${String(i)}`),
      n.type.dims.map((d) => d.size),
    ),
  )
  const read = new Map<Node, string>(g.reads.map((n, i) => [n, params[i]!.name]))
  const stored = new Map<Node, string>(g.stored.map((n, i) => [n, outputs[i]!.name]))
  return { fresh, params, outputs, read, stored }
}

export const kernelName = (g: Group): string =>
  isIdentifier(g.name) ? g.name : `k_${g.name.replace(/[^A-Za-z0-9_]/g, '_')}`

/** Trailing loops stay loops of a task, leading ones are tasks. */
export const blockRoles = (i: number, n: number): Role => (n === 1 || i < Math.max(1, n - 2) ? 'block' : 'loop')

export const cellsC = (g: Group, width: number): Recipe => {
  const { fresh, params, outputs, read, stored } = memoryOf(g)
  const buffers = new Map([...params, ...outputs].map((b) => [b.name, b]))
  const naming: Naming = { fresh, bufferOf: (n) => buffers.get(n)! }
  const results = g.stages.flatMap((s) => s.results).filter((n) => stored.has(n))
  const expr = expressions((n, at) => {
    const name = read.get(n)
    return name === undefined ? undefined : { kind: 'read', buffer: name, at: namesOf(n).map((a) => at.get(a)!) }
  })
  const make: Make = (at) =>
    results.map((n): Stmt => {
      const own = namesOf(n).map((a) => at.get(a)!)
      return {
        kind: 'store',
        buffer: stored.get(n)!,
        at: own,
        value: expr(n, new Map(namesOf(n).map((a, i) => [a, own[i]!]))),
      }
    })
  const widest = results.reduce<Node | undefined>(
    (w, n) => (w === undefined || n.type.dims.length > w.type.dims.length ? n : w),
    undefined,
  )
  const axes = (widest?.type.dims ?? []).map((d) => ({ name: d.name, size: dimAlong(widest!, d.name) }))
  const body = loopsOf(spaceOf(axes, new Map(), make, naming), make, width, naming, blockRoles)
  return {
    kernel: { name: kernelName(g), params, outputs, locals: [], body: shareWork(body) },
    args: g.reads.map((node) => ({ kind: 'node', node })),
    results: g.stored,
  }
}
