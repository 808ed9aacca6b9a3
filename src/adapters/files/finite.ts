/**
 * Whether stored numbers are numbers. One NaN or infinity in a weight makes every output NaN, and what a file with
 * one holds was broken before it was written: so it is a fault of the file, and not a warning.
 */
import type { Checked, Fault } from '../../dsl/fault.ts'
import { showKey, unlessFaults } from './codec.ts'

/** the first that is not finite, and how many there are */
const oddNumbers = (data: Float32Array): { readonly first: number; readonly count: number } => {
  let [first, count] = [-1, 0]
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue
    if (count === 0) first = i
    count += 1
  }
  return { first, count }
}

/** Stored tensors as `checkFinite` takes them. */
export const numbersOf = (tensors: ReadonlyMap<string, { readonly data: Float32Array }>) =>
  [...tensors].map(([name, { data }]) => [name, data] as const)

/** Faults name file, tensor, the first number that is not finite, and how many there are. */
export const checkFinite = <A>(
  file: string,
  tensors: Iterable<readonly [string, Float32Array]>,
  then: () => A,
): Checked<A> => {
  const faults: Fault[] = []
  for (const [name, data] of tensors) {
    const { first, count } = oddNumbers(data)
    if (count > 0)
      faults.push({
        at: `${file}: ${showKey(name)}`,
        expected: 'finite numbers',
        actual: `${String(data[first])} at position ${String(first)}, ${String(count)} of ${String(data.length)} that are not finite`,
      })
  }
  return unlessFaults(faults, then)
}
