/**
 * A mask at work in tiles: which part of the axis that it cuts short each stage looks at. Where parts depend on claims,
 * these are checked first, by the loop over the rows that makes what they are of, or before any tile:
 *
 *     fails = max over rows of (e^x outside is not 0);   key_to = min(end + fails T, T)
 */
import { addDim, dim, mulDim } from '../../../dsl/dim.ts'
import type { Axis, Node, ReduceFn } from '../../../dsl/node.ts'
import { addIndex, axisIndex, clampIndex, dataIndex, scaleIndex, subIndex, whole } from '../../kernel/affine.ts'
import { apply, guard, number, type At, type Position } from '../../kernel/expression.ts'
import type { Expr, Index, Stmt } from '../../kernel/kernel.ts'
import { namesOf } from '../../sizes.ts'
import type { Claim } from './masks.ts'
import { expressionsIn, onlyOwn, type Home } from './scene.ts'
import { loopsOf, plainLoops, spaceOf, type Make } from './space.ts'
import type { Tiling } from './tile.ts'

export interface Check {
  /** before tiles, where these axes are known */
  readonly before: { readonly needs: ReadonlyArray<Axis>; readonly stmts: ReadonlyArray<Stmt> }
  /** index of the stage behind which rows are checked, -1 before all; undefined: none are */
  readonly since: number | undefined
  /** before the loop over the rows that checks them, and in it */
  readonly start: ReadonlyArray<Stmt>
  readonly ofRow: () => ReadonlyArray<Stmt>
  /** behind it, or first of all: from there on the parts depend on what was found */
  readonly settle: () => ReadonlyArray<Stmt>
}

const NONE: Check = { before: { needs: [], stmts: [] }, since: undefined, start: [], ofRow: () => [], settle: () => [] }
const UNITS: Readonly<Record<ReduceFn, number>> = { max: -Infinity, min: Infinity, sum: 0 }

/** values as they are outside */
const outsideIn = ({ scene, mask }: Tiling): At<Expr> => {
  const outside: At<Expr> = (n, at) => expressionsIn(scene, new Map(homes))(n, at)
  const homes = (mask?.selects ?? []).map((s): readonly [Node, Home] => [
    s,
    (at) => outside(s.args[2]!, onlyOwn(s.args[2]!, at)),
  ])
  return outside
}

/** From now on only what is inside is looked at; the answer says what has to be checked for that. */
export const applyMask = (t: Tiling): Check => {
  const { mask, scene, outerAt, fresh, width, group } = t
  const { ranges } = t.made
  if (mask === undefined) return NONE
  const { axis } = mask
  const inside = mask.inside(t.first, t.end)
  ranges.set(axis.name, inside)
  const anywhere: Position = new Map([...outerAt, [axis.name, whole(0)]])

  // what is left out is one value
  const reduces = group.stages.flatMap((s) => (s.kind === 'reduce' ? s.reduces : []))
  for (const r of reduces.filter((r) => r.attrs.fn !== 'sum' && r.attrs.over.includes(axis.name)))
    scene.joins.set(r, (folded) => {
      const { from, to } = ranges.get(axis.name)!
      const left = addIndex(subIndex(whole(axis.size), to), from)
      const other = (): Expr => outsideIn(t)(r.args[0]!, onlyOwn(r.args[0]!, anywhere))
      const most = addDim(mulDim(2, axis.size), 1)
      return apply(
        r.attrs.fn,
        folded,
        guard(left, dim(1), most, other, () => number(UNITS[r.attrs.fn])),
      )
    })
  if (mask.claims.length === 0) return NONE

  const register = fresh('fails')
  const naming = { fresh, bufferOf: scene.naming.bufferOf }
  const check =
    (name: string, { node }: Claim): Make =>
    (at) => {
      const own = new Map(namesOf(node).map((a) => [a, at.get(a) ?? whole(0)]))
      const value = apply('ne', outsideIn(t)(node, own), number(0))
      return [{ kind: 'fold', register: name, fn: 'max', value }]
    }
  const unit = (name: string): Stmt => ({ kind: 'unit', register: name, fn: 'max' })
  const [ofRows, ofBlocks] = [true, false].map((is) => mask.claims.filter((c) => c.isOfRow === is))
  const early = ofBlocks!.map((c) => ({ c, name: fresh('fails') }))
  const inVectors = (make: Make, along: ReadonlyArray<Axis>): ReadonlyArray<Stmt> =>
    loopsOf(spaceOf(along, outerAt, make, naming), make, width, naming, () => 'loop', true)
  const settle = (): ReadonlyArray<Stmt> => {
    const names = [...(ofRows!.length === 0 ? [] : [register]), ...early.map((e) => e.name)]
    const failed = names.map((name) => dataIndex({ kind: 'register', name })).reduce(addIndex)
    const more = scaleIndex(axis.size, failed)
    const size = addDim(axis.size, 1)
    const moved = (end: 'from' | 'to', value: Index): readonly [Index, ReadonlyArray<Stmt>] => {
      if (value.terms.length === 0) return [value, []]
      const name = fresh(`${axis.name}_${end}`)
      const by = end === 'from' ? subIndex(value, more) : addIndex(value, more)
      return [axisIndex(name, size), [{ kind: 'index', name, size, value: clampIndex(by, 0, axis.size) }]]
    }
    const [[from, starts], [to, ends]] = [moved('from', inside.from), moved('to', inside.to)]
    ranges.set(axis.name, { from, to })
    return [...starts, ...ends]
  }
  return {
    before: {
      needs: group.outer.filter((o) => ofBlocks!.some((c) => c.needs.includes(o))),
      stmts: early.flatMap(({ c, name }) => [unit(name), ...inVectors(check(name, c), c.along)]),
    },
    since: ofRows!.length === 0 ? undefined : mask.since,
    start: [unit(register)],
    ofRow: () =>
      ofRows!.flatMap((c) => {
        const make = check(register, c)
        return plainLoops(spaceOf(c.along, outerAt, make, naming), make)
      }),
    settle,
  }
}
