/**
 * Mutants of a kernel: the kernel with one thing wrong. Every barrier, guard, mask, index term, trip count, register,
 * buffer and call has some; `mutantsOf` lists them all, in order, so that a seeded sample is the same sample every time.
 */
import { addDim, type Dim } from '../../src/dsl/dim.ts'
import { isAtLeast, isAtMost, shiftIndex } from '../../src/codegen/kernel/affine.ts'
import {
  buffersOf,
  showExpr,
  showIndex,
  showStmt,
  type Atom,
  type Buffer,
  type Expr,
  type Index,
  type Kernel,
  type Loop,
  type Stmt,
} from '../../src/codegen/kernel/kernel.ts'

// ---------------------------------------------------------------------------------------- model

export const kinds = [
  'barrier dropped',
  'guard changed',
  'guard removed',
  'if changed',
  'if removed',
  'clamp changed',
  'min changed',
  'index factor',
  'index offset',
  'index term dropped',
  'trip count',
  'trip start',
  'trip step',
  'unit',
  'fold',
  'wrong buffer',
  'mask swapped',
  'call dropped',
  'store dropped',
] as const
export type Kind = (typeof kinds)[number]

export interface Mutant {
  readonly kind: Kind
  /** what was there, and what is there now */
  readonly change: string
  /** the statement that was changed */
  readonly stmt: string
  /** the index that is compared can be seen to satisfy the bound that was moved, and the one it was moved to */
  readonly certain: boolean
  readonly kernel: Kernel
}

/** one change of a thing */
interface Change<A> {
  readonly kind: Kind
  readonly text: string
  readonly to: A
  readonly stmt?: string
  readonly certain?: boolean
}

const change = <A>(kind: Kind, text: string, to: A): Change<A> => ({ kind, text, to })
const moved = (d: Dim, by: number): Dim => addDim(d, by)

// --------------------------------------------------------------------------- changes of one thing

/** bounds of guards and ifs, one less and one more */
const boundChanges = <A extends { readonly of: Index; readonly low: Dim; readonly high: Dim }>(
  kind: Kind,
  a: A,
): ReadonlyArray<Change<A>> =>
  [-1, 1].flatMap((by) => [
    {
      ...change(kind, `${a.low.key} <= ${a.of.key}: low ${String(by)}`, { ...a, low: moved(a.low, by) }),
      certain: isAtLeast(a.of, a.low) && isAtLeast(a.of, moved(a.low, by)),
    },
    {
      ...change(kind, `${a.of.key} < ${a.high.key}: high ${String(by)}`, { ...a, high: moved(a.high, by) }),
      certain: isAtMost(a.of, moved(a.high, -1)) && isAtMost(a.of, moved(a.high, by - 1)),
    },
  ])

/** an index rebuilt without going through the algebra, which would put it right again */
const rebuilt = (offset: Dim, terms: Index['terms']): Index => ({
  offset,
  terms,
  key: `<${terms.map((t) => `${t.factor.key}*${keyOf(t.atom)}`).join('+')}+${offset.key}>`,
})
const keyOf = (a: Atom): string => {
  switch (a.kind) {
    case 'axis':
      return a.name
    case 'data':
      return showExpr(a.of)
    case 'min':
      return a.of.map(showIndex).join(' min ')
    default:
      return `${a.kind} ${a.of.key}`
  }
}

const atomChanges = (a: Atom): ReadonlyArray<Change<Atom>> => {
  switch (a.kind) {
    case 'axis':
    case 'data':
      return []
    case 'clamp':
      return [
        change('clamp changed', 'high -1', { ...a, high: moved(a.high, -1) }),
        change('clamp changed', 'high +1', { ...a, high: moved(a.high, 1) }),
        ...inside(a.of, (of): Atom => ({ ...a, of })),
      ]
    case 'min':
      return [
        ...a.of.map((_, k) =>
          change<Atom>('min changed', `without ${a.of[k]!.key}`, { ...a, of: a.of.filter((_o, j) => j !== k) }),
        ),
        ...a.of.flatMap((i, k) => inside(i, (of): Atom => ({ ...a, of: a.of.map((o, j) => (j === k ? of : o)) }))),
      ]
    case 'div':
    case 'mod':
      return [
        change('index factor', `by ${a.by.key} +1`, { ...a, by: moved(a.by, 1) }),
        ...inside(a.of, (of): Atom => ({ ...a, of })),
      ]
    default:
      return a satisfies never
  }
}

