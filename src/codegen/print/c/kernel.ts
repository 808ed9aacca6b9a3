/**
 * Kernel -> one C function. Kernels without reductions are plain loops that the compiler makes vectors of;
 * reductions are computed tile by tile (see `tile.ts`):
 *
 *     for outer axes  for columns  pack  for rows { zero; for k { accumulate }; per cell: let, store }
 *
 * The last tile of an axis begins earlier, so that every tile is whole: its cells are computed twice, with
 * the same result, and nothing is read or written outside.
 */
import type { Index, Kernel, Loop, Stmt } from '../../kernel.ts'
import { flatten, whole } from '../../affine.ts'
import { splitAxes } from '../../split-axes.ts'
import { addressOf, parameter, plainScope, printers, type Scope } from './expression.ts'
import {
  chooseTile,
  extentOf,
  isSimple,
  nestOf,
  readsOf,
  strideOf,
  type Fold,
  type Nest,
  type Read,
  type Tile,
} from './tile.ts'

export interface PrintedC {
  /** the function's body; equal bodies with equal parameters are one function */
  readonly body: string
  readonly parameters: ReadonlyArray<string>
  /** floats of scratch memory that it needs */
  readonly scratch: number
}

const units = { sum: '0.0f', max: '(-__builtin_inff())', min: '__builtin_inff()' } as const
const combine = {
  sum: (a: string, b: string) => `${a} + ${b}`,
  max: (a: string, b: string) => `larger(${a}, ${b})`,
  min: (a: string, b: string) => `smaller(${a}, ${b})`,
} as const

const lines = (pad: string, text: ReadonlyArray<string>): ReadonlyArray<string> => text.map((l) => pad + l)
const block = (head: string, body: ReadonlyArray<string>): ReadonlyArray<string> => [
  `${head} {`,
  ...lines('  ', body),
  '}',
]
const loopHead = ({ axis, size }: Loop): string => `for (int ${axis} = 0; ${axis} < ${size.key}; ${axis}++)`
const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i)

const gridOf = (
  body: ReadonlyArray<Stmt>,
): { readonly grid: ReadonlyArray<Loop>; readonly cell: ReadonlyArray<Stmt> } => {
  const [first] = body
  if (first?.kind !== 'for' || first.loop.role !== 'grid') return { grid: [], cell: body }
  const { grid, cell } = gridOf(first.body)
  return { grid: [first.loop, ...grid], cell }
}

const storeTo = (k: Kernel, s: Stmt & { readonly kind: 'store' }, scope: Scope): string => {
  const p = printers(k, scope)
  return `out[${p.index(flatten(s.at, k.outputs[0]!.shape))}] = ${p.expr(s.value)};`
}

const addressOfStore = (k: Kernel, cell: ReadonlyArray<Stmt>): Index =>
  cell.reduce<Index>((i, s) => (s.kind === 'store' ? flatten(s.at, k.outputs[0]!.shape) : i), whole(0))

// ------------------------------------------------------------------------------- plain statements

/** statements of one cell as they stand; registers by the scope's names, declared where they are the cell's own */
const printPlain = (k: Kernel, stmts: ReadonlyArray<Stmt>, scope: Scope, declare: boolean): ReadonlyArray<string> => {
  const p = printers(k, scope)
  const type = declare ? 'float ' : ''
  return stmts.flatMap((s): ReadonlyArray<string> => {
    switch (s.kind) {
      case 'for':
        return block(loopHead(s.loop), printPlain(k, s.body, scope, true))
      case 'let':
        return [`${type}${scope.register(s.name)} = ${p.expr(s.value)};`]
      case 'unit':
        return [`${type}${scope.register(s.register)} = ${units[s.fn]};`]
      case 'fold': {
        const name = scope.register(s.register)
        return [`${name} = ${combine[s.fn](name, p.expr(s.value))};`]
      }
      case 'store':
        return [storeTo(k, s, scope)]
      default:
        // kernels in gather form have no other statement
        return []
    }
  })
}

// ----------------------------------------------------------------------------------------- tiles

const readKey = (e: Read): string => `${e.buffer}[${e.at.map((i) => i.key).join()}]`

interface Place {
  readonly k: Kernel
  readonly tile: Tile
  /** registers of the cell: arrays over the tile */
  readonly cellRegisters: ReadonlySet<string>
  readonly panels: ReadonlyMap<string, { readonly name: string; readonly loops: ReadonlyArray<Loop> }>
}

/** position within a packed panel, in terms of the reduced axes: row-major, columns fastest */
const flatTerms = (loops: ReadonlyArray<Loop>, axis: (n: string) => string): string =>
  loops.reduce((text, l) => (text === '' ? axis(l.axis) : `(${text} * ${l.size.key} + ${axis(l.axis)})`), '')

