/**
 * The meaning of a kernel, in f64: what every printer has to reproduce. Blocks run one after another, the threads of a
 * block one after another between barriers, lanes one after another; that this order does not matter is what the
 * reports are for. Statements that hold a barrier run in step: all threads of the block (or warp) together.
 */
import type { Dim, Sizes } from '../../dsl/dim.ts'
import { machineOf } from './interpret/machine.ts'
import { PROLOGUE, WARP_SIZE, type Observe, type Report } from './interpret/memory.ts'
import type { Pair } from './in-place.ts'
import { intrinsic, type Lane, type View } from './intrinsics.ts'
import { bodyOf, type Kernel, type Loop, type Stmt } from './kernel.ts'

export type { Report } from './interpret/memory.ts'

// ---------------------------------------------------------------------------------------- model

export interface Run {
  /** in order of the kernel's outputs; NaN where nothing was stored */
  readonly outputs: ReadonlyArray<Float64Array>
  /** what a correct kernel never does; at most one of a kind for each buffer or name, none of a kernel that is right */
  readonly reports: ReadonlyArray<Report>
}

/** who waits for whom inside a statement */
type Sync = 'none' | 'warp' | 'block'
const order: Readonly<Record<Sync, number>> = { none: 0, warp: 1, block: 2 }
const stricter = (a: Sync, b: Sync): Sync => (order[a] >= order[b] ? a : b)

const units = { sum: 0, max: -Infinity, min: Infinity } as const
const steps = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min } as const

type Threads = ReadonlyArray<number>
type Action = (threads: Threads) => void

// ------------------------------------------------------------------------------------- analyses

const syncOf = (s: Stmt): Sync => {
  if (s.kind === 'barrier') return s.scope
  if (s.kind === 'call') return intrinsic(s.intrinsic)?.scope === 'warp' ? 'warp' : 'none'
  return bodyOf(s).reduce<Sync>((sync, b) => stricter(sync, syncOf(b)), 'none')
}

/** a block nest, or cells of the output: what is inside runs once for each point, independently of the others */
const isBlocks = (s: Stmt): s is Stmt & { readonly kind: 'for' } =>
  s.kind === 'for' && (s.loop.role === 'block' || s.loop.role === 'grid')

// ------------------------------------------------------------------------------------- the run

/**
 * `inputs` in order of the kernel's parameters; `sizes` of its symbols; `observe` sees every access; `inPlace`: results
 * that lie where an operand does.
 */
