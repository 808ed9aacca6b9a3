/**
 * Normal forms of graphs. A node is read as a function of positions: movement only moves positions,
 * contractions are sums over variables, what is no polynomial becomes an atom over its normal form.
 */
import { addDim, dim, literal, scaleDim, type Dim } from '../../dsl/dim.ts'
import { isFloat } from '../../dsl/dtype.ts'
import { kit } from '../../dsl/build.ts'
import { axisOf, type Node } from '../../dsl/node.ts'
import { collect } from './canonical.ts'
import { apply, invert, raise, type Theory } from './closure.ts'
import {
  add,
  before,
  constant,
  equality,
  multiply,
  ofAtom,
  ofDim,
  range,
  scale,
  substitute,
  subtract,
  sumOver,
  type Monomial,
  type Poly,
} from './monomial.ts'
import { anywhere, at, merge, part, shift, type Position, type Variable } from './position.ts'
import * as Q from './rational.ts'

// ---------------------------------------------------------------------------------------- model

/** where each axis is read */
type Env = Readonly<Record<string, Position>>

/** a node at a variable per axis */
interface Form {
  readonly env: Env
  readonly poly: Poly
}

/** beyond this a node is an atom of its own: the proof may fail, but stays right */
const LARGEST = 1500

// ------------------------------------------------------------------------------ truth of comparisons

const truth = (c: Poly): Poly => subtract(constant(Q.one), c)

/** the position whose number the term is, with its sign */
const indexOf = (m: Monomial): Position | undefined =>
  m.atoms.length === 1 &&
  m.atoms[0]!.head === 'index' &&
  m.sizes.size === 0 &&
  m.bound.length === 0 &&
  m.coef.den === 1n
    ? m.atoms[0]!.at[0]
    : undefined

/** d = s - t + c as positions s and t, for positions or sizes s and t */
const comparison = (d: Poly): readonly [Position, Position] | undefined => {
  const [plus, minus]: [Position[], Position[]] = [[], []]
  let rest: Dim = dim(0)
  for (const m of d) {
    const p = indexOf(m)
    if (p !== undefined && (m.coef.num === 1n || m.coef.num === -1n)) (m.coef.num === 1n ? plus : minus).push(p)
    else if (m.atoms.length === 0 && m.coef.den === 1n && [...m.sizes.values()].every((n) => n > 0)) {
      const text = [...m.sizes].flatMap(([s, n]) => Array.from({ length: n }, () => s)).join('*')
      rest = addDim(rest, scaleDim(Number(m.coef.num), text === '' ? 1 : text))
    } else return undefined
  }
  if (plus.length > 1 || minus.length > 1 || plus.length + minus.length === 0) return undefined
  const [s, t] = [plus[0], minus[0]]
  if (s !== undefined && t !== undefined) {
    const n = literal(rest)
    return n !== undefined && n < 0 ? [s, shift(t, scaleDim(-1, rest))] : [shift(s, rest), t]
  }
  return s !== undefined ? [s, at(scaleDim(-1, rest))] : [at(rest), t!]
}

/** d divided by the size of its first coefficient, so that multiples of one comparison are one atom */
const monic = (d: Poly, evenSign: boolean): Poly => {
  const keyed = collect(d)
  const first = [...keyed].sort((a, b) => (Q.showRational(a.coef) < Q.showRational(b.coef) ? -1 : 1))[0]
  if (first === undefined) return d
  const c = Q.invert(first.coef)
  return scale(evenSign || Q.signOf(c) > 0 ? c : Q.negate(c), keyed)
}

const known = (d: Poly): Q.Rational | undefined =>
  d.length === 0
    ? Q.zero
    : d.length === 1 && d[0]!.atoms.length === 0 && d[0]!.sizes.size === 0
      ? d[0]!.coef
      : undefined

const isZeroAt = (theory: Theory, a: Poly, b: Poly): Poly => {
  const d = theory.reduce(subtract(a, b))
  const c = known(d)
  if (c !== undefined) return Q.isZero(c) ? constant(Q.one) : []
  const pair = comparison(d)
  return pair === undefined ? apply(theory, 'zero', [monic(d, d.length === 1)], [], true) : equality(pair[0], pair[1])
}

