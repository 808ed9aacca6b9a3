/** Mistakes a person might make, at every node of a graph where they fit. Types are kept. */
import { kit } from '../../src/dsl/build.ts'
import { literal } from '../../src/dsl/dim.ts'
import { showType, topological, type Node } from '../../src/dsl/node.ts'
import { substitute } from '../../src/dsl/program.ts'

export interface Mutant {
  readonly what: string
  readonly node: Node
}

const alternatives: Readonly<Record<string, ReadonlyArray<string>>> = {
  add: ['sub', 'mul'],
  sub: ['add'],
  mul: ['add', 'div'],
  div: ['mul'],
  lt: ['le', 'gt', 'ge', 'eq', 'ne'],
  le: ['lt', 'ge'],
  gt: ['lt', 'ge'],
  ge: ['le', 'gt'],
  eq: ['ne', 'le', 'lt'],
  ne: ['eq'],
  exp: ['tanh', 'expm1'],
  tanh: ['sigmoid', 'exp'],
  sigmoid: ['tanh'],
  sqrt: ['rsqrt'],
  rsqrt: ['sqrt'],
}

/** what one node might have been */
const changes = (n: Node): ReadonlyArray<Mutant> => {
  const out: Mutant[] = []
  const change = (what: string, node: Node): void => void out.push({ what: `${n.op} #${n.id}: ${what}`, node })
  const [a, b, c] = n.args
  if (n.op === 'const') {
    change('negated', kit.scalar(-n.attrs.value, n.type.dtype))
    change('doubled', kit.scalar(2 * n.attrs.value, n.type.dtype))
    change('one more', kit.scalar(n.attrs.value + 1, n.type.dtype))
  }
  if (n.op === 'map') {
    for (const fn of alternatives[n.attrs.fn] ?? []) change(`${n.attrs.fn} -> ${fn}`, kit.map(fn, ...n.args))
    if (b !== undefined && c === undefined) {
      change('first alone', kit.broadcast(a!, n.type.dims))
      change('second alone', kit.broadcast(b, n.type.dims))
      change('swapped', kit.map(n.attrs.fn, b, a!))
    }
    if (c !== undefined) change('branches swapped', kit.map(n.attrs.fn, a!, c, b!))
    if (a !== undefined && b === undefined) change('dropped', a)
  }
  if (n.op === 'solve') {
    const { row, col } = n.attrs
    change('transposed', kit.solve(kit.rename(a!, { [row]: col, [col]: row }), b!, row, col))
    change('multiplied', kit.dot(a!, kit.rename(b!, { [row]: col }), [col]))
    change('left out', kit.rename(b!, { [row]: col }))
  }
  if (n.op === 'triSolve') {
    const { row, col, lower } = n.attrs
    change('other triangle', kit.triSolve(a!, b!, row, col, !lower))
    change('whole matrix', kit.solve(a!, b!, row, col))
    change('transposed', kit.triSolve(kit.rename(a!, { [row]: col, [col]: row }), b!, row, col, lower))
  }
  if (n.op === 'reduce') change('max', kit.reduce('max', a!, n.attrs.over))
  if (n.op === 'rename') {
    const turned = Object.entries(n.attrs.axes)
    if (turned.length === 2) change('left out', a!)
  }
  if (n.op === 'slice' && literal(n.attrs.start) !== undefined)
    for (const by of [-1, 1]) change('moved', kit.slice(a!, n.attrs.axis, literal(n.attrs.start)! + by, n.attrs.size))
  for (const d of n.type.dims)
    for (const e of n.type.dims)
      if (d.name < e.name && d.size.key === e.size.key)
        change(`${d.name} and ${e.name} exchanged`, kit.rename(n, { [d.name]: e.name, [e.name]: d.name }))
  if (n.type.dtype === 'f32' && n.op !== 'const') {
    change('negated', kit.map('neg', n))
    change('doubled', kit.map('mul', n, kit.scalar(2)))
    change('squared', kit.map('mul', n, n))
    change('zero', kit.broadcast(kit.scalar(0), n.type.dims))
  }
  return out.filter(
    (m) =>
      m.node !== n &&
      [...m.node.type.dims]
        .map((d) => `${d.name}:${d.size.key}`)
        .sort()
        .join() ===
        [...n.type.dims]
          .map((d) => `${d.name}:${d.size.key}`)
          .sort()
          .join() &&
      m.node.type.dtype === n.type.dtype &&
      m.node.op !== 'fault',
  )
}

/** Every well-typed mutant of the graph, one mistake in each. */
export const mutantsOf = (root: Node): ReadonlyArray<Mutant> => {
  const seen = new Set<Node>([root])
  return topological([root]).flatMap((n) =>
    changes(n).flatMap(({ what, node }) => {
      // the changed node may contain the old one: only uses above it are replaced
      const [changed] = replaceAbove(root, n, node)
      if (changed === undefined || seen.has(changed)) return []
      seen.add(changed)
      const sound =
        showType(changed.type) === showType(root.type) && !topological([changed]).some((m) => m.op === 'fault')
      return sound ? [{ what, node: changed }] : []
    }),
  )
}

const replaceAbove = (root: Node, from: Node, to: Node): ReadonlyArray<Node> => {
  // `substitute` rebuilds from the old graph, so that `to` itself is put in whole
  return root === from ? [to] : substitute([root], new Map([[from, to]]))
}