export const runKernel = (
  k: Kernel,
  inputs: ReadonlyArray<ArrayLike<number>>,
  sizes: Sizes = {},
  observe?: Observe,
  inPlace: ReadonlyArray<Pair> = [],
): Run => {
  const machine = machineOf(k, inputs, sizes, observe, inPlace)
  const { clock, tell, size, memory, slot, index, expr, flatIn, get, set: assign } = machine

  const each =
    (act: () => void): Action =>
    (ts) => {
      for (const t of ts) {
        clock.thread = t
        act()
      }
    }
  /** the value of every thread, which has to be one */
  const uniform = (value: () => number, ts: Threads, what: string): number => {
    let first: number | undefined
    for (const t of ts) {
      clock.thread = t
      const v = value()
      if (first !== undefined && v !== first) tell('divergence', what)
      first ??= v
    }
    return first ?? 0
  }

  const bind = (name: string, bound: Dim): ((value: number) => void) => {
    const [i, limit] = [slot(name), size(bound)]
    return (value) => {
      if (!(value >= 0 && value < limit && Number.isInteger(value)))
        tell('range', `${name}[] = ${String(value)}, size ${String(limit)}`)
      assign(i, value)
    }
  }

  /** a list of statements: as few stops as its barriers ask for */
  const list = (stmts: ReadonlyArray<Stmt>): Action => {
    const parts: { sync: Sync; actions: Action[] }[] = []
    for (const s of stmts) {
      const sync = syncOf(s)
      const last = parts.at(-1)
      const action = stmt(s, sync)
      if (last?.sync === sync) last.actions.push(action)
      else parts.push({ sync, actions: [action] })
    }
    return (ts) => {
      for (const { sync, actions } of parts) {
        if (sync === 'block') for (const a of actions) a(ts)
        else if (sync === 'warp') for (const warp of warpsOf(ts)) for (const a of actions) a(warp)
        else
          for (const t of ts) {
            const one = [t]
            for (const a of actions) a(one)
          }
      }
    }
  }

  /** what the current thread passes; views are made once, only where they begin changes */
  const lane = (s: Stmt & { readonly kind: 'call' }): (() => Lane) => {
    if (intrinsic(s.intrinsic) === undefined) tell('unknown', `intrinsic ${s.intrinsic}`)
    const places = s.places.map((p) => {
      const m = memory(p.buffer)
      return m === undefined ? undefined : { m, flat: flatIn(m, p.at) }
    })
    const ints = s.ints.map(index)
    const lanes = new Map<number, { readonly views: ReadonlyArray<View>; readonly starts: number[] }>()
    const make = (thread: number) => {
      const starts = places.map(() => -1)
      const views = places.map((p, n): View => {
        const at = (i: number): number => {
          const start = starts[n]!
          clock.thread = thread
          if (p === undefined || start < 0) return -1
          if (i >= 0 && start + i < p.m.length) return start + i
          tell('bounds', `${p.m.buffer.name}[] ${String(start + i)} of ${String(p.m.length)} in ${s.intrinsic}`)
          return -1
        }
        return {
          get: (i) => {
            const a = at(i)
            return a < 0 ? NaN : p!.m.read(a)
          },
          set: (i, value) => {
            const a = at(i)
            if (a >= 0) p!.m.write(a, value)
          },
        }
      })
      return { views, starts }
    }
    return () => {
      const { thread } = clock
      const own = lanes.get(thread) ?? make(thread)
      lanes.set(thread, own)
      places.forEach((p, n) => {
        own.starts[n] = p?.flat() ?? -1
      })
      return { places: own.views, ints: ints.map((f) => f()) }
    }
  }

  const loopAction = (s: Stmt & { readonly kind: 'for' }, sync: Sync): Action => {
    const { loop } = s
    const [from, to, set, body] = [index(loop.from), index(loop.to), bind(loop.axis, loop.size), list(s.body)]
    if (loop.role === 'thread') {
      const count = Math.min(machine.threads, size(loop.size) || 0)
      const all = Array.from({ length: count }, (_, t) => t)
      return () => {
        // what the block computed before its threads began is known to all of them
        machine.spread(count)
        for (const t of all) {
          clock.thread = t
          set(t)
        }
        body(all)
        clock.thread = 0
        clock.time += 1
      }
    }
    if (sync === 'none')
      return (ts) => {
        for (const t of ts) {
          clock.thread = t
          const one = [t]
          const [first, end] = [from(), to()]
          for (let v = first; v < end; v += loop.step) {
            clock.thread = t
            set(v)
            body(one)
          }
        }
      }
    return (ts) => {
      const what = `bounds of the loop over ${loop.axis}, which holds a barrier`
      const [first, end] = [uniform(from, ts, what), uniform(to, ts, what)]
      for (let v = first; v < end; v += loop.step) {
        for (const t of ts) {
          clock.thread = t
          set(v)
        }
        body(ts)
      }
    }
  }

  const stmt = (s: Stmt, sync: Sync): Action => {
    switch (s.kind) {
      case 'for':
        return loopAction(s, sync)
      case 'index': {
        const [set, value] = [bind(s.name, s.size), index(s.value)]
        return each(() => set(value()))
      }
      case 'let': {
        const [i, value] = [slot(s.name), expr(s.value)]
        return each(() => assign(i, value()))
      }
      case 'unit': {
        const i = slot(s.register)
        return each(() => assign(i, units[s.fn]))
      }
      case 'fold': {
        const [i, value, step] = [slot(s.register), expr(s.value), steps[s.fn]]
        return each(() => assign(i, step(get(i), value())))
      }
      case 'store': {
        const m = memory(s.buffer)
        if (m === undefined) return () => undefined
        const [flat, value] = [flatIn(m, s.at), expr(s.value)]
        return each(() => {
          const [i, v] = [flat(), value()]
          if (i >= 0) m.write(i, v)
        })
      }
      case 'if': {
        const [of, low, high, body] = [index(s.of), size(s.low), size(s.high), list(s.body)]
        return (ts) => {
          const chosen = ts.filter((t) => {
            clock.thread = t
            const i = of()
            return i >= low && i < high
          })
          if (sync !== 'none' && chosen.length !== 0 && chosen.length !== ts.length)
            tell('divergence', `a barrier inside an if of ${s.of.key}`)
          if (chosen.length > 0) body(chosen)
        }
      }
      case 'barrier':
        return s.scope === 'block' ? () => void (clock.time += 1) : advanceWarps
      case 'call': {
        const at = lane(s)
        const row = intrinsic(s.intrinsic)
        if (row === undefined) return () => undefined
        if (row.scope === 'thread') return each(() => row.meaning(at()))
        return (ts) => {
          advanceWarps(ts)
          row.meaning(
            ts.map((t) => {
              clock.thread = t
              return at()
            }),
          )
          advanceWarps(ts)
        }
      }
      case 'note':
        return () => undefined
      default:
        return s satisfies never
    }
  }

  const advanceWarps = (ts: Threads): void => {
    for (const w of new Set(ts.map((t) => Math.floor(t / WARP_SIZE)))) clock.warpTimes[w] = clock.warpTimes[w]! + 1
  }

  // --------------------------------------------------------------------------------------- blocks

  let blocks = 0
  /** a nest of block loops, directly inside each other */
  const launch = (s: Stmt & { readonly kind: 'for' }): void => {
    const loops: Loop[] = []
    let body: ReadonlyArray<Stmt> = [s]
    for (
      let [first, ...more] = body;
      first !== undefined && more.length === 0 && isBlocks(first);
      [first, ...more] = body
    ) {
      loops.push(first.loop)
      body = first.body
    }
    const run = list(body)
    const bounds = loops.map((l) => ({ from: index(l.from), to: index(l.to), set: bind(l.axis, l.size), step: l.step }))
    const nest = (depth: number): void => {
      const l = bounds[depth]
      if (l === undefined) {
        clock.block = blocks
        clock.time += 1
        blocks += 1
        run([0])
        clock.thread = 0
        return
      }
      for (let v = l.from(), end = l.to(); v < end; v += l.step) {
        clock.thread = 0
        l.set(v)
        nest(depth + 1)
      }
    }
    nest(0)
    clock.block = PROLOGUE
    clock.time += 1
  }

  for (const s of k.body) {
    clock.thread = 0
    if (isBlocks(s)) launch(s)
    else list([s])([0])
  }
  return { outputs: k.outputs.map((b) => memory(b.name)!.data), reports: [...machine.reports.values()] }
}

/** A report as text. */
export const showReport = (r: Report): string =>
  `${r.kind}: ${r.what} (block ${String(r.block)}, thread ${String(r.thread)})`

const warpsOf = (ts: Threads): ReadonlyArray<Threads> => {
  const warps = new Map<number, number[]>()
  for (const t of ts) {
    const w = Math.floor(t / WARP_SIZE)
    warps.set(w, [...(warps.get(w) ?? []), t])
  }
  return [...warps.values()]
}
