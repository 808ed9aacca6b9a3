/** The graph of a report's kernels, laid out from top to bottom and drawn as SVG. */
import dagre from '@dagrejs/dagre'
import type { Report } from '../codegen/index.ts'
import { escapeHtml } from './escape-html.ts'

// ---------------------------------------------------------------------------------------- model

export interface GraphNode {
  readonly id: string
  readonly kind: 'input' | 'kernel' | 'output'
  readonly lines: ReadonlyArray<string>
  /** where a click leads, within the page */
  readonly href?: string
}

export interface GraphEdge {
  readonly from: string
  readonly to: string
}

export interface KernelGraph {
  readonly nodes: ReadonlyArray<GraphNode>
  readonly edges: ReadonlyArray<GraphEdge>
}

// --------------------------------------------------------------------------------- constructors

const LONGEST = 34
const short = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text)

/** A node a kernel and a program's input; equal names of inputs are one node. */
export const kernelGraph = (r: Report): KernelGraph => {
  const kernels = new Map(r.kernels.map((k, i) => [k.name, `k${String(i)}`]))
  const inputs = new Map<string, string>()
  /** a kernel with several results has them numbered: `3_dot.1` */
  const kernelOf = (name: string): string | undefined => kernels.get(name) ?? kernels.get(name.replace(/\.\d+$/, ''))
  for (const name of r.kernels.flatMap((k) => k.inputs))
    if (kernelOf(name) === undefined && !inputs.has(name)) inputs.set(name, `i${String(inputs.size)}`)
  return {
    nodes: [
      ...[...inputs].map(([name, id]): GraphNode => ({ id, kind: 'input', lines: [short(name)] })),
      ...r.kernels.map((k, i): GraphNode => ({
        id: `k${String(i)}`,
        kind: k.isOutput ? 'output' : 'kernel',
        lines: [short(k.name), short(k.fused.join(' ')), short(k.result)],
        href: `#kernel-${String(i)}`,
      })),
    ],
    edges: r.kernels.flatMap((k, i) =>
      [
        ...new Set(
          k.inputs.flatMap((name) => {
            const from = kernelOf(name) ?? inputs.get(name)
            return from === undefined ? [] : [from]
          }),
        ),
      ].map((from) => ({ from, to: `k${String(i)}` })),
    ),
  }
}

// --------------------------------------------------------------------------------- interpreters

/** pixels; a character of the page's monospace font is this wide */
const CHARACTER = 7.3
const LINE = 16
const PAD = 10

const sizeOf = (n: GraphNode): { readonly width: number; readonly height: number } => ({
  width: Math.ceil(Math.max(...n.lines.map((l) => l.length)) * CHARACTER) + 2 * PAD,
  height: n.lines.length * LINE + PAD,
})

const at = (x: number): string => x.toFixed(1)

const drawNode = (n: GraphNode, { x, y }: { readonly x: number; readonly y: number }): string => {
  const { width, height } = sizeOf(n)
  const [left, top] = [x - width / 2, y - height / 2]
  const lines = n.lines.map(
    (line, i) =>
      `<text x="${at(x)}" y="${at(top + PAD / 2 + LINE * (i + 0.75))}"${i === 0 ? ' class="name"' : ''}>${escapeHtml(line)}</text>`,
  )
  const round = n.kind === 'input' ? height / 2 : 4
  const box = `<rect x="${at(left)}" y="${at(top)}" width="${at(width)}" height="${at(height)}" rx="${at(round)}"/>`
  const group = `<g class="${n.kind}">${box}${lines.join('')}</g>`
  return n.href === undefined ? group : `<a href="${escapeHtml(n.href)}">${group}</a>`
}

type Point = Readonly<Record<'x' | 'y', number>>

const drawEdge = (points: ReadonlyArray<Point>): string =>
  `<path d="M${points.map((p) => `${at(p.x)} ${at(p.y)}`).join(' L')}" marker-end="url(#arrow)"/>`

/** The graph as one SVG element. */
export const drawGraph = ({ nodes, edges }: KernelGraph): string => {
  const g = new dagre.graphlib.Graph()
  g.setGraph({ rankdir: 'TB', nodesep: 24, ranksep: 40, marginx: 12, marginy: 12 })
  for (const n of nodes) g.setNode(n.id, { ...sizeOf(n) })
  for (const e of edges) g.setEdge(e.from, e.to, {})
  dagre.layout(g)
  const { width = 0, height = 0 } = g.graph() as { readonly width?: number; readonly height?: number }
  const drawn = [
    ...edges.map((e) => drawEdge((g.edge(e.from, e.to) as { readonly points: ReadonlyArray<Point> }).points)),
    ...nodes.map((n) => drawNode(n, g.node(n.id) as Point)),
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="graph of kernels" width="${at(width)}" height="${at(height)}" viewBox="0 0 ${at(width)} ${at(height)}">`,
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ...drawn,
    '</svg>',
  ].join('\n')
}
