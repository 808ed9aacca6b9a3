/** `scion logits`: scores of every next token, as a file: to compare with other libraries. */
import { Command } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import { decodeJson, intFrom, readJson, unlessFaults } from '../adapters/files/codec.ts'
import { writeSafetensors } from '../adapters/files/safetensors.ts'
import { compile } from '../codegen/index.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import { layOut } from '../dsl/value.ts'
import { logitsProgram, type Speaker } from '../models/index.ts'
import { withExamples, withJson } from './options.ts'
import { startProgress } from './progress.ts'
import { readyTeller, type Ready } from './ready.ts'
import { openSpeaker, withSpeaker, type SpeakingOptions } from './speaking.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

interface LogitsOptions extends SpeakingOptions {
  readonly tokens: string
  readonly out: string
}

type Rows = ReadonlyArray<ReadonlyArray<number>>

// --------------------------------------------------------------------------------- constructors

/** `[[1, 403, ...], ...]`, rows of one length. Errors: ids that the model does not have, rows of other lengths. */
const readIds = (file: string, vocab: number, most: number): Checked<Rows> =>
  pipe(
    readJson(file),
    E.flatMap((json) =>
      decodeJson(file, t.array(t.array(intFrom(0, vocab - 1), 'a list of token ids'), 'rows of token ids'), json),
    ),
    E.flatMap((rows) => {
      const length = rows[0]?.length ?? 0
      const uneven = rows.findIndex((row) => row.length !== length)
      const faults: ReadonlyArray<Fault> = [
        ...(rows.length === 0 || length === 0
          ? [{ at: file, expected: 'at least one row of at least one token id', actual: 'none' }]
          : []),
        ...(uneven >= 0
          ? [
              {
                at: `${file}: ${uneven}`,
                expected: `${length} token ids, as in row 0`,
                actual: String(rows[uneven]?.length),
              },
            ]
          : []),
        ...(length > most
          ? [{ at: file, expected: `rows of at most ${most} token ids, the model's length`, actual: String(length) }]
          : []),
      ]
      return unlessFaults(faults, () => rows)
    }),
  )

// --------------------------------------------------------------------------------- interpreters

const AXES = ['batch', 'position', 'vocab'] as const

/** Logits of the rows, one row after the other; (batch, position, vocab) row-major. */
const logitsOf = async (
  speaker: Speaker,
  rows: Rows,
  onRow: (done: number) => void,
  onReady: (r: Ready) => void,
): Promise<Checked<Float32Array>> => {
  const length = rows[0]?.length ?? 0
  const { vocab } = speaker.config
  const program = logitsProgram(speaker.config, speaker.grafted, 1, length)
  if (E.isLeft(program)) return program
  const compiled = await compile(program.right, { target: speaker.target, frozen: speaker.weights })()
  if (E.isLeft(compiled)) return compiled
  onReady(compiled.right)
  const sizes: Readonly<Record<string, number>> = { batch: 1, position: length, vocab }
  const made = program.right.outputs[0]?.node.type.dims.map(({ name }) => ({ name, size: sizes[name] ?? 1 })) ?? []
  const wanted = AXES.map((name) => ({ name, size: sizes[name] ?? 1 }))
  const all = new Float32Array(rows.length * length * vocab)
  for (const [i, row] of rows.entries()) {
    const ran = await compiled.right.run({ ...speaker.params, tokens: Float32Array.from(row) })()
    if (E.isLeft(ran)) return ran
    const data = Float64Array.from(ran.right['logits'] ?? [])
    all.set(layOut({ dims: made, data }, wanted).data, i * length * vocab)
    onRow(i + 1)
  }
  compiled.right.dispose()
  return E.right(all)
}

const write =
  (options: LogitsOptions, terminal: Terminal): Work =>
  async () => {
    const ready = await openSpeaker(options, terminal)
    if (E.isLeft(ready)) return ready
    const { speaker } = ready.right
    const { vocab, maxPositions } = speaker.config
    const rows = readIds(options.tokens, vocab, maxPositions)
    if (E.isLeft(rows)) return rows
    const bar = startProgress(terminal, 'rows')
    const { onReady, told } = readyTeller(terminal)
    const data = await logitsOf(speaker, rows.right, (done) => bar.update(done, rows.right.length), onReady)
    bar.stop()
    if (E.isLeft(data)) return data
    const shape = [rows.right.length, rows.right[0]?.length ?? 0, vocab]
    const written = writeSafetensors(options.out, [{ name: 'logits', dtype: 'F32', shape, data: data.right }])
    if (E.isLeft(written)) return written
    if (options.json) printJson(terminal, { out: options.out, name: 'logits', dtype: 'F32', shape, ready: told() })
    else terminal.out.write(`${options.out}: logits, F32 [${shape.join(', ')}], axes ${AXES.join(', ')}\n`)
    return E.right(0)
  }

/** The verb `logits`. */
export const logitsVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withSpeaker(
        new Command('logits')
          .summary('scores of every next token, as a safetensors file')
          .description(
            'Runs the model on rows of token ids and writes one tensor, `logits`: f32 [batch, position, vocab]. ' +
              'The ids are JSON, rows of one length: [[1, 403, 407], [1, 261, 378]].',
          ),
      )
        .requiredOption('--tokens <ids.json>', 'rows of token ids')
        .requiredOption('--out <file.safetensors>', 'the file to write'),
      '{out, name, dtype, shape, ready: {target, reason}}',
    ),
    ['scion logits --model ./stories260K --adapter ./grimm-lora --tokens ids.json --out logits.safetensors'],
  ).action((options: LogitsOptions) => run(write(options, terminal)))
