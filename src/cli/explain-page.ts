/** `scion explain --html`: the report as one page that needs nothing else: no script, no network. */
import type { KernelReport, Report } from '../codegen/index.ts'
import { escapeHtml } from './escape-html.ts'
import { drawGraph, kernelGraph } from './kernel-graph.ts'

// ---------------------------------------------------------------------------------------- model

export interface Explained {
  readonly title: string
  /** what was compiled: config, sizes */
  readonly subtitle: string
  /** the graph of operations, as text */
  readonly graph: string
  readonly report: Report
}

// --------------------------------------------------------------------------------- constructors

const style = `
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --paper: #fcfcfa; --line: #c9d1d9; --kernel: #e4eef9; --output: #dff3e2; --input: #f3f0e6; --mark: #d2691e }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --soft: #98a5b3; --paper: #14181d; --line: #3a444f; --kernel: #1d3046; --output: #1c3a26; --input: #322d20 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem } p.soft, .soft { color: var(--soft) }
.graph { overflow: auto; max-height: 75vh; border: 1px solid var(--line); border-radius: 6px }
svg text { font: 12px ui-monospace, monospace; text-anchor: middle; fill: var(--ink) } svg text.name { font-weight: 700 }
svg rect { stroke: var(--line); fill: var(--kernel) } svg .input rect { fill: var(--input) } svg .output rect { fill: var(--output) }
svg path { fill: none; stroke: var(--soft) } svg marker path { fill: var(--soft) } svg a:hover rect, svg a:focus rect { stroke: var(--mark); stroke-width: 2 }
table { border-collapse: collapse; margin: .5rem 0 } th, td { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
section.kernel { display: none; border-left: 4px solid var(--mark); padding-left: 1rem; margin-top: 1rem } section.kernel:target { display: block }
pre { overflow: auto; background: color-mix(in srgb, var(--line) 25%, transparent); padding: .7rem; border-radius: 6px; font: 12.5px/1.45 ui-monospace, monospace }
`

const PLAIN = new Intl.NumberFormat('en')
const count = (n: number): string => PLAIN.format(n)

type Fact = readonly [name: string, value: string]

/** what is known of a kernel, beside its source */
const factsOf = (k: KernelReport): ReadonlyArray<Fact> => [
  ['result', k.result],
  ['reads', k.inputs.join(', ')],
  ['fused', k.fused.join(' ')],
  ['ends here because', k.boundary],
  ...(k.inPlace === undefined ? [] : [['in place', k.inPlace.join(', ')] as const]),
  ['launch', count(k.launch)],
  ['flop', count(k.flops)],
  ['bytes read', count(k.bytesRead)],
  ['bytes written', count(k.bytesWritten)],
  ...Object.entries(k.resources ?? {}).map(([name, value]): Fact => [name, value]),
]

const factsTable = (facts: ReadonlyArray<Fact>): string =>
  `<table>${facts.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join('')}</table>`

const section = (k: KernelReport, i: number): string =>
  [
    `<section class="kernel" id="kernel-${String(i)}">`,
    `<h2>${escapeHtml(k.name)}</h2>`,
    factsTable(factsOf(k)),
    `<pre>${escapeHtml(k.source)}</pre>`,
    '</section>',
  ].join('\n')

const totals = (r: Report): ReadonlyArray<Fact> => [
  ['target', r.target],
  ['launches', `${count(r.launches)} of ${count(r.distinctKernels)} distinct kernels`],
  ['flop', count(r.flops)],
  ['bytes read and written', `${count(r.bytesRead)} and ${count(r.bytesWritten)}`],
  ['least possible', `${count(r.minimumBytes)} bytes: every input and output once`],
  ...(r.arenaBytes === undefined ? [] : [['arena', `${count(r.arenaBytes)} bytes for temporaries`] as const]),
]

const row = (k: KernelReport, i: number): string =>
  `<tr><td><a href="#kernel-${String(i)}">${escapeHtml(k.name)}</a></td><td>${escapeHtml(k.result)}</td><td class="n">${count(k.flops)}</td><td class="n">${count(k.bytesRead)}</td><td class="n">${count(k.bytesWritten)}</td><td>${escapeHtml(k.boundary)}</td></tr>`

// --------------------------------------------------------------------------------- interpreters

/** The page. All text is escaped: names come from users' files. */
export const showPage = ({ title, subtitle, graph, report }: Explained): string =>
  [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${style}</style>`,
    '</head>',
    '<body>',
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="soft">${escapeHtml(subtitle)}</p>`,
    factsTable(totals(report)),
    '<h2>Kernels and what flows between them</h2>',
    '<p class="soft">A click on a kernel shows it below.</p>',
    `<div class="graph">${drawGraph(kernelGraph(report))}</div>`,
    ...report.kernels.map(section),
    '<h2>All kernels</h2>',
    '<table><tr><th>kernel</th><th>result</th><th class="n">flop</th><th class="n">bytes read</th><th class="n">written</th><th>ends here because</th></tr>',
    ...report.kernels.map(row),
    '</table>',
    '<h2>The program</h2>',
    `<pre>${escapeHtml(graph)}</pre>`,
    '</body>',
    '</html>',
    '',
  ].join('\n')
