/** The programs that must be proved, written from the formulas, with symbolic sizes; tests of the prover and of its limits read them. */
import { pipe } from 'fp-ts/lib/function.js'
import { linearHost, type LinearHost } from '../../src/adapters/adapter.ts'
import { kit } from '../../src/dsl/build.ts'
import type { Node } from '../../src/dsl/node.ts'
import {
  add,
  broadcast,
  compare,
  dot,
  eye,
  fill,
  input,
  iota,
  keyInput,
  merge,
  mul,
  rename,
  scale,
  sigmoid,
  softmax,
  solve,
  split,
  sub,
  sum,
  take,
  triSolve,
  where,
  wrap,
  zip,
  type Tensor,
} from '../../src/dsl/index.ts'
import { named } from '../adapters/named.ts'

const lora = named('lora')

export interface Specimen {
  readonly name: string
  readonly left: Node
  readonly right: Node
}

const x = input('x', { token: 'token', in: 'in' })
const W = input('W', { out: 'out', in: 'in' })
const bias = input('bias', { out: 'out' })
export const host: LinearHost = linearHost(W, bias)

// ------------------------------------------------------------------------------------------- lora

const config = { rank: 4, alpha: 6, rslora: true }
const sizes = { in: 'in', out: 'out' }
const loraParams = {
  a: input('a', { r: 4, in: 'in' }),
  b: input('b', { out: 'out', r: 4 }),
}
const applyLora = lora.apply(config)
const symbolicLora = (p: Readonly<Record<string, { readonly node: Node }>>, at: Tensor<'token' | 'in'>): Node =>
  applyLora(p, at, host, {}).node

const loraIdentity: Specimen = {
  name: 'lora: identityAtInit',
  left: symbolicLora(lora.init(config)(keyInput('key'), { sizes }).params, x),
  right: host.call(x).node,
}

const merged = lora.weight!(config)(loraParams, W)
const loraMerge: Specimen = {
  name: 'lora: apply = x weight(p, W)^T + b',
  left: symbolicLora(loraParams, x),
  right: linearHost(merged, bias).call(x).node,
}

/** W' from apply alone: apply(I) - apply(0), token standing for the input's own axis */
const derived = (apply: (at: Tensor<'token' | 'in'>) => Node): Node =>
  kit.rename(kit.map('sub', apply(eye('token', 'in', 'in')), apply(fill(0)({ token: 'in', in: 'in' }))), {
    token: 'in',
  })
const loraDerived: Specimen = {
  name: 'lora: apply(I) - apply(0) = weight(p, W)',
  left: derived((at) => symbolicLora(loraParams, at)),
  right: merged.node,
}

// -------------------------------------------------------------------------------------------- oft

/** Q[block, i, j] = v[block, i b - i (i + 1)/2 + j - i - 1] above the diagonal, its negative below: by lookup */
export const skewFrom = (v: Tensor<'block' | 'pair'>, b: number): Tensor<'block' | 'i' | 'j'> => {
  const at = (k: number): Tensor<'i', 'i32'> => pipe(iota('i', b), zip('mul')(wrap<never, 'i32'>(kit.scalar(k, 'i32'))))
  const starts = Array.from({ length: b }, (_, i) => i * b - (i * (i + 1)) / 2 - i - 1)
  const table = starts.reduce<Node>(
    (acc, s, i) => kit.map('select', kit.map('eq', at(1).node, kit.scalar(i, 'i32')), kit.scalar(s, 'i32'), acc),
    kit.scalar(0, 'i32'),
  )
  const ids = wrap<'i' | 'j', 'i32'>(kit.map('add', table, iota('j', b).node))
  const upper = pipe(v, take(ids, 'pair'), where(pipe(iota('i', b), compare('lt')(iota('j', b))), 0))
  return pipe(upper, sub(pipe(upper, rename({ i: 'j', j: 'i' }))))
}

