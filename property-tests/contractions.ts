/** Random groups of one contraction: several axes a side, batch axes, sums of dots, producers, epilogues, odd sizes. */
import { kit } from '../src/dsl/build.ts'
import * as E from 'fp-ts/lib/Either.js'
import { dim, evalDim, literal, mulDim } from '../src/dsl/dim.ts'
import type { Values } from '../src/dsl/interpret.ts'
import { topological, type Axis, type Node, type NodeOf } from '../src/dsl/node.ts'
import type { Program } from '../src/dsl/program.ts'
import type { Accumulator, Group, Weighted } from '../src/codegen/fuse/group.ts'
import { diceOf, type Dice } from './codegen-graphs.ts'

export interface ContractionCase {
  readonly group: Group
  /** inputs and the stored results */
  readonly program: Program
  readonly inputs: Values
  /** of the symbols */
  readonly sizes: Readonly<Record<string, number>>
  readonly frozen: ReadonlySet<Node>
}

const SIZES = [0, 1, 1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 25, 33, 48, 65]

interface Maker {
  readonly d: Dice
  readonly axis: (name: string) => Axis
  readonly input: (axes: ReadonlyArray<string>) => Node
  readonly made: (dims: ReadonlyArray<Axis>) => Node
}

const shuffled = <A>(d: Dice, xs: ReadonlyArray<A>): ReadonlyArray<A> =>
  xs
    .map((x) => [d.real(), x] as const)
    .sort(([a], [b]) => a - b)
    .map(([, x]) => x)

/** an operand with these axes: a plain input, a renamed one, one with a producer, two axes that were one */
const operand = ({ d, axis, input, made }: Maker, axes: ReadonlyArray<string>): Node => {
  const x = input(shuffled(d, axes))
  switch (d.int(0, 7)) {
    case 0:
      return kit.map('tanh', x)
    case 1:
      return kit.map('mul', x, input(axes.filter(() => d.int(0, 1) === 0)))
    case 2: {
      const [first] = axes
      if (first === undefined) return x
      const y = input(axes.map((a) => (a === first ? `${a}_other` : a)))
      return kit.rename(y, { [`${first}_other`]: first })
    }
    case 3: {
      // rows or columns that one axis held
      const [a, b] = shuffled(d, axes)
      if (a === undefined || b === undefined) return x
      const rest = axes.filter((n) => n !== a && n !== b)
      const one = { name: 'one', size: mulDim(axis(a).size, axis(b).size) }
      return kit.reshape(made([one, ...rest.map(axis)]), ['one'], [axis(a), axis(b)])
    }
    case 4: {
      // an axis that memory holds in two places
      const [a] = shuffled(d, axes)
      const size = a === undefined ? undefined : literal(axis(a).size)
      const part = [4, 3, 2].find((n) => size !== undefined && size > 0 && size % n === 0)
      if (a === undefined || size === undefined || part === undefined) return x
      const parts = [
        { name: 'high', size: dim(size / part) },
        { name: 'low', size: dim(part) },
      ]
      const rest = axes.filter((n) => n !== a).map(axis)
      return kit.reshape(made(shuffled(d, [...parts, ...rest])), ['high', 'low'], [axis(a)])
    }
    default:
      return x
  }
}

