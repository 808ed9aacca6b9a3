/**
 * Random graphs: a pool of nodes that grows by drawn operations on drawn nodes; what the type rules refuse is
 * left out. Axes have one size each, so that most of what is drawn fits.
 */
import fc from 'fast-check'
import { kit } from '../../src/dsl/build.ts'
import { dim, type DimLike } from '../../src/dsl/dim.ts'
import { isFloat } from '../../src/dsl/dtype.ts'
import type { Dims, Node } from '../../src/dsl/node.ts'
import { trace, type Program } from '../../src/dsl/program.ts'
import { tabulate, type Value } from '../../src/dsl/value.ts'
import { concreteDims, type Draw } from './samples.ts'

export interface Graph {
  readonly program: Program
  readonly inputs: ReadonlyArray<Node>
}

const b = { name: 'b', size: dim(3) }

type Pick = <A>(from: ReadonlyArray<A>) => A
type Step = (pick: Pick, pool: ReadonlyArray<Node>) => Node

const floats = (pool: ReadonlyArray<Node>): ReadonlyArray<Node> => pool.filter((n) => isFloat(n.type.dtype))
const axis = (pick: Pick, x: Node): string => (x.type.dims.length === 0 ? 'none' : pick(x.type.dims).name)
const on =
  (f: (pick: Pick, x: Node) => Node): Step =>
  (pick, pool) =>
    f(pick, pick(floats(pool)))

/** bounded functions without kinks: graphs stay of order one, and their derivatives exist */
const smooth: ReadonlyArray<Step> = [
  on((pick, x) => kit.map(pick(['tanh', 'sin', 'cos', 'sigmoid', 'neg', 'erf']), x)),
  (pick, pool) => kit.map(pick(['add', 'sub', 'mul']), pick(floats(pool)), pick(floats(pool))),
  on((pick, x) => kit.map('mul', x, kit.scalar(pick([0.5, -0.25, -0, 1.1])))),
  on((pick, x) => kit.reduce('sum', x, [axis(pick, x)])),
  (pick, pool) => {
    const [x, y] = [pick(floats(pool)), pick(floats(pool))]
    return kit.dot(x, y, [axis(pick, x)])
  },
  on((pick, x) => kit.rename(x, { [axis(pick, x)]: axis(pick, x), ...(pick([0, 1]) === 0 ? { a: 'p' } : {}) })),
  on((pick, x) => kit.broadcast(x, [{ name: pick(['p', 'a']), size: dim(2) }])),
  on((pick, x) => kit.slice(x, axis(pick, x), 0, 1)),
  on((pick, x) => kit.pad(x, axis(pick, x), pick([0, 1]), 1)),
  on((pick, x) => kit.concat([x, kit.map('neg', x)], axis(pick, x))),
  on((pick, x) => kit.cumsum(x, axis(pick, x))),
  on((_, x) => kit.reshape(x, ['a', 'b'], [{ name: 'm', size: dim(6) }])),
  on((pick, x) => kit.gather(x, kit.iota('t', pick([1, 3])), axis(pick, x))),
]

const rough: ReadonlyArray<Step> = [
  on((_, x) => kit.stopGrad(x)),
  on((pick, x) => kit.reduce(pick(['max', 'min']), x, [axis(pick, x)])),
  on((pick, x) => kit.map(pick(['abs', 'sign', 'floor', 'round']), x)),
  on((pick, x) => kit.cast(x, pick(['f16', 'bf16', 'i32', 'bool']))),
  on((pick, x) => kit.argmax(x, axis(pick, x))),
  on((pick, x) => kit.map('select', kit.map('lt', x, kit.scalar(pick([0, NaN, -Infinity]))), x, kit.scalar(0))),
  on((pick, x) => {
    const side = [b, { ...b, name: 'q' }]
    const matrix = kit.input('square', side, 'f32')
    return pick([0, 1]) === 0 ? kit.solve(matrix, x, 'b', 'q') : kit.triSolve(matrix, x, 'b', 'q', pick([true, false]))
  }),
  on((_, x) => kit.randomBits(kit.input('key', [{ name: 'word', size: dim(2) }], 'u32'), x.type.dims)),
  on((pick, x) => kit.scatterAdd(x, kit.iota(axis(pick, x), 3), 'v', pick([3, 5]), [axis(pick, x)])),
  on((pick, x) => {
    const [p, y, ct] = ['arg0', 'y', 'ct'].map((n) => kit.input(n, x.type.dims, x.type.dtype)) as [Node, Node, Node]
    const twice = kit.call('twice', region([p], kit.map('add', p, p)), region([p, y, ct], kit.map('add', ct, ct)), [p])
    const body = pick([kit.map('mul', p, p), twice])
    return kit.call('own', region([p], body), region([p, y, ct], kit.map('mul', ct, p)), [x])
  }),
]

const region = (params: ReadonlyArray<Node>, result: Node) => ({ params, results: [result] })

export interface Options {
  /** only what has derivatives everywhere */
  readonly smooth: boolean
  /** the size of axis `c`; a symbol where no numbers are needed */
  readonly c: DimLike
}

export const drawGraph = (draw: Draw, { smooth: only, c }: Options): Graph => {
  const pick: Pick = (from) => from[draw(fc.integer, { min: 0, max: from.length - 1 })]!
  const [a, k] = [
    { name: 'a', size: dim(2) },
    { name: 'c', size: dim(c) },
  ]
  const shapes: ReadonlyArray<Dims> = [[a, b], [b, k], [k], [a, k, b]]
  const inputs = shapes.map((dims, i) => kit.input(`x${String(i)}`, dims, 'f32'))
  const pool: Node[] = [...inputs]
  const steps = only ? smooth : [...smooth, ...rough]
  const wanted = draw(fc.integer, { min: 1, max: 14 })
  for (let i = 0; i < wanted; i++) {
    const next = pick(steps)(pick, pool)
    if (next.op !== 'fault' && next.type.dims.length <= 4) pool.push(next)
  }
  const outputs = [pool[pool.length - 1]!, pick(pool)]
  return { program: trace('graph', { y: { node: outputs[0]! }, 'an other': { node: outputs[1]! } }), inputs }
}

/** Numbers of order one for the inputs. */
export const drawInputs = (draw: Draw, inputs: ReadonlyArray<Node>): Readonly<Record<string, Value>> =>
  Object.fromEntries(
    inputs.flatMap((n) =>
      n.op === 'input'
        ? [
            [
              n.attrs.name,
              tabulate(concreteDims(n.type.dims), () =>
                Math.fround(draw(fc.integer, { min: -1501, max: 1501 }) / 1501),
              ),
            ] as const,
          ]
        : [],
    ),
  )
