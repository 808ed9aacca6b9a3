/**
 * Where temporaries lie: one block of memory, offsets by first fit. Two buffers share a place only where the last reader
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

/** The lowest place for each buffer, in this order, that no buffer alive at the same time has. */
const firstFit = (lives: ReadonlyArray<Life>, order: ReadonlyArray<number>): Arena => {
  const offsets = new Array<number>(lives.length).fill(0)
  /** by offset */
  const placed: number[] = []
  let size = 0
  for (const i of order) {
    const own = lives[i]!
    let at = 0
    for (const j of placed) {
      if (!overlapInTime(own, lives[j]!)) continue
      if (at + own.size <= offsets[j]!) break
      at = Math.max(at, offsets[j]! + aligned(lives[j]!.size))
    }
    offsets[i] = at
    const next = placed.findIndex((j) => offsets[j]! > at)
    placed.splice(next < 0 ? placed.length : next, 0, i)
    size = Math.max(size, at + aligned(own.size))
  }
  return { offsets, size }
}

/** First fit in order of birth, and in order of size, large ones first: whichever needs less. */
export const placeInArena = (lives: ReadonlyArray<Life>): Arena => {
  const byBirth = (i: number, j: number): number => lives[i]!.from - lives[j]!.from || lives[j]!.size - lives[i]!.size
  const bySize = (i: number, j: number): number => lives[j]!.size - lives[i]!.size || lives[i]!.from - lives[j]!.from
  const all = lives.map((_, i) => i)
  const [born, large] = [byBirth, bySize].map((by) => firstFit(lives, [...all].sort(by))) as [Arena, Arena]
  return large.size < born.size ? large : born
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
