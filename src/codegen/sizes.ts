/** Literal sizes of nodes: codegen for gpu.js starts after `bindSizes`. */
import { literal } from '../dsl/dim.ts'
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
