/**
 * llama2.c's merging of neighbouring pieces, in n log n. Its own loop is: while some neighbours' concatenation is a
 * piece, merge the pair with the best score, the leftmost on ties. Here the pairs wait in a heap, ordered by score and
 * then by place; a pair that has changed since it was put there is skipped when it comes up.
 */

/** llama2.c starts its search for the best score here: nothing at or below is ever merged. */
const WORST = -1e10

/** Where a merge of two ids leads: the id of the concatenation, or -1. Looked up once per pair of ids. */
const mergesOf = (
  pieces: ReadonlyArray<string>,
  ids: ReadonlyMap<string, number>,
  scores: Float32Array,
): ((a: number, b: number) => number) => {
  const known = new Map<number, number>()
  return (a, b) => {
    const key = a * pieces.length + b
    const found = known.get(key)
    if (found !== undefined) return found
    const id = ids.get((pieces[a] ?? '') + (pieces[b] ?? '')) ?? -1
    const merged = id >= 0 && (scores[id] ?? WORST) > WORST ? id : -1
    known.set(key, merged)
    return merged
  }
}

/** A pair of neighbours that may be merged: the place of the left one, both ids as they were, and the result. */
interface Pair {
  readonly score: number
  readonly place: number
  readonly left: number
  readonly right: number
  readonly merged: number
}

const isBefore = (a: Pair, b: Pair): boolean => a.score > b.score || (a.score === b.score && a.place < b.place)

const push = (heap: Pair[], pair: Pair): void => {
  let at = heap.length
  heap.push(pair)
  while (at > 0) {
    const up = (at - 1) >> 1
    const above = heap[up]
    if (above === undefined || !isBefore(pair, above)) break
    heap[at] = above
    at = up
  }
  heap[at] = pair
}

const pop = (heap: Pair[]): Pair | undefined => {
  const top = heap[0]
  const last = heap.pop()
  if (top === undefined || last === undefined || heap.length === 0) return top
  let at = 0
  for (;;) {
    const [l, r] = [heap[2 * at + 1], heap[2 * at + 2]]
    const down = r !== undefined && l !== undefined && isBefore(r, l) ? 2 * at + 2 : 2 * at + 1
    const below = heap[down]
    if (below === undefined || !isBefore(below, last)) break
    heap[at] = below
    at = down
  }
  heap[at] = last
  return top
}

const GONE = -1

/** The ids after all merges. `ids` maps a piece to its id; `start` are the ids before merging. */
export const mergePieces = (
  pieces: ReadonlyArray<string>,
  scores: Float32Array,
  ids: ReadonlyMap<string, number>,
  start: ReadonlyArray<number>,
): number[] => {
  const count = start.length
  const id = Int32Array.from(start)
  const next = Int32Array.from(start, (_, i) => i + 1)
  const before = Int32Array.from(start, (_, i) => i - 1)
  const merge = mergesOf(pieces, ids, scores)
  const heap: Pair[] = []

  const offer = (place: number): void => {
    const right = place < 0 ? count : (next[place] ?? count)
    if (right >= count) return
    const [a, b] = [id[place] ?? GONE, id[right] ?? GONE]
    const merged = merge(a, b)
    if (merged >= 0) push(heap, { score: scores[merged] ?? WORST, place, left: a, right: b, merged })
  }

  for (let place = 0; place < count; place++) offer(place)
  for (let pair = pop(heap); pair !== undefined; pair = pop(heap)) {
    const { place, left, right, merged } = pair
    const other = next[place] ?? count
    if (id[place] !== left || other >= count || id[other] !== right) continue
    const after = next[other] ?? count
    id[place] = merged
    id[other] = GONE
    next[place] = after
    if (after < count) before[after] = place
    offer(before[place] ?? -1)
    offer(place)
  }
  return [...id.filter((piece) => piece !== GONE)]
}
