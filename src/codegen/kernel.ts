/**
 * The kernel IR: one loop nest that fills one buffer. Immutable and printable; `interpret-kernel.ts`
 * gives its meaning in f64. Loops carry a role: `grid` axes are the cells of the output, `reduce` axes
 * fold into a register, `loop` axes only repeat. Further roles and statements (blocks, threads, staging,
 * barriers) are further members of these unions.
 */
import type { DType } from '../dsl/dtype.ts'
import type { ReduceFn } from '../dsl/node.ts'

// ---------------------------------------------------------------------------------------- model

/** offset + sum of factor * atom, atoms in order of their keys; see `affine.ts` for its algebra */
export interface Index {
  readonly offset: number
  readonly terms: ReadonlyArray<Term>
  readonly key: string
}
export interface Term {
  readonly factor: number
  readonly atom: Atom
}

export type Atom =
  | { readonly kind: 'axis'; readonly name: string; readonly size: number }
  /** floor(of / by) */
  | { readonly kind: 'div'; readonly of: Index; readonly by: number }
  /** of - by floor(of / by) */
  | { readonly kind: 'mod'; readonly of: Index; readonly by: number }
  | { readonly kind: 'clamp'; readonly of: Index; readonly low: number; readonly high: number }
  /** a whole number that was read: any value, so that it is clamped before it is used */
  | { readonly kind: 'data'; readonly of: Expr }

export type Expr =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'index'; readonly of: Index }
  | { readonly kind: 'read'; readonly buffer: string; readonly at: ReadonlyArray<Index> }
  /** a scalar function, by its row */
  | { readonly kind: 'apply'; readonly fn: string; readonly args: ReadonlyArray<Expr> }
  | { readonly kind: 'cast'; readonly dtype: DType; readonly of: Expr }
  /** `then` where low <= of < high, else `otherwise` */
  | {
      readonly kind: 'guard'
      readonly of: Index
      readonly low: number
      readonly high: number
      readonly then: Expr
      readonly otherwise: Expr
    }
  | { readonly kind: 'register'; readonly name: string }

export type Role = 'grid' | 'loop' | 'reduce'

export interface Loop {
  readonly axis: string
  readonly size: number
  readonly role: Role
  /** how many steps the printer writes out; equal to `size`: no loop at all */
  readonly unroll: number
}

export type Stmt =
  | { readonly kind: 'for'; readonly loop: Loop; readonly body: ReadonlyArray<Stmt> }
  | { readonly kind: 'let'; readonly name: string; readonly value: Expr }
  /** register := fn(register, value), starting from fn's unit */
  | { readonly kind: 'fold'; readonly register: string; readonly fn: ReduceFn; readonly value: Expr }
  | { readonly kind: 'unit'; readonly register: string; readonly fn: ReduceFn }
  | { readonly kind: 'store'; readonly at: ReadonlyArray<Index>; readonly value: Expr }

/** Row-major, one to three extents, the last fastest. */
export interface Buffer {
  readonly name: string
  readonly shape: ReadonlyArray<number>
}

export interface Kernel {
  /** parameters, in order of first use */
  readonly params: ReadonlyArray<Buffer>
  readonly output: Buffer
  readonly body: ReadonlyArray<Stmt>
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

export const partsOfIndex = (i: Index): ReadonlyArray<Expr> =>
  i.terms.flatMap(({ atom }) => (atom.kind === 'axis' ? [] : atom.kind === 'data' ? [atom.of] : partsOfIndex(atom.of)))

// --------------------------------------------------------------------------------- interpreters

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
      return `(${e.low} <= ${showIndex(e.of)} < ${e.high} ? ${showExpr(e.then)} : ${showExpr(e.otherwise)})`
    default:
      return e satisfies never
  }
}

const showStmt = (s: Stmt, pad: string): string => {
  switch (s.kind) {
    case 'for': {
      const unroll = s.loop.unroll === 1 ? '' : ` unroll ${s.loop.unroll}`
      const head = `${pad}${s.loop.role} ${s.loop.axis} < ${s.loop.size}${unroll}`
      return [head, ...s.body.map((b) => showStmt(b, `${pad}  `))].join('\n')
    }
    case 'let':
      return `${pad}let ${s.name} = ${showExpr(s.value)}`
    case 'unit':
      return `${pad}let ${s.register} = unit of ${s.fn}`
    case 'fold':
      return `${pad}${s.register} ${s.fn}= ${showExpr(s.value)}`
    case 'store':
      return `${pad}out[${s.at.map(showIndex).join(', ')}] = ${showExpr(s.value)}`
    default:
      return s satisfies never
  }
}

const showBuffer = (b: Buffer): string => `${b.name}[${b.shape.join(', ')}]`

/** The nest as text. */
export const showKernel = (k: Kernel): string =>
  [
    `kernel (${k.params.map(showBuffer).join(', ')}) -> ${showBuffer(k.output)}`,
    ...k.body.map((s) => showStmt(s, '  ')),
  ].join('\n')
