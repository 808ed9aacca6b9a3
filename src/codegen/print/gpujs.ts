/**
 * Kernel -> the source of a gpu.js kernel: `function (a, b) { ... return cell }`.
 *
 * By construction (each is a silent wrong number or a failure elsewhere): literal loop bounds, every
 * name once, several indices instead of one flat one, reads clamped where they are guarded, no arrays or
 * helpers, no boolean values, whole numbers divided with half a step of margin.
 */
import { axisIndex, shiftIndex, substituteIndex, whole } from '../kernel/affine.ts'
import { indicesOfAtom, mapParts, partsOf } from '../kernel/kernel.ts'
import type { Atom, Expr, Index, Kernel, Loop, Stmt, Term } from '../kernel/kernel.ts'
import { shapeOf } from '../kernel/layout.ts'
import { literal, type Dim } from '../../dsl/dim.ts'
import { scalarOp, type Spelling } from '../../dsl/scalar.ts'

/** the largest f32; stands for the unit of max and min, since infinity has no literal on every backend */
const LARGEST = '3.4028234663852886e38'
const units = { sum: '0', max: `-${LARGEST}`, min: LARGEST } as const

const threads: Readonly<Record<string, string>> = { x: 'this.thread.x', y: 'this.thread.y', z: 'this.thread.z' }

/** sizes are literal here: `bind` made them so */
const sizeOf = (d: Dim): number => literal(d) ?? NaN

const showNumber = (x: number): string => (x < 0 || Object.is(x, -0) ? `(${String(x)})` : String(x))

// ----------------------------------------------------------------------------- names for indices

/** index atoms over grid axes alone, which a cell computes once */
type Named = Map<string, { readonly name: string; readonly text: string }>

const isOverGrid = (i: Index): boolean =>
  i.terms.every(({ atom }) =>
    atom.kind === 'axis' ? atom.name in threads : atom.kind !== 'data' && indicesOfAtom(atom).every(isOverGrid),
  )

const printer = (named: Named) => {
  const atomText = (a: Atom): string => {
    switch (a.kind) {
      case 'axis':
        return threads[a.name] ?? a.name
      case 'div':
        return `Math.floor((${index(a.of)} + 0.5) / ${a.by.key})`
      case 'mod':
        return `(${index(a.of)} - ${a.by.key} * Math.floor((${index(a.of)} + 0.5) / ${a.by.key}))`
      case 'min':
        return a.of.map(index).reduce((x, y) => `Math.min(${x}, ${y})`)
      case 'clamp':
        return `Math.min(${a.high.key}, Math.max(${a.low.key}, ${index(a.of)}))`
      case 'data':
        return expr(a.of)
      default:
        return a satisfies never
    }
  }
  const atom = (a: Atom): string => {
    if (a.kind === 'axis' || a.kind === 'data' || !indicesOfAtom(a).every(isOverGrid)) return atomText(a)
    return name(atomText(a))
  }
  const name = (text: string): string => {
    const known = named.get(text)
    if (known !== undefined) return known.name
    const fresh = `i${String(named.size)}`
    named.set(text, { name: fresh, text })
    return fresh
  }
  const showTerm = ({ factor, atom: a }: Term): string =>
    factor.key === '1' ? atom(a) : `${showNumber(sizeOf(factor))} * ${atom(a)}`
  /** what depends on the cell alone is computed once for the cell, however often it is read */
  const index = (i: Index): string => {
    const fixed = i.terms.filter((t) => isOverGrid({ ...i, terms: [t] }))
    const moving = i.terms.filter((t) => !fixed.includes(t)).map(showTerm)
    const cell = fixed.map(showTerm).join(' + ')
    const isPlain = fixed.length === 0 || (fixed.length === 1 && fixed[0]!.factor.key === '1')
    const parts = [...(cell === '' ? [] : [isPlain ? cell : name(cell)]), ...moving]
    const offset = sizeOf(i.offset)
    if (parts.length === 0) return String(offset)
    const sum = parts.join(' + ')
    return offset === 0 ? sum : offset > 0 ? `${sum} + ${String(offset)}` : `${sum} - ${String(-offset)}`
  }
  const comparison: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' }
  const condition = (e: Expr): string => {
    const op = e.kind === 'apply' ? comparison[e.fn] : undefined
    return e.kind === 'apply' && op !== undefined ? `${expr(e.args[0]!)} ${op} ${expr(e.args[1]!)}` : `${expr(e)} > 0.5`
  }
  const expr = (e: Expr): string => {
    switch (e.kind) {
      case 'number':
        return showNumber(e.value)
      case 'index':
        return e.of.terms.length === 0 ? showNumber(sizeOf(e.of.offset)) : `(${index(e.of)})`
      case 'read':
        return `${e.buffer}${e.at.map((i) => `[${index(i)}]`).join('')}`
      case 'apply': {
        if (e.fn === 'select') return `(${condition(e.args[0]!)} ? ${expr(e.args[1]!)} : ${expr(e.args[2]!)})`
        const spell = scalarOp(e.fn)?.spell
        const by: Spelling = typeof spell === 'function' ? spell : (spell?.gpujs ?? (() => '0'))
        const [a, b, c] = e.args.map(expr)
        return by(a ?? '', b ?? '', c ?? '')
      }
      case 'cast':
        return e.dtype === 'bool' ? `(${expr(e.of)} != 0 ? 1 : 0)` : `Math.trunc(${expr(e.of)})`
      case 'guard': {
        const i = index(e.of)
        return `(${i} >= ${e.low.key} && ${i} < ${e.high.key} ? ${expr(e.then)} : ${expr(e.otherwise)})`
      }
      case 'register':
        return e.name
      default:
        return e satisfies never
    }
  }
  return { expr, index }
}

