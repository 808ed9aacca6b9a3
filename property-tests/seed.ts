/**
 * The seed of every property test: `SCION_SEED`, or one fixed number, so that a run repeats exactly.
 * A failing property prints its own seed and path, which `SCION_SEED` alone need not reproduce.
 */
const FIXED = 20_260_101

const read = (text: string | undefined): number => {
  if (text === undefined || text === '') return FIXED
  const n = Number(text)
  if (Number.isInteger(n)) return n | 0
  throw new Error(`SCION_SEED: expected an integer, found ${JSON.stringify(text)}`)
}

export const seed: number = read(process.env['SCION_SEED'])
