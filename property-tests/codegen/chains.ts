/** Random chains of layers, each on what the one before it made, so that values die early and their places can be taken. */
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import type { Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { trace, type Program } from '../../src/dsl/program.ts'
import { wrap } from '../../src/dsl/tensor.ts'
import { diceOf, type Dice } from '../codegen-graphs.ts'

const map = (fn: string, ...args: ReadonlyArray<Node>): Node => kit.map(fn, ...args)

const layer = (d: Dice, x: Node, other: Node, n: number, isSquare: boolean): Node => {
  const weights = kit.input(`w${String(n)}`, [{ name: 'out', size: x.type.dims[1]!.size }, x.type.dims[1]!], 'f32')
  switch (d.pick('dot dot norm softmax gate add turned turned shifted summed'.split(' '))) {
    case 'dot':
      return kit.rename(kit.dot(x, map('mul', weights, kit.scalar(0.3)), ['j']), { out: 'j' })
    case 'norm': {
      const mean = kit.reduce('sum', map('mul', map('mul', x, x), kit.scalar(0.1)), ['j'])
      return map('mul', x, map('rsqrt', map('add', mean, kit.scalar(0.1))))
    }
    case 'softmax': {
      const e = map('exp', map('sub', x, kit.reduce('max', x, ['j'])))
      return map('div', e, kit.reduce('sum', e, ['j']))
    }
    case 'gate':
      return map('mul', x, map('sigmoid', other))
    case 'add':
      return map('tanh', map('add', x, other))
    // reads another element than it writes
    case 'turned':
      return isSquare
        ? map('add', map('tanh', x), kit.rename(x, { i: 'j', j: 'i' }))
        : map('add', map('tanh', x), kit.reduce('max', x, ['i']))
    case 'shifted': {
      const size = Number(x.type.dims[1]!.size.key)
      return map('sub', x, kit.pad(kit.slice(x, 'j', 0, size - 1), 'j', 1, 0))
    }
    default:
      return map('sub', map('tanh', x), map('mul', kit.reduce('sum', x, ['i']), kit.scalar(0.05)))
  }
}

/** A program of `length` layers over [i, j], with inputs for it. */
export const randomChain = (seed: number, length: number): { readonly program: Program; readonly inputs: Values } => {
  const d = diceOf(seed)
  const rows = d.pick([1, 3, 6, 16, 19, 33])
  const isSquare = d.int(0, 1) === 0
  const columns = isSquare ? rows : d.pick([2, 5, 8, 16, 24, 37])
  const dims = [
    { name: 'i', size: dim(rows) },
    { name: 'j', size: dim(Math.max(2, columns)) },
  ]
  const made: Node[] = [kit.input('x', dims, 'f32')]
  for (let n = 0; n < length; n++) made.push(layer(d, made.at(-1)!, d.pick(made), n, isSquare && columns >= 2))
  const outputs = new Set([made.at(-1)!, d.pick(made.slice(1))])
  const program = trace(
    `chain${String(seed)}`,
    Object.fromEntries([...outputs].map((n, i) => [`y${String(i)}`, wrap(n)])),
  )
  const inputs = Object.fromEntries(
    program.inputs.map(({ name, node }) => {
      const own = node.type.dims.map((a) => ({ name: a.name, size: Number(a.size.key) }))
      const length = own.reduce((s, a) => s * a.size, 1)
      return [name, { dims: own, data: Float64Array.from({ length }, () => Math.fround(2 * d.real() - 1)) }]
    }),
  )
  return { program, inputs }
}
