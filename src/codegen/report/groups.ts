/** Reports of fused programs: one entry a group, as the targets with blocks run them. */
import * as E from 'fp-ts/lib/Either.js'
import { evalDim, type Dim, type Sizes } from '../../dsl/dim.ts'
import type { Node } from '../../dsl/node.ts'
import { rowOf } from '../../dsl/primitive.ts'
import { placeInArena, type Life } from '../arena.ts'
import type { Fused } from '../fuse.ts'
import { originOf } from '../fuse/alias.ts'
import { resultsOf, type Group } from '../fuse/group.ts'
import { sharedLives, type Takes } from '../in-place.ts'
import type { KernelReport, Report } from './report.ts'

const BYTES = 4

const sum = (xs: ReadonlyArray<number>): number => xs.reduce((a, b) => a + b, 0)

/** numbers of a fused program at given sizes; NaN where a symbol has none */
const measures = (sizes: Sizes) => {
  const sizeOf = (d: Dim): number => E.getOrElse(() => NaN)(evalDim(d, sizes))
  const dims = (n: Node) => n.type.dims.map((d) => ({ name: d.name, size: sizeOf(d.size) }))
  const elements = (n: Node): number => dims(n).reduce((s, d) => s * d.size, 1)
  const flops = (n: Node): number => rowOf(n.op).flops(n.args.map(dims), dims(n), n.attrs)
  return { elements, flops, dims }
}

/** nodes that a group computes: from its results down to buffers, each once */
const computedIn = (g: Group): ReadonlyArray<Node> => {
  const results = resultsOf(g)
  const seen = new Set<Node>()
  const visit = (n: Node, top: boolean): void => {
    if (seen.has(n) || (!top && (n.op === 'input' || (g.reads.includes(n) && !results.includes(n))))) return
    seen.add(n)
    n.args.forEach((a) => visit(a, false))
  }
  results.forEach((n) => visit(n, true))
  return [...seen].sort((a, b) => a.id - b.id)
}

/** words for what a group does, movement and numbers left out */
const wordsOf = (nodes: ReadonlyArray<Node>): ReadonlyArray<string> =>
  nodes.flatMap((n) => {
    if (n.op === 'const' || n.op === 'iota') return []
    return [n.op === 'map' ? n.attrs.fn : n.op === 'reduce' ? `${n.attrs.fn} over ${n.attrs.over.join(' ')}` : n.op]
  })

export interface GroupSource {
  readonly source: string
  /** equal keys: one kernel */
  readonly key: string
  readonly resources?: KernelReport['resources']
}

/** bytes of the one arena in which values between launches lie */
const arenaBytesOf = (
  { launches }: Fused,
  isOutput: ReadonlySet<Node>,
  takes: Takes,
  elements: (n: Node) => number,
): number => {
  const lives = new Map<Node, Life>()
  launches.forEach((groups, i) => {
    for (const n of groups.flatMap((g) => g.stored))
      if (!isOutput.has(n)) lives.set(n, { size: elements(n), from: i, to: i })
    for (const n of groups.flatMap((g) => g.reads)) {
      const life = lives.get(n)
      if (life !== undefined) lives.set(n, { ...life, to: i })
    }
  })
  const lived = [...lives].map(([node, life]) => ({ node, life }))
  return BYTES * placeInArena(sharedLives(lived, takes).map((s) => s.life)).size
}

/** Every group of a fused program, with its source as the target prints it. */
export const reportOfGroups = (
  { program, launches }: Fused,
  target: string,
  sizes: Sizes,
  takes: Takes,
  sourceOf: (g: Group) => GroupSource,
): Report => {
  const { elements, flops, dims } = measures(sizes)
  const names = new Map<Node, string>()
  const sources = new Set<string>()
  const isOutput: ReadonlySet<Node> = new Set(program.outputs.map((o) => originOf(o.node)))
  let number = 0
  const kernels = launches.flatMap((groups, launch) =>
    groups.map((g): KernelReport => {
      const name = `${String(number)}_${g.name}`
      number += 1
      for (const n of g.stored) names.set(n, g.stored.length === 1 ? name : `${name}.${String(g.stored.indexOf(n))}`)
      const inPlace = g.stored.flatMap((n) => {
        const operand = takes.get(n)
        return operand === undefined ? [] : [`${names.get(n)!} for ${names.get(operand)!}`]
      })
      const nodes = computedIn(g)
      const { source, key, resources } = sourceOf(g)
      sources.add(key)
      return {
        name,
        launch,
        result: g.stored
          .map(
            (n) =>
              `[${dims(n)
                .map((d) => `${d.name}:${String(d.size)}`)
                .join(', ')}]`,
          )
          .join(' '),
        fused: wordsOf(nodes),
        boundary: g.reason,
        ...(inPlace.length === 0 ? {} : { inPlace }),
        isOutput: g.stored.some((n) => isOutput.has(n)),
        inputs: g.reads.map((n) => (n.op === 'input' ? n.attrs.name : (names.get(n) ?? `#${String(n.id)}`))),
        flops: sum(nodes.map(flops)),
        bytesRead: BYTES * sum(g.reads.map(elements)),
        bytesWritten: BYTES * sum(g.stored.map(elements)),
        ...(resources === undefined ? {} : { resources }),
        source,
      }
    }),
  )
  return {
    program: program.name,
    target,
    kernels,
    launches: launches.length,
    distinctKernels: sources.size,
    flops: sum(kernels.map((k) => k.flops)),
    bytesRead: sum(kernels.map((k) => k.bytesRead)),
    bytesWritten: sum(kernels.map((k) => k.bytesWritten)),
    minimumBytes: BYTES * (sum(program.inputs.map((i) => elements(i.node))) + sum([...isOutput].map(elements))),
    arenaBytes: arenaBytesOf({ program, launches }, isOutput, takes, elements),
  }
}
