/** Random well-typed graphs for codegen: compositions of primitives over few axes, values kept of order one. */
import { kit } from '../src/dsl/build.ts'
import { dim } from '../src/dsl/dim.ts'
import { axisNames, hasAxis, type Axis, type Node } from '../src/dsl/node.ts'
import { trace, type Program } from '../src/dsl/program.ts'
import { scalarOp, scalarOps } from '../src/dsl/scalar.ts'
import { wrap } from '../src/dsl/tensor.ts'
import type { Values } from '../src/dsl/interpret.ts'
import { sizeAlong, sizesOf } from '../src/codegen/sizes.ts'

/** a small generator of its own, so that one integer is one graph */
export interface Dice {
  readonly int: (low: number, high: number) => number
  readonly real: () => number
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

export const diceOf = (seed: number): Dice => {
  let s = seed | 0
  const next = (): number => {
    s = (s + 0x6d2b79f5) | 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1))
  return { int, real: next, pick: (from) => from[int(0, from.length - 1)]! }
}

const NAMES = ['i', 'j', 'k', 'l'] as const

const isF32 = (n: Node): boolean => n.type.dtype === 'f32'
const elementsOf = (n: Node): number => sizesOf(n).reduce((a, b) => a * b, 1)

/** arguments moved to where the function is defined and its result of order one */
const tamed = (fn: string, k: number, x: Node): Node => {
  const range = scalarOp(fn)?.domain[k]
  if (range !== undefined && range[0] > 0) return kit.map('add', kit.map('abs', kit.map('tanh', x)), kit.scalar(0.5))
  if (['exp', 'expm1', 'log1p', 'pow', 'sin', 'cos'].includes(fn))
    return kit.map('mul', kit.map('tanh', x), kit.scalar(0.5))
  return x
}

const step = (d: Dice, pool: ReadonlyArray<Node>, sizes: Readonly<Record<string, number>>): Node | undefined => {
  const floats = pool.filter(isF32)
  const x = d.pick(floats)
  const y = d.pick(floats)
  const axes = axisNames(x.type)
  const axis = axes.length === 0 ? undefined : d.pick(axes)
  const free = NAMES.filter((n) => !hasAxis(x.type, n))
  const size = axis === undefined ? 0 : sizeAlong(x, axis)
  const kinds =
    'unary unary binary binary select reduce dot dot rename broadcast slice pad concat split merge gather scatter cumsum argmax iota cast'
  switch (d.pick(kinds.split(' '))) {
    case 'unary': {
      const fn = d.pick(
        Object.entries(scalarOps).flatMap(([n, r]) => (r.arity === 1 && r.signature !== 'logic' ? [n] : [])),
      )
      return kit.map(fn, tamed(fn, 0, x))
    }
    case 'binary': {
      const fn = d.pick(['add', 'sub', 'mul', 'div', 'max', 'min', 'pow'])
      return kit.map('tanh', kit.map(fn, tamed(fn, 0, x), tamed(fn, 1, y)))
    }
    case 'select': {
      const test = kit.map(d.pick(['lt', 'le', 'gt', 'ge', 'eq', 'ne']), x, y)
      const other = kit.map(d.pick(['and', 'or']), test, kit.map('not', kit.map('gt', y, kit.scalar(0.1))))
      return kit.map('select', d.pick([test, other]), d.pick(floats), d.pick([kit.scalar(0), d.pick(floats)]))
    }
    case 'reduce':
      return axis === undefined
        ? undefined
        : kit.reduce(
            d.pick(['sum', 'sum', 'max', 'min']),
            x,
            d.pick([[axis], [axis, d.pick(axes)].filter((a, i, all) => all.indexOf(a) === i)]),
          )
    case 'dot': {
      const shared = axes.filter((a) => hasAxis(y.type, a) && sizeAlong(y, a) === sizeAlong(x, a))
      return shared.length === 0 ? undefined : kit.map('mul', kit.dot(x, y, [d.pick(shared)]), kit.scalar(0.25))
    }
    case 'rename':
      return axis === undefined
        ? undefined
        : axes.length > 1 && d.int(0, 1) === 0
          ? kit.rename(x, { [axes[0]!]: axes[1]!, [axes[1]!]: axes[0]! })
          : free.length === 0
            ? undefined
            : kit.rename(x, { [axis]: d.pick(free) })
    case 'broadcast': {
      const name = free.length === 0 ? undefined : d.pick(free)
      return name === undefined ? undefined : kit.broadcast(x, [{ name, size: dim(sizes[name] ?? 2) }])
    }
    case 'slice': {
      if (axis === undefined || size < 1) return undefined
      const start = d.int(0, size - 1)
      return kit.slice(x, axis, start, d.int(1, size - start))
    }
    case 'pad':
      return axis === undefined ? undefined : kit.pad(x, axis, d.int(0, 2), d.int(0, 2))
    case 'concat': {
      if (axis === undefined) return undefined
      const parts = floats.filter(
        (f) =>
          hasAxis(f.type, axis) &&
          axes.every((a) => hasAxis(f.type, a) && (a === axis || sizeAlong(f, a) === sizeAlong(x, a))) &&
          f.type.dims.length === axes.length,
      )
      return kit.concat([x, d.pick(parts), d.pick(parts)], axis)
    }
    case 'split':
      return axis === undefined || size % 2 !== 0 || free.length < 2
        ? undefined
        : kit.reshape(
            x,
            [axis],
            d.pick([
              [
                { name: free[0]!, size: dim(2) },
                { name: free[1]!, size: dim(size / 2) },
              ],
              [
                { name: free[0]!, size: dim(size / 2) },
                { name: free[1]!, size: dim(2) },
              ],
            ]),
          )
    case 'merge':
      return axes.length < 2
        ? undefined
        : kit.reshape(
            x,
            [axes[1]!, axes[0]!],
            [{ name: d.pick([...free, axes[0]!]), size: dim(sizeAlong(x, axes[0]!) * sizeAlong(x, axes[1]!)) }],
          )
    case 'gather':
    case 'scatter': {
      const ids = pool.filter((n) => n.type.dtype === 'i32' && n.op === 'input')
      const id = d.pick(ids)
      const own = axisNames(id.type)
      if (d.int(0, 1) === 0) return axis === undefined || own.includes(axis) ? undefined : kit.gather(x, id, axis)
      return own.every((a) => hasAxis(x.type, a)) ? kit.map('tanh', kit.scatterAdd(x, id, 'v', 4, own)) : undefined
    }
    case 'cumsum':
      return axis === undefined ? undefined : kit.map('mul', kit.cumsum(x, axis), kit.scalar(0.25))
    case 'argmax':
      return axis === undefined || size === 0 ? undefined : kit.cast(kit.argmax(x, axis), 'f32')
    case 'iota': {
      const name = d.pick(NAMES)
      return kit.map(
        'mul',
        kit.map('sub', kit.cast(kit.iota(name, sizes[name] ?? 2), 'f32'), kit.scalar(1.5)),
        kit.scalar(0.5),
      )
    }
    case 'cast':
      return kit.cast(kit.cast(kit.map('mul', x, kit.scalar(3)), d.pick(['i32', 'bool'])), 'f32')
    default:
      return undefined
  }
}

