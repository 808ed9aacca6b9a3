/** Mutants that compute the same as the kernel they were made of, and how that is known. */
import {
  allExpressions,
  bodyOf,
  indicesOf,
  partsOf,
  symbolsOfKernel,
  type Atom,
  type Expr,
  type Index,
  type Kernel,
  type Loop,
} from '../../src/codegen/kernel/kernel.ts'
import { literal } from '../../src/dsl/dim.ts'
import type { Mutant } from './mutants.ts'
import type { Made } from './parts.ts'

// ---------------------------------------------------------------------------------------- model

/** What is known of a mutant that nobody noticed. */
export interface Survivor {
  readonly made: Made
  readonly mutant: Mutant
  /** at all sizes that were tried, every thread reads and writes the same elements and values in the same order */
  readonly sameAccesses: boolean
}

export interface Equivalence {
  readonly why: string
  readonly holds: (s: Survivor) => boolean
}

// ------------------------------------------------------------------------------------- analyses

const hasData = (i: Index): boolean =>
  i.terms.some(
    ({ atom: a }) => a.kind === 'data' || (a.kind === 'min' ? a.of.some(hasData) : 'of' in a && hasData(a.of)),
  )

const clampsIn = (i: Index): ReadonlyArray<Atom & { readonly kind: 'clamp' }> =>
  i.terms.flatMap(({ atom: a }) =>
    a.kind === 'clamp'
      ? [a]
      : a.kind === 'div' || a.kind === 'mod'
        ? clampsIn(a.of)
        : a.kind === 'min'
          ? a.of.flatMap(clampsIn)
          : [],
  )

/** every clamp of data is evaluated only where a guard of the same index and range lets it */
const clampsAreGuarded = (k: Kernel): boolean => {
  const isFree = (e: Expr, guarded: ReadonlySet<string>): boolean => {
    const own = indicesOf(e).flatMap(clampsIn)
    if (own.some((a) => !guarded.has(`${a.of.key} to ${a.high.key}`))) return true
    if (e.kind !== 'guard') return partsOf(e).some((p) => isFree(p, guarded))
    const last = e.high.key
    const inside = new Set([...guarded, ...indicesOfHigh(e.of.key, last, k)])
    return isFree(e.then, inside) || isFree(e.otherwise, guarded)
  }
  const roots = allExpressions(k.body).filter((e) => !allExpressions(k.body).some((o) => partsOf(o).includes(e)))
  return !roots.some((e) => isFree(e, new Set()))
}
/** clamps of an index to below a bound, as they are written */
const indicesOfHigh = (of: string, high: string, k: Kernel): ReadonlyArray<string> =>
  allExpressions(k.body)
    .flatMap(indicesOf)
    .flatMap(clampsIn)
    .filter((a) => a.of.key === of && addOne(a.high.key) === high)
    .map((a) => `${of} to ${a.high.key}`)
const addOne = (key: string): string => (/^\d+$/.test(key) ? String(Number(key) + 1) : key.replace(/\+-1$/, ''))

const loopsOf = (stmts: Kernel['body']): ReadonlyArray<Loop> =>
  stmts.flatMap((s) => [...(s.kind === 'for' ? [s.loop] : []), ...loopsOf(bodyOf(s))])
const readsData = (k: Kernel): boolean => allExpressions(k.body).some((e) => indicesOf(e).some(hasData))
const isLiteral = (k: Kernel): boolean => symbolsOfKernel(k).length === 0

// ---------------------------------------------------------------------------------------- the list

export const equivalences: ReadonlyArray<Equivalence> = [
  {
    why: 'the index is within the bound, and within the moved one, whatever the sizes: both tests are always true',
    holds: ({ mutant }) => mutant.certain,
  },
  {
    why: 'sizes are literal and what was changed does not depend on data: the kernel has one execution, and it is the same, access by access',
    holds: ({ made, mutant, sameAccesses }) =>
      sameAccesses &&
      isLiteral(made.kernel) &&
      (!readsData(made.kernel) || !mutant.change.includes('int(')) &&
      mutant.kind !== 'unit',
  },
  {
    why: 'an axis that is always 0: its loop is of literal size and runs once',
    holds: ({ made, mutant, sameAccesses }) => {
      const [, axis] = /(?:^|dropped: )(\w+) in /.exec(mutant.change) ?? []
      const loop = loopsOf(made.kernel.body).find((l) => l.axis === axis)
      return sameAccesses && loop?.from.key === '0' && (literal(loop.size) ?? Infinity) <= loop.step
    },
  },
  {
    why: 'a barrier between accesses of which no two are of one element by two threads: it orders nothing (each thread reads back what it wrote)',
    holds: ({ mutant, sameAccesses }) => mutant.kind === 'barrier dropped' && sameAccesses,
  },
  {
    why: 'a clamp inside a guard of the same index and range: the guard has excluded what the clamp would change',
    holds: ({ made, mutant }) =>
      mutant.kind === 'clamp changed' && mutant.change === 'high +1' && clampsAreGuarded(made.kernel),
  },
  {
    why: 'both operands are zero beyond the end of the summed axis: one of the two masks is enough (what stands in for the other is an element of the same sum)',
    holds: ({ mutant }) =>
      (mutant.kind.startsWith('guard') || (mutant.kind.startsWith('index') && /\+(k|s)\d+/.test(mutant.change))) &&
      /^(left|right)_tile\w*\[/.test(mutant.stmt),
  },
  {
    why: 'positions that are constants of the program, all within the table: no other branch is ever taken',
    holds: ({ made, mutant }) => {
      const [, name] = /int\((\w+)\[/.exec(mutant.change) ?? []
      const n = made.args[made.kernel.params.findIndex((p) => p.name === name)]
      return mutant.kind.startsWith('guard') && n?.op === 'input' && n.attrs.name.startsWith('constant.')
    },
  },
  {
    why: 'pack fills p rows whatever the number of valid ones says beyond that',
    holds: ({ mutant }) => /^without \d+ in pack\(/.test(mutant.change),
  },
  {
    why: 'softmax and log-sum-exp do not depend on what is subtracted: the greatest element, or 0 where that is below',
    holds: ({ made, mutant }) =>
      mutant.change.endsWith('= unit of max') &&
      allExpressions(made.kernel.body).some((e) => e.kind === 'apply' && e.fn === 'exp'),
  },
  {
    why: 'all lanes of the warp hold the reduced value: which of them stores it is the same',
    holds: ({ made, mutant }) =>
      mutant.stmt.startsWith('if 0 <= lane < 1') && JSON.stringify(made.kernel.body).includes('"warp_'),
  },
]