const isBelow = (theory: Theory, a: Poly, b: Poly): Poly => {
  const d = theory.reduce(subtract(a, b))
  const c = known(d)
  if (c !== undefined) return Q.signOf(c) < 0 ? constant(Q.one) : []
  const pair = comparison(d)
  if (pair === undefined) return apply(theory, 'negative', [monic(d, false)], [], true)
  const [s, t] = pair
  // s < t + 1 is not t < s
  const off = t.kind === 'shift' && literal(t.by) === 1
  return off ? truth(ofAtom(before(t.of, s))) : ofAtom(before(s, t))
}

// ------------------------------------------------------------------------------- scalar functions

/** values that are exact */
const exact: Readonly<Record<string, ReadonlyArray<readonly [number, number]>>> = {
  exp: [[0, 1]],
  log: [[1, 0]],
  log1p: [[0, 0]],
  expm1: [[0, 0]],
  sin: [[0, 0]],
  cos: [[0, 1]],
  tanh: [[0, 0]],
  sigmoid: [[0, 0.5]],
  erf: [[0, 0]],
}

const half = Q.rational(1n, 2n)
const minus = Q.rational(-1n)

const isWhole = (p: Poly): boolean =>
  p.every((m) => Q.isInteger(m.coef) && m.atoms.every((a) => a.head === 'index' || a.isTruth === true))

const scalarFn = (theory: Theory, fn: string, args: ReadonlyArray<Poly>): Poly => {
  const [a, b, c] = [args[0] ?? [], args[1] ?? [], args[2] ?? []]
  switch (fn) {
    case 'add':
      return add(a, b)
    case 'sub':
      return subtract(a, b)
    case 'mul':
      return multiply(a, b)
    case 'div':
      return multiply(a, raise(theory, b, minus))
    case 'neg':
      return scale(minus, a)
    case 'sqrt':
      return raise(theory, a, half)
    case 'rsqrt':
      return raise(theory, a, Q.negate(half))
    case 'eq':
      return isZeroAt(theory, a, b)
    case 'ne':
      return truth(isZeroAt(theory, a, b))
    case 'lt':
      return isBelow(theory, a, b)
    case 'gt':
      return isBelow(theory, b, a)
    case 'le':
      return truth(isBelow(theory, b, a))
    case 'ge':
      return truth(isBelow(theory, a, b))
    case 'and':
      return multiply(a, b)
    case 'or':
      return subtract(add(a, b), multiply(a, b))
    case 'not':
      return truth(a)
    case 'select':
      return add(multiply(a, b), multiply(truth(a), c))
    default:
      break
  }
  const reduced = args.map((p) => theory.reduce(p))
  const values = reduced.map(known)
  const value = exact[fn]?.find(([x]) => values[0] !== undefined && Q.sameRational(values[0], Q.exactly(x)))
  if (value !== undefined) return constant(Q.exactly(value[1]))
  if ((fn === 'floor' || fn === 'round') && isWhole(reduced[0]!)) return reduced[0]!
  if (fn === 'abs' && values[0] !== undefined)
    return constant(Q.signOf(values[0]) < 0 ? Q.negate(values[0]) : values[0])
  if (fn === 'sign' && values[0] !== undefined) return constant(Q.rational(BigInt(Q.signOf(values[0]))))
  if (/^(log|log1p|pow)$/.test(fn)) theory.assume(`the argument of ${fn} is in its domain`)
  return apply(theory, fn, reduced)
}

// ------------------------------------------------------------------------------------- the reader