const axisAt =
  (t: Tile, i: string, j: string) =>
  (name: string): string =>
    name === t.rows?.loop.axis ? `(${name}_0 + ${i})` : name === t.columns?.loop.axis ? `(${name}_0 + ${j})` : name

const cellScope = ({ tile, cellRegisters }: Place, i: string, j: string): Scope => ({
  axis: axisAt(tile, i, j),
  register: (n) => (cellRegisters.has(n) ? `${n}[${i}][${j}]` : n),
})

/** one reduction of a whole tile, vectors along the columns */
const nestAlongColumns = (at: Place, nest: Nest): ReadonlyArray<string> => {
  const { k, tile, panels } = at
  const { width } = tile
  const [rows, vectors] = [tile.rows?.size ?? 1, tile.columns!.size / width]
  const simple = isSimple(nest)
  const v = `v${String(width)}`
  const each = (
    f: (i: number, j: number, name: (r: string) => string) => ReadonlyArray<string>,
  ): ReadonlyArray<string> =>
    upTo(rows).flatMap((i) => upTo(vectors).flatMap((j) => f(i, j, (r) => `${r}_${String(i)}_${String(j)}`)))
  const column = tile.columns!.loop.axis
  const step = (fold: Fold, i: number, j: number, acc: string): ReadonlyArray<string> => {
    if (simple) {
      const cells = cellScope(at, String(i), String(j * width))
      const scope: Scope = {
        axis: cells.axis,
        register: (n) => `LOAD(${v}, &${cells.register(n)})`,
        read: (e) => {
          const panel = panels.get(readKey(e))
          if (panel !== undefined)
            return `LOAD(${v}, &${panel.name}[${flatTerms(panel.loops, cells.axis)} * ${String(tile.columns!.size)} + ${String(j * width)}])`
          const stride = strideOf(k, e, column)
          if (stride === 'fixed') return undefined
          const address = (l: number): string =>
            printers(k, { ...cells, axis: axisAt(tile, String(i), String(j * width + l)) }).index(addressOf(k, e))
          return stride === 'contiguous'
            ? `LOAD(${v}, &${parameter(e.buffer)}[${address(0)}])`
            : `(${v}){${upTo(width)
                .map((l) => `${parameter(e.buffer)}[${address(l)}]`)
                .join(', ')}}`
        },
      }
      const value = printers(k, scope).expr(fold.value)
      return fold.fn === 'sum'
        ? [`${acc} += ${value};`]
        : [...block('', [`${v} e = ${v}_zero + ${value};`, pick(fold.fn, acc, v)])]
    }
    const scope = cellScope(at, String(i), `(${String(j * width)} + l)`)
    const p = printers(k, scope)
    const own = nest.body.flatMap((b) => (b.kind === 'let' ? [`float ${b.name} = ${p.expr(b.value)};`] : []))
    return block('', [
      `float lanes[${String(width)}];`,
      ...block(`for (int l = 0; l < ${String(width)}; l++)`, [...own, `lanes[l] = ${p.expr(fold.value)};`]),
      ...(fold.fn === 'sum'
        ? [`${acc} += LOAD(${v}, lanes);`]
        : [`${v} e = LOAD(${v}, lanes);`, pick(fold.fn, acc, v)]),
    ])
  }
  const inner = nest.folds.flatMap((f) => each((i, j, name) => step(f, i, j, name(f.register))))
  return [
    ...nest.folds.flatMap((f) => each((_i, _j, name) => [`${v} ${name(f.register)} = ${v}_zero + ${units[f.fn]};`])),
    ...nest.loops.reduceRight<ReadonlyArray<string>>((body, l) => block(loopHead(l), body), inner),
    ...nest.folds.flatMap((f) =>
      each((i, j, name) => [`STORE(${v}, &${f.register}[${String(i)}][${String(j * width)}], ${name(f.register)});`]),
    ),
  ]
}

/** lane by lane the larger or smaller, NaN kept */
const pick = (fn: 'sum' | 'max' | 'min', acc: string, v: string): string =>
  `${acc} = ${fn === 'max' ? 'larger' : 'smaller'}_${v}(${acc}, e);`

