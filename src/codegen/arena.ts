/**
 * Where temporaries lie: one block of memory, offsets by first fit in order of birth. Two buffers share
 * a place only where the last reader of one comes before the writer of the other.
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

/** The lowest place for each buffer that no buffer alive at the same time has. */
export const placeInArena = (lives: ReadonlyArray<Life>): Arena => {
  const offsets = new Array<number>(lives.length).fill(0)
  const placed: number[] = []
  const order = lives
    .map((_, i) => i)
    .sort((a, b) => lives[a]!.from - lives[b]!.from || lives[b]!.size - lives[a]!.size)
  for (const i of order) {
    const busy = placed.filter((j) => overlapInTime(lives[i]!, lives[j]!)).sort((a, b) => offsets[a]! - offsets[b]!)
    let at = 0
    for (const j of busy) {
      if (at + lives[i]!.size <= offsets[j]!) break
      at = Math.max(at, offsets[j]! + aligned(lives[j]!.size))
    }
    offsets[i] = at
    placed.push(i)
  }
  return { offsets, size: lives.reduce((n, l, i) => Math.max(n, offsets[i]! + aligned(l.size)), 0) }
}

/** The most that lives at once: no arena is smaller. */
export const leastArena = (lives: ReadonlyArray<Life>): number =>
  lives.reduce(
    (most, { from }) =>
      Math.max(
        most,
        lives.reduce((n, l) => (l.from <= from && from <= l.to ? n + l.size : n), 0),
      ),
    0,
  )
