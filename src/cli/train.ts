/** `scion train`: an adapter trained on a text, with a loss curve, and taken up again after a kill. */
import { Command, Option } from 'commander'
import * as E from 'fp-ts/lib/Either.js'
import { integer, names, numberWhere, seed, withExamples, withJson, withTarget } from './options.ts'
import { showSeconds } from './progress.ts'
import { showReady } from './ready.ts'
import { printJson, type Runner, type Terminal, type Work } from './terminal.ts'
import { performTraining, type TrainedRun, type TrainOptions } from './training.ts'

// --------------------------------------------------------------------------------- interpreters

const print = ({ out }: Terminal, r: TrainedRun): void => {
  const rows: ReadonlyArray<readonly [string, string]> = [
    ['adapter', `${r.adapter} ${JSON.stringify(r.config)}, ${r.trainable.toLocaleString('en')} trainable parameters`],
    ['held-out loss', `${r.heldOut.before.toFixed(5)} before, ${r.heldOut.after.toFixed(5)} after, in nats a token`],
    ['steps', `${r.steps} of ${r.rows} x ${r.length} tokens, in ${showSeconds(r.seconds)}`],
    ...(r.ready === undefined ? [] : [['target', showReady(r.ready).replace('target ', '')] as const]),
    ['folder', r.out],
  ]
  out.write(rows.map(([name, text]) => `${name.padEnd(14)} ${text}\n`).join(''))
}

const work =
  (options: TrainOptions, terminal: Terminal): Work =>
  async () => {
    const run = await performTraining(options, terminal)
    if (E.isLeft(run)) return run
    if (options.json) printJson(terminal, run.right)
    else print(terminal, run.right)
    return E.right(0)
  }

const positive = numberWhere('a number above 0', (x) => x > 0)

/** The verb `train`. */
export const trainVerb = ({ run, terminal }: Runner): Command =>
  withExamples(
    withJson(
      withTarget(
        new Command('train')
          .summary('train an adapter on a text')
          .description(
            'Trains an adapter on a text file; the model is left as it is. Writes a folder with the adapter in the format of ' +
              'PEFT (where PEFT has the method), `loss-curve.svg` and `training.json`. Killed, it goes on with --resume and comes to ' +
              'the very same result as an uninterrupted run.',
          )
          .requiredOption('--model <dir>', 'a Hugging Face folder, or a llama2.c .bin or its folder')
          .requiredOption('--adapter <name>', 'a built-in adapter, or a file.ts that exports one')
          .requiredOption('--data <file>', 'text, UTF-8')
          .requiredOption('--out <dir>', 'a new folder'),
      )
        .option('--config <json>', "fields of the adapter's config")
        .option('--modules <names>', "names of the modules to adapt; else the adapter's own choice", names)
        .option('--steps <n>', 'updates', integer(1), 200)
        .option('--rows <n>', 'rows of a batch', integer(1, 1_000_000), 4)
        .option('--length <n>', 'tokens of a row', integer(1, 1_000_000), 128)
        .option('--lr <x>', 'peak learning rate; else one that worked for the adapter', positive)
        .option('--warmup <n>', 'steps until the peak; a cosine to 0 follows', integer(0), 20)
        .option('--seed <n>', 'of the parameters and the batches', seed, 0)
        .option(
          '--held-out <share>',
          'the last share of the text, kept apart',
          numberWhere('a number between 0 and 1', (x) => x > 0 && x < 1),
          0.1,
        )
        .option('--clip <x>', 'most that the norm of the gradient may be', positive, 1)
        .addOption(new Option('--optimiser <name>', 'how a step is made').choices(['adamw', 'sgd']).default('adamw'))
        .option('--save-every <n>', 'steps between two saves', integer(1), 20)
        .option('--resume', 'go on where a killed run was saved last')
        .option('--force', 'begin anew in a folder that is in use')
        .option('--batches-out <file>', 'also write the token ids of all batches, for other libraries'),
      'what training.json holds',
    ),
    [
      'scion train --model ./stories260K --adapter lora --data grimm.txt --out grimm-lora',
      `scion train --model ./stories260K --adapter oft --config '{"block": 8}' --data grimm.txt --out grimm-oft --lr 0.02`,
      'scion train --model ./stories260K --adapter ./mine.ts --data grimm.txt --out mine --steps 50 --resume',
    ],
  ).action((options: TrainOptions) => run(work(options, terminal)))