/** R = (I - Q)(I + Q)^-1, rows i, columns j:  R (I + Q) = I - Q, so (I + Q)^T R^T = (I - Q)^T */
const cayley = (Q: Tensor<'block' | 'i' | 'j'>, b: number | string): Tensor<'block' | 'i' | 'j'> => {
  const I = eye('i', 'j', b)
  const right = pipe(I, add(Q), rename({ i: 'c', j: 'r' }))
  // sum_c (I+Q)[c, r] X[c, i] = (I-Q)[i, r], and R[i, j] = X[j, i]
  const rhs = pipe(I, sub(Q), rename({ j: 'r' }))
  return pipe(rhs, solve(right, 'r', 'c'), rename({ c: 'j' }))
}

const rotate = (R: Tensor<'block' | 'i' | 'j'>, at: Tensor<'token' | 'in'>, b: number): Tensor<'token' | 'in'> =>
  pipe(at, split('in', { block: undefined, i: b }), dot(R, 'i'), merge(['block', 'j'], 'in'))

const b = 4
const v = input('v', { block: 'blocks', pair: (b * (b - 1)) / 2 })
const wide = input('x', { token: 'token', in: 'blocks*4' })
const wideHost = linearHost(input('W', { out: 'out', in: 'blocks*4' }), bias)

const oftIdentity: Specimen = {
  name: 'oft: identityAtInit',
  left: wideHost.call(rotate(cayley(skewFrom(fill(0)({ block: 'blocks', pair: 6 }), b), b), wide, b)).node,
  right: wideHost.call(wide).node,
}

const gram = (R: Tensor<'block' | 'i' | 'j'>): Node => pipe(R, dot(pipe(R, rename({ i: 'k' })), 'j')).node
const blockEye = (n: number | string): Node => pipe(eye('i', 'k', n), broadcast({ block: 'blocks' })).node

const oftOrthogonal: Specimen = {
  name: 'oft: R R^T = I, block by block',
  left: gram(cayley(skewFrom(v, b), b)),
  right: blockEye(b),
}

const tall = pipe(eye('token', 'in', 'blocks*4'))
const oftRotation = rotate(cayley(skewFrom(v, b), b), tall, b)
const oftWhole: Specimen = {
  name: 'oft: the whole rotation, from the rotated identity',
  left: pipe(oftRotation, dot(pipe(oftRotation, rename({ token: 'other' })), 'in')).node,
  right: eye('token', 'other', 'blocks*4').node,
}

const M = input('M', { block: 'blocks', i: 'b', j: 'b' })
const oftAnySize: Specimen = {
  name: 'oft: Cayley of M - M^T, any block size',
  left: gram(cayley(pipe(M, sub(pipe(M, rename({ i: 'j', j: 'i' })))), 'b')),
  right: blockEye('b'),
}

const oftNorm: Specimen = {
  name: 'oft: |R x|^2 = |x|^2',
  left: pipe(
    rotate(cayley(skewFrom(v, b), b), wide, b),
    zip('mul')(rotate(cayley(skewFrom(v, b), b), wide, b)),
    sum('in'),
  ).node,
  right: pipe(wide, mul(wide), sum('in')).node,
}

// -------------------------------------------------------------------------------------------- hra

/** x H^T with H = I - U T U^T, T^-1 = diag(|u|^2)/2 + strict upper(U^T U) */
export const reflect = (
  u: Tensor<'in' | 'r'>,
  r: number | string,
  at: Tensor<'token' | 'in'>,
): Tensor<'token' | 'in'> => {
  const G = pipe(u, dot(pipe(u, rename({ r: 'c' })), 'in'))
  const upper = pipe(G, where(pipe(iota('r', r), compare('lt')(iota('c', r))), 0))
  const diagonal = pipe(G, scale(0.5), where(pipe(iota('r', r), compare('eq')(iota('c', r))), 0))
  const inverse = pipe(upper, add(diagonal))
  // H x = x - U T (U^T x)
  const projected = pipe(at, dot(u, 'in'))
  const solved = pipe(projected, triSolve(inverse, 'r', 'c', 'upper'), rename({ c: 'r' }))
  return pipe(at, sub(pipe(solved, dot(u, 'r'))))
}

