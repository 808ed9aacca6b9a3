/** Scalar functions of two and three arguments: arithmetic, comparison, logic, choice. A new one is a new row here and nothing else. */
import { arg, infix, libm, plane, ULPS, type Dialect, type ScalarOp, type Spelling } from './row.ts'

/** a comparison is exact unless the arguments may cross: then it may be wrong by one, *undecided* */
const tie: ScalarOp['bound'] = (_y, _u, a, ea, b, eb) => (ea + eb > 0 && Math.abs(a - b) <= ea + eb ? 1 : 0)

const either: ScalarOp['bound'] = (_y, _u, _a, ea, _b, eb) => Math.min(1, ea + eb)

/** gpu.js has no boolean values in arrays: 1 and 0 are numbers there */
const condition = (op: string): Readonly<Record<Dialect, Spelling>> => ({
  c: (a, b) => `(${a} ${op} ${b} ? 1.0f : 0.0f)`,
  cuda: (a, b) => `(${a} ${op} ${b} ? 1.0f : 0.0f)`,
  gpujs: (a, b) => `(${a} ${op} ${b} ? 1 : 0)`,
})

const compare = (doc: string, op: string, f: (a: number, b: number) => boolean): ScalarOp => ({
  arity: 2,
  signature: 'compare',
  doc,
  eval: (a, b) => (f(a, b) ? 1 : 0),
  vjp: () => [null, null],
  bound: tie,
  tie: true,
  spell: condition(op),
  domain: plane,
  flops: 1,
})

