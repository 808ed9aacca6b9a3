/** The command line's table of contents: one verb a line. Resolves to the exit code; only success is 0. */
import { Command, CommanderError } from 'commander'

export const main = async (argv: ReadonlyArray<string>): Promise<number> => {
  const scion = new Command('scion')
    .description('Adapters as pure functions: checked by laws, differentiated, compiled')
    .showHelpAfterError()
    .exitOverride()
  try {
    await scion.parseAsync(argv, { from: 'user' })
    return 0
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode
    throw e
  }
}