/** the same with normalised columns */
export const reflectNormalised = (
  u: Tensor<'in' | 'r'>,
  r: number | string,
  at: Tensor<'token' | 'in'>,
): Tensor<'token' | 'in'> => {
  const unit = pipe(u, mul(pipe(u, mul(u), sum('in'), (s) => wrap<'r'>(kit.map('rsqrt', s.node)))))
  return reflect(unit, r, at)
}

const H = (r: number | string, f = reflect): Specimen['left'] => {
  const u = input('u', { in: 'in', r })
  const h = f(u, r, eye('token', 'in', 'in'))
  return pipe(h, dot(pipe(h, rename({ token: 'other' })), 'in')).node
}
const squareEye = eye('token', 'other', 'in').node
const hraAny: Specimen = { name: 'hra: H H^T = I, any rank', left: H('rank'), right: squareEye }
const hraThree: Specimen = { name: 'hra: H H^T = I, rank 3', left: H(3), right: squareEye }
const hraOne: Specimen = { name: 'hra: H H^T = I, rank 1', left: H(1), right: squareEye }
const hraUnit: Specimen = {
  name: 'hra: H H^T = I, normalised columns, any rank',
  left: H('rank', reflectNormalised),
  right: squareEye,
}
const hraNorm: Specimen = {
  name: 'hra: |H x|^2 = |x|^2',
  left: pipe(reflect(input('u', { in: 'in', r: 'rank' }), 'rank', x), (y) => pipe(y, mul(y), sum('in'))).node,
  right: pipe(x, mul(x), sum('in')).node,
}

// ------------------------------------------------------------------------------------- bottleneck

/** x + s (W_up f(W_down x + b_down) + b_up), the up-projection zero */
const bottleneck = (up: Tensor<'in' | 'm'>, upBias: Tensor<'in'>): Node => {
  const down = input('down', { m: 'm', in: 'in' })
  const h = pipe(x, dot(down, 'in'), add(input('downBias', { m: 'm' })))
  return pipe(x, add(pipe(h, mul(pipe(h, sigmoid)), dot(up, 'm'), add(upBias), scale(0.7)))).node
}
const bottleneckIdentity: Specimen = {
  name: 'bottleneck: identityAtInit',
  left: bottleneck(fill(0)({ in: 'in', m: 'm' }), fill(0)({ in: 'in' })),
  right: x.node,
}

// ---------------------------------------------------------------------------------- llama-adapter

/** a + g softmax(q k^T / sqrt h) v, the gate zero */
const attention = (gate: Tensor<'kv'>): readonly [Node, Node] => {
  const q = input('q', { token: 'token', kv: 'kv', h: 'h' })
  const k = input('k', { key: 'token', kv: 'kv', h: 'h' })
  const value = input('value', { key: 'token', kv: 'kv', h: 'h' })
  const mask = pipe(iota('key', 'token'), compare('le')(iota('token', 'token')))
  const scores = pipe(q, dot(k, 'h'), scale(0.35), where(mask, -1e9), softmax('key'))
  const base = pipe(scores, dot(value, 'key'))
  const prompt = input('prompt', { prompt: 'prompt', kv: 'kv', h: 'h' })
  const p = pipe(
    q,
    dot(prompt, 'h'),
    scale(0.35),
    softmax('prompt'),
    mul(pipe(gate, (g) => wrap<'kv'>(kit.map('tanh', g.node)))),
  )
  return [pipe(base, add(pipe(p, dot(prompt, 'prompt')))).node, base.node]
}
const [gated, ungated] = attention(fill(0)({ kv: 'kv' }))
const llamaIdentity: Specimen = { name: 'llama-adapter: identityAtInit', left: gated, right: ungated }

/** every proof that must hold */
export const specimens: ReadonlyArray<Specimen> = [
  loraIdentity,
  loraMerge,
  loraDerived,
  oftIdentity,
  oftOrthogonal,
  oftWhole,
  oftAnySize,
  oftNorm,
  hraAny,
  hraThree,
  hraOne,
  hraUnit,
  hraNorm,
  bottleneckIdentity,
  llamaIdentity,
]