const inside = <A>(i: Index, around: (i: Index) => A): ReadonlyArray<Change<A>> =>
  indexChanges(i).map((c) => ({ ...c, to: around(c.to) }))

const indexChanges = (i: Index): ReadonlyArray<Change<Index>> => [
  change('index offset', `${i.key} +1`, rebuilt(moved(i.offset, 1), i.terms)),
  change('index offset', `${i.key} -1`, rebuilt(moved(i.offset, -1), i.terms)),
  ...i.terms.flatMap((t, k): ReadonlyArray<Change<Index>> => {
    const others = i.terms.filter((_, j) => j !== k)
    const name = `${keyOf(t.atom)} in ${i.key}`
    return [
      change('index term dropped', name, rebuilt(i.offset, others)),
      change('index factor', `${name} +1`, rebuilt(i.offset, [...others, { ...t, factor: moved(t.factor, 1) }])),
      ...atomChanges(t.atom).map((c) => ({ ...c, to: rebuilt(i.offset, [...others, { ...t, atom: c.to }]) })),
    ]
  }),
]

const loopChanges = (l: Loop): ReadonlyArray<Change<Loop>> => {
  const start = shiftIndex(l.from, 1)
  return [
    change('trip count', `${l.axis} to -1`, { ...l, to: shiftIndex(l.to, -1) }),
    change('trip count', `${l.axis} to +1`, { ...l, to: shiftIndex(l.to, 1) }),
    change('trip start', `${l.axis} from +1`, { ...l, from: start }),
    change('trip step', `${l.axis} step ${String(l.step)} +1`, { ...l, step: l.step + 1 }),
    ...(l.step > 1 ? [change('trip step', `${l.axis} step ${String(l.step)} -1`, { ...l, step: l.step - 1 })] : []),
    ...inside(l.from, (from) => ({ ...l, from })).filter((c) => c.kind !== 'index offset'),
    ...inside(l.to, (to) => ({ ...l, to })).filter((c) => c.kind !== 'index offset'),
  ]
}

/** other buffers that the indices fit */
const others = (b: Buffer | undefined, all: ReadonlyArray<Buffer>): ReadonlyArray<Buffer> =>
  b === undefined ? [] : all.filter((o) => o !== b && o.shape.length === b.shape.length).slice(0, 2)

// ---------------------------------------------------------------------------------- combinators

/** `a` with its k-th part of some list replaced by each of its changes */
const eachOf = <A, B>(
  parts: ReadonlyArray<B>,
  changes: (b: B) => ReadonlyArray<Change<B>>,
  around: (parts: ReadonlyArray<B>) => A,
): ReadonlyArray<Change<A>> =>
  parts.flatMap((p, k) => changes(p).map((c) => ({ ...c, to: around(parts.map((o, j) => (j === k ? c.to : o))) })))

