/**
 * A kernel while it is written: names, parameters, locals, and the *homes* of nodes: where the value of a node can be
 * read once a stage has computed it. Whatever has no home is computed in place from what has one.
 */
import { dim, literal, productDim, type Dim } from '../../../dsl/dim.ts'
import type { Axis, Node, NodeOf } from '../../../dsl/node.ts'
import { axisIndex, flatten, unflatten, whole } from '../../kernel/affine.ts'
import { expressions, type Position } from '../../kernel/expression.ts'
import type { Group, Stage } from '../../fuse/group.ts'
import {
  indicesOfAtom,
  partsOf,
  type Atom,
  type Buffer,
  type Expr,
  type Index,
  type Kernel,
  type Place,
  type Space,
  type Stmt,
  type Storage,
} from '../../kernel/kernel.ts'
import { apply, assign, call, fold, read, register, repeat, store, unit } from './statements.ts'

// ---------------------------------------------------------------------------------------- model

export interface Recipe {
  readonly kernel: Kernel
  /** the node behind each parameter */
  readonly args: ReadonlyArray<Node>
  /** the node behind each output */
  readonly results: ReadonlyArray<Node>
}

export type Home = (at: Position) => Expr

/** a node's value wanted at a position */
export interface Wanted {
  readonly node: Node
  readonly at: Position
}

/** four neighbouring positions of an axis: index = start + lane */
export interface Fours {
  readonly index: Index
  readonly start: Index
  readonly lane: Index
}

export interface Draft {
  /** an identifier that nothing else in the kernel has */
  readonly fresh: (base: string) => string
  readonly local: (base: string, space: Space, shape: ReadonlyArray<Dim>, dtype?: Storage) => string
  /** from here on the node is read there */
  readonly settle: (n: Node, home: Home) => void
  readonly forget: (n: Node) => void
  /** the next group begins: nothing of this one is left */
  readonly forgetAll: () => void
  /** statements that evaluate, each shared part once, and then use the values */
  readonly evaluate: (
    wanted: ReadonlyArray<Wanted>,
    use: (values: ReadonlyArray<Expr>) => ReadonlyArray<Stmt>,
  ) => ReadonlyArray<Stmt>
  /** the value goes to the node's output buffer */
  readonly put: (n: Node, at: Position, value: Expr) => Stmt
  /** the node is read from a buffer as it is */
  readonly isBuffer: (n: Node) => boolean
  /** where in its buffer it is read */
  readonly placeOf: (n: Node, at: Position) => Place
  readonly outputOf: (n: Node, at: Position) => Place
  /** what `body` reads along the fours comes from registers, which `loads` fill four at a time */
  readonly byFours: (
    fours: Fours,
    body: () => ReadonlyArray<Stmt>,
  ) => { readonly loads: ReadonlyArray<Stmt>; readonly body: ReadonlyArray<Stmt> }
  /** the value in the node's output buffer, where this block has put it */
  readonly stored: (n: Node, at: Position) => Expr
  readonly finish: (body: ReadonlyArray<Stmt>) => Recipe
}

// --------------------------------------------------------------------------------- constructors

export const storageOf = (n: Node): Storage =>
  n.type.dtype === 'f16' || n.type.dtype === 'bf16' ? n.type.dtype : 'f32'

export const shapeOf = (n: Node): ReadonlyArray<Dim> => n.type.dims.map((d) => d.size)

export const extentOf = (axes: ReadonlyArray<Axis>): Dim => productDim(axes.map((a) => a.size))

/** Axes of a node that are not among these. */
export const axesBeside = (n: Node, outer: ReadonlyArray<Axis>): ReadonlyArray<Axis> =>
  n.type.dims.filter((d) => !outer.some((o) => o.name === d.name))

/** The position of the i-th point of these axes, row-major. */
export const pointAt = (axes: ReadonlyArray<Axis>, i: Index): Position => {
  const parts = unflatten(
    i,
    axes.map((a) => a.size),
  )
  return new Map(axes.map((a, d) => [a.name, parts[d]!]))
}

/** The number of a point of these axes, row-major. */
export const numberOf = (axes: ReadonlyArray<Axis>, at: Position): Index =>
  flatten(
    axes.map((a) => at.get(a.name)!),
    axes.map((a) => a.size),
  )

export const joined = (...parts: ReadonlyArray<Position>): Position => new Map(parts.flatMap((p) => [...p]))

