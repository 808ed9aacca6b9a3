/** What rows read in another order than memory has it: operands packed once, columns copied side by side. */
import { dim, literal, type Dim } from '../../../dsl/dim.ts'
import { hasAxis, type Axis, type Node } from '../../../dsl/node.ts'
import { axisIndex } from '../../kernel/affine.ts'
import { expressions, type Position } from '../../kernel/expression.ts'
import { isAnchor } from '../../fuse/costs.ts'
import type { Buffer, Expr, Kernel, Stmt } from '../../kernel/kernel.ts'
import { ownBufferOf } from '../../kernel/layout.ts'
import type { Group } from '../../fuse/group.ts'
import { shareWork } from '../../kernel/share.ts'
import { namesOf } from '../../sizes.ts'
import { buffer, loopOver, within } from '../../kernel/statements.ts'
import type { Packed } from './operands.ts'
import type { Surroundings } from './panels.ts'
import { innerOf } from './scene.ts'
import { namer } from './space.ts'
import type { Width } from './tiles.ts'

/** Made of captured values alone, without sums: those are other kernels' results. */
export const isConstant = (n: Node, isFrozen: (n: Node) => boolean): boolean =>
  n.op === 'input'
    ? isFrozen(n)
    : !isAnchor(n) && n.args.length > 0 && n.args.every((a) => a.op === 'const' || isConstant(a, isFrozen))

/** One scratch for rows before they are transposed, as long as the longest that is asked for. */
export const lineBuffer = (setLocal: (b: Buffer) => void, fresh: (base: string) => string): Surroundings['rowsOf'] => {
  let line: { readonly name: string; readonly floats: number } | undefined
  return (floats) => {
    line = { name: line?.name ?? fresh('line'), floats: Math.max(floats, line?.floats ?? 0) }
    setLocal(buffer(line.name, [dim(line.floats)], 'scratch'))
    return line.name
  }
}

/** A kernel that fills all panels of an operand once. */
export const packedOf = (
  key: string,
  node: Node,
  needs: ReadonlyArray<Axis>,
  size: Dim,
  width: Width,
  fill: (s: Surroundings, expr: (n: Node, at: Position) => Expr, outer: Position) => ReadonlyArray<Stmt>,
): Packed => {
  const fresh = namer(new Set(['out']))
  const locals = new Map<string, Buffer>()
  const params: Buffer[] = []
  const args: Node[] = []
  const out = buffer('out', [...needs.map((o) => o.size), size])
  const expr = expressions((n, at) => {
    if (n.op !== 'input') return undefined
    let i = args.indexOf(n)
    if (i < 0) {
      i = args.push(n) - 1
      params.push(ownBufferOf(n, fresh('a')))
    }
    return { kind: 'read', buffer: params[i]!.name, at: namesOf(n).map((a) => at.get(a)!) }
  })
  const shapeOf = (name: string): ReadonlyArray<Dim> =>
    locals.get(name)?.shape ?? [out, ...params].find((b) => b.name === name)?.shape ?? []
  const rowsOf = lineBuffer((b) => void locals.set(b.name, b), fresh)
  const outer = new Map(needs.map((o) => [o.name, axisIndex(fresh(o.name), o.size)]))
  const loops = needs.flatMap((o) => {
    const [t] = outer.get(o.name)!.terms
    return t?.atom.kind === 'axis' ? [loopOver(t.atom.name, o.size, 'block')] : []
  })
  const body = within(loops, fill({ width, fresh, shapeOf, rowsOf }, expr, outer))
  const kernel: Kernel = {
    name: 'pack_once',
    params,
    outputs: [out],
    locals: [...locals.values()],
    body: shareWork(body),
  }
  return { key: `${key} ${String(node.id)}`, buffer: out, kernel, args }
}

/** What every row reads along its columns, and memory has them far apart: copied side by side once. */
export const gatheredColumns = (g: Group, axis: Axis): ReadonlyArray<Node> =>
  g.reads.filter((n) => {
    const long = n.type.dims.filter((d) => literal(d.size) !== 1)
    const last = long[long.length - 1]
    const inner = innerOf(g, n)
    const isFar = last !== undefined && !inner.some((d) => d.name === last.name)
    return isFar && !hasAxis(n.type, axis.name) && inner.some((d) => literal(d.size) !== 1)
  })
