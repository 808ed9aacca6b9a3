/** The kernel of a streaming group: see `streams.ts`. */
import { dim, literal, subDim } from '../../../dsl/dim.ts'
import type { Axis, Node, ReduceFn } from '../../../dsl/node.ts'
import { addIndex, axisIndex, divIndex, minIndex, modIndex, scaleIndex, whole } from '../../kernel/affine.ts'
import type { Index, Stmt } from '../../kernel/kernel.ts'
import { depthFor, THREADS, type Tile } from './axes.ts'
import { extentOf, joined, pointAt, type Draft } from './draft.ts'
import {
  apply,
  assign,
  barrier,
  fold,
  guard,
  named,
  note,
  number,
  read,
  register,
  repeat,
  store,
  unit,
  unrolled,
  when,
} from './statements.ts'
import type { Flow, Fold, Gathered, Online, Pass, Streaming } from './streams.ts'
import {
  CHUNK,
  finishFolds,
  finishGathered,
  isWide,
  LANES,
  rowIn,
  ROWS,
  storeMax,
  totalsOf,
  UNIT,
  type Stream,
} from './stream-results.ts'
import { multiply, nested, PAD, runPass, stageTile, type Body, type Registers, type Where } from './tiles.ts'

const SCORES: Tile = { m: ROWS, n: CHUNK, mr: 2, nr: 2 }

const widthFor = (columns: ReadonlyArray<Axis>): 32 | 64 | 128 => {
  const n = literal(extentOf(columns)) ?? 128
  return n <= 32 ? 32 : n <= 64 ? 64 : 128
}

const tileOf = (g: Gathered): Tile => {
  const n = widthFor(g.columns)
  return { m: ROWS, n, mr: 2, nr: n / 16 }
}

// --------------------------------------------------------------------------------------- parts

const where = (w: Stream, n: ReadonlyArray<Axis>, n0: Index, tile: Tile, enter?: Where['enter']): Where => ({
  draft: w.draft,
  c: { m: [w.s.row], n },
  tile,
  batch: w.fixed,
  m0: w.row0,
  n0,
  thread: w.thread,
  ...(enter === undefined ? {} : { enter }),
})

/** chunk[row, step] = sum_d left[row, d] right[step, d] */
const flowInto = (w: Stream, f: Flow, chunk: string, s0: Index, r: Registers): Body => {
  const { draft } = w
  const at = where(w, f.along, s0, SCORES)
  const clear = nested(draft, SCORES, (i, j) => [store(r.accs[0]!, [i, j], number(0))])
  const product = { left: w.left, right: w.right, into: 0 }
  const side = (node: Node, which: 'left' | 'right') =>
    ({ node, side: which, factor: undefined, sign: 1, buffer: which === 'left' ? w.left : w.right }) as const
  const pass = {
    over: f.over,
    depth: depthFor(extentOf(f.over)),
    tiles: [side(f.left, 'left'), side(f.right, 'right')],
    products: [product],
  }
  const across = SCORES.n / SCORES.nr
  const [row, column] = [
    scaleIndex(SCORES.mr, divIndex(w.thread, across)),
    scaleIndex(SCORES.nr, modIndex(w.thread, across)),
  ]
  const out = nested(draft, SCORES, (i, j) => [
    store(chunk, [addIndex(row, i), addIndex(column, j)], read(r.accs[0]!, [i, j])),
  ])
  return [...clear, ...runPass(at, pass, r), ...out]
}

/** the lane's share of a reduction: its row, every 8th step of the chunk */
const foldChunk = (
  w: Stream,
  { node }: Fold,
  acc: string,
  along: ReadonlyArray<Axis>,
  s0: Index,
  correction?: string,
): Body => {
  const { draft } = w
  const steps = extentOf(along)
  const names = { row: draft.fresh('row'), step: draft.fresh('step'), turn: draft.fresh('turn') }
  const local = addIndex(modIndex(w.thread, LANES), scaleIndex(LANES, axisIndex(names.turn, CHUNK / LANES)))
  const step = addIndex(s0, local)
  w.here.row = divIndex(w.thread, LANES)
  w.here.step = local
  const at = joined(
    w.fixed,
    new Map([[w.s.row.name, axisIndex(names.row, w.s.row.size)]]),
    pointAt(along, axisIndex(names.step, steps)),
  )
  const fn: ReduceFn = node.op === 'dot' ? 'sum' : node.attrs.fn
  const body = draft.evaluate(
    node.args.map((a) => ({ node: a, at })),
    (vs) => {
      const value = node.op === 'dot' ? apply('mul', ...vs) : vs[0]!
      const inside = guard(step, dim(0), steps, value, number(UNIT[fn]))
      return [store(acc, [whole(0)], apply(fn === 'sum' ? 'add' : fn, read(acc, [whole(0)]), inside))]
    },
  )
  const before = read(acc, [whole(0)])
  return [
    ...(w.s.row.size.key === '1' ? [] : [named(names.row, w.s.row.size, rowIn(w, w.here.row))]),
    ...(correction === undefined ? [] : [store(acc, [whole(0)], apply('mul', before, read(correction, [w.here.row])))]),
    unrolled(names.turn, CHUNK / LANES, [
      ...(steps.key === '1' ? [] : [named(names.step, steps, minIndex(step, whole(subDim(steps, 1))))]),
      ...body,
    ]),
  ]
}