/** one reduction of a whole tile, vectors along a reduced axis; what is left of that axis term by term */
const nestAlongReduced = (at: Place, nest: Nest): ReadonlyArray<string> => {
  const { k, tile } = at
  const along = nest.loops.find((l) => l.axis === tile.along) ?? nest.loops[nest.loops.length - 1]!
  const width = [16, 8, 4].find((w) => w <= extentOf(along) && w <= tile.width)
  const [rows, columns] = [tile.rows?.size ?? 1, tile.columns?.size ?? 1]
  const cells = upTo(rows).flatMap((i) => upTo(columns).map((j) => [i, j] as const))
  const others = nest.loops.filter((l) => l !== along)
  const scalar = (from: number): ReadonlyArray<string> =>
    from >= extentOf(along)
      ? []
      : block(`for (int ${along.axis} = ${String(from)}; ${along.axis} < ${along.size.key}; ${along.axis}++)`, [
          ...cells.flatMap(([i, j]) => block('', printPlain(k, nest.body, cellScope(at, String(i), String(j)), true))),
        ])
  const zero = nest.folds.flatMap((f) =>
    cells.map(([i, j]) => `${f.register}[${String(i)}][${String(j)}] = ${units[f.fn]};`),
  )
  const around = (body: ReadonlyArray<string>): ReadonlyArray<string> =>
    others.reduceRight<ReadonlyArray<string>>((b, l) => block(loopHead(l), b), body)
  if (width === undefined) return [...zero, ...around(scalar(0))]
  const v = `v${String(width)}`
  const simple = isSimple(nest) && readsOf(nest).every((r) => strideOf(k, r, along.axis) !== 'scattered')
  const name = (r: string, i: number, j: number): string => `${r}_${String(i)}_${String(j)}`
  const step = (f: Fold, i: number, j: number): ReadonlyArray<string> => {
    const acc = name(f.register, i, j)
    const scope = cellScope(at, String(i), String(j))
    if (simple) {
      const vector: Scope = {
        ...scope,
        read: (e) =>
          strideOf(k, e, along.axis) === 'fixed'
            ? undefined
            : `LOAD(${v}, &${parameter(e.buffer)}[${printers(k, scope).index(addressOf(k, e))}])`,
      }
      const value = printers(k, vector).expr(f.value)
      return f.fn === 'sum'
        ? [`${acc} += ${value};`]
        : block('', [`${v} e = ${v}_zero + ${value};`, pick(f.fn, acc, v)])
    }
    const lane: Scope = { ...scope, axis: (n) => (n === along.axis ? `(${n} + l)` : scope.axis(n)) }
    const p = printers(k, lane)
    const own = nest.body.flatMap((b) => (b.kind === 'let' ? [`float ${b.name} = ${p.expr(b.value)};`] : []))
    return block('', [
      `float lanes[${String(width)}];`,
      ...block(`for (int l = 0; l < ${String(width)}; l++)`, [...own, `lanes[l] = ${p.expr(f.value)};`]),
      ...(f.fn === 'sum' ? [`${acc} += LOAD(${v}, lanes);`] : [`${v} e = LOAD(${v}, lanes);`, pick(f.fn, acc, v)]),
    ])
  }
  const even = Math.floor(extentOf(along) / width) * width
  const finish = nest.folds.flatMap((f) =>
    cells.flatMap(([i, j]) => {
      const to = `${f.register}[${String(i)}][${String(j)}]`
      const from = name(f.register, i, j)
      return f.fn === 'sum'
        ? [`${to} += sum_${v}(${from});`]
        : [`for (int l = 0; l < ${String(width)}; l++) ${to} = ${combine[f.fn](to, `${from}[l]`)};`]
    }),
  )
  return [
    ...zero,
    ...nest.folds.flatMap((f) => cells.map(([i, j]) => `${v} ${name(f.register, i, j)} = ${v}_zero + ${units[f.fn]};`)),
    ...around([
      ...block(
        `for (int ${along.axis} = 0; ${along.axis} < ${String(even)}; ${along.axis} += ${String(width)})`,
        nest.folds.flatMap((f) => cells.flatMap(([i, j]) => step(f, i, j))),
      ),
      ...scalar(even),
    ]),
    ...finish,
  ]
}

/** a cache line of the last reduced axis at a time, so that few lines of the panel are written at once */
const transposing = ({ axis, size }: Loop, lanes: string): ReadonlyArray<string> => [
  `for (int ${axis}_b = 0; ${axis}_b < ${size.key}; ${axis}_b += 16)`,
  lanes,
  `for (int ${axis} = ${axis}_b; ${axis} < ${size.key} && ${axis} < ${axis}_b + 16; ${axis}++)`,
]

const registersOf = (cell: ReadonlyArray<Stmt>): ReadonlyArray<string> =>
  cell.flatMap((s) => (s.kind === 'let' ? [s.name] : s.kind === 'unit' ? [s.register] : []))