export const arithmetic = {
  add: {
    arity: 2,
    signature: 'number',
    doc: 'a + b',
    eval: (a, b) => a + b,
    vjp: (_k, ct) => [ct, ct],
    bound: (y, u, _a, ea, _b, eb) => ea + eb + u * Math.abs(y),
    spell: infix('+'),
    domain: plane,
    flops: 1,
  },
  sub: {
    arity: 2,
    signature: 'number',
    doc: 'a - b',
    eval: (a, b) => a - b,
    vjp: (k, ct) => [ct, k.map('neg', ct)],
    bound: (y, u, _a, ea, _b, eb) => ea + eb + u * Math.abs(y),
    spell: infix('-'),
    domain: plane,
    flops: 1,
  },
  mul: {
    arity: 2,
    signature: 'number',
    doc: 'a b',
    eval: (a, b) => a * b,
    vjp: (k, ct, args) => [k.map('mul', ct, arg(args, 1)), k.map('mul', ct, arg(args, 0))],
    bound: (y, u, a, ea, b, eb) => Math.abs(a) * eb + Math.abs(b) * ea + ea * eb + u * Math.abs(y),
    spell: infix('*'),
    domain: plane,
    flops: 1,
  },
  div: {
    arity: 2,
    signature: 'float',
    doc: 'a / b',
    eval: (a, b) => a / b,
    vjp: (k, ct, args, y) => [
      k.map('div', ct, arg(args, 1)),
      k.map('neg', k.map('div', k.map('mul', ct, y), arg(args, 1))),
    ],
    // |a'/b' - a/b| <= (ea + |y| eb) / (|b| - eb)
    bound: (y, u, _a, ea, b, eb) =>
      (ea + eb === 0 ? 0 : eb >= Math.abs(b) ? Infinity : (ea + Math.abs(y) * eb) / (Math.abs(b) - eb)) +
      ULPS * u * Math.abs(y),
    spell: infix('/'),
    domain: [
      [-3, 3],
      [0.3, 3],
    ],
    flops: 4,
  },
  max: {
    arity: 2,
    signature: 'number',
    doc: 'the larger; the derivative goes to it, to the first on a tie',
    eval: (a, b) => Math.max(a, b),
    vjp: (k, ct, args) => {
      const first = k.map('ge', arg(args, 0), arg(args, 1))
      const zero = k.scalar(0)
      return [k.map('select', first, ct, zero), k.map('select', first, zero, ct)]
    },
    bound: (_y, _u, _a, ea, _b, eb) => Math.max(ea, eb),
    tie: true,
    spell: libm('max', 'fmaxf'),
    domain: plane,
    flops: 1,
  },
  min: {
    arity: 2,
    signature: 'number',
    doc: 'the smaller; the derivative goes to it, to the first on a tie',
    eval: (a, b) => Math.min(a, b),
    vjp: (k, ct, args) => {
      const first = k.map('le', arg(args, 0), arg(args, 1))
      const zero = k.scalar(0)
      return [k.map('select', first, ct, zero), k.map('select', first, zero, ct)]
    },
    bound: (_y, _u, _a, ea, _b, eb) => Math.max(ea, eb),
    tie: true,
    spell: libm('min', 'fminf'),
    domain: plane,
    flops: 1,
  },
  pow: {
    arity: 2,
    signature: 'float',
    doc: 'a^b for a >= 0 (integer powers are written as products)',
    eval: (a, b) => (a < 0 ? NaN : Math.pow(a, b)),
    vjp: (k, ct, args, y) => {
      const [a, b] = [arg(args, 0), arg(args, 1)]
      return [
        k.map('mul', ct, k.map('mul', b, k.map('pow', a, k.map('sub', b, k.scalar(1))))),
        k.map('mul', ct, k.map('mul', y, k.map('log', a))),
      ]
    },
    // |log y' - log y| <= |b| dlog(a) + |log a| eb + dlog(a) eb
    bound: (y, u, a, ea, b, eb) => {
      if (ea + eb === 0) return 8 * ULPS * u * Math.abs(y)
      if (ea >= a) return Infinity
      const da = -Math.log1p(-ea / a)
      return Math.abs(y) * (Math.expm1(Math.abs(b) * da + Math.abs(Math.log(a)) * eb + da * eb) + 8 * ULPS * u)
    },
    spell: libm('pow'),
    domain: [
      [0.3, 3],
      [-2, 2],
    ],
    flops: 20,
  },
  eq: compare('a = b', '==', (a, b) => a === b),
  ne: compare('a /= b', '!=', (a, b) => a !== b),
  lt: compare('a < b', '<', (a, b) => a < b),
  le: compare('a <= b', '<=', (a, b) => a <= b),
  gt: compare('a > b', '>', (a, b) => a > b),
  ge: compare('a >= b', '>=', (a, b) => a >= b),
  and: {
    arity: 2,
    signature: 'logic',
    doc: 'both',
    eval: (a, b) => (a !== 0 && b !== 0 ? 1 : 0),
    vjp: () => [null, null],
    bound: either,
    spell: infix('*'),
    domain: [
      [0, 1],
      [0, 1],
    ],
    flops: 1,
  },
  or: {
    arity: 2,
    signature: 'logic',
    doc: 'either',
    eval: (a, b) => (a !== 0 || b !== 0 ? 1 : 0),
    vjp: () => [null, null],
    bound: either,
    spell: libm('max', 'fmaxf'),
    domain: [
      [0, 1],
      [0, 1],
    ],
    flops: 1,
  },
  select: {
    arity: 3,
    signature: 'select',
    doc: 'b where a holds, else c: how masks are written, never by adding minus infinity',
    eval: (a, b, c) => (a !== 0 ? b : c),
    vjp: (k, ct, args) => {
      const zero = k.scalar(0)
      return [null, k.map('select', arg(args, 0), ct, zero), k.map('select', arg(args, 0), zero, ct)]
    },
    bound: (_y, _u, a, ea, b, eb, c, ec) => (ea > 0 ? Math.abs(b - c) + Math.max(eb, ec) : a !== 0 ? eb : ec),
    spell: {
      c: (a, b, c) => `(${a} != 0.0f ? ${b} : ${c})`,
      cuda: (a, b, c) => `(${a} != 0.0f ? ${b} : ${c})`,
      gpujs: (a, b, c) => `(${a} > 0.5 ? ${b} : ${c})`,
    },
    domain: [
      [0, 1],
      [-3, 3],
      [-3, 3],
    ],
    flops: 1,
  },
} as const satisfies Readonly<Record<string, ScalarOp>>
