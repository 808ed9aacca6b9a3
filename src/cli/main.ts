/** The command line's table of contents: one verb a line. Resolves to the exit code; only success is 0. */
import { Command, CommanderError } from 'commander'
import { explainVerb } from './explain.ts'
import { exportVerb } from './export.ts'
import { generateVerb } from './generate.ts'
import { lawsVerb } from './laws.ts'
import { logitsVerb } from './logits.ts'
import { mergeVerb } from './merge.ts'
import { exitCodeOf, processTerminal, type Runner, type Terminal } from './terminal.ts'
import { trainVerb } from './train.ts'

const verbs: ReadonlyArray<(runner: Runner) => Command> = [
  lawsVerb,
  trainVerb,
  mergeVerb,
  generateVerb,
  logitsVerb,
  explainVerb,
  exportVerb,
]

/** Runs one command line; `argv` starts with the verb. */
export const main = async (argv: ReadonlyArray<string>, terminal: Terminal = processTerminal): Promise<number> => {
  let code = 0
  const runner: Runner = {
    terminal,
    run: async (work) => {
      code = await exitCodeOf(terminal, work)
    },
  }
  const console = {
    writeOut: (text: string) => void terminal.out.write(text),
    writeErr: (text: string) => void terminal.err.write(text),
  }
  const scion = new Command('scion')
    .description('Adapters for frozen models as pure functions: checked by laws, differentiated, compiled.')
    .addHelpText('after', '\n`scion help <verb>` or `scion <verb> --help` explains a verb with an example.\n')
    .exitOverride()
    .configureOutput(console)
  for (const verb of verbs) scion.addCommand(verb(runner).exitOverride().configureOutput(console))
  try {
    await scion.parseAsync([...argv], { from: 'user' })
    return code
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode
    throw e
  }
}
