/**
 * Kernel IR -> text, for languages with C syntax. What C and CUDA share is here: sizes, indices, addresses,
 * expressions and plain statements. What differs stands in a `Dialect`: how scalar functions are spelt, how a
 * buffer is reached, and what a loop of each role, a barrier and an intrinsic become.
 *
 * Sizes print as `int` expressions over run-time parameters named after their symbols (`n_token`). A flat offset is an
 * `int` where the buffer is known to have fewer than 2^31 elements, else a `long`.
 */
import { literal, type Dim } from '../../dsl/dim.ts'
import type { DType } from '../../dsl/dtype.ts'
import type { ReduceFn } from '../../dsl/node.ts'
import type { Spelling } from '../../dsl/scalar.ts'
import { flatten } from '../kernel/affine.ts'
import {
  bodyOf,
  buffersOf,
  symbolsOfKernel,
  type Atom,
  type Buffer,
  type Expr,
  type Index,
  type Kernel,
  type Loop,
  type Place,
  type Stmt,
} from '../kernel/kernel.ts'

// ---------------------------------------------------------------------------------------- model

export type Lines = ReadonlyArray<string>

export type LoopStmt = Extract<Stmt, { readonly kind: 'for' }>
export type CallStmt = Extract<Stmt, { readonly kind: 'call' }>

/** Functions of both preludes that keep NaN; the rows' fmaxf, fminf and comparisons drop it. */
export const keepsNaN: Readonly<Record<string, Spelling>> = {
  max: (a, b) => `larger(${a}, ${b})`,
  min: (a, b) => `smaller(${a}, ${b})`,
  or: (a, b) => `larger(${a}, ${b})`,
  sign: (a) => `signum(${a})`,
}

export interface Dialect {
  /** 64-bit whole numbers */
  readonly long: string
  readonly spell: (fn: string) => Spelling
  readonly number: (x: number) => string
  readonly unit: Readonly<Record<ReduceFn, string>>
  /** NaN is kept */
  readonly combine: Readonly<Record<ReduceFn, (a: string, b: string) => string>>
  /** the element of a buffer, as a float */
  readonly load: (b: Buffer, address: string) => string
  readonly store: (b: Buffer, address: string, value: string) => string
  /** lines for a statement, body[at], that is not printed plainly; undefined: a plain one */
  readonly stmt?: (body: ReadonlyArray<Stmt>, at: number, p: Printer) => Lines | undefined
  /** a number rounded to another dtype, where the plain way will not do */
  readonly cast?: (dtype: DType, value: string) => string | undefined
  readonly barrier: (scope: 'block' | 'warp') => Lines
  /** places are addresses (`a + 12`), ints expressions */
  readonly call: (s: CallStmt, places: ReadonlyArray<string>, ints: ReadonlyArray<string>, p: Printer) => Lines
}

/** how names are written at one place of the source, where that differs */
export interface Scope {
  readonly axis?: (name: string) => string
  readonly register?: (name: string) => string
}

export interface Printer {
  readonly kernel: Kernel
  readonly dialect: Dialect
  readonly buffer: (name: string) => Buffer
  readonly dim: (d: Dim) => string
  readonly index: (i: Index) => string
  /** the index as a `long` where `wide` */
  readonly offset: (i: Index, wide: boolean) => string
  /** position in a buffer */
  readonly address: (buffer: string, at: ReadonlyArray<Index>) => string
  /** `buffer + position` */
  readonly place: (p: Place) => string
  readonly expr: (e: Expr) => string
  readonly stmts: (body: ReadonlyArray<Stmt>) => Lines
  /** one statement printed plainly, its body by `stmts` */
  readonly plain: (s: Stmt) => Lines
  /** the same printer with other names */
  readonly within: (s: Scope) => Printer
}

// ---------------------------------------------------------------------------------------- lines

export const indent = (lines: Lines): Lines => lines.map((l) => (l.startsWith('#') ? l : `  ${l}`))
export const block = (head: string, body: Lines): Lines => [head === '' ? '{' : `${head} {`, ...indent(body), '}']

// ---------------------------------------------------------------------------------------- sizes

const LARGEST_INT = 2 ** 31 - 1

const namesKnown = new WeakMap<Kernel, ReadonlyMap<string, string>>()

/** names of the symbols of a kernel: `n_` and the symbol with other characters than letters and digits replaced */
export const symbolNames = (k: Kernel): ReadonlyMap<string, string> => {
  const known = namesKnown.get(k) ?? nameSymbols(k)
  namesKnown.set(k, known)
  return known
}

const nameSymbols = (k: Kernel): ReadonlyMap<string, string> => {
  const taken = new Set<string>()
  return new Map(
    symbolsOfKernel(k).map((s) => {
      const plain = `n_${s.replace(/[^A-Za-z0-9]/g, '_')}`
      let name = plain
      for (let i = 1; taken.has(name); i++) name = `${plain}_${String(i)}`
      taken.add(name)
      return [s, name]
    }),
  )
}