/** acc[row, j] += sum over the chunk of left[row, s] right[s, j] */
const gatherChunk = (
  w: Stream,
  g: Gathered,
  along: ReadonlyArray<Axis>,
  s0: Index,
  r: Registers,
  correction?: string,
): Body => {
  const { draft } = w
  const tile = tileOf(g)
  const first = scaleIndex(tile.mr, divIndex(w.thread, tile.n / tile.nr))
  const acc = r.accs[0]!
  const corrected =
    correction === undefined
      ? []
      : nested(draft, tile, (i, j) => [
          store(acc, [i, j], apply('mul', read(acc, [i, j]), read(correction, [addIndex(first, i)]))),
        ])
  const at = where(w, g.columns, whole(0), tile, (i, k) => {
    w.here.row = i
    w.here.step = k
  })
  const pass = {
    over: along,
    depth: CHUNK,
    tiles: [],
    products: [{ left: w.left, right: w.right, into: 0 }],
  }
  const one = (node: Node, side: 'left' | 'right') =>
    stageTile(at, pass, { node, side, factor: undefined, sign: 1, buffer: side === 'left' ? w.left : w.right }, s0)
  return [...corrected, ...one(g.left, 'left'), ...one(g.right, 'right'), barrier, multiply(at, pass, r), barrier]
}

// ------------------------------------------------------------------------------------- the passes

interface Running {
  readonly max: string
  readonly correction: string
  readonly before: Body
  readonly each: Body
}

/** no maximum is less: e^(-Infinity - it) is 0 and not NaN */
const LOWEST = -3.4028234663852886e38

/** max[row] = the greatest so far, correction[row] = e^(max before - max) */
const runningMax = (w: Stream, { max }: Online, along: ReadonlyArray<Axis>, s0: Index): Running => {
  const { draft } = w
  const top = draft.local('kept', 'shared', [dim(ROWS)])
  const correction = draft.local('correction', 'shared', [dim(ROWS)])
  const partial = draft.local('partial', 'shared', [dim(ROWS), dim(LANES)])
  const acc = draft.local('acc', 'register', [dim(1)])
  const names = { total: draft.fresh('total'), part: draft.fresh('part'), old: draft.fresh('old') }
  const [row, old, total] = [w.thread, register(names.old), register(names.total)]
  const isSame = apply('eq', old, total)
  const inRow = (body: Body): Stmt => when(row, dim(0), dim(ROWS), body)
  return {
    max: top,
    correction,
    before: [inRow([store(top, [row], number(LOWEST))])],
    each: [
      store(acc, [whole(0)], number(-Infinity)),
      ...foldChunk(w, max, acc, along, s0),
      store(partial, [divIndex(w.thread, LANES), modIndex(w.thread, LANES)], read(acc, [whole(0)])),
      barrier,
      inRow([
        assign(names.old, read(top, [row])),
        unit(names.total, 'max'),
        fold(names.total, 'max', old),
        unrolled(names.part, LANES, [fold(names.total, 'max', read(partial, [row, axisIndex(names.part, LANES)]))]),
        store(correction, [row], apply('select', isSame, number(1), apply('exp', apply('sub', old, total)))),
        store(top, [row], total),
      ]),
      barrier,
    ],
  }
}