const printTiled = (
  k: Kernel,
  grid: ReadonlyArray<Loop>,
  cell: ReadonlyArray<Stmt>,
  tile: Tile,
): { body: ReadonlyArray<string>; scratch: number } => {
  const registers = registersOf(cell)
  const nests = cell.flatMap((s) => (s.kind === 'for' ? [nestOf(s)] : []))
  const main = nests.find((n) => tile.packs.length > 0 && tile.packs.every((r) => readsOf(n).includes(r)))
  const [rows, columns] = [tile.rows?.size ?? 1, tile.columns?.size ?? 1]
  const panelSize = main === undefined ? 0 : main.loops.reduce((n, l) => n * extentOf(l), 1) * columns
  const panels = new Map(
    tile.packs.map((r, n) => [readKey(r), { name: `panel${String(n)}`, loops: main?.loops ?? [] }]),
  )
  const at: Place = { k, tile, cellRegisters: new Set(registers), panels }

  const pack = tile.packs.flatMap((r, n) => {
    const scope: Scope = { ...plainScope, axis: axisAt(tile, '0', 'l') }
    const name = `panel${String(n)}`
    const to = `${name}[${flatTerms(main!.loops, (a) => a)} * ${String(columns)} + l]`
    const copy = [`${to} = ${printers(k, scope).expr(r)};`]
    const lanes = `for (int l = 0; l < ${String(columns)}; l++)`
    const loops = main!.loops.map(loopHead)
    const isRow = strideOf(k, r, tile.columns!.loop.axis) === 'contiguous'
    const heads = isRow ? [...loops, lanes] : [...loops.slice(0, -1), ...transposing(main!.loops.at(-1)!, lanes)]
    return [
      `float *RESTRICT ${name} = scratch + ${String(n * panelSize)};`,
      ...heads.reduceRight<ReadonlyArray<string>>((b, h) => block(h, b), copy),
    ]
  })

  const statements: string[] = []
  let waiting: Stmt[] = []
  const flush = (): void => {
    if (waiting.length === 0) return
    const plain = printPlain(k, waiting, cellScope(at, 'i', 'j'), false)
    statements.push(
      ...block(
        `for (int i = 0; i < ${String(rows)}; i++)`,
        block(`for (int j = 0; j < ${String(columns)}; j++)`, plain),
      ),
    )
    waiting = []
  }
  // a nest sets the registers that it fills
  const filled = new Set(nests.flatMap((n) => n.folds.map((f) => f.register)))
  for (const s of cell) {
    if (s.kind === 'unit' && filled.has(s.register)) continue
    if (s.kind !== 'for') {
      waiting.push(s)
      continue
    }
    flush()
    const nest = nestOf(s)
    statements.push(...(tile.lane === 'columns' ? nestAlongColumns(at, nest) : nestAlongReduced(at, nest)))
  }
  flush()

  const tiled = (side: Tile['rows'], body: ReadonlyArray<string>): ReadonlyArray<string> => {
    if (side === undefined) return body
    const { axis, size } = side.loop
    const last = String(extentOf(side.loop) - side.size)
    return block(`for (int ${axis}_t = 0; ${axis}_t < ${size.key}; ${axis}_t += ${String(side.size)})`, [
      `const int ${axis}_0 = ${axis}_t < ${last} ? ${axis}_t : ${last};`,
      ...body,
    ])
  }
  const outer = grid.filter((l) => l !== tile.rows?.loop && l !== tile.columns?.loop)
  const isPacked = (l: Loop): boolean =>
    tile.packs.length === 0 || tile.packs.some((r) => strideOf(k, r, l.axis) !== 'fixed')
  const wrap = (ls: ReadonlyArray<Loop>, body: ReadonlyArray<string>): ReadonlyArray<string> =>
    ls.reduceRight<ReadonlyArray<string>>((b, l) => block(loopHead(l), b), body)
  const cells = [...registers.map((r) => `float ${r}[${String(rows)}][${String(columns)}];`), ...statements]
  const inside = wrap(
    outer.filter((l) => !isPacked(l)),
    tiled(tile.rows, cells),
  )
  return {
    body: wrap(outer.filter(isPacked), tiled(tile.columns, [...pack, ...inside])),
    scratch: panelSize * tile.packs.length,
  }
}

// --------------------------------------------------------------------------------------- kernels

/** The function of a kernel; `widest`: floats in the machine's vectors. */
export const printKernelC = (kernel: Kernel, widest: number): PrintedC => {
  const k = splitAxes(kernel)
  const { grid, cell } = gridOf(k.body)
  const nests = cell.flatMap((s) => (s.kind === 'for' ? [nestOf(s)] : []))
  const tile = nests.length === 0 ? undefined : chooseTile(k, grid, nests, addressOfStore(k, cell), widest)
  const printed =
    tile === undefined || tile.lane === 'none'
      ? {
          body: grid.reduceRight<ReadonlyArray<string>>(
            (b, l) => block(loopHead(l), b),
            printPlain(k, cell, plainScope, true),
          ),
          scratch: 0,
        }
      : printTiled(k, grid, cell, tile)
  return {
    body: lines('  ', printed.body).join('\n'),
    parameters: k.params.map((p) => parameter(p.name)),
    scratch: printed.scratch,
  }
}
