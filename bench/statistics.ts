/** What is said about a list of times. */

/**
 * Milliseconds of the processor. On one pinned core that is the time on the clock, less what other processes took of
 * the core: a busy machine blurs it less.
 */
export interface Summary {
  readonly median: number
  readonly best: number
  /** the median on the clock */
  readonly wall: number
  /** measurements */
  readonly count: number
  /** share of the wall time in which the process did not run: another process had the core */
  readonly waited: number
}

const sorted = (xs: ReadonlyArray<number>): ReadonlyArray<number> => [...xs].sort((a, b) => a - b)

/** The middle number, or the mean of the two in the middle; NaN of nothing. */
export const median = (xs: ReadonlyArray<number>): number => {
  const s = sorted(xs)
  const half = s.length >> 1
  return s.length === 0 ? NaN : s.length % 2 === 1 ? s[half]! : (s[half - 1]! + s[half]!) / 2
}

export const summarise = (ms: ReadonlyArray<number>, cpu: ReadonlyArray<number>): Summary => {
  const sum = (xs: ReadonlyArray<number>): number => xs.reduce((a, b) => a + b, 0)
  return {
    median: median(cpu),
    best: cpu.length === 0 ? NaN : Math.min(...cpu),
    wall: median(ms),
    count: ms.length,
    waited: Math.max(0, 1 - sum(cpu) / sum(ms)),
  }
}

/** The largest |a - b| over the largest |b|; infinite where a number is missing or not finite. */
export const deviation = (a: Float32Array, b: Float32Array): number => {
  if (a.length !== b.length) return Infinity
  let [furthest, largest] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i]! - b[i]!)
    if (!(d <= Number.MAX_VALUE)) return Infinity
    furthest = Math.max(furthest, d)
    largest = Math.max(largest, Math.abs(b[i]!))
  }
  return furthest === 0 ? 0 : furthest / largest
}

/** Calls that one measurement takes so that the clock's own cost and grain do not count: a millisecond's worth. */
export const callsPerMeasurement = (onceMs: number): number => Math.max(1, Math.min(1000, Math.ceil(1 / onceMs)))
