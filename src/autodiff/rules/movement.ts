/** Rules of movement: what is undone is not done, what moves twice moves once. */
import { kit } from '../../dsl/build.ts'
import { addDim, dim, subDim } from '../../dsl/dim.ts'
import { axisOf, reachable, type Dims, type Node } from '../../dsl/node.ts'
import { along, isNumber, matrix, numberOf, type Rule } from './rule.ts'

const A = (): Node => matrix('A')
const sameAxes = (a: Dims, b: Dims): boolean =>
  a.length === b.length && a.every((d) => b.some((e) => e.name === d.name && e.size.key === d.size.key))
const moves: ReadonlyArray<Node['op']> = ['rename', 'slice', 'reshape', 'pad', 'concat']

/** x with other names, the renaming carried down to where names come from; undefined where it can't pass */
const carried = (x: Node, axes: Readonly<Record<string, string>>, depth: number): Node | undefined => {
  const mine = Object.fromEntries(Object.entries(axes).filter(([a]) => axisOf(x.type, a) !== undefined))
  if (Object.keys(mine).length === 0) return x
  if (x.op === 'rename' || x.op === 'input') return renamed(x, mine)
  if (depth === 0 || (x.op !== 'map' && x.op !== 'dot')) return undefined
  // names that are summed away inside must not meet the new ones
  if (x.op === 'dot' && x.attrs.over.some((o) => o in axes || Object.values(axes).includes(o))) return undefined
  const args = x.args.map((a) => carried(a, axes, depth - 1))
  return args.every((a) => a !== undefined) ? kit.rebuild(x, args) : undefined
}

/** one renaming in place of two */
const renamed = (x: Node, axes: Readonly<Record<string, string>>): Node => {
  const inner = x.op === 'rename' ? x.args[0]! : x
  const first = x.op === 'rename' ? x.attrs.axes : {}
  const through = (a: string): string => axes[first[a] ?? a] ?? first[a] ?? a
  return kit.rename(inner, Object.fromEntries(inner.type.dims.map((d) => [d.name, through(d.name)])))
}

const nodes = (x: Node): number => reachable([x]).size

export const movement: ReadonlyArray<Rule> = [
  {
    name: 'renameRename',
    on: ['rename'],
    doc: 'two renamings are one',
    example: () => kit.rename(kit.rename(A(), { i: 'k' }), { k: 'm' }),
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'rename' || x?.op !== 'rename') return undefined
      return renamed(x, n.attrs.axes)
    },
  },
  {
    name: 'renameThrough',
    on: ['rename'],
    doc: 'a renaming of a function of renamed arguments is carried to the arguments, where that leaves fewer nodes',
    example: () => kit.rename(kit.map('exp', kit.rename(A(), { i: 'k' })), { k: 'i' }),
    rule: (n) => {
      if (n.op !== 'rename') return undefined
      const out = carried(n.args[0]!, n.attrs.axes, 8)
      return out !== undefined && out.op !== 'fault' && nodes(out) < nodes(n) ? out : undefined
    },
  },
  {
    name: 'broadcastBroadcast',
    on: ['broadcast'],
    doc: 'two broadcasts are one',
    example: () => kit.broadcast(kit.broadcast(A(), [{ name: 'k', size: dim('k') }]), [{ name: 'm', size: dim('m') }]),
    rule: (n) => {
      const [x] = n.args
      return n.op === 'broadcast' && x?.op === 'broadcast'
        ? along(x.args[0]!, [...n.attrs.dims, ...x.attrs.dims])
        : undefined
    },
  },
  {
    name: 'moveNumber',
    on: moves,
    doc: 'a number everywhere is the same number after any movement; zeros, when padded',
    example: () => kit.rename(kit.broadcast(kit.scalar(3), A().type.dims), { i: 'k' }),
    rule: (n) => {
      if (!moves.includes(n.op)) return undefined
      const value = numberOf(n.args[0]!)
      if (value === undefined || (n.op === 'pad' && value !== 0)) return undefined
      return n.args.every((a) => isNumber(a, value)) ? along(kit.scalar(value, n.type.dtype), n.type.dims) : undefined
    },
  },
  {
    name: 'reshapeBack',
    on: ['reshape'],
    doc: 'a reshape and its reverse',
    example: () => {
      const split = kit.reshape(
        kit.input('x', [{ name: 'i', size: dim(6) }], 'f32'),
        ['i'],
        [
          { name: 'p', size: dim(2) },
          { name: 'q', size: dim(3) },
        ],
      )
      return kit.reshape(split, ['p', 'q'], [{ name: 'i', size: dim(6) }])
    },
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'reshape' || x?.op !== 'reshape') return undefined
      const back = x.attrs.to.map((d) => d.name).join() === n.attrs.from.join()
      const inner = x.args[0]!
      const same =
        n.attrs.to.length === x.attrs.from.length &&
        n.attrs.to.every((d, k) => {
          const e = axisOf(inner.type, x.attrs.from[k]!)
          return e !== undefined && e.size.key === d.size.key
        })
      if (!back || !same) return undefined
      const renamed = kit.rename(inner, Object.fromEntries(x.attrs.from.map((f, k) => [f, n.attrs.to[k]!.name])))
      return sameAxes(renamed.type.dims, n.type.dims) ? renamed : undefined
    },
  },
  {
    name: 'slicePad',
    on: ['slice'],
    doc: 'a slice of what was padded, where it takes the whole of it',
    example: () => kit.slice(kit.pad(A(), 'i', 2, 1), 'i', 2, dim('i')),
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'slice' || x?.op !== 'pad' || x.attrs.axis !== n.attrs.axis) return undefined
      const whole = axisOf(x.args[0]!.type, n.attrs.axis)!.size
      return n.attrs.start.key === x.attrs.before.key && n.attrs.size.key === whole.key ? x.args[0] : undefined
    },
  },
  {
    name: 'sliceSlice',
    on: ['slice'],
    doc: 'two slices of one axis are one',
    example: () => kit.slice(kit.slice(matrix('B', 'k', 'j'), 'j', 1, dim(3)), 'j', 1, dim(2)),
    rule: (n) => {
      const [x] = n.args
      return n.op === 'slice' && x?.op === 'slice' && x.attrs.axis === n.attrs.axis
        ? kit.slice(x.args[0]!, n.attrs.axis, addDim(x.attrs.start, n.attrs.start), n.attrs.size)
        : undefined
    },
  },
  {
    name: 'sliceConcat',
    on: ['slice'],
    doc: 'a slice of what was joined, where it is one of the pieces',
    example: () => kit.slice(kit.concat([A(), matrix('B')], 'i'), 'i', dim('i'), dim('i')),
    rule: (n) => {
      const [x] = n.args
      if (n.op !== 'slice' || x?.op !== 'concat' || x.attrs.axis !== n.attrs.axis) return undefined
      let at = dim(0)
      for (const piece of x.args) {
        const size = axisOf(piece.type, n.attrs.axis)!.size
        if (subDim(n.attrs.start, at).key === '0' && size.key === n.attrs.size.key) return piece
        at = addDim(at, size)
      }
      return undefined
    },
  },
]