export const contractionCase = (seed: number, largest = SIZES.length): ContractionCase => {
  const d = diceOf(seed)
  const sizes: Record<string, number> = {}
  const values: Record<string, number> = {}
  const sizeFrom = SIZES.slice(0, largest)
  const axis = (name: string): Axis => {
    const base = name.replace('_other', '')
    sizes[base] ??= base.startsWith('b') ? d.pick([1, 2, 3]) : d.pick(sizeFrom)
    values[base] ??= d.int(0, 2)
    return { name, size: values[base] === 0 ? dim(`S${base}`) : dim(sizes[base]) }
  }
  const all: Node[] = []
  const made = (dims: ReadonlyArray<Axis>): Node => {
    const n = kit.input(`x${String(all.length)}`, dims, 'f32')
    all.push(n)
    return n
  }
  const input = (axes: ReadonlyArray<string>): Node => made(axes.map(axis))
  const m: Maker = { d, axis, input, made }
  const some = (names: ReadonlyArray<string>, least = 0): ReadonlyArray<string> =>
    names.slice(0, d.int(least, names.length))
  const [batch, rows, columns] = [some(['b1', 'b2']), some(['m1', 'm2']), some(['n1', 'n2'])]
  const kept = [...batch, ...rows, ...columns]
  const shared = operand(m, [...batch, ...rows, 'k1'])
  const dot = (over: ReadonlyArray<string>): NodeOf<'dot'> => {
    const left = d.int(0, 2) === 0 && over.join() === 'k1' ? shared : operand(m, [...batch, ...rows, ...over])
    const right = operand(m, [...batch.filter(() => d.int(0, 3) > 0), ...columns, ...over])
    const [a, b] = d.int(0, 1) === 0 ? [left, right] : [right, left]
    return kit.dot(a, b, over) as NodeOf<'dot'>
  }
  const accumulator = (): Accumulator => {
    const dots = Array.from({ length: d.pick([1, 1, 2, 3]) }, (_, i) =>
      dot(i === 0 ? d.pick([['k1'], ['k1', 'k2']]) : d.pick([['k3'], ['k1']])),
    )
    const terms = dots.map((x): Weighted => ({
      dot: x,
      factor: d.pick([undefined, undefined, kit.scalar(0.5), input([])]),
      sign: d.pick([1, 1, -1]),
    }))
    const node = terms
      .map(({ dot: x, factor, sign }) => {
        const y = factor === undefined ? x : kit.map('mul', factor, x)
        return sign > 0 ? y : kit.map('neg', y)
      })
      .reduce((a, b) => kit.map('add', a, b))
    return { node, terms }
  }
  const accumulators = Array.from({ length: d.pick([1, 1, 2]) }, accumulator).filter(
    (a, i, others) => others.findIndex((b) => b.node === a.node) === i,
  )
  const [first, second] = accumulators.map((a) => a.node)
  const results = ((): ReadonlyArray<Node> => {
    switch (d.int(0, 3)) {
      case 0:
        return [kit.map('mul', kit.map('sigmoid', first!), second ?? first!)]
      case 1:
        return [kit.map('add', first!, input(kept.filter(() => d.int(0, 1) === 0))), kit.map('tanh', second ?? first!)]
      default:
        return accumulators.map((a) => a.node)
    }
  })()
  const nodes = topological(results)
  const stored = [...new Set(results)]
  const used = accumulators.filter((a) => nodes.includes(a.node))
  const inputs = all.filter((n) => nodes.includes(n))
  const group: Group = {
    name: 'contraction',
    kind: 'contraction',
    outer: stored[0]!.type.dims,
    stages: [{ kind: 'dot', results: stored, accumulators: used }],
    stored,
    locals: [],
    reads: inputs,
    reason: 'test',
  }
  const name = (n: Node): string => (n.op === 'input' ? n.attrs.name : '')
  const program: Program = {
    name: 'contraction',
    inputs: inputs.map((node) => ({ name: name(node), node })),
    outputs: stored.map((node, i) => ({ name: `y${String(i)}`, node })),
  }
  const symbols = Object.fromEntries(Object.entries(sizes).map(([k, v]) => [`S${k}`, v]))
  const sizeOf = (a: Axis): number => E.getOrElse(() => NaN)(evalDim(a.size, symbols))
  const data = Object.fromEntries(
    inputs.map((n) => {
      const dims = n.type.dims.map((a) => ({ name: a.name, size: sizeOf(a) }))
      const count = dims.reduce((s, a) => s * a.size, 1)
      return [name(n), { dims, data: Float64Array.from({ length: count }, () => Math.fround(d.real() * 2 - 1)) }]
    }),
  )
  const frozen = new Set(inputs.filter(() => d.int(0, 2) === 0))
  return { group, program, inputs: data, sizes: symbols, frozen }
}
