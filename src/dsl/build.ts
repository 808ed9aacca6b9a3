/**
 * Builders of nodes: `make` runs the row's type rule and interns the node, or makes a fault node that
 * carries what was wrong and where in the user's code. Total: nothing here throws.
 */
import * as E from 'fp-ts/lib/Either.js'
import { dim, sameDim, type DimLike } from './dim.ts'
import type { DType } from './dtype.ts'
import type { Fault } from './fault.ts'
import type { Kit } from './kit.ts'
import {
  axisOf,
  hasAxis,
  showType,
  intern,
  internAs,
  topological,
  type Attrs,
  type Axis,
  type Dims,
  type Node,
  type Op,
  type Region,
} from './node.ts'
import { rowOf, type Misuse } from './primitive.ts'

/** The first stack frame outside the library's own folders: the user's line. */
const userSite = (): string | undefined => {
  const own = new URL('..', import.meta.url).href
  const frames = (new Error().stack ?? '').split('\n').slice(1)
  const outside = frames.find(
    (f) =>
      !f.includes(own) &&
      !f.includes(own.replace('file://', '')) &&
      !f.includes('node:') &&
      !f.includes('/node_modules/'),
  )
  const tests = frames.find((f) => /\.test\.ts/.test(f))
  return /((?:file:\/\/)?[^\s(]+:\d+:\d+)\)?$/.exec(outside ?? tests ?? '')?.[1]?.replace('file://', '')
}

const faultNode = (fault: Fault, args: ReadonlyArray<Node> = []): Node =>
  intern('fault', args, { fault }, { dims: [], dtype: 'f32' })

const isFault = (n: Node): n is Extract<Node, { op: 'fault' }> => n.op === 'fault'

/** The node of op(args); a fault node where the type rule says no, or where an argument is one already. */
export const make = <K extends Op>(op: K, args: ReadonlyArray<Node>, attrs: Attrs[K]): Node => {
  // one mistake is reported once: whatever is built on a fault only carries it along
  if (args.some(isFault)) {
    const faulty = args.filter(isFault)
    return faulty.length === 1 ? faulty[0]! : intern('fault', faulty, faulty[0]!.attrs, { dims: [], dtype: 'f32' })
  }
  // most nodes are there already: only new ones are typed
  let wrong: Misuse | undefined
  const node = internAs(op, args, attrs, () => {
    const typed = rowOf(op).type(
      args.map((a) => a.type),
      attrs,
    )
    if (E.isRight(typed)) return typed.right
    wrong = typed.left
    return undefined
  })
  if (node !== undefined) return node
  const site = userSite()
  const at = op === 'map' ? (attrs as Attrs['map']).fn : op
  return faultNode({ at, ...wrong!, ...(site === undefined ? {} : { site }) }, [])
}

const scalar = (value: number, dtype: DType = 'f32'): Node => make('const', [], { value, dtype })

/** dims of x that `dims` lacks are summed away, those x lacks are broadcast */
const fit = (x: Node, dims: Dims): Node => {
  const extra = x.type.dims.filter((d) => !dims.some((e) => e.name === d.name)).map((d) => d.name)
  const summed = extra.length === 0 ? x : kit.reduce('sum', x, extra)
  return kit.broadcast(summed, dims)
}

/** x has an axis of this name already, and of another size */
const clash = (x: Node, { name, size }: Axis): Node => {
  const site = userSite()
  const expected = `axis '${name}' of size ${size.key}, or none`
  return faultNode({ at: 'broadcast', expected, actual: showType(x.type), ...(site === undefined ? {} : { site }) })
}

/** a node with every param replaced */
const inline = (region: Region, args: ReadonlyArray<Node>): ReadonlyArray<Node> => {
  const by = new Map<Node, Node>(region.params.map((p, i) => [p, args[i] ?? p]))
  for (const n of topological(region.results))
    if (!by.has(n))
      by.set(
        n,
        kit.rebuild(
          n,
          n.args.map((a) => by.get(a) ?? a),
        ),
      )
  return region.results.map((r) => by.get(r) ?? r)
}

export const kit: Kit = {
  input: (name, dims, dtype) => make('input', [], { name, dims, dtype }),
  scalar,
  iota: (axis, size) => make('iota', [], { axis, size: dim(size) }),
  randomBits: (key, dims) => make('randomBits', [key], { dims }),
  // a number next to an integer or half tensor takes its dtype
  map: (fn, ...args) => make('map', adopt(args), { fn }),
  cast: (x, dtype) => (x.type.dtype === dtype ? x : make('cast', [x], { dtype })),
  reduce: (fn, x, over) => (over.length === 0 ? x : make('reduce', [x], { fn, over: [...over].sort() })),
  dot: (a, b, over) => make('dot', [a, b], { over: [...over].sort() }),
  reshape: (x, from, to) => make('reshape', [x], { from, to }),
  rename: (x, axes) => {
    const moved = Object.entries(axes).filter(([a, b]) => a !== b)
    return moved.length === 0 ? x : make('rename', [x], { axes: Object.fromEntries(moved.sort()) })
  },
  broadcast: (x, dims) => {
    const other = dims.find((d) => !sameDim(axisOf(x.type, d.name)?.size ?? d.size, d.size))
    if (other !== undefined && x.op !== 'fault') return clash(x, other)
    const fresh = dims.filter((d) => !hasAxis(x.type, d.name))
    return fresh.length === 0 || x.op === 'fault' ? x : make('broadcast', [x], { dims: fresh })
  },
  slice: (x, axis, start, size) => {
    const whole = axisOf(x.type, axis)
    return whole !== undefined && dim(start).key === '0' && dim(size).key === whole.size.key
      ? x
      : make('slice', [x], { axis, start: dim(start), size: dim(size) })
  },
  pad: (x, axis, before, after) =>
    dim(before).key === '0' && dim(after).key === '0' && hasAxis(x.type, axis)
      ? x
      : make('pad', [x], { axis, before: dim(before), after: dim(after) }),
  concat: (xs, axis) => make('concat', xs, { axis }),
  gather: (table, ids, axis) => make('gather', [table, ids], { axis }),
  scatterAdd: (updates, ids, axis, size: DimLike, over) =>
    make('scatterAdd', [updates, ids], { axis, size: dim(size), over }),
  solve: (a, b, row, col) => make('solve', [a, b], { row, col }),
  triSolve: (a, b, row, col, lower) => make('triSolve', [a, b], { row, col, lower }),
  cumsum: (x, axis) => make('cumsum', [x], { axis }),
  argmax: (x, axis) => make('argmax', [x], { axis }),
  stopGrad: (x) => make('stopGrad', [x], {}),
  call: (name, body, rule, args) => make('call', args, { name, body, rule }),
  fault: faultNode,
  inline,
  fit,
  rebuild: (node, args) => {
    for (let i = 0; i < args.length; i++) if (args[i] !== node.args[i]) return make(node.op, args, node.attrs as never)
    return node
  },
}

/** constants take the dtype of what they meet */
function adopt(args: ReadonlyArray<Node>): ReadonlyArray<Node> {
  const other = args.find((a) => a.op !== 'const' && a.type.dtype !== 'bool')?.type.dtype
  return other === undefined
    ? args
    : args.map((a) =>
        a.op === 'const' && a.type.dtype === 'f32' && other !== 'f32' ? scalar(a.attrs.value, other) : a,
      )
}