const MOST_ELEMENTS = 400

/** A program of about `length` operations, with inputs for it. */
export const randomGraph = (seed: number, length: number): { readonly program: Program; readonly inputs: Values } => {
  const d = diceOf(seed)
  const sizes = Object.fromEntries(NAMES.map((n) => [n, d.pick([1, 2, 3, 4, 4, 5, 6, 8])]))
  const axis = (name: string): Axis => ({ name, size: dim(sizes[name] ?? 1) })
  const dims = (): ReadonlyArray<Axis> => NAMES.filter(() => d.int(0, 1) === 0).map(axis)
  const pool: Node[] = [
    kit.input('a', dims(), 'f32'),
    kit.input('b', dims(), 'f32'),
    kit.input('c', [axis('i'), axis('j')], 'f32'),
    kit.input('n', d.pick([[axis('i')], [axis('j'), axis('i')]]), 'i32'),
  ]
  for (let tries = 0; tries < 4 * length && pool.length < length + 4; tries++) {
    const made = step(d, pool, sizes)
    const sound = made !== undefined && made.op !== 'fault' && made.type.dims.length <= 5 && made.type.dtype === 'f32'
    if (sound && elementsOf(made) <= MOST_ELEMENTS && elementsOf(made) > 0) pool.push(made)
  }
  const outputs = Object.fromEntries(
    [...new Set([pool[pool.length - 1]!, d.pick(pool.filter(isF32)), d.pick(pool.filter(isF32))])].map((n, i) => [
      `y${String(i)}`,
      wrap(n),
    ]),
  )
  const program = trace(`random${String(seed)}`, outputs)
  const inputs = Object.fromEntries(
    program.inputs.map(({ name, node }) => [
      name,
      {
        dims: node.type.dims.map((a) => ({ name: a.name, size: sizes[a.name] ?? 1 })),
        data: Float64Array.from({ length: elementsOf(node) }, () =>
          node.type.dtype === 'i32' ? d.int(-1, 6) : Math.fround(d.real() * 4 - 2),
        ),
      },
    ]),
  )
  return { program, inputs }
}
