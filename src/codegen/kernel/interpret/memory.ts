/**
 * The buffers of a kernel as the interpreter sees them: every access is checked against the shape, against what was
 * written before, and against what other threads and blocks did to the same element.
 *
 * Note [Races]. Two accesses of one element, at least one a write, race if nothing orders them: they are of two blocks,
 * or of two threads of one block with no barrier between. Time within a block is a number that every block barrier
 * advances; within a warp, a second one that barriers and collective intrinsics of that warp advance. Of the reads
 * since the last barrier one is kept, and whether there were others.
 */
import { roundToDType } from '../../../dsl/dtype.ts'
import type { Buffer } from '../kernel.ts'

// ---------------------------------------------------------------------------------------- model

export type ReportKind =
  'bounds' | 'unwritten' | 'overwritten' | 'race' | 'divergence' | 'range' | 'readonly' | 'unknown'

/** Something that a correct kernel never does. */
export interface Report {
  readonly kind: ReportKind
  /** what was accessed, and how */
  readonly what: string
  readonly block: number
  readonly thread: number
}

/** Where execution stands. */
export interface Clock {
  block: number
  thread: number
  /** advanced by block barriers and between blocks */
  time: number
  /** by warp, advanced by barriers of the warp */
  warpTimes: Int32Array
}

/** sees every access of a buffer, in order */
export type Observe = (buffer: string, flat: number, value: number, clock: Clock) => void

export type Tell = (kind: ReportKind, what: string) => void

export interface Memory {
  readonly buffer: Buffer
  readonly shape: ReadonlyArray<number>
  /** the flat position, or -1 with a report */
  readonly flat: (at: ReadonlyArray<number>) => number
  readonly read: (flat: number) => number
  readonly write: (flat: number, value: number) => void
  readonly length: number
  /** the data, of global buffers */
  readonly data: Float64Array
  /** a read of an operand whose place this buffer takes: of what lay here before, and no longer does once it was written */
  readonly under: (flat: number, lay: number, what: string) => number
}

/** the block of statements that stand before all blocks */
export const PROLOGUE = -1
export const WARP_SIZE = 32
const NOBODY = -1
const MANY = -2
/** several threads of one warp: -(3 + warp) */
const manyOf = (warp: number): number => -3 - warp
const warpOfMany = (who: number): number => -3 - who

// --------------------------------------------------------------------------------- constructors

const product = (xs: ReadonlyArray<number>): number => xs.reduce((a, b) => a * b, 1)
const warpOf = (thread: number): number => Math.floor(thread / WARP_SIZE)
/** the warp of a thread, or of several of one warp */
const warpOfWho = (who: number): number => (who >= 0 ? warpOf(who) : warpOfMany(who))

interface Watch {
  readonly read: (i: number) => void
  readonly write: (i: number) => void
}
const unwatched: Watch = { read: () => undefined, write: () => undefined }

/** threads of one block; see Note [Races] */
const watchThreads = (length: number, clock: Clock, tell: (i: number, other: number) => void): Watch => {
  const [writer, reader] = [new Int32Array(length).fill(NOBODY), new Int32Array(length).fill(NOBODY)]
  const [written, seen] = [new Int32Array(length), new Int32Array(length)]
  const [writtenInWarp, seenInWarp] = [new Int32Array(length), new Int32Array(length)]
  const isOrdered = (other: number, time: number, warpTime: number): boolean => {
    if (other === NOBODY || other === clock.thread || time !== clock.time) return true
    const warp = warpOf(clock.thread)
    return other !== MANY && warpOfWho(other) === warp && warpTime < clock.warpTimes[warp]!
  }
  /** readers together: of one warp, or of several */
  const joined = (other: number): number => {
    const warp = warpOf(clock.thread)
    return other !== MANY && warpOfWho(other) === warp ? manyOf(warp) : MANY
  }
  return {
    read: (i) => {
      if (!isOrdered(writer[i]!, written[i]!, writtenInWarp[i]!)) tell(i, writer[i]!)
      const hasOthers = reader[i] !== clock.thread && !isOrdered(reader[i]!, seen[i]!, seenInWarp[i]!)
      reader[i] = hasOthers ? joined(reader[i]!) : clock.thread
      seen[i] = clock.time
      seenInWarp[i] = clock.warpTimes[warpOf(clock.thread)]!
    },
    write: (i) => {
      if (!isOrdered(writer[i]!, written[i]!, writtenInWarp[i]!)) tell(i, writer[i]!)
      if (!isOrdered(reader[i]!, seen[i]!, seenInWarp[i]!)) tell(i, reader[i]!)
      writer[i] = clock.thread
      written[i] = clock.time
      writtenInWarp[i] = clock.warpTimes[warpOf(clock.thread)]!
    },
  }
}

