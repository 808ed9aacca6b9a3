/** Sizes of nodes: literal ones, since codegen for gpu.js starts after `bindSizes`, and those that may stay symbols. */
import { dim, literal, type Dim } from '../dsl/dim.ts'
import type { Axis, Node } from '../dsl/node.ts'

/** The number; NaN where a symbol is left, which `bind` has excluded. */
export const sizeOf = (d: Axis): number => literal(d.size) ?? NaN
export const sizesOf = (n: Node): ReadonlyArray<number> => n.type.dims.map(sizeOf)
export const namesOf = (n: Node): ReadonlyArray<string> => n.type.dims.map((d) => d.name)
export const count = (n: Node): number => sizesOf(n).reduce((a, b) => a * b, 1)
export const sizeAlong = (n: Node, axis: string): number => {
  const d = n.type.dims.find((e) => e.name === axis)
  return d === undefined ? 1 : sizeOf(d)
}
/** The size of an axis, literal or not; 1 where the node does not have it. */
export const dimAlong = (n: Node, axis: string): Dim => n.type.dims.find((d) => d.name === axis)?.size ?? dim(1)
/** Certainly without elements. */
export const isEmpty = (n: Node): boolean => n.type.dims.some((d) => literal(d.size) === 0)