// ------------------------------------------------------------------------------------ unrolling

const substitute = (e: Expr, axis: string, by: Index, suffix: string, own: ReadonlySet<string>): Expr => {
  const inIndex = (i: Index): Index => substituteIndex(i, (n) => (n === axis ? by : undefined), inExpr)
  const inExpr = (x: Expr): Expr =>
    x.kind === 'register' && own.has(x.name) ? { ...x, name: x.name + suffix } : mapParts(x, inIndex, inExpr)
  return inExpr(e)
}

/** the body once for each value of the axis, in step; names of its own get the number of the copy */
const copies = (body: ReadonlyArray<Stmt>, loop: Loop, at: ReadonlyArray<Index>): ReadonlyArray<Stmt> => {
  const own = new Set(body.flatMap((s) => (s.kind === 'let' ? [s.name] : [])))
  return at.flatMap((by, n) =>
    body.map((s): Stmt => {
      const suffix = `_${loop.axis}_${String(n)}`
      if (s.kind === 'let')
        return { ...s, name: s.name + suffix, value: substitute(s.value, loop.axis, by, suffix, own) }
      return s.kind === 'fold' ? { ...s, value: substitute(s.value, loop.axis, by, suffix, own) } : s
    }),
  )
}

/** loops that are written out as a whole, inner ones first */
const expand = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> =>
  stmts.flatMap((s) => {
    if (s.kind !== 'for') return [s]
    const body = expand(s.body)
    const { loop } = s
    const isFlat = body.every((b) => b.kind !== 'for')
    if (!isFlat) return [{ ...s, body, loop: { ...loop, unroll: 1 } }]
    const size = sizeOf(loop.size)
    if (loop.unroll < size) return [{ ...s, body }]
    return copies(
      body,
      loop,
      Array.from({ length: size }, (_, i) => whole(i)),
    )
  })

// ------------------------------------------------------------------------------------- printing

/** sums of several terms in one statement read and run better than one statement each */
const TERMS = 16

/** whether the expression reads one of these registers */
const readsAny = (e: Expr, registers: ReadonlyMap<string, unknown>): boolean =>
  e.kind === 'register' ? registers.has(e.name) : partsOf(e).some((p) => readsAny(p, registers))