/** Parts that occur more than once as `let`s; expressions are shared objects, so equality is identity. */
const shareParts = (
  values: ReadonlyArray<Expr>,
  fresh: () => string,
): { readonly lets: ReadonlyArray<Stmt>; readonly values: ReadonlyArray<Expr> } => {
  const uses = new Map<Expr, number>()
  const visit = (e: Expr): void => {
    const n = uses.get(e) ?? 0
    uses.set(e, n + 1)
    if (n === 0) partsOf(e).forEach(visit)
  }
  values.forEach(visit)
  const done = new Map<Expr, Expr>()
  const lets: Stmt[] = []
  const rebuilt = (e: Expr): Expr => {
    switch (e.kind) {
      case 'apply':
        return { ...e, args: e.args.map(named) }
      case 'cast':
        return { ...e, of: named(e.of) }
      case 'guard':
        return { ...e, then: named(e.then), otherwise: named(e.otherwise) }
      default:
        return e
    }
  }
  const named = (e: Expr): Expr => {
    const known = done.get(e)
    if (known !== undefined) return known
    const made = rebuilt(e)
    const isTrivial = e.kind === 'number' || e.kind === 'register' || e.kind === 'index'
    if (isTrivial || uses.get(e)! < 2) {
      done.set(e, made)
      return made
    }
    const name = fresh()
    lets.push(assign(name, made))
    const as = register(name)
    done.set(e, as)
    return as
  }
  const out = values.map(named)
  return { lets, values: out }
}

/** the index depends on the axis that is `axis` */
const mentions = (i: Index, axis: Index): boolean => i.terms.some((t) => mentionsIn(t.atom, axis.key))
const mentionsIn = (a: Atom, name: string): boolean =>
  a.kind === 'axis'
    ? a.name === name
    : a.kind === 'data' || indicesOfAtom(a).some((i) => i.terms.some((t) => mentionsIn(t.atom, name)))

const word = (s: Stage): string => {
  const [n] = s.results
  switch (s.kind) {
    case 'map':
      return n!.op === 'map' ? n.attrs.fn : n!.op
    case 'reduce':
      return s.reduces.map((r) => r.attrs.fn).join(' and ')
    case 'dot':
      return s.accumulators
        .map((a) => (a.terms.length === 1 ? 'dot' : `sum of ${String(a.terms.length)} dots`))
        .join(' and ')
    case 'solve':
      return s.solve.op
    default:
      return s satisfies never
  }
}

/** What a group computes, in the order of its stages; by operations, never by names from outside. */
export const wordsOf = (g: Group): string => g.stages.map(word).join(', ')

/** a launch's name: what its groups do */
const nameOf = (groups: ReadonlyArray<Group>): string => {
  const names = [...new Set(groups.map((g) => g.name))]
  return names.length <= 2 ? names.join('_and_') : `${names[0]!}_and_${String(names.length - 1)}_more`
}

