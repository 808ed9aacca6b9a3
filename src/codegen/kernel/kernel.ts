/**
 * The kernel IR: statements that read some buffers and write others. Immutable and printable; `interpret.ts`
 * gives its meaning in f64, `verify.ts` what is well-formed. One IR for every target: kernels for gpu.js use the roles
 * grid, loop and reduce and literal sizes; C and CUDA use all of it, with sizes that stay symbols until the kernel runs.
 */
import { symbolsOf, type Dim } from '../../dsl/dim.ts'
import type { DType } from '../../dsl/dtype.ts'
import type { ReduceFn } from '../../dsl/node.ts'

// ---------------------------------------------------------------------------------------- model

/** offset + sum of factor * atom, atoms in order of their keys; see `affine.ts` for its algebra */
export interface Index {
  readonly offset: Dim
  readonly terms: ReadonlyArray<Term>
  readonly key: string
}
export interface Term {
  readonly factor: Dim
  readonly atom: Atom
}

export type Atom =
  /** the variable of a loop or of an `index` statement: 0 <= it < size */
  | { readonly kind: 'axis'; readonly name: string; readonly size: Dim }
  /** floor(of / by) */
  | { readonly kind: 'div'; readonly of: Index; readonly by: Dim }
  /** of - by floor(of / by) */
  | { readonly kind: 'mod'; readonly of: Index; readonly by: Dim }
  /** the least of several: where a tile ends, min(token0 + 64, T) */
  | { readonly kind: 'min'; readonly of: ReadonlyArray<Index> }
  /** low <= it <= high, the nearest to `of` */
  | { readonly kind: 'clamp'; readonly of: Index; readonly low: Dim; readonly high: Dim }
  /** a whole number that was read: any value, so that it is clamped before it is used */
  | { readonly kind: 'data'; readonly of: Expr }

export type Expr =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'index'; readonly of: Index }
  | { readonly kind: 'read'; readonly buffer: string; readonly at: ReadonlyArray<Index> }
  /** a scalar function, by its row */
  | { readonly kind: 'apply'; readonly fn: string; readonly args: ReadonlyArray<Expr> }
  | { readonly kind: 'cast'; readonly dtype: DType; readonly of: Expr }
  /** `then` where low <= of < high, else `otherwise`; only the chosen one is evaluated */
  | {
      readonly kind: 'guard'
      readonly of: Index
      readonly low: Dim
      readonly high: Dim
      readonly then: Expr
      readonly otherwise: Expr
    }
  | { readonly kind: 'register'; readonly name: string }

/**
 * grid    a cell of the output (gather kernels)
 * block   independent and unordered: a CUDA block, a task of the C thread pool
 * thread  the threads of a block: one such loop wraps the whole of a block's body, its extent is literal
 * loop    repeats in order; `unroll` and `reduce` too: written out, and folding into registers
 * vector  lanes, a literal extent
 */
export type Role = 'grid' | 'block' | 'thread' | 'loop' | 'unroll' | 'vector' | 'reduce'

/** axis = from, from + step, ... below to; always 0 <= axis < size */
export interface Loop {
  readonly axis: string
  readonly size: Dim
  readonly from: Index
  readonly to: Index
  readonly step: number
  readonly role: Role
  /** how many steps the printer writes out; equal to the size: no loop at all */
  readonly unroll: number
}

/** shared: one a block; register: one a thread; scratch: one a block, in memory (C: a slice of the arena) */
export type Space = 'global' | 'shared' | 'register' | 'scratch'
export type Storage = 'f32' | 'f16' | 'bf16' | 'i32'

/** Row-major, the last extent fastest. */
export interface Buffer {
  readonly name: string
  readonly shape: ReadonlyArray<Dim>
  readonly space: Space
  readonly dtype: Storage
}

/** an element of a buffer: where an intrinsic begins to read or write */
export interface Place {
  readonly buffer: string
  readonly at: ReadonlyArray<Index>
}

