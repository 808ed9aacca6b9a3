/**
 * What one run of a kernel has: memories, the registers of every thread, a clock; and expressions, compiled to
 * functions of them.
 */
import * as E from 'fp-ts/lib/Either.js'
import { evalDim, type Dim, type Sizes } from '../../../dsl/dim.ts'
import { roundToDType } from '../../../dsl/dtype.ts'
import { scalarOp } from '../../../dsl/scalar.ts'
import type { Pair } from '../in-place.ts'
import { bodyOf, buffersOf, type Atom, type Expr, type Index, type Kernel, type Stmt } from '../kernel.ts'
import {
  memoryOf,
  memoryUnder,
  PROLOGUE,
  WARP_SIZE,
  type Clock,
  type Memory,
  type Observe,
  type Report,
  type Tell,
} from './memory.ts'

// ---------------------------------------------------------------------------------------- model

export interface Machine {
  readonly clock: Clock
  readonly threads: number
  readonly reports: ReadonlyMap<string, Report>
  readonly tell: Tell
  readonly size: (d: Dim) => number
  readonly memory: (name: string) => Memory | undefined
  /** names of a thread; `get` and `set`: of the current thread */
  readonly slot: (name: string) => number
  readonly get: (slot: number) => number
  readonly set: (slot: number, value: number) => void
  /** what thread 0 knows, to every thread */
  readonly spread: (threads: number) => void
  readonly index: (i: Index) => () => number
  readonly expr: (e: Expr) => () => number
  readonly flatIn: (m: Memory, at: ReadonlyArray<Index>) => () => number
}

// ------------------------------------------------------------------------------------- analyses

/** extent of the widest thread loop */
const threadsOf = (stmts: ReadonlyArray<Stmt>, size: (d: Dim) => number): number =>
  stmts.reduce(
    (n, s) =>
      Math.max(n, s.kind === 'for' && s.loop.role === 'thread' ? size(s.loop.size) : 1, threadsOf(bodyOf(s), size)),
    1,
  )

/** names that a thread has: axes, indices and registers */
const namesIn = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<string> =>
  stmts.flatMap((s) => [
    ...(s.kind === 'for' ? [s.loop.axis] : []),
    ...(s.kind === 'index' || s.kind === 'let' ? [s.name] : []),
    ...(s.kind === 'fold' || s.kind === 'unit' ? [s.register] : []),
    ...namesIn(bodyOf(s)),
  ])

// --------------------------------------------------------------------------------- constructors

