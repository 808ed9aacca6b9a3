/** Rules of contractions and solves. */
import { kit } from '../../dsl/build.ts'
import { dim, literal } from '../../dsl/dim.ts'
import { axisNames, axisOf, hasAxis, type Node } from '../../dsl/node.ts'
import {
  along,
  axesOfEye,
  bare,
  elementsFor,
  eyeOf,
  flopsOf,
  isNumber,
  lacks,
  matrix,
  numberOf,
  type Rule,
} from './rule.ts'

const A = (): Node => matrix('A')
const k = 'k'

/** both readings of a dot: (a, b) and (b, a) */
const sides = (n: Extract<Node, { op: 'dot' }>): ReadonlyArray<readonly [Node, Node]> => [
  [n.args[0]!, n.args[1]!],
  [n.args[1]!, n.args[0]!],
]

/** sum over `over` of x y, where x has no axis of `gone`: those are summed in y first */
const dotWithout = (x: Node, y: Node, over: ReadonlyArray<string>): Node => {
  const gone = over.filter((o) => !hasAxis(x.type, o))
  const left = over.filter((o) => hasAxis(x.type, o))
  const summed = kit.reduce('sum', y, gone)
  return left.length === 0 ? kit.map('mul', x, summed) : kit.dot(x, summed, left)
}

/** a (b c) instead of (a b) c, over axes that then meet */
const reassociated = (n: Extract<Node, { op: 'dot' }>): ReadonlyArray<Node> =>
  sides(n).flatMap(([inner, c]) =>
    inner.op !== 'dot' || !lacks(c, inner.attrs.over)
      ? []
      : sides(inner).flatMap(([a, b]) => {
          const early = n.attrs.over.filter((o) => !hasAxis(a.type, o))
          const late = [...inner.attrs.over, ...n.attrs.over.filter((o) => hasAxis(a.type, o))]
          if (early.length === 0) return []
          const bc = kit.dot(b, c, early)
          return bc.op === 'fault' ? [] : [kit.dot(a, bc, late)]
        }),
  )

/** operations, with those of an inner dot */
const chainCost = (n: Node): number => flopsOf(n) + n.args.reduce((s, a) => s + (a.op === 'dot' ? flopsOf(a) : 0), 0)

