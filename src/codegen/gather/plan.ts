/** Clusters -> plan: the kernels in order, with the buffers they read and write. */
import type { Node } from '../../dsl/node.ts'
import { rowOf } from '../../dsl/primitive.ts'
import type { Program } from '../../dsl/program.ts'
import { membersOf, type Clusters } from './cluster.ts'
import { keyOfKernel, showKernel, type Kernel } from '../kernel/kernel.ts'
import { bufferOf, layoutOf, shapeOf, type Layout } from '../kernel/layout.ts'
import { nest } from './nest.ts'
import { printGpuJs, type Printed } from '../print/gpujs.ts'
import { count, namesOf, sizesOf } from '../sizes.ts'

// ---------------------------------------------------------------------------------------- model

export interface Launch {
  readonly kernel: Kernel
  /** the node that the kernel computes, and those it reads, in order of its parameters */
  readonly root: Node
  readonly args: ReadonlyArray<Node>
  /** what was fused: operations in order */
  readonly ops: ReadonlyArray<string>
  /** why a buffer ends here */
  readonly reason: string
  readonly flops: number
  readonly printed: Printed
}

export interface Plan {
  readonly program: Program
  readonly launches: ReadonlyArray<Launch>
  /** shape of the buffer of a node, slowest extent first */
  readonly shapeOf: (n: Node) => ReadonlyArray<number>
}

// ------------------------------------------------------------------------------------- the pass

/** axes of a buffer that some reader merges into one */
const mergesOf = (nodes: ReadonlyArray<Node>): ReadonlyMap<Node, ReadonlyArray<ReadonlyArray<string>>> => {
  const merges = new Map<Node, ReadonlyArray<string>[]>()
  for (const n of nodes) {
    if (n.op !== 'reshape') continue
    const { from, to } = n.attrs
    const add = (m: Node, axes: ReadonlyArray<string>): void => {
      if (axes.length > 1) merges.set(m, [...(merges.get(m) ?? []), axes])
    }
    add(n.args[0]!, from)
    add(
      n,
      to.map((d) => d.name),
    )
  }
  return merges
}

const flopsOf = (n: Node): number => {
  const dims = (m: Node) => m.type.dims.map((d, i) => ({ name: d.name, size: sizesOf(m)[i]! }))
  return rowOf(n.op).flops(n.args.map(dims), dims(n), n.attrs)
}

export const plan = (clusters: Clusters, nodes: ReadonlyArray<Node>): Plan => {
  const merges = mergesOf(nodes)
  const layouts = new Map<Node, Layout>()
  const layout = (n: Node): Layout => {
    const known = layouts.get(n)
    if (known !== undefined) return known
    const made = layoutOf(n, merges.get(n) ?? [])
    layouts.set(n, made)
    return made
  }
  const isBuffer = (n: Node): boolean => n.op === 'input' || clusters.roots.has(n)
  const printed = new Map<string, Printed>()
  /** equal kernels are printed once: compile time must not grow with the number of layers */
  const printedOnce = (k: Kernel): Printed => {
    const key = keyOfKernel(k)
    const known = printed.get(key) ?? printGpuJs(k)
    printed.set(key, known)
    return known
  }
  const launches = [...clusters.roots].flatMap(([root, reason]): ReadonlyArray<Launch> => {
    if (count(root) === 0) return []
    const { kernel, args } = nest(root, isBuffer, layout)
    const { inlined } = membersOf(clusters, root)
    const ops = inlined.flatMap((n) => (n.op === 'const' ? [] : [n.op === 'map' ? n.attrs.fn : n.op]))
    return [
      {
        kernel,
        root,
        args,
        ops,
        reason,
        flops: inlined.reduce((s, n) => s + flopsOf(n), 0),
        printed: printedOnce(kernel),
      },
    ]
  })
  return { program: clusters.program, launches, shapeOf: (n) => shapeOf(bufferOf(n, layout(n), '')) }
}

// --------------------------------------------------------------------------------- interpreters

const label = (n: Node): string => (n.op === 'input' ? n.attrs.name : `#${String(n.id)}`)

export const showPlan = (p: Plan): string =>
  p.launches
    .map(
      (l, i) =>
        `${String(i)}: ${label(l.root)}{${namesOf(l.root).join(', ')}} = (${l.args.map(label).join(', ')})\n${showKernel(l.kernel)}`,
    )
    .join('\n\n')