/** Reads nodes under one theory; `read(node, env)` is the node where its axes are at `env`. */
export const reader = (theory: Theory): ((node: Node, env: Env) => Poly) => {
  const forms = new Map<Node, Form>()

  const opaque = (n: Node, env: Env): Poly =>
    ofAtom({
      head: `${n.op === 'input' ? n.attrs.name.replace(/[^\w.]/g, '_') : n.op}#${n.id}`,
      at: n.type.dims.map((d) => env[d.name]!),
      ...(n.type.dtype === 'bool' ? { isTruth: true } : {}),
    })

  const read = (node: Node, env: Env): Poly => {
    const { env: own, poly } = formOf(node)
    const by = new Map<number, Position>()
    for (const [axis, v] of Object.entries(own)) if (v.kind === 'var') by.set(v.id, env[axis] ?? v)
    return substitute(poly, by)
  }

  const formOf = (node: Node): Form => {
    const seen = forms.get(node)
    if (seen !== undefined) return seen
    const env: Env = Object.fromEntries(node.type.dims.map((d) => [d.name, anywhere(d.size)]))
    const raw = meaning(node, env)
    const poly = raw.length > LARGEST ? opaque(node, env) : collect(raw)
    const form = { env, poly }
    forms.set(node, form)
    return form
  }

  const sizeOf = (n: Node, axis: string): Dim => axisOf(n.type, axis)?.size ?? dim(0)
  const sumAll = (p: Poly, vs: ReadonlyArray<Position>): Poly => vs.reduce<Poly>((acc, v) => sumOver(acc, v), p)
  const dummies = (n: Node, axes: ReadonlyArray<string>): Env =>
    Object.fromEntries(axes.map((a) => [a, anywhere(sizeOf(n, a))]))

  /** [ids = v] as a 0/1 polynomial */
  const oneHot = (ids: Node, env: Env, v: Position): Poly => isZeroAt(theory, read(ids, env), ofAtomIndex(v))

  /** x over one axis as a function, in an atom */
  const folded = (name: string, x: Node, axes: ReadonlyArray<string>, env: Env, extra: Env = {}): Poly => {
    const inner = dummies(x, axes)
    const own = Object.values(inner).filter((v): v is Variable => v.kind === 'var')
    const p = read(x, { ...env, ...inner })
    return Object.keys(extra).length === 0
      ? apply(theory, name, [p], own)
      : multiply(constant(Q.one), apply(theory, name, [p, ...Object.values(extra).map(ofAtomIndex)], own))
  }

  const solution = (n: Extract<Node, { op: 'solve' | 'triSolve' }>, env: Env): Poly => {
    const [a, b] = [n.args[0]!, n.args[1]!]
    const { row, col } = n.attrs
    const [r, c] = [anywhere(sizeOf(a, row)), anywhere(sizeOf(a, col))]
    const matrix = read(a, { ...env, [row]: r, [col]: c })
    const rhs = read(b, { ...env, [row]: r })
    // one equation
    if (r.kind !== 'var' || c.kind !== 'var') return multiply(rhs, raise(theory, matrix, minus))
    // triSolve reads one triangle only
    const kept =
      n.op === 'solve' ? matrix : multiply(matrix, truth(ofAtom(n.attrs.lower ? before(r, c) : before(c, r))))
    const inverse = substitute(invert(theory, kept, r, c), new Map([[c.id, env[col]!]]))
    return sumOver(multiply(inverse, rhs), r)
  }

  const cast = (n: Extract<Node, { op: 'cast' }>, env: Env): Poly => {
    const x = n.args[0]!
    const [from, to] = [x.type.dtype, n.type.dtype]
    const p = read(x, env)
    if (from === to || to === 'f32' || from === 'bool') return p
    const whole = isWhole(p)
    if (to === 'bool') return truth(isZeroAt(theory, p, []))
    return whole && (isFloat(to) ? false : to === 'i32') ? p : apply(theory, `cast ${to}`, [p])
  }

  const meaning = (n: Node, env: Env): Poly => {
    switch (n.op) {
      case 'input':
      case 'randomBits':
      case 'fault':
        return opaque(n, env)
      case 'const':
        return Number.isFinite(n.attrs.value)
          ? constant(Q.exactly(n.attrs.value))
          : ofAtom({ head: `number ${n.attrs.value}`, at: [] })
      case 'iota':
        return ofAtomIndex(env[n.attrs.axis]!)
      case 'map':
        return scalarFn(
          theory,
          n.attrs.fn,
          n.args.map((a) => read(a, env)),
        )
      case 'cast':
        return cast(n, env)
      case 'stopGrad':
      case 'broadcast':
        return read(n.args[0]!, env)
      case 'reduce': {
        if (n.attrs.fn !== 'sum') return folded(n.attrs.fn, n.args[0]!, n.attrs.over, env)
        const inner = dummies(n.args[0]!, n.attrs.over)
        return sumAll(read(n.args[0]!, { ...env, ...inner }), Object.values(inner))
      }
      case 'dot': {
        const inner = dummies(n.args[0]!, n.attrs.over)
        const at2 = { ...env, ...inner }
        return sumAll(multiply(read(n.args[0]!, at2), read(n.args[1]!, at2)), Object.values(inner))
      }
      case 'rename':
        return read(
          n.args[0]!,
          Object.fromEntries(n.args[0]!.type.dims.map((d) => [d.name, env[n.attrs.axes[d.name] ?? d.name]!])),
        )
      case 'reshape': {
        const { from, to } = n.attrs
        const x = n.args[0]!
        const whole = merge(
          to.map((d) => env[d.name]!),
          to.map((d) => d.size),
        )
        const sizes = from.map((f) => sizeOf(x, f))
        return read(x, { ...env, ...Object.fromEntries(from.map((f, k) => [f, part(whole, sizes, k)])) })
      }
      case 'slice':
        return read(n.args[0]!, { ...env, [n.attrs.axis]: shift(env[n.attrs.axis]!, n.attrs.start) })
      case 'pad': {
        const { axis, before: lead } = n.attrs
        return placed(n.args[0]!, axis, lead, env)
      }
      case 'concat': {
        let start = dim(0)
        return n.args.flatMap((x) => {
          const p = placed(x, n.attrs.axis, start, env)
          start = addDim(start, sizeOf(x, n.attrs.axis))
          return p
        })
      }
      // sum_v [ids = v] table[v]
      case 'gather': {
        const v = anywhere(sizeOf(n.args[0]!, n.attrs.axis))
        return sumOver(multiply(oneHot(n.args[1]!, env, v), read(n.args[0]!, { ...env, [n.attrs.axis]: v })), v)
      }
      case 'scatterAdd': {
        const inner = dummies(n.args[0]!, n.attrs.over)
        const here = { ...env, ...inner }
        const hot = oneHot(n.args[1]!, here, env[n.attrs.axis]!)
        return sumAll(multiply(hot, read(n.args[0]!, here)), Object.values(inner))
      }
      case 'solve':
      case 'triSolve':
        return solution(n, env)
      // sum_j [j <= i] x[j]
      case 'cumsum': {
        const inner = dummies(n.args[0]!, [n.attrs.axis])
        const j = inner[n.attrs.axis]!
        const upTo = truth(ofAtom(before(env[n.attrs.axis]!, j)))
        return sumAll(multiply(upTo, read(n.args[0]!, { ...env, ...inner })), [j])
      }
      case 'argmax':
        return folded('argmax', n.args[0]!, [n.attrs.axis], env)
      case 'call':
        return read(kit.inline(n.attrs.body, n.args)[0]!, env)
      default:
        return n satisfies never
    }
  }

  /** x from `start` on, zero elsewhere */
  const placed = (x: Node, axis: string, start: Dim, env: Env): Poly => {
    const inner = shift(env[axis]!, scaleDim(-1, start))
    return multiply(range(inner, sizeOf(x, axis)), read(x, { ...env, [axis]: inner }))
  }

  return read
}

/** the number of a position */
const ofAtomIndex = (t: Position): Poly => {
  switch (t.kind) {
    case 'at':
      return ofDim(t.at)
    case 'shift':
      return add(ofAtomIndex(t.of), ofDim(t.by))
    case 'merge':
      return t.of.reduce<Poly>((acc, u, i) => add(multiply(acc, ofDim(t.sizes[i]!)), ofAtomIndex(u)), [])
    default:
      return ofAtom({ head: 'index', at: [t] })
  }
}