interface Fraction {
  readonly num: string
  readonly den: string | undefined
}

/** Reads a dim's key, `2*a*b+(in/8)+3`; divisions are exact when the program runs, sums of fractions as a whole only. */
export const showDimWith =
  (symbol: (name: string) => string) =>
  (d: Dim): string => {
    if (d.number !== undefined && d.number >= 0) return d.key
    const text = d.key
    let at = 0
    const factor = (): Fraction => {
      if (text[at] === '(') {
        at += 1
        const num = sum()
        const isQuotient = text[at] === '/'
        at += 1
        if (!isQuotient) return { num: `(${num})`, den: undefined }
        const den = sum()
        at += 1
        return { num: `(${num})`, den: `(${den})` }
      }
      const word = /^(-?\d+|[A-Za-z_][\w.]*)/.exec(text.slice(at))?.[0] ?? ''
      at += Math.max(1, word.length)
      return { num: word.startsWith('-') ? `(${word})` : /^\d/.test(word) ? word : symbol(word), den: undefined }
    }
    const product = (): Fraction => {
      const parts = [factor()]
      while (text[at] === '*') {
        at += 1
        parts.push(factor())
      }
      const dens = parts.flatMap((p) => p.den ?? [])
      return { num: parts.map((p) => p.num).join(' * '), den: dens.length === 0 ? undefined : dens.join(' * ') }
    }
    const sum = (): string => {
      const parts = [product()]
      while (text[at] === '+') {
        at += 1
        parts.push(product())
      }
      const dens = parts.flatMap((p) => p.den ?? [])
      if (dens.length <= 1)
        return parts
          .map((p) => (p.den === undefined ? p.num : `${p.num} / (${p.den})`))
          .join(' + ')
          .replace(/ \+ \(-(\d+)\)/g, ' - $1')
      const over = parts.map(({ num, den }, i) => {
        const others = parts.flatMap((q, j) => (j === i || q.den === undefined ? [] : [q.den]))
        return [num, ...(den === undefined ? dens : others)].join(' * ')
      })
      return `(${over.join(' + ')}) / (${dens.join(' * ')})`
    }
    return sum()
  }

/** surely not negative: sizes are not, and nothing is subtracted */
export const isNonNegative = (i: Index): boolean =>
  isPositiveDim(i.offset) && i.terms.every(({ factor, atom }) => isPositiveDim(factor) && atomIsNonNegative(atom))
const isPositiveDim = (d: Dim): boolean => d.terms.every((t) => t.coef > 0)
const atomIsNonNegative = (a: Atom): boolean => {
  switch (a.kind) {
    case 'axis':
    case 'mod':
      return true
    case 'div':
      return isNonNegative(a.of)
    case 'min':
      return a.of.every(isNonNegative)
    case 'clamp':
      return isPositiveDim(a.low)
    case 'data':
      return false
    default:
      return a satisfies never
  }
}

/** The number of elements, where it is known. */
export const elementsOf = (b: Buffer): number | undefined =>
  b.shape.reduce<number | undefined>((n, d) => {
    const size = literal(d)
    return n === undefined || size === undefined ? undefined : n * size
  }, 1)

// ------------------------------------------------------------------------------------- printers

const wrapped = (text: string): string => (/^[\w.]+$/.test(text) || /^\([^()]*\)$/.test(text) ? text : `(${text})`)