export const machineOf = (
  k: Kernel,
  inputs: ReadonlyArray<ArrayLike<number>>,
  sizes: Sizes,
  observe?: Observe,
  inPlace: ReadonlyArray<Pair> = [],
): Machine => {
  const reports = new Map<string, Report>()
  const tell: Tell = (kind, what) => {
    const key = `${kind} ${what.replace(/\[.*/, '')}`
    if (!reports.has(key)) reports.set(key, { kind, what, block: clock.block, thread: clock.thread })
  }
  const size = (d: Dim): number => {
    const value = evalDim(d, sizes)
    if (E.isRight(value)) return value.right
    tell('unknown', `size ${d.key}: ${value.left}`)
    return NaN
  }
  const whole = (d: Dim): number => Math.max(0, size(d) || 0)
  const clock: Clock = { block: PROLOGUE, thread: 0, time: 0, warpTimes: new Int32Array(0) }
  const threads = threadsOf(k.body, whole)
  clock.warpTimes = new Int32Array(Math.ceil(threads / WARP_SIZE))
  const memories = new Map<string, Memory>(
    buffersOf(k).map((b) => {
      const isParam = k.params.includes(b)
      const given = isParam ? inputs[k.params.indexOf(b)] : undefined
      return [b.name, memoryOf(b, b.shape.map(whole), given, threads, clock, tell, observe)]
    }),
  )
  for (const { operand, result } of inPlace) {
    const [under, over] = [memories.get(operand), memories.get(result)]
    if (under !== undefined && over !== undefined) memories.set(operand, memoryUnder(under, over, observe, clock))
  }
  const slotOf = new Map([...new Set(namesIn(k.body))].map((n, i) => [n, i]))
  const slots = slotOf.size
  const registers = new Float64Array(slots * threads).fill(NaN)
  const slot = (name: string): number => {
    const i = slotOf.get(name)
    if (i === undefined) tell('unknown', `name ${name}`)
    return i ?? 0
  }

  const atom = (a: Atom): (() => number) => {
    switch (a.kind) {
      case 'axis': {
        const i = slot(a.name)
        return () => registers[clock.thread * slots + i]!
      }
      case 'div': {
        const [of, by] = [index(a.of), size(a.by)]
        return () => Math.floor(of() / by)
      }
      case 'mod': {
        const [of, by] = [index(a.of), size(a.by)]
        return () => {
          const v = of()
          return v - by * Math.floor(v / by)
        }
      }
      case 'min': {
        const of = a.of.map(index)
        return () => Math.min(...of.map((f) => f()))
      }
      case 'clamp': {
        const [of, low, high] = [index(a.of), size(a.low), size(a.high)]
        return () => Math.min(high, Math.max(low, of()))
      }
      case 'data':
        return expr(a.of)
      default:
        return a satisfies never
    }
  }

  const index = (i: Index): (() => number) => {
    const offset = size(i.offset)
    const factors = i.terms.map((t) => size(t.factor))
    const values = i.terms.map((t) => atom(t.atom))
    const [f, g] = factors
    const [x, y] = values
    if (x === undefined) return () => offset
    if (y === undefined) return f === 1 && offset === 0 ? x : () => offset + f! * x()
    if (values.length === 2) return () => offset + f! * x() + g! * y()
    return () => {
      let sum = offset
      for (let n = 0; n < values.length; n++) sum += factors[n]! * values[n]!()
      return sum
    }
  }

  const memory = (name: string): Memory | undefined => {
    const m = memories.get(name)
    if (m === undefined) tell('unknown', `buffer ${name}`)
    return m
  }

  const flatIn = (m: Memory, at: ReadonlyArray<Index>): (() => number) => {
    const indices = at.map(index)
    const position = new Array<number>(at.length).fill(0)
    return () => {
      for (let d = 0; d < indices.length; d++) position[d] = indices[d]!()
      return m.flat(position)
    }
  }

  const known = new Map<Expr, () => number>()
  const expr = (e: Expr): (() => number) => {
    const made = known.get(e) ?? compile(e)
    known.set(e, made)
    return made
  }
  const compile = (e: Expr): (() => number) => {
    switch (e.kind) {
      case 'number':
        return () => e.value
      case 'index':
        return index(e.of)
      case 'read': {
        const m = memory(e.buffer)
        if (m === undefined) return () => NaN
        const flat = flatIn(m, e.at)
        return () => {
          const i = flat()
          return i < 0 ? NaN : m.read(i)
        }
      }
      case 'apply': {
        const fn = scalarOp(e.fn)?.eval ?? (() => NaN)
        const [a, b, c] = e.args.map(expr)
        const zero = (): number => 0
        const [x, y, z] = [a ?? zero, b ?? zero, c ?? zero]
        // only the chosen value is computed, as in every printed source
        if (e.fn === 'select') return () => (x() !== 0 ? y() : z())
        return () => fn(x(), y(), z())
      }
      case 'cast': {
        const [round, of] = [roundToDType[e.dtype], expr(e.of)]
        return () => round(of())
      }
      case 'guard': {
        const [of, low, high] = [index(e.of), size(e.low), size(e.high)]
        const [then, otherwise] = [expr(e.then), expr(e.otherwise)]
        return () => {
          const i = of()
          return i >= low && i < high ? then() : otherwise()
        }
      }
      case 'register': {
        const i = slot(e.name)
        return () => registers[clock.thread * slots + i]!
      }
      default:
        return e satisfies never
    }
  }

  return {
    clock,
    threads,
    reports,
    tell,
    size,
    memory,
    slot,
    get: (i) => registers[clock.thread * slots + i]!,
    set: (i, value) => {
      registers[clock.thread * slots + i] = value
    },
    spread: (n) => {
      for (let t = 1; t < n; t++) registers.copyWithin(t * slots, 0, slots)
    },
    index,
    expr,
    flatIn,
  }
}