export const contraction: ReadonlyArray<Rule> = [
  {
    name: 'dotZero',
    on: ['dot'],
    doc: 'a contraction with zeros',
    tag: 'finite',
    example: () => kit.dot(A(), kit.broadcast(kit.scalar(0), A().type.dims), ['j']),
    rule: (n) =>
      n.op === 'dot' && n.args.some((a) => isNumber(a, 0))
        ? along(kit.scalar(0, n.type.dtype), n.type.dims)
        : undefined,
  },
  {
    name: 'dotEye',
    on: ['dot'],
    doc: 'a contraction with ones on a diagonal is a renaming',
    tag: 'finite',
    example: () => kit.dot(A(), eyeOf('j', k, dim('j')), ['j']),
    rule: (n) => {
      if (n.op !== 'dot' || n.attrs.over.length !== 1) return undefined
      const [o] = n.attrs.over
      for (const [x, e] of sides(n)) {
        const axes = axesOfEye(e)
        const other = axes?.find((a) => a !== o)
        if (axes === undefined || other === undefined || !axes.includes(o!) || hasAxis(x.type, other)) continue
        return kit.rename(x, { [o!]: other })
      }
      return undefined
    },
  },
  {
    name: 'dotBroadcast',
    on: ['dot'],
    doc: 'axes that one side only repeats along are summed in the other, or left to broadcast',
    tag: 'reassociates',
    example: () => kit.dot(kit.broadcast(kit.scalar(2), A().type.dims), A(), ['j']),
    rule: (n) => {
      if (n.op !== 'dot') return undefined
      for (const [x, y] of sides(n)) {
        const inner = bare(x)
        if (inner === x || !axisNames(x.type).every((a) => hasAxis(inner.type, a) || hasAxis(y.type, a))) continue
        const out = dotWithout(inner, y, n.attrs.over)
        if (out.op !== 'fault') return along(out, n.type.dims)
      }
      return undefined
    },
  },
  {
    name: 'sumBroadcast',
    on: ['reduce'],
    doc: 'a sum along repeated axes is a multiple',
    tag: 'reassociates',
    example: () => kit.reduce('sum', kit.broadcast(A(), [{ name: k, size: dim(3) }]), [k]),
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'reduce' || n.attrs.fn !== 'sum' || x?.op !== 'broadcast') return undefined
      const repeated = x.attrs.dims.filter((d) => n.attrs.over.includes(d.name) && literal(d.size) !== undefined)
      if (repeated.length === 0) return undefined
      const times = repeated.reduce((s, d) => s * literal(d.size)!, 1)
      const rest = along(
        x.args[0]!,
        x.attrs.dims.filter((d) => !repeated.includes(d)),
      )
      const over = n.attrs.over.filter((o) => !repeated.some((d) => d.name === o))
      return kit.map('mul', kit.reduce('sum', rest, over), kit.scalar(times, n.type.dtype))
    },
  },
  {
    name: 'reduceReduce',
    on: ['reduce'],
    doc: 'two reductions of one kind are one',
    tag: 'reassociates',
    example: () => kit.reduce('sum', kit.reduce('sum', A(), ['i']), ['j']),
    rule: (n) => {
      const [x] = n.args
      return n.op === 'reduce' && x?.op === 'reduce' && x.attrs.fn === n.attrs.fn
        ? kit.reduce(n.attrs.fn, x.args[0]!, [...x.attrs.over, ...n.attrs.over])
        : undefined
    },
  },
  {
    name: 'sumMul',
    on: ['reduce'],
    doc: 'a sum of products is a contraction',
    tag: 'reassociates',
    example: () => kit.reduce('sum', kit.map('mul', A(), matrix('B')), ['j']),
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'reduce' || n.attrs.fn !== 'sum' || x?.op !== 'map' || x.attrs.fn !== 'mul') return undefined
      const [a, b] = [x.args[0]!, x.args[1]!]
      const meet = n.attrs.over.every((o) => hasAxis(a.type, o) && hasAxis(b.type, o))
      return meet && n.type.dtype === 'f32' && a.type.dtype === 'f32' && b.type.dtype === 'f32'
        ? kit.dot(a, b, n.attrs.over)
        : undefined
    },
  },
  {
    name: 'dotScale',
    on: ['dot'],
    doc: 'a number comes out of a contraction whose result is smaller than the side it stands on',
    tag: 'reassociates',
    example: () =>
      kit.dot(kit.map('mul', matrix('A', 'i', k), kit.scalar(2)), kit.input('v', [{ name: k, size: dim(k) }], 'f32'), [
        k,
      ]),
    rule: (n) => {
      if (n.op !== 'dot') return undefined
      for (const [x, y] of sides(n)) {
        if (x.op !== 'map' || x.attrs.fn !== 'mul') continue
        const s = numberOf(x.args[1]!)
        const inner = x.args[0]!
        if (s === undefined || inner.type.dims.length !== x.type.dims.length) continue
        if (elementsFor(n.type.dims) > elementsFor(x.type.dims)) continue
        return kit.map('mul', kit.dot(inner, y, n.attrs.over), kit.scalar(s, n.type.dtype))
      }
      return undefined
    },
  },
  {
    name: 'dotOrder',
    on: ['dot'],
    doc: '(a b) c = a (b c), whichever is cheaper',
    tag: 'reassociates',
    example: () =>
      kit.dot(kit.dot(A(), matrix('B', 'j', k), ['j']), kit.input('v', [{ name: k, size: dim(k) }], 'f32'), [k]),
    rule: (n) => {
      if (n.op !== 'dot') return undefined
      const others = reassociated(n).filter((m) => m.op === 'dot')
      const best = others.reduce<Node | undefined>((a, b) => (chainCost(b) < chainCost(a ?? n) ? b : a), undefined)
      return best
    },
  },
  {
    name: 'solveEye',
    on: ['solve', 'triSolve'],
    doc: 'solving with ones on the diagonal is a renaming',
    example: () => kit.solve(eyeOf('i', k, dim('i')), A(), 'i', k),
    rule: (n) => {
      if (n.op !== 'solve' && n.op !== 'triSolve') return undefined
      const axes = axesOfEye(n.args[0]!)
      const { row, col } = n.attrs
      return axes?.includes(row) === true && axes.includes(col) ? kit.rename(n.args[1]!, { [row]: col }) : undefined
    },
  },
  {
    name: 'solveSelf',
    on: ['solve'],
    doc: 'A^-1 A = I',
    tag: 'finite',
    example: () => {
      const S = kit.input(
        'S',
        [
          { name: 'i', size: dim('n') },
          { name: k, size: dim('n') },
        ],
        'f32',
      )
      return kit.solve(S, kit.rename(S, { [k]: 'j' }), 'i', k)
    },
    rule: (n) => {
      if (n.op !== 'solve') return undefined
      const [a, b] = [n.args[0]!, n.args[1]!]
      const { col } = n.attrs
      const own = axisNames(b.type).filter((o) => !hasAxis(a.type, o))
      if (own.length !== 1 || a.type.dims.length !== b.type.dims.length) return undefined
      const size = axisOf(a.type, col)!.size
      return kit.rename(a, { [col]: own[0]! }) === b ? along(eyeOf(col, own[0]!, size), n.type.dims) : undefined
    },
  },
]