export const printerFor = (kernel: Kernel, dialect: Dialect, scope: Scope = {}): Printer => {
  const symbols = symbolNames(kernel)
  const buffers = new Map(buffersOf(kernel).map((b) => [b.name, b]))
  const buffer = (name: string): Buffer => buffers.get(name)!
  const dim = showDimWith((s) => symbols.get(s) ?? s)
  const axis = scope.axis ?? ((n: string) => n)
  const register = scope.register ?? ((n: string) => n)

  const atom = (a: Atom): string => {
    switch (a.kind) {
      case 'axis':
        return axis(a.name)
      case 'div': {
        const [of, by] = [index(a.of), dim(a.by)]
        return isNonNegative(a.of) ? `(${wrapped(of)} / ${wrapped(by)})` : `floordiv(${of}, ${by})`
      }
      case 'mod': {
        const [of, by] = [index(a.of), wrapped(dim(a.by))]
        return isNonNegative(a.of) ? `(${wrapped(of)} % ${by})` : `((${of}) - ${by} * floordiv(${of}, ${by}))`
      }
      case 'min':
        return a.of.map(index).reduce((x, y) => `least(${x}, ${y})`)
      case 'clamp':
        return `clamp(${index(a.of)}, ${dim(a.low)}, ${dim(a.high)})`
      case 'data':
        return `whole(${expr(a.of)})`
      default:
        return a satisfies never
    }
  }
  const offset = (i: Index, wide: boolean): string => {
    const long = (text: string): string => (wide ? `(${dialect.long})${text}` : text)
    const parts = i.terms.map(({ factor, atom: a }) => {
      const n = literal(factor)
      if (n === 1) return atom(a)
      if (n === -1) return `-${long(atom(a))}`
      return `${long(atom(a))} * ${wrapped(dim(factor))}`
    })
    const rest = i.offset.key === '0' && parts.length > 0 ? [] : [dim(i.offset)]
    return [...parts, ...rest].reduce((text, p) => (p.startsWith('-') ? `${text} - ${p.slice(1)}` : `${text} + ${p}`))
  }
  const index = (i: Index): string => offset(i, false)
  const address = (name: string, at: ReadonlyArray<Index>): string => {
    const b = buffer(name)
    const n = elementsOf(b)
    return offset(flatten(at, b.shape), n === undefined || n > LARGEST_INT)
  }
  const place = (p: Place): string => {
    const text = address(p.buffer, p.at)
    return text === '0' ? p.buffer : `${p.buffer} + ${text}`
  }

  const expr = (e: Expr): string => {
    switch (e.kind) {
      case 'number':
        return dialect.number(e.value)
      case 'index':
        return `(float)(${index(e.of)})`
      case 'read':
        return dialect.load(buffer(e.buffer), address(e.buffer, e.at))
      case 'apply': {
        const [a, b, c] = e.args.map(expr)
        return dialect.spell(e.fn)(a ?? '', b ?? '', c ?? '')
      }
      case 'cast': {
        const own = dialect.cast?.(e.dtype, expr(e.of))
        if (own !== undefined) return own
        return e.dtype === 'bool' ? `(${expr(e.of)} != 0.0f ? 1.0f : 0.0f)` : `truncf(${expr(e.of)})`
      }
      case 'guard': {
        const i = index(e.of)
        const tests = [
          ...(e.low.key === '0' && isNonNegative(e.of) ? [] : [`${i} >= ${dim(e.low)}`]),
          `${i} < ${dim(e.high)}`,
        ]
        return `(${tests.join(' && ')} ? ${expr(e.then)} : ${expr(e.otherwise)})`
      }
      case 'register':
        return register(e.name)
      default:
        return e satisfies never
    }
  }

  const stmt = (s: Stmt): Lines => {
    switch (s.kind) {
      case 'for':
        return plainLoop(s, self)
      case 'index':
        return [`const int ${axis(s.name)} = ${index(s.value)};`]
      case 'let':
        return [`const float ${register(s.name)} = ${expr(s.value)};`]
      case 'unit':
        return [`float ${register(s.register)} = ${dialect.unit[s.fn]};`]
      case 'fold': {
        const name = register(s.register)
        const value = expr(s.value)
        return [s.fn === 'sum' ? `${name} += ${value};` : `${name} = ${dialect.combine[s.fn](name, value)};`]
      }
      case 'store':
        return [dialect.store(buffer(s.buffer), address(s.buffer, s.at), expr(s.value))]
      case 'if': {
        const i = index(s.of)
        const low = s.low.key === '0' && isNonNegative(s.of) ? [] : [`${i} >= ${dim(s.low)}`]
        return block(`if (${[...low, `${i} < ${dim(s.high)}`].join(' && ')})`, stmts(s.body))
      }
      case 'barrier':
        return dialect.barrier(s.scope)
      case 'call':
        return dialect.call(s, s.places.map(place), s.ints.map(index), self)
      case 'note':
        return [`/* ${s.text.replace(/\*\//g, '* /')} */`]
      default:
        return s satisfies never
    }
  }
  const stmts = (body: ReadonlyArray<Stmt>): Lines => body.flatMap((s, at) => dialect.stmt?.(body, at, self) ?? stmt(s))

  const self: Printer = {
    ...{ kernel, dialect, buffer, dim, index, offset, address, place, expr, stmts, plain: stmt },
    within: (s) => printerFor(kernel, dialect, { ...scope, ...s }),
  }
  return self
}

/** a number or one symbol fits an int, a product of symbols may not */
export const countType = (size: Dim, d: Dialect): string => {
  const [only] = size.terms
  const n = literal(size)
  const isSmall =
    n !== undefined ? n <= LARGEST_INT : size.terms.length === 1 && only?.coef === 1 && only.atoms.length === 1
  return isSmall ? 'int' : d.long
}

/** `for (int i = 0; i < n; i += step) {...}` */
export const loopHead = ({ axis, size, from, to, step }: Loop, p: Printer): string => {
  const next = step === 1 ? `${axis}++` : `${axis} += ${String(step)}`
  return `for (${countType(size, p.dialect)} ${axis} = ${p.index(from)}; ${axis} < ${p.index(to)}; ${next})`
}

export const plainLoop = ({ loop, body }: LoopStmt, p: Printer): Lines => {
  const written = loop.unroll > 1 ? [`#pragma GCC unroll ${String(loop.unroll)}`] : []
  return [...written, ...block(loopHead(loop, p), p.stmts(body))]
}

/** Every statement below these, in order. */
export const allStmts = (body: ReadonlyArray<Stmt>): ReadonlyArray<Stmt> =>
  body.flatMap((s) => [s, ...allStmts(bodyOf(s))])