export type Stmt =
  | { readonly kind: 'for'; readonly loop: Loop; readonly body: ReadonlyArray<Stmt> }
  /** a whole number with a name, 0 <= name < size */
  | { readonly kind: 'index'; readonly name: string; readonly size: Dim; readonly value: Index }
  /** a float register */
  | { readonly kind: 'let'; readonly name: string; readonly value: Expr }
  /** register := fn(register, value), starting from fn's unit */
  | { readonly kind: 'fold'; readonly register: string; readonly fn: ReduceFn; readonly value: Expr }
  | { readonly kind: 'unit'; readonly register: string; readonly fn: ReduceFn }
  | { readonly kind: 'store'; readonly buffer: string; readonly at: ReadonlyArray<Index>; readonly value: Expr }
  /** where low <= of < high */
  | {
      readonly kind: 'if'
      readonly of: Index
      readonly low: Dim
      readonly high: Dim
      readonly body: ReadonlyArray<Stmt>
    }
  /** every thread of the block (warp) waits for the others; in uniform control flow of a thread loop only */
  | { readonly kind: 'barrier'; readonly scope: 'block' | 'warp' }
  /** a row of `intrinsics.ts` */
  | {
      readonly kind: 'call'
      readonly intrinsic: string
      readonly places: ReadonlyArray<Place>
      readonly ints: ReadonlyArray<Index>
    }
  /** a comment in the printed source */
  | { readonly kind: 'note'; readonly text: string }

export interface Kernel {
  /** an identifier made from operations, never from a file's text */
  readonly name: string
  /** read only, space global, in order */
  readonly params: ReadonlyArray<Buffer>
  /** written, space global; gather kernels: exactly one, named `out` */
  readonly outputs: ReadonlyArray<Buffer>
  /** shared, register and scratch */
  readonly locals: ReadonlyArray<Buffer>
  /** several `block` nests at the top: independent bodies in one launch, told apart by block index */
  readonly body: ReadonlyArray<Stmt>
  /** parameters and outputs that some launch lets lie in one place (see `in-place.ts`): printed without `restrict` */
  readonly mayAlias?: ReadonlySet<string>
}

// ---------------------------------------------------------------------------------- combinators

/** Direct subexpressions, those inside indices included. */
export const partsOf = (e: Expr): ReadonlyArray<Expr> => {
  switch (e.kind) {
    case 'number':
    case 'register':
      return []
    case 'index':
      return partsOfIndex(e.of)
    case 'read':
      return e.at.flatMap(partsOfIndex)
    case 'apply':
      return e.args
    case 'cast':
      return [e.of]
    case 'guard':
      return [...partsOfIndex(e.of), e.then, e.otherwise]
    default:
      return e satisfies never
  }
}

/** Indices inside an atom. */
export const indicesOfAtom = (a: Atom): ReadonlyArray<Index> =>
  a.kind === 'axis' || a.kind === 'data' ? NO_INDICES : a.kind === 'min' ? a.of : [a.of]
const NO_INDICES: ReadonlyArray<Index> = []

export const partsOfIndex = (i: Index): ReadonlyArray<Expr> => {
  let found: ReadonlyArray<Expr> = NO_PARTS
  for (const { atom } of i.terms)
    if (atom.kind === 'data') found = [...found, atom.of]
    else for (const j of indicesOfAtom(atom)) found = together(found, partsOfIndex(j))
  return found
}
const NO_PARTS: ReadonlyArray<Expr> = []
const together = (a: ReadonlyArray<Expr>, b: ReadonlyArray<Expr>): ReadonlyArray<Expr> =>
  a.length === 0 ? b : b.length === 0 ? a : [...a, ...b]

/** Indices that stand directly in an expression. */
export const indicesOf = (e: Expr): ReadonlyArray<Index> =>
  e.kind === 'read' ? e.at : e.kind === 'index' || e.kind === 'guard' ? [e.of] : []

/** The expression with its direct indices and subexpressions replaced. */
export const mapParts = (e: Expr, index: (i: Index) => Index, expr: (e: Expr) => Expr): Expr => {
  switch (e.kind) {
    case 'number':
    case 'register':
      return e
    case 'index':
      return { ...e, of: index(e.of) }
    case 'read':
      return { ...e, at: e.at.map(index) }
    case 'apply':
      return { ...e, args: e.args.map(expr) }
    case 'cast':
      return { ...e, of: expr(e.of) }
    case 'guard':
      return { ...e, of: index(e.of), then: expr(e.then), otherwise: expr(e.otherwise) }
    default:
      return e satisfies never
  }
}

