/**
 * Where temporaries lie: one block of memory, offsets by best fit. Two buffers share a place only where the last reader
 * of one comes before the writer of the other, or where the one takes the place of the other: those are one buffer here,
 * alive from the first's writer to the last's reader.
 */

/** a buffer that launch `from` writes and launch `to` reads last (to >= from) */
export interface Life {
  readonly size: number
  readonly from: number
  readonly to: number
}
export interface Arena {
  readonly offsets: ReadonlyArray<number>
  readonly size: number
}

/** floats in a cache line */
const LINE = 16
export const aligned = (n: number): number => Math.ceil(n / LINE) * LINE

/** Lives at the same time: a launch's output never lies where one of its inputs does. */
export const overlapInTime = (a: Life, b: Life): boolean => a.from <= b.to && b.from <= a.to

/** Each buffer, in this order, into the smallest gap that holds it between those alive at the same time, else behind them. */
const fitted = (lives: ReadonlyArray<Life>, order: ReadonlyArray<number>): Arena => {
  const offsets = new Array<number>(lives.length).fill(0)
  // of those that have a place, by offset: n^2 steps in all, so that they are plain numbers
  const [start, end, from, to] = [0, 1, 2, 3].map(() => new Float64Array(lives.length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  let [placed, size] = [0, 0]
  for (const i of order) {
    const own = lives[i]!
    let [at, best, room] = [0, -1, Infinity]
    for (let n = 0; n < placed; n++) {
      if (from[n]! > own.to || own.from > to[n]!) continue
      const gap = start[n]! - at
      if (own.size <= gap && gap < room) [best, room] = [at, gap]
      if (end[n]! > at) at = end[n]!
    }
    const chosen = best < 0 ? at : best
    let next = placed
    while (next > 0 && start[next - 1]! > chosen) next--
    for (const column of [start, end, from, to]) column.copyWithin(next + 1, next, placed)
    start[next] = offsets[i] = chosen
    end[next] = chosen + aligned(own.size)
    from[next] = own.from
    to[next] = own.to
    placed += 1
    size = Math.max(size, end[next]!)
  }
  return { offsets, size }
}

/** The most that lives at once: no arena is smaller. Births and deaths in order of time. */
export const leastArena = (lives: ReadonlyArray<Life>): number => {
  const changes = lives.flatMap(({ size, from, to }) => [
    { at: from, by: size },
    { at: to + 1, by: -size },
  ])
  let [now, most] = [0, 0]
  // at one time deaths come first
  for (const { by } of changes.sort((a, b) => a.at - b.at || a.by - b.by)) {
    now += by
    most = Math.max(most, now)
  }
  return most
}

/** what goes first: the larger, what is large for long, the earlier, what lives long */
const orders: ReadonlyArray<(a: Life, b: Life) => number> = [
  (a, b) => b.size - a.size || b.to - b.from - (a.to - a.from),
  (a, b) => b.size * (b.to - b.from + 1) - a.size * (a.to - a.from + 1),
  (a, b) => a.from - b.from || b.size - a.size,
  (a, b) => b.to - b.from - (a.to - a.from) || b.size - a.size,
]
/** an arena so close to the least is not worth another attempt */
const NEAR = 1.005

/** What four orders make of it, until one comes near to the least. */
export const placeInArena = (lives: ReadonlyArray<Life>): Arena => {
  const all = lives.map((_, i) => i)
  const least = NEAR * leastArena(lives)
  let best: Arena | undefined
  for (const by of orders) {
    const arena = fitted(
      lives,
      [...all].sort((i, j) => by(lives[i]!, lives[j]!)),
    )
    if (best === undefined || arena.size < best.size) best = arena
    if (best.size <= least) break
  }
  return best ?? { offsets: [], size: 0 }
}