/** blocks of one launch: nothing ever orders them */
const watchBlocks = (length: number, clock: Clock, tell: (i: number, other: number) => void): Watch => {
  const none = -3
  const [writer, reader] = [new Int32Array(length).fill(none), new Int32Array(length).fill(none)]
  const differs = (other: number): boolean => other !== none && other !== clock.block
  return {
    read: (i) => {
      if (differs(writer[i]!)) tell(i, writer[i]!)
      reader[i] = differs(reader[i]!) ? MANY : clock.block
    },
    write: (i) => {
      if (differs(writer[i]!)) tell(i, writer[i]!)
      if (differs(reader[i]!)) tell(i, reader[i]!)
      writer[i] = clock.block
    },
  }
}

const showAt = (b: Buffer, shape: ReadonlyArray<number>, flat: number): string => {
  const at: number[] = []
  let rest = flat
  for (const n of [...shape].reverse()) {
    at.unshift(rest % n)
    rest = Math.floor(rest / n)
  }
  return `${b.name}[${at.join(', ')}]`
}

/** `given`: the elements of a parameter; `threads`: copies of a register buffer. */
export const memoryOf = (
  b: Buffer,
  shape: ReadonlyArray<number>,
  given: ArrayLike<number> | undefined,
  threads: number,
  clock: Clock,
  tell: Tell,
  observe?: Observe,
): Memory => {
  const length = product(shape)
  const isOwn = b.space === 'register'
  const copies = isOwn ? threads : 1
  const data = given === undefined ? new Float64Array(length * copies).fill(NaN) : Float64Array.from(given)
  const round = b.dtype === 'f32' ? (x: number) => x : roundToDType[b.dtype]
  /** time at which a local was written; elements of an earlier block count as never written */
  const stamps = new Int32Array(given === undefined ? length * copies : 0).fill(-2)
  const isPerBlock = b.space !== 'global'
  const isWatched = given === undefined && !isOwn
  const name = (i: number): string => showAt(b, shape, i)
  const byThread = isWatched
    ? watchThreads(length, clock, (i, other) =>
        tell('race', `${name(i)} with ${other < 0 ? 'several threads' : `thread ${String(other)}`}`),
      )
    : unwatched
  const byBlock =
    isWatched && b.space === 'global'
      ? watchBlocks(length, clock, (i, other) =>
          tell('race', `${name(i)} with ${other === MANY ? 'several blocks' : `block ${String(other)}`}`),
        )
      : unwatched
  const place = (i: number): number => (isOwn ? clock.thread * length + i : i)
  const isWritten = (i: number): boolean => {
    const s = stamps[place(i)]!
    return s === PROLOGUE || (isPerBlock ? s === clock.block : s > -2)
  }
  return {
    buffer: b,
    shape,
    length,
    data,
    flat: (at) => {
      let flat = 0
      for (let d = 0; d < shape.length; d++) {
        const [i, n] = [at[d]!, shape[d]!]
        if (!(i >= 0 && i < n && Number.isInteger(i))) {
          tell('bounds', `${b.name}[${at.join(', ')}] of [${shape.join(', ')}]`)
          return -1
        }
        flat = flat * n + i
      }
      return flat
    },
    read: (i) => {
      observe?.(b.name, i, 0, clock)
      if (given !== undefined) return data[i] ?? NaN
      if (!isWritten(i)) {
        tell('unwritten', name(i))
        return NaN
      }
      byThread.read(i)
      byBlock.read(i)
      return data[place(i)]!
    },
    under: (i, lay, what) => {
      byThread.read(i)
      byBlock.read(i)
      if (!isWritten(i)) return lay
      tell('overwritten', what)
      return data[i]!
    },
    write: (i, value) => {
      if (given !== undefined) {
        tell('readonly', name(i))
        return
      }
      observe?.(b.name, i, value, clock)
      byThread.write(i)
      byBlock.write(i)
      stamps[place(i)] = clock.block
      data[place(i)] = round(value)
    },
  }
}

/** A parameter in the place that a result takes: what it holds is there until the result is written. */
export const memoryUnder = (operand: Memory, result: Memory, observe: Observe | undefined, clock: Clock): Memory => ({
  ...operand,
  read: (i) => {
    observe?.(operand.buffer.name, i, 0, clock)
    return result.under(i, operand.data[i] ?? NaN, showAt(operand.buffer, operand.shape, i))
  },
})