/** Statements inside a statement. */
export const bodyOf = (s: Stmt): ReadonlyArray<Stmt> => (s.kind === 'for' || s.kind === 'if' ? s.body : [])

/** Expressions that stand directly in a statement, outside its indices. */
export const valuesOf = (s: Stmt): ReadonlyArray<Expr> =>
  s.kind === 'let' || s.kind === 'fold' || s.kind === 'store' ? [s.value] : []

/** Indices that stand directly in a statement. */
export const indicesOfStmt = (s: Stmt): ReadonlyArray<Index> => {
  switch (s.kind) {
    case 'for':
      return [s.loop.from, s.loop.to]
    case 'index':
      return [s.value]
    case 'store':
      return s.at
    case 'if':
      return [s.of]
    case 'call':
      return [...s.places.flatMap((p) => p.at), ...s.ints]
    default:
      return []
  }
}

/** The statement with its indices, expressions and inner statements replaced. */
export const mapStmt = (
  s: Stmt,
  index: (i: Index) => Index,
  expr: (e: Expr) => Expr,
  body: (b: ReadonlyArray<Stmt>) => ReadonlyArray<Stmt>,
): Stmt => {
  switch (s.kind) {
    case 'for':
      return { ...s, loop: { ...s.loop, from: index(s.loop.from), to: index(s.loop.to) }, body: body(s.body) }
    case 'index':
      return { ...s, value: index(s.value) }
    case 'let':
    case 'fold':
      return { ...s, value: expr(s.value) }
    case 'store':
      return { ...s, at: s.at.map(index), value: expr(s.value) }
    case 'if':
      return { ...s, of: index(s.of), body: body(s.body) }
    case 'call':
      return {
        ...s,
        places: s.places.map((p) => ({ ...p, at: p.at.map(index) })),
        ints: s.ints.map(index),
      }
    case 'unit':
    case 'barrier':
    case 'note':
      return s
    default:
      return s satisfies never
  }
}

/** Every expression below these statements, subexpressions included. */
export const allExpressions = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Expr> => {
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    partsOf(e).forEach(visit)
  }
  const walk = (s: Stmt): void => {
    indicesOfStmt(s).flatMap(partsOfIndex).forEach(visit)
    valuesOf(s).forEach(visit)
    bodyOf(s).forEach(walk)
  }
  stmts.forEach(walk)
  return [...seen]
}

/** Every buffer of a kernel. */
export const buffersOf = (k: Kernel): ReadonlyArray<Buffer> => [...k.params, ...k.outputs, ...k.locals]

// --------------------------------------------------------------------------------- interpreters

const dimsOfAtom = (a: Atom): ReadonlyArray<Dim> => {
  switch (a.kind) {
    case 'axis':
      return []
    case 'div':
    case 'mod':
      return [a.by]
    case 'clamp':
      return [a.low, a.high]
    default:
      return []
  }
}

const symbolsKnown = new WeakMap<Kernel, ReadonlyArray<string>>()

/** Symbols that the sizes in a kernel need, sorted: its run-time whole-number parameters, behind the pointers. */
export const symbolsOfKernel = (k: Kernel): ReadonlyArray<string> => {
  const known = symbolsKnown.get(k) ?? findSymbols(k)
  symbolsKnown.set(k, known)
  return known
}