/** A kernel for these groups, which do not read each other. */
export const draftOf = (groups: ReadonlyArray<Group>): Draft => {
  const stored = groups.flatMap((g) => g.stored)
  const taken = new Set<string>(['thread'])
  const fresh = (base: string): string => {
    const free = (i: number): string => {
      const name = i === 0 ? base : `${base}${String(i)}`
      return taken.has(name) ? free(i + 1) : name
    }
    const name = free(0)
    taken.add(name)
    return name
  }
  const args: Node[] = []
  const params: Buffer[] = []
  const locals: Buffer[] = []
  const outputs: Buffer[] = stored.map((n, i) => ({
    name: fresh(stored.length === 1 ? 'out' : `out${String(i)}`),
    shape: shapeOf(n),
    space: 'global',
    dtype: storageOf(n),
  }))
  const homes = new Map<Node, Home>()
  const isParam = new Set(groups.flatMap((g) => g.reads))

  const local: Draft['local'] = (base, space, shape, dtype = 'f32') => {
    const name = fresh(base)
    locals.push({ name, shape, space, dtype })
    return name
  }

  const param = (n: Node): string => {
    const known = args.indexOf(n)
    if (known >= 0) return params[known]!.name
    args.push(n)
    const i = params.length
    const name = fresh(i < 26 ? String.fromCharCode(97 + i) : `p${String(i)}`)
    params.push({ name, shape: shapeOf(n), space: 'global', dtype: storageOf(n) })
    return name
  }

  let fours: Fours | undefined
  const loads = new Map<string, { readonly buffer: string; readonly from: Place }>()

  /** the element of a buffer: one of four that were loaded together, where it is one of four neighbours */
  const readParam = (n: Node, at: Position): Expr => {
    const buffer = param(n)
    const place = n.type.dims.map((d) => at.get(d.name)!)
    const last = n.type.dims.at(-1)
    const size = last === undefined ? undefined : literal(last.size)
    const isOne =
      fours !== undefined &&
      n.type.dtype === 'f32' &&
      size !== undefined &&
      size % 4 === 0 &&
      place.at(-1)!.key === fours.index.key &&
      place.slice(0, -1).every((i) => !mentions(i, fours!.lane))
    if (!isOne) return read(buffer, place)
    const from = { buffer, at: [...place.slice(0, -1), fours!.start] }
    const key = `${buffer}[${from.at.map((i) => i.key).join()}]`
    const known = loads.get(key) ?? { buffer: local('four', 'register', [dim(4)]), from }
    loads.set(key, known)
    return read(known.buffer, [fours!.lane])
  }

  /** a reduction that no stage has computed: a loop of its own in front of the expression */
  const reduceHere = (n: NodeOf<'reduce'> | NodeOf<'dot'>, at: Position, before: Stmt[]): Expr => {
    const name = fresh('sum')
    const fn = n.op === 'dot' ? 'sum' : n.attrs.fn
    const axes = n.args[0]!.type.dims.filter((d) => n.attrs.over.includes(d.name))
    const names = axes.map(() => fresh('step'))
    const inner = joined(at, new Map(axes.map((a, i) => [a.name, axisIndex(names[i]!, a.size)])))
    const wanted = n.args.map((node) => ({ node, at: inner }))
    const body = evaluate(wanted, (vs) => [fold(name, fn, n.op === 'dot' ? apply('mul', ...vs) : vs[0]!)])
    before.push(
      unit(name, fn),
      ...axes.reduceRight<ReadonlyArray<Stmt>>((b, a, i) => [repeat('reduce', names[i]!, a.size, b)], body),
    )
    return register(name)
  }

  const evaluate: Draft['evaluate'] = (wanted, use) => {
    const before: Stmt[] = []
    const folded = new Map<string, Expr>()
    const value = expressions((n, at) => {
      const home = homes.get(n)
      if (home !== undefined) return home(at)
      if (n.op === 'input' || isParam.has(n)) return readParam(n, at)
      if (n.op !== 'reduce' && n.op !== 'dot') return undefined
      const key = `${String(n.id)}@${n.type.dims.map((d) => at.get(d.name)!.key).join(';')}`
      const made = folded.get(key) ?? reduceHere(n, at, before)
      folded.set(key, made)
      return made
    })
    const shared = shareParts(
      wanted.map(({ node, at }) => value(node, at)),
      () => fresh('v'),
    )
    return [...before, ...shared.lets, ...use(shared.values)]
  }

  return {
    fresh,
    local,
    settle: (n, home) => void homes.set(n, home),
    forget: (n) => void homes.delete(n),
    forgetAll: () => homes.clear(),
    evaluate,
    put: (n, at, value) =>
      store(
        outputs[stored.indexOf(n)]!.name,
        n.type.dims.map((d) => at.get(d.name)!),
        value,
      ),
    isBuffer: (n) => (n.op === 'input' || isParam.has(n)) && !homes.has(n),
    placeOf: (n, at) => ({ buffer: param(n), at: n.type.dims.map((d) => at.get(d.name)!) }),
    outputOf: (n, at) => ({
      buffer: outputs[stored.indexOf(n)]!.name,
      at: n.type.dims.map((d) => at.get(d.name)!),
    }),
    byFours: (here, make) => {
      fours = here
      loads.clear()
      const body = make()
      const filled = [...loads.values()].map((l) => call('load4', [{ buffer: l.buffer, at: [whole(0)] }, l.from]))
      fours = undefined
      return { loads: filled, body }
    },
    stored: (n, at) =>
      read(
        outputs[stored.indexOf(n)]!.name,
        n.type.dims.map((d) => at.get(d.name)!),
      ),
    finish: (body) => ({
      kernel: { name: nameOf(groups), params, outputs, locals, body },
      args,
      results: stored,
    }),
  }
}

/** The literal number of cells, where it is at most `most`. */
export const smallExtent = (axes: ReadonlyArray<Axis>, most: number): number | undefined => {
  const n = literal(extentOf(axes))
  return n !== undefined && n <= most ? n : undefined
}

export const one = dim(1)