const mutate = (k: Kernel) => {
  const buffers = buffersOf(k)
  const bufferOf = (name: string): Buffer | undefined => buffers.find((b) => b.name === name)
  const writable = [...k.outputs, ...k.locals]

  const dataChanges = (i: Index): ReadonlyArray<Change<Index>> =>
    i.terms.flatMap((t, n) => {
      const put = (atom: Atom): Index => ({
        ...i,
        terms: i.terms.map((o, j) => (j === n ? { ...t, atom } : o)),
        key: `${i.key}'`,
      })
      const { atom } = t
      if (atom.kind === 'data') return exprChanges(atom.of).map((c) => ({ ...c, to: put({ ...atom, of: c.to }) }))
      return []
    })
  const allIndexChanges = (i: Index): ReadonlyArray<Change<Index>> => [...indexChanges(i), ...dataChanges(i)]

  const exprChanges = (e: Expr): ReadonlyArray<Change<Expr>> => {
    switch (e.kind) {
      case 'number':
      case 'register':
        return []
      case 'index':
        return allIndexChanges(e.of).map((c) => ({ ...c, to: { ...e, of: c.to } }))
      case 'read':
        return [
          ...others(bufferOf(e.buffer), buffers).map((b) =>
            change('wrong buffer', `${showExpr(e)} of ${b.name}`, { ...e, buffer: b.name }),
          ),
          ...eachOf(e.at, allIndexChanges, (at): Expr => ({ ...e, at })),
        ]
      case 'apply': {
        const [condition, yes, no] = e.args
        return [
          ...(e.fn === 'select'
            ? [change<Expr>('mask swapped', showExpr(e), { ...e, args: [condition!, no!, yes!] })]
            : []),
          ...eachOf(e.args, exprChanges, (args): Expr => ({ ...e, args })),
        ]
      }
      case 'cast':
        return exprChanges(e.of).map((c) => ({ ...c, to: { ...e, of: c.to } }))
      case 'guard':
        return [
          ...boundChanges('guard changed', e),
          change('guard removed', showExpr(e), e.then),
          ...allIndexChanges(e.of).map((c) => ({ ...c, to: { ...e, of: c.to } })),
          ...exprChanges(e.then).map((c) => ({ ...c, to: { ...e, then: c.to } })),
          ...exprChanges(e.otherwise).map((c) => ({ ...c, to: { ...e, otherwise: c.to } })),
        ]
      default:
        return e satisfies never
    }
  }

  const listChanges = (stmts: ReadonlyArray<Stmt>): ReadonlyArray<Change<ReadonlyArray<Stmt>>> =>
    stmts.flatMap((s, n) =>
      stmtChanges(s).map((c) => ({
        ...c,
        stmt: c.stmt ?? showStmt(s).split('\n')[0]!,
        to: [...stmts.slice(0, n), ...c.to, ...stmts.slice(n + 1)],
      })),
    )

  const stmtChanges = (s: Stmt): ReadonlyArray<Change<ReadonlyArray<Stmt>>> => {
    const shown = showStmt(s).split('\n')[0]!
    const one = <A extends Stmt>(cs: ReadonlyArray<Change<A>>) => cs.map((c) => ({ ...c, to: [c.to] }))
    switch (s.kind) {
      case 'for':
        return [
          ...one(loopChanges(s.loop).map((c) => ({ ...c, to: { ...s, loop: c.to } }))),
          ...one(listChanges(s.body).map((c) => ({ ...c, to: { ...s, body: c.to } }))),
        ]
      case 'index':
        return one(allIndexChanges(s.value).map((c) => ({ ...c, to: { ...s, value: c.to } })))
      case 'let':
        return one(exprChanges(s.value).map((c) => ({ ...c, to: { ...s, value: c.to } })))
      case 'unit':
        return [change('unit', shown, [{ ...s, fn: s.fn === 'sum' ? 'max' : 'sum' }])]
      case 'fold':
        return [
          change('fold', shown, [{ ...s, fn: s.fn === 'sum' ? 'max' : 'sum' }]),
          ...one(exprChanges(s.value).map((c) => ({ ...c, to: { ...s, value: c.to } }))),
        ]
      case 'store':
        return [
          change('store dropped', shown, []),
          ...others(bufferOf(s.buffer), writable).map((b) =>
            change('wrong buffer', `${shown} to ${b.name}`, [{ ...s, buffer: b.name }]),
          ),
          ...one(eachOf(s.at, allIndexChanges, (at): Stmt => ({ ...s, at }))),
          ...one(exprChanges(s.value).map((c) => ({ ...c, to: { ...s, value: c.to } }))),
        ]
      case 'if':
        return [
          ...one(boundChanges('if changed', s)),
          change('if removed', shown, s.body),
          ...one(allIndexChanges(s.of).map((c) => ({ ...c, to: { ...s, of: c.to } }))),
          ...one(listChanges(s.body).map((c) => ({ ...c, to: { ...s, body: c.to } }))),
        ]
      case 'barrier':
        return [change('barrier dropped', `${s.scope} barrier`, [])]
      case 'call':
        return [
          change('call dropped', shown, []),
          ...one(
            eachOf(
              s.places,
              (p) => [
                ...others(bufferOf(p.buffer), buffers).map((b) =>
                  change('wrong buffer', `${p.buffer} is ${b.name} in ${shown}`, { ...p, buffer: b.name }),
                ),
                ...eachOf(p.at, allIndexChanges, (at) => ({ ...p, at })),
              ],
              (places): Stmt => ({ ...s, places }),
            ),
          ),
          ...one(
            eachOf(
              s.ints,
              (i) => allIndexChanges(i).map((c) => ({ ...c, text: `${c.text} in ${shown}` })),
              (ints): Stmt => ({ ...s, ints }),
            ),
          ),
        ]
      case 'note':
        return []
      default:
        return s satisfies never
    }
  }
  return listChanges(k.body)
}

/** Every mutant of the kernel. */
export const mutantsOf = (k: Kernel): ReadonlyArray<Mutant> =>
  mutate(k).map((c) => ({
    kind: c.kind,
    change: c.text,
    stmt: c.stmt ?? '',
    certain: c.certain ?? false,
    kernel: { ...k, body: c.to },
  }))