const printStmts = (stmts: ReadonlyArray<Stmt>, pad: string, p: ReturnType<typeof printer>): ReadonlyArray<string> => {
  const lines: string[] = []
  const sums = new Map<string, string[]>()
  const flush = (): void => {
    for (const [register, terms] of sums) {
      for (let i = 0; i < terms.length; i += TERMS)
        lines.push(`${pad}${register} += ${terms.slice(i, i + TERMS).join(' + ')};`)
    }
    sums.clear()
  }
  for (const s of stmts) {
    if (s.kind === 'fold' && s.fn === 'sum') {
      sums.set(s.register, [...(sums.get(s.register) ?? []), p.expr(s.value)])
      continue
    }
    // a `let` of a loop's own stands before its term; one that reads a sum waits for all of its terms
    if (s.kind !== 'let' || readsAny(s.value, sums)) flush()
    switch (s.kind) {
      case 'let':
        lines.push(`${pad}const ${s.name} = ${p.expr(s.value)};`)
        break
      case 'unit':
        lines.push(`${pad}let ${s.register} = ${units[s.fn]};`)
        break
      case 'fold':
        lines.push(`${pad}${s.register} = Math.${s.fn}(${s.register}, ${p.expr(s.value)});`)
        break
      case 'store':
        lines.push(`${pad}return ${p.expr(s.value)};`)
        break
      case 'for':
        lines.push(...printLoop(s.loop, s.body, pad, p))
        break
      default:
        // kernels in gather form have no other statement
        break
    }
  }
  flush()
  return lines
}

const shifted = (loop: Loop, n: number): Index => shiftIndex(axisIndex(loop.axis, loop.size), n)

const printLoop = (
  loop: Loop,
  body: ReadonlyArray<Stmt>,
  pad: string,
  p: ReturnType<typeof printer>,
): ReadonlyArray<string> => {
  const { unroll } = loop
  const size = sizeOf(loop.size)
  const even = Math.floor(size / unroll) * unroll
  const literal = (from: number, to: number): ReadonlyArray<string> =>
    printStmts(
      copies(
        body,
        loop,
        Array.from({ length: to - from }, (_, i) => whole(from + i)),
      ),
      pad,
      p,
    )
  if (unroll >= size) return literal(0, size)
  const inner =
    unroll === 1
      ? body
      : copies(
          body,
          loop,
          Array.from({ length: unroll }, (_, i) => shifted(loop, i)),
        )
  const step = unroll === 1 ? `${loop.axis}++` : `${loop.axis} += ${String(unroll)}`
  return [
    `${pad}for (let ${loop.axis} = 0; ${loop.axis} < ${String(even)}; ${step}) {`,
    ...printStmts(inner, `${pad}  `, p),
    `${pad}}`,
    ...literal(even, size),
  ]
}

/** the cell: what stands inside the grid loops */
const cellOf = (body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> => {
  const [first] = body
  return first?.kind === 'for' && first.loop.role === 'grid' ? cellOf(first.body) : body
}

export interface Printed {
  readonly source: string
  /** gpu.js order: x first */
  readonly output: ReadonlyArray<number>
  readonly loopMaxIterations: number
}

const longestLoop = (stmts: ReadonlyArray<Stmt>): number =>
  stmts.reduce(
    (n, s) =>
      s.kind === 'for' ? Math.max(n, s.loop.role === 'grid' ? 0 : sizeOf(s.loop.size), longestLoop(s.body)) : n,
    1,
  )

export const printGpuJs = (k: Kernel): Printed => {
  const named: Named = new Map()
  const lines = printStmts(expand(cellOf(k.body)), '  ', printer(named))
  const indices = [...named.values()].map(({ name, text }) => `  const ${name} = ${text};`)
  const source = [`function (${k.params.map((b) => b.name).join(', ')}) {`, ...indices, ...lines, '}'].join('\n')
  return { source, output: [...shapeOf(k.outputs[0]!)].reverse(), loopMaxIterations: longestLoop(k.body) }
}