const runStream = (w: Stream, pass: Pass): Body => {
  const { draft } = w
  const steps = extentOf(pass.along)
  const name = draft.fresh('s0')
  const isOne = (literal(steps) ?? Infinity) <= CHUNK
  const s0 = isOne ? whole(0) : axisIndex(name, steps)
  const { online } = pass
  const folds = pass.sums.filter((x): x is Fold => x.kind === 'fold' && x !== online?.max)
  const gathered = pass.sums.filter((x): x is Gathered => x.kind === 'gathered')
  const scores: Registers = {
    accs: [draft.local('score', 'register', [dim(SCORES.mr), dim(SCORES.nr)])],
    left: draft.local('left_part', 'register', [dim(SCORES.mr)]),
    right: draft.local('right_part', 'register', [dim(SCORES.nr)]),
  }
  const lanes = new Map(folds.map((f) => [f, draft.local('acc', 'register', [dim(1)])] as const))
  const clear: Stmt[] = folds.map((f) =>
    store(lanes.get(f)!, [whole(0)], number(UNIT[f.node.op === 'dot' ? 'sum' : f.node.attrs.fn])),
  )
  const parts = new Map<Gathered, Registers>()
  for (const g of gathered) {
    const tile = tileOf(g)
    const acc = draft.local('acc', 'register', [dim(tile.mr), dim(tile.nr)])
    w.accs.set(g.node, { name: acc, tile, scale: g.scale })
    parts.set(g, {
      accs: [acc],
      left: draft.local('left_part', 'register', [dim(tile.mr)]),
      right: draft.local('right_part', 'register', [dim(tile.nr)]),
    })
    clear.push(...nested(draft, tile, (i, j) => [store(acc, [i, j], number(0))]))
  }
  const body: Stmt[] = []
  pass.flows.forEach((f, i) => {
    w.chunks[i] ??= draft.local('chunk', 'shared', [dim(ROWS), dim(CHUNK + 1)])
    const chunk = w.chunks[i]
    body.push(...flowInto(w, f, chunk, s0, scores))
    draft.settle(f.node, () => read(chunk, [w.here.row, w.here.step]))
  })
  body.push(barrier)
  const running = online === undefined ? undefined : runningMax(w, online, pass.along, s0)
  if (running !== undefined && online !== undefined) {
    clear.push(...running.before)
    body.push(...running.each)
    draft.settle(online.max.node, () => read(running.max, [w.here.row]))
  }
  const correctionOf = (n: Node): string | undefined =>
    online?.scaled.has(n) === true ? running?.correction : undefined
  for (const f of folds) body.push(...foldChunk(w, f, lanes.get(f)!, pass.along, s0, correctionOf(f.node)))
  for (const g of gathered) body.push(...gatherChunk(w, g, pass.along, s0, parts.get(g)!, correctionOf(g.node)))
  // what was read of this chunk is read before the next one is written
  if (gathered.length === 0) body.push(barrier)
  const loop = isOne ? body : [repeat('loop', name, steps, body, { step: CHUNK })]
  pass.flows.forEach((f) => draft.forget(f.node))
  const partials = new Map<Node, string>(
    folds.map((f) => [f.node, draft.local('partial', 'shared', [dim(ROWS), dim(LANES)])]),
  )
  const spread = folds.map((f) =>
    store(
      partials.get(f.node)!,
      [divIndex(w.thread, LANES), modIndex(w.thread, LANES)],
      read(lanes.get(f)!, [whole(0)]),
    ),
  )
  const finish = pass.finished
    .filter((s) => s !== online?.stage && s.results.every((r) => !isWide(r, w)))
    .flatMap((stage) => finishFolds(w, stage, totalsOf(stage, partials)))
  const tops = online === undefined || running === undefined ? [] : storeMax(w, online.max.node, running.max)
  const what = pass.sums.map((x) => (x.node.op === 'dot' ? 'sum' : x.node.attrs.fn)).join(', ')
  return [
    note(`along the stream: ${what}`),
    ...clear,
    ...loop,
    ...spread,
    ...(spread.length === 0 ? [] : [barrier]),
    ...tops,
    ...finish,
  ]
}

// ------------------------------------------------------------------------------------- the nest

export const stream = (draft: Draft, s: Streaming, stored: ReadonlyArray<Node>, what: string): Stmt => {
  const batch = extentOf(s.fixed)
  const names = { batch: draft.fresh('batch'), row0: draft.fresh('row0') }
  const widest = Math.max(
    CHUNK,
    ...s.passes.flatMap((p) => p.sums.map((x) => (x.kind === 'gathered' ? tileOf(x).n : 0))),
  )
  const w: Stream = {
    draft,
    s,
    stored,
    fixed: pointAt(s.fixed, axisIndex(names.batch, batch)),
    row0: axisIndex(names.row0, s.row.size),
    thread: axisIndex('thread', THREADS),
    here: { row: whole(0), step: whole(0) },
    left: draft.local('left_tile', 'shared', [dim(CHUNK), dim(ROWS + PAD)]),
    right: draft.local('right_tile', 'shared', [dim(CHUNK), dim(widest + PAD)]),
    accs: new Map(),
    chunks: [],
  }
  const passes = s.passes.flatMap((p) => runStream(w, p))
  const wide = s.passes.flatMap((p) => p.finished.filter((x) => x.results.some((r) => isWide(r, w))))
  const body = [...passes, ...wide.flatMap((stage) => finishGathered(w, stage))]
  const threads = repeat('thread', 'thread', dim(THREADS), [
    note(`${String(ROWS)} rows a block, ${String(CHUNK)} steps of a stream at a time: ${what}`),
    ...body,
  ])
  const rows = repeat('block', names.row0, s.row.size, [threads], { step: ROWS })
  return batch.key === '1' ? rows : repeat('block', names.batch, batch, [rows])
}
