/** `scion export`: an adapter's kernels as source files for other programs, with a manifest of how to launch them. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { writeFolderAtomic } from '../adapters/files/atomic.ts'
import { showKey, unlessFaults } from '../adapters/files/codec.ts'
import type { Adapter, Config } from '../adapters/index.ts'
import { siteRows } from '../adapters/laws/specimen.ts'
import { exporters, type ExportTarget } from '../codegen/export/index.ts'
import type { Exported } from '../codegen/export/exported.ts'
import { showManifest, type Manifest } from '../codegen/export/manifest.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import { suggest } from '../dsl/primitives/typing.ts'
import { findAdapter, readConfigOption, type NamedAdapter } from './adapters.ts'
import { integer, withExamples, withJson } from './options.ts'
import { siteProgram, typicalSizes } from './site-program.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'
import { versions } from './versions.ts'

// ---------------------------------------------------------------------------------------- model

type Sizes = Readonly<Record<string, number>>

interface ExportOptions {
  readonly target: ExportTarget
  readonly out: string
  readonly config?: string
  readonly size: Sizes
  readonly json?: true
}

// --------------------------------------------------------------------------------- constructors

/** `in=768`, added to those before it */
const size = (text: string, before: Sizes): Sizes => {
  const [, name, number] = /^([^=]+)=(.*)$/.exec(text) ?? []
  if (name === undefined || number === undefined) throw new InvalidArgumentError('Expected name=size, such as in=768.')
  return { ...before, [name]: integer(1, 1_000_000)(number) }
}

const checkSizes = (adapter: Adapter, sizes: Sizes): Checked<Sizes> => {
  const known = ['token', ...siteRows[adapter.site].sizes]
  const faults = Object.keys(sizes).flatMap((name): ReadonlyArray<Fault> => {
    const hint = suggest(name, known)
    return known.includes(name)
      ? []
      : [
          {
            at: '--size',
            expected: `a size of ${adapter.site} sites: ${known.join(', ')}`,
            actual: showKey(name),
            ...(hint === undefined ? {} : { hint }),
          },
        ]
  })
  return unlessFaults(faults, () => sizes)
}

/** a plain file name, whatever the adapter calls itself */
const fileName = (adapter: Adapter): string => {
  const plain = adapter.name.replace(/[^A-Za-z0-9_-]+/g, '_').slice(0, 64)
  return /^[A-Za-z0-9]/.test(plain) ? plain : `adapter_${plain}`
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

const TOLERANCE =
  'f32 arithmetic, u = 2^-24: each kernel was judged against f64 under a running bound on its own rounding error; a compiler that contracts a*b + c or reorders sums stays under it'

const manifestOf = (
  { adapter, sha256: definition }: NamedAdapter,
  config: Config,
  target: ExportTarget,
  { source, extension, ...parts }: Exported,
): Manifest => ({
  format: 'scion-kernels',
  version: 1,
  generator: { name: 'scion', version: versions['scion'] ?? 'unknown' },
  adapter: {
    name: adapter.name,
    site: adapter.site,
    config: { ...config },
    ...(definition === undefined ? {} : { sha256: definition }),
  },
  target,
  source: { file: `${fileName(adapter)}.${extension}`, sha256: sha256(source) },
  ...parts,
  tolerance: TOLERANCE,
})

// --------------------------------------------------------------------------------- interpreters

const write =
  (name: string, options: ExportOptions, terminal: Terminal): Work =>
  async () => {
    const found = await findAdapter(name)
    return pipe(
      E.Do,
      E.bind('named', () => found),
      E.bind('config', ({ named }) => readConfigOption(named.adapter, options.config)),
      E.bind('given', ({ named }) => checkSizes(named.adapter, options.size)),
      E.bind('exported', ({ named: { adapter }, config, given }) => {
        const { make, symbolic } = exporters[options.target]
        const sizes = symbolic ? given : { ...typicalSizes(adapter, { in: 64, out: 64, tokens: 128 }), ...given }
        const header = (mark: string): string =>
          [
            `Made by Scion ${versions['scion'] ?? ''}: ${showKey(adapter.name)} at a ${adapter.site} site, forward and backward.`,
            `What to launch with which tensors is in ${fileName(adapter)}.json.`,
          ]
            .map((line) => `${mark} ${line}`)
            .join('\n')
        return E.flatMap(siteProgram(adapter, config, sizes), (program) => make(program, {}, header))
      }),
      E.let('manifest', ({ named, config, exported }) => manifestOf(named, config, options.target, exported)),
      // the manifest last: it is the mark that all is there
      E.tap(({ named, exported, manifest }) =>
        writeFolderAtomic(options.out, [
          { name: manifest.source.file, content: exported.source },
          { name: `${fileName(named.adapter)}.json`, content: showManifest(manifest) },
        ]),
      ),
      E.map(({ named, manifest }) => {
        const files = [manifest.source.file, `${fileName(named.adapter)}.json`].map((f) => join(options.out, f))
        if (options.json) printJson(terminal, { files, manifest })
        else
          terminal.out.write(
            [
              ...files,
              `${String(manifest.kernels.length)} kernels; forward launches ${String(manifest.forward.launches.length)}, backward ${String(manifest.backward.launches.length)}; saved between them: ${manifest.saved.join(', ') || 'nothing'}`,
              '',
            ].join('\n'),
          )
        return 0
      }),
    )
  }

export const exportVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      new Command('export')
        .summary("write an adapter's kernels as source files")
        .description(
          "Writes an adapter's forward and backward at one site as source (CUDA C, C, or JavaScript for gpu.js) and a JSON manifest: " +
            'kernels with parameters, grids and temporaries, the launches of forward and backward in order, and what is saved between them.',
        )
        .argument('<adapter>', 'a built-in adapter, or a file that exports one')
        .addOption(
          new Option('--target <name>', 'what the source is for').choices(Object.keys(exporters)).makeOptionMandatory(),
        )
        .requiredOption('--out <dir>', 'where the files go')
        .option('--config <json>', "fields of the adapter's config")
        .option(
          '--size <name=n>',
          'fix a size, such as in=768; may be repeated. The others are given when kernels are launched; gpujs has fixed sizes only, and takes in=64, out=64, token=128 where nothing is said',
          size,
          {},
        ),
      'the file names and the manifest',
    ),
    [
      'scion export lora --target cuda --out kernels',
      'scion export ./mine.ts --target gpujs --size in=256 --out kernels',
    ],
  ).action((name: string, options: ExportOptions) => run(write(name, options, terminal)))