const findSymbols = (k: Kernel): ReadonlyArray<string> => {
  const found = new Map<string, Dim>()
  const seen = new Set<object>()
  const add = (d: Dim): void => {
    if (d.number === undefined) found.set(d.key, d)
  }
  const index = (i: Index): void => {
    if (seen.has(i)) return
    seen.add(i)
    add(i.offset)
    for (const { factor, atom } of i.terms) {
      add(factor)
      dimsOfAtom(atom).forEach(add)
      indicesOfAtom(atom).forEach(index)
      if (atom.kind === 'data') expr(atom.of)
    }
  }
  const expr = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.kind === 'guard') [e.low, e.high].forEach(add)
    indicesOf(e).forEach(index)
    partsOf(e).forEach(expr)
  }
  const stmt = (s: Stmt): void => {
    if (s.kind === 'if') [s.low, s.high].forEach(add)
    indicesOfStmt(s).forEach(index)
    valuesOf(s).forEach(expr)
    bodyOf(s).forEach(stmt)
  }
  buffersOf(k).forEach((b) => b.shape.forEach(add))
  k.body.forEach(stmt)
  return [...new Set([...found.values()].flatMap(symbolsOf))].sort()
}

export const showIndex = (i: Index): string => i.key

export const showExpr = (e: Expr): string => {
  switch (e.kind) {
    case 'number':
      return String(e.value)
    case 'register':
      return e.name
    case 'index':
      return showIndex(e.of)
    case 'read':
      return `${e.buffer}[${e.at.map(showIndex).join(', ')}]`
    case 'apply':
      return `${e.fn}(${e.args.map(showExpr).join(', ')})`
    case 'cast':
      return `${e.dtype}(${showExpr(e.of)})`
    case 'guard':
      return `(${e.low.key} <= ${showIndex(e.of)} < ${e.high.key} ? ${showExpr(e.then)} : ${showExpr(e.otherwise)})`
    default:
      return e satisfies never
  }
}

const showLoop = ({ axis, size, from, to, step, role, unroll }: Loop): string => {
  const isWhole = from.key === '0' && to.key === size.key && step === 1
  const range = isWhole ? '' : ` from ${from.key} to ${to.key} step ${String(step)}`
  return `${role} ${axis} < ${size.key}${range}${unroll === 1 ? '' : ` unroll ${String(unroll)}`}`
}

const showPlace = (p: Place): string => `${p.buffer}[${p.at.map(showIndex).join(', ')}]`

export const showStmt = (s: Stmt, pad = ''): string => {
  const below = (head: string, body: ReadonlyArray<Stmt>): string =>
    [pad + head, ...body.map((b) => showStmt(b, `${pad}  `))].join('\n')
  switch (s.kind) {
    case 'for':
      return below(showLoop(s.loop), s.body)
    case 'index':
      return `${pad}index ${s.name} < ${s.size.key} = ${showIndex(s.value)}`
    case 'let':
      return `${pad}let ${s.name} = ${showExpr(s.value)}`
    case 'unit':
      return `${pad}let ${s.register} = unit of ${s.fn}`
    case 'fold':
      return `${pad}${s.register} ${s.fn}= ${showExpr(s.value)}`
    case 'store':
      return `${pad}${showPlace(s)} = ${showExpr(s.value)}`
    case 'if':
      return below(`if ${s.low.key} <= ${showIndex(s.of)} < ${s.high.key}`, s.body)
    case 'barrier':
      return `${pad}barrier ${s.scope}`
    case 'call':
      return `${pad}${s.intrinsic}(${[...s.places.map(showPlace), ...s.ints.map(showIndex)].join(', ')})`
    case 'note':
      return `${pad}# ${s.text}`
    default:
      return s satisfies never
  }
}

const showBuffer = (b: Buffer): string =>
  `${b.name}[${b.shape.map((d) => d.key).join(', ')}]${b.dtype === 'f32' ? '' : ` ${b.dtype}`}`

/** The kernel as text. */
export const showKernel = (k: Kernel): string =>
  [
    `kernel ${k.name} (${k.params.map(showBuffer).join(', ')}) -> ${k.outputs.map(showBuffer).join(', ')}`,
    ...k.locals.map((b) => `  ${b.space} ${showBuffer(b)}`),
    ...k.body.map((s) => showStmt(s, '  ')),
  ].join('\n')

/** Equal for kernels that differ in their names only: those are compiled once. */
export const keyOfKernel = (k: Kernel): string => {
  const key = keysKnown.get(k) ?? showKernel({ ...k, name: '' })
  keysKnown.set(k, key)
  return key
}
const keysKnown = new WeakMap<Kernel, string>()
