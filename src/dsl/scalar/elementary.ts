/** Scalar functions of one argument. A new one is a new row here and nothing else. */
import { arg, call, libm, line, monotone, ULPS, type ScalarOp } from './row.ts'

/**
 * erf x = 2/sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!  for |x| < 3 (terms of one sign: nothing cancels),
 * and a continued fraction of erfc beyond: within 1e-15
 */
const erf = (x: number): number => {
  const a = Math.abs(x)
  if (a > 6) return Number.isNaN(x) ? NaN : Math.sign(x)
  if (a < 3) {
    let term = x
    let s = x
    for (let n = 1; n < 100 && Math.abs(term) > 1e-18 * Math.abs(s); n++) {
      term *= (2 * x * x) / (2 * n + 1)
      s += term
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * s
  }
  let f = 0
  for (let n = 60; n > 0; n--) f = n / 2 / (a + f)
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + f))
}

const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)))

/** to the nearest integer, ties to even */
const roundEven = (x: number): number => {
  const r = Math.round(x)
  return Math.abs(x - Math.trunc(x)) === 0.5 && r % 2 !== 0 ? r - 1 : r
}

export const elementary = {
  neg: {
    arity: 1,
    signature: 'number',
    doc: '-a',
    eval: (a) => -a,
    vjp: (k, ct) => [k.map('neg', ct)],
    bound: (_y, _u, _a, ea) => ea,
    spell: (a) => `(-${a})`,
    domain: line,
    flops: 1,
  },
  abs: {
    arity: 1,
    signature: 'number',
    doc: '|a|, with derivative sign(a)',
    eval: Math.abs,
    vjp: (k, ct, args) => [k.map('mul', ct, k.map('sign', arg(args, 0)))],
    bound: (_y, _u, _a, ea) => ea,
    spell: libm('abs', 'fabsf'),
    domain: line,
    kinks: [0],
    flops: 1,
  },
  sign: {
    arity: 1,
    signature: 'number',
    doc: '-1, 0 or 1',
    eval: (a) => (a > 0 ? 1 : a < 0 ? -1 : a === 0 ? 0 : NaN),
    vjp: () => [null],
    bound: (_y, _u, a, ea) => (ea > 0 && Math.abs(a) <= ea ? 2 : 0),
    spell: {
      c: (a) => `((${a} > 0.0f) - (${a} < 0.0f))`,
      cuda: (a) => `((${a} > 0.0f) - (${a} < 0.0f))`,
      gpujs: call('Math.sign'),
    },
    domain: line,
    kinks: [0],
    flops: 1,
  },
  floor: {
    arity: 1,
    signature: 'float',
    doc: 'the largest integer not above a; derivative zero',
    eval: Math.floor,
    vjp: () => [null],
    bound: (y, _u, a, ea) => Math.max(Math.floor(a + ea) - y, y - Math.floor(a - ea)),
    spell: libm('floor'),
    domain: line,
    kinks: [-3, -2, -1, 0, 1, 2, 3],
    flops: 1,
  },
  round: {
    arity: 1,
    signature: 'float',
    doc: 'to the nearest integer, ties to even; derivative zero',
    eval: roundEven,
    vjp: () => [null],
    bound: (y, _u, a, ea) => Math.max(roundEven(a + ea) - y, y - roundEven(a - ea)),
    spell: {
      c: call('rintf'),
      cuda: call('rintf'),
      gpujs: (a) => `(2 * Math.floor(0.5 * (${a}) + 0.25) === (${a}) - 0.5 ? (${a}) - 0.5 : Math.floor((${a}) + 0.5))`,
    },
    domain: line,
    kinks: [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5],
    flops: 1,
  },
  sqrt: {
    arity: 1,
    signature: 'float',
    doc: 'the square root; NaN below zero',
    eval: Math.sqrt,
    vjp: (k, ct, _args, y) => [k.map('div', ct, k.map('mul', k.scalar(2), y))],
    // NaN within reach is unbounded; what underflow alone may add to a zero is no sign that it is
    bound: (y, u, a, ea) =>
      (ea === 0
        ? 0
        : ea > a && ea > 2 ** -100
          ? Infinity
          : Math.max(y - Math.sqrt(Math.max(0, a - ea)), Math.sqrt(a + ea) - y)) +
      ULPS * u * Math.abs(y),
    spell: libm('sqrt'),
    domain: [[0.1, 4]],
    flops: 4,
  },
  rsqrt: {
    arity: 1,
    signature: 'float',
    doc: '1/sqrt(a)',
    eval: (a) => 1 / Math.sqrt(a),
    // d a^-1/2 = -1/2 a^-3/2 = -1/2 y^3
    vjp: (k, ct, _args, y) => [k.map('mul', ct, k.map('mul', k.scalar(-0.5), k.map('mul', y, k.map('mul', y, y))))],
    bound: (y, u, a, ea) => (ea === 0 ? 0 : 1 / Math.sqrt(Math.max(0, a - ea)) - y) + ULPS * u * Math.abs(y),
    spell: {
      c: (a) => `(1.0f / sqrtf(${a}))`,
      cuda: call('rsqrtf'),
      gpujs: (a) => `(1 / Math.sqrt(${a}))`,
    },
    domain: [[0.1, 4]],
    flops: 5,
  },
  exp: {
    arity: 1,
    signature: 'float',
    doc: 'e^a',
    eval: Math.exp,
    vjp: (k, ct, _args, y) => [k.map('mul', ct, y)],
    // 0 e^ea where e^a underflows would be NaN for a large ea, as behind a mask
    bound: (y, u, a, ea) => (y === 0 ? Math.exp(a + ea) : y * Math.expm1(ea)) + ULPS * u * y,
    spell: libm('exp'),
    domain: line,
    flops: 8,
  },
  log: {
    arity: 1,
    signature: 'float',
    doc: 'the natural logarithm; -Infinity at 0, NaN below',
    eval: Math.log,
    vjp: (k, ct, args) => [k.map('div', ct, arg(args, 0))],
    bound: (y, u, a, ea) =>
      (ea === 0 ? 0 : ea >= a ? Infinity : -Math.log1p(-ea / a)) + ULPS * u * Math.max(1, Math.abs(y)),
    // guarded below zero: some WebGPU implementations answer a number there
    spell: { c: call('logf'), cuda: call('logf'), gpujs: call('Math.log') },
    domain: [[0.1, 4]],
    flops: 8,
  },
  log1p: {
    arity: 1,
    signature: 'float',
    doc: 'log(1 + a), accurate near 0',
    eval: Math.log1p,
    vjp: (k, ct, args) => [k.map('div', ct, k.map('add', k.scalar(1), arg(args, 0)))],
    bound: (y, u, a, ea) =>
      (ea === 0 ? 0 : ea >= 1 + a ? Infinity : -Math.log1p(-ea / (1 + a))) + ULPS * u * Math.abs(y),
    spell: libm('log1p'),
    domain: [[-0.9, 4]],
    flops: 10,
  },
  expm1: {
    arity: 1,
    signature: 'float',
    doc: 'e^a - 1, accurate near 0',
    eval: Math.expm1,
    vjp: (k, ct, _args, y) => [k.map('mul', ct, k.map('add', k.scalar(1), y))],
    bound: monotone(Math.expm1),
    spell: libm('expm1'),
    domain: line,
    flops: 10,
  },
  sin: {
    arity: 1,
    signature: 'float',
    doc: 'sine of radians',
    eval: Math.sin,
    vjp: (k, ct, args) => [k.map('mul', ct, k.map('cos', arg(args, 0)))],
    bound: (y, u, a, ea) => Math.min(2, ea) + ULPS * u * Math.max(Math.abs(y), Math.min(1, Math.abs(a))),
    spell: libm('sin'),
    domain: line,
    flops: 10,
  },
  cos: {
    arity: 1,
    signature: 'float',
    doc: 'cosine of radians',
    eval: Math.cos,
    vjp: (k, ct, args) => [k.map('neg', k.map('mul', ct, k.map('sin', arg(args, 0))))],
    bound: (_y, u, _a, ea) => Math.min(2, ea) + ULPS * u,
    spell: libm('cos'),
    domain: line,
    flops: 10,
  },
  tanh: {
    arity: 1,
    signature: 'float',
    doc: 'hyperbolic tangent',
    eval: Math.tanh,
    vjp: (k, ct, _args, y) => [k.map('mul', ct, k.map('sub', k.scalar(1), k.map('mul', y, y)))],
    bound: monotone(Math.tanh),
    // beyond 10 it is 1 in f32; some shader implementations answer NaN for large arguments
    spell: { c: call('tanhf'), cuda: call('tanhf'), gpujs: (a) => `Math.tanh(Math.min(10, Math.max(-10, ${a})))` },
    domain: line,
    flops: 10,
  },
  sigmoid: {
    arity: 1,
    signature: 'float',
    doc: '1/(1 + e^-a)',
    eval: sigmoid,
    vjp: (k, ct, _args, y) => [k.map('mul', ct, k.map('mul', y, k.map('sub', k.scalar(1), y)))],
    bound: monotone(sigmoid),
    spell: {
      c: (a) => `(1.0f / (1.0f + expf(-${a})))`,
      cuda: (a) => `(1.0f / (1.0f + expf(-${a})))`,
      gpujs: (a) => `(1 / (1 + Math.exp(Math.min(80, Math.max(-80, -(${a}))))))`,
    },
    domain: line,
    flops: 10,
  },
  erf: {
    arity: 1,
    signature: 'float',
    doc: 'the error function',
    eval: erf,
    // 2/sqrt(pi) e^(-a^2)
    vjp: (k, ct, args) => {
      const a = arg(args, 0)
      const density = k.map('mul', k.scalar(2 / Math.sqrt(Math.PI)), k.map('exp', k.map('neg', k.map('mul', a, a))))
      return [k.map('mul', ct, density)]
    },
    // gpu.js has no erf: Abramowitz and Stegun 7.1.26, absolute error 1.5e-7, which is below 4 u of f32
    bound: (y, u, _a, ea) => Math.min(2, (2 / Math.sqrt(Math.PI)) * ea) + 4 * u + ULPS * u * Math.abs(y),
    spell: {
      c: call('erff'),
      cuda: call('erff'),
      gpujs: (a) => {
        const t = `(1 / (1 + 0.3275911 * Math.abs(${a})))`
        const p = `((((1.061405429 * ${t} - 1.453152027) * ${t} + 1.421413741) * ${t} - 0.284496736) * ${t} + 0.254829592)`
        return `(Math.sign(${a}) * (1 - ${p} * ${t} * Math.exp(-(${a}) * (${a}))))`
      },
    },
    domain: line,
    flops: 20,
  },
  not: {
    arity: 1,
    signature: 'logic',
    doc: 'not a',
    eval: (a) => (a !== 0 ? 0 : 1),
    vjp: () => [null],
    bound: (_y, _u, _a, ea) => Math.min(1, ea),
    spell: (a) => `(1 - ${a})`,
    domain: [[0, 1]],
    flops: 1,
  },
} as const satisfies Readonly<Record<string, ScalarOp>>
