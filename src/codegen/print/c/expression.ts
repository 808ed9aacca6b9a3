/** Kernel expressions and indices -> C. Scalar functions are spelt by their rows. */
import { flatten, isAtLeast } from '../../affine.ts'
import type { Atom, Expr, Index, Kernel } from '../../kernel.ts'
import { literal } from '../../../dsl/dim.ts'
import { scalarOp, type Spelling } from '../../../dsl/scalar.ts'

// ---------------------------------------------------------------------------------------- model

/** how names are written at one place of the source */
export interface Scope {
  readonly axis: (name: string) => string
  readonly register: (name: string) => string
  /** a read that stands for something else here: a packed panel, a vector */
  readonly read?: (e: Expr & { readonly kind: 'read' }) => string | undefined
}

export const plainScope: Scope = { axis: (n) => n, register: (n) => n }

export const parameter = (name: string): string => `p_${name}`

// --------------------------------------------------------------------------------- interpreters

export const showFloat = (x: number): string => {
  if (Number.isNaN(x)) return '__builtin_nanf("")'
  if (!Number.isFinite(x) || !Number.isFinite(Math.fround(x))) return x > 0 ? '__builtin_inff()' : '(-__builtin_inff())'
  const text = String(Math.fround(x))
  const literal = /[.e]/.test(text) ? `${text}f` : `${text}.0f`
  return x < 0 || Object.is(x, -0) ? `(${Object.is(x, -0) ? '-0.0f' : literal})` : literal
}

/** these propagate NaN; the rows' fmaxf, fminf and comparisons drop it */
const own: Readonly<Record<string, Spelling>> = {
  max: (a, b) => `larger(${a}, ${b})`,
  min: (a, b) => `smaller(${a}, ${b})`,
  or: (a, b) => `larger(${a}, ${b})`,
  sign: (a) => `signum(${a})`,
}

export const spelling = (fn: string): Spelling => {
  const spell = scalarOp(fn)?.spell
  return own[fn] ?? (typeof spell === 'function' ? spell : (spell?.c ?? (() => '__builtin_nanf("")')))
}

/** The address of a read within its buffer. */
export const addressOf = (k: Kernel, e: Expr & { readonly kind: 'read' }): Index => {
  const shape = k.params.find((p) => p.name === e.buffer)?.shape ?? []
  return flatten(e.at, shape)
}

export const printers = (k: Kernel, scope: Scope) => {
  const atom = (a: Atom): string => {
    switch (a.kind) {
      case 'axis':
        return scope.axis(a.name)
      case 'div':
        return isAtLeast(a.of, 0) ? `((${index(a.of)}) / ${a.by.key})` : `floordiv(${index(a.of)}, ${a.by.key})`
      case 'mod':
        return isAtLeast(a.of, 0)
          ? `((${index(a.of)}) % ${a.by.key})`
          : `((${index(a.of)}) - ${a.by.key} * floordiv(${index(a.of)}, ${a.by.key}))`
      case 'min':
        return a.of.map(index).reduce((x, y) => `least(${x}, ${y})`)
      case 'clamp':
        return `clamp(${index(a.of)}, ${a.low.key}, ${a.high.key})`
      case 'data':
        return `whole(${expr(a.of)})`
      default:
        return a satisfies never
    }
  }
  const index = (i: Index): string => {
    const parts = i.terms.map(({ factor, atom: a }) =>
      factor.key === '1' ? atom(a) : `${(literal(factor) ?? 0) < 0 ? `(${factor.key})` : factor.key} * ${atom(a)}`,
    )
    return [...parts, ...(i.offset.key !== '0' || parts.length === 0 ? [i.offset.key] : [])].join(' + ')
  }
  const expr = (e: Expr): string => {
    switch (e.kind) {
      case 'number':
        return showFloat(e.value)
      case 'index':
        return `(float)(${index(e.of)})`
      case 'read':
        return scope.read?.(e) ?? `${parameter(e.buffer)}[${index(addressOf(k, e))}]`
      case 'apply': {
        const [a, b, c] = e.args.map(expr)
        return spelling(e.fn)(a ?? '', b ?? '', c ?? '')
      }
      case 'cast':
        return e.dtype === 'bool' ? `(${expr(e.of)} != 0.0f ? 1.0f : 0.0f)` : `truncf(${expr(e.of)})`
      case 'guard': {
        const i = index(e.of)
        return `(${i} >= ${e.low.key} && ${i} < ${e.high.key} ? ${expr(e.then)} : ${expr(e.otherwise)})`
      }
      case 'register':
        return scope.register(e.name)
      default:
        return e satisfies never
    }
  }
  return { expr, index }
}
