/** `scion explain`: what an adapter compiles to, kernel by kernel, and why. */
import { Command } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import type { Config } from '../adapters/index.ts'
import { explain, showReport, type TargetName } from '../codegen/index.ts'
import { writeFileAtomic } from '../adapters/files/atomic.ts'
import { failWith } from '../adapters/files/codec.ts'
import { showType } from '../dsl/index.ts'
import type { Checked, Program } from '../dsl/index.ts'
import { topological } from '../dsl/node.ts'
import { showPage } from './explain-page.ts'
import { findAdapter, readConfigOption, type NamedAdapter } from './adapters.ts'
import { integer, withExamples, withJson, withTarget } from './options.ts'
import { siteProgram, typicalSizes } from './site-program.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

interface ExplainOptions {
  readonly in: number
  readonly out: number
  readonly tokens: number
  readonly rank?: number
  readonly config?: string
  readonly source: boolean
  readonly html?: string
  readonly target: TargetName | 'cuda'
  readonly json?: true
}

// ------------------------------------------------------------------------------------ the graph

/** Every node of a program, one line each: `%3 = dot(x, %1; in)  f32[token:128, r:8]`. */
const showGraph = (p: Program): string => {
  const nodes = topological(p.outputs.map((o) => o.node))
  const label = new Map(nodes.map((n, i) => [n, n.op === 'input' ? n.attrs.name : `%${i}`]))
  const lines = nodes.flatMap((n) => {
    if (n.op === 'input') return []
    const name = n.op === 'map' ? n.attrs.fn : n.op === 'call' ? n.attrs.name : n.op === 'reduce' ? n.attrs.fn : n.op
    const detail = n.op === 'const' ? String(n.attrs.value) : n.args.map((a) => label.get(a) ?? '?').join(', ')
    return [`  ${label.get(n) ?? '?'} = ${name}(${detail})  ${showType(n.type)}`]
  })
  return [
    ...p.inputs.map((i) => `  input ${i.name}  ${showType(i.node.type)}`),
    ...lines,
    ...p.outputs.map((o) => `  output ${o.name} = ${label.get(o.node) ?? '?'}`),
  ].join('\n')
}

// --------------------------------------------------------------------------------- interpreters

const configOf = ({ adapter }: NamedAdapter, options: ExplainOptions): Checked<Config> =>
  E.flatMap(readConfigOption(adapter, options.config), (config) => {
    if (options.rank === undefined) return E.right(config)
    return adapter.config['rank'] === undefined
      ? failWith(
          '--rank',
          `an adapter with a field 'rank'`,
          `${adapter.name} with ${Object.keys(adapter.config).join(', ')}`,
        )
      : E.right({ ...config, rank: options.rank })
  })

const tell =
  (name: string, options: ExplainOptions, terminal: Terminal): Work =>
  async () => {
    const found = await findAdapter(name)
    const made = E.flatMap(found, (named) =>
      E.flatMap(configOf(named, options), (config) => {
        const sizes = typicalSizes(named.adapter, options)
        return E.map((p: Program) => ({ adapter: named.adapter, config, sizes, program: p }))(
          siteProgram(named.adapter, config, sizes),
        )
      }),
    )
    if (E.isLeft(made)) return made
    const { adapter, config, sizes, program } = made.right
    if (options.target === 'oracle') {
      if (options.json) printJson(terminal, { adapter: adapter.name, config, sizes, target: 'oracle', kernels: [] })
      else
        terminal.out.write(
          `${adapter.name} on the oracle: no kernels, every operation is interpreted in f64.\n${showGraph(program)}\n`,
        )
      return E.right(0)
    }
    const report = explain(program, {}, options.target)
    if (E.isLeft(report)) return report
    const title = `${adapter.name} at a ${adapter.site} site: forward, and gradients of its parameters and input`
    const subtitle = `config ${JSON.stringify(config)}, sizes ${JSON.stringify(sizes)}`
    if (options.html !== undefined) {
      const page = showPage({ title, subtitle, graph: showGraph(program), report: report.right })
      const written = writeFileAtomic(options.html, page)
      if (E.isLeft(written)) return written
      terminal.err.write(`${options.html} is written\n`)
    }
    if (options.json) printJson(terminal, { adapter: adapter.name, config, sizes, ...report.right })
    else
      terminal.out.write(
        [
          title,
          subtitle,
          '',
          'Graph',
          showGraph(program),
          '',
          'Kernels',
          showReport(report.right, options.source),
          '',
        ].join('\n'),
      )
    return E.right(0)
  }

export const explainVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withTarget(
        new Command('explain')
          .summary('show what an adapter compiles to, and why')
          .description(
            "Shows an adapter's forward and backward on one site: the graph, which operations are fused into which kernel, " +
              'why each kernel ends where it does, flops, bytes against the least possible, and the source; for cuda also registers and shared memory, where its compiler is.',
          )
          .argument('<adapter>', 'a built-in adapter, or a file that exports one')
          .option('--in <n>', "width of the site's input", integer(1, 1_000_000), 64)
          .option('--out <n>', "width of a linear site's output", integer(1, 1_000_000), 64)
          .option('--tokens <n>', 'tokens at once', integer(1, 1_000_000), 128)
          .option('--rank <n>', "the config's rank", integer(1, 1_000_000))
          .option('--config <json>', "fields of the adapter's config")
          .option('--html <file>', 'also write a page with the graph of kernels drawn; it needs nothing else')
          .option('--no-source', 'leave the source of the kernels out'),
        ['cuda'],
      ),
      'the report, kernel by kernel',
    ),
    [
      'scion explain lora --in 64 --out 64 --tokens 512 --rank 8',
      'scion explain ./mine.ts --no-source --html mine.html',
      'scion explain oft --target cuda',
    ],
  ).action((name: string, options: ExplainOptions) => run(tell(name, options, terminal)))
