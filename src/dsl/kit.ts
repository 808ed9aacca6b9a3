/**
 * The node-level builders, as an interface: rules inside the rows (VJPs, simplification) are written
 * with them, and `build.ts` implements them from the rows. This keeps rows free of import cycles.
 */
import type { DType } from './dtype.ts'
import type { DimLike } from './dim.ts'
import type { Dims, Node, ReduceFn, Region } from './node.ts'
import type { Fault } from './fault.ts'

export interface Kit {
  readonly input: (name: string, dims: Dims, dtype: DType) => Node
  readonly scalar: (value: number, dtype?: DType) => Node
  readonly iota: (axis: string, size: DimLike) => Node
  readonly randomBits: (key: Node, dims: Dims) => Node
  readonly map: (fn: string, ...args: ReadonlyArray<Node>) => Node
  readonly cast: (x: Node, dtype: DType) => Node
  readonly reduce: (fn: ReduceFn, x: Node, over: ReadonlyArray<string>) => Node
  readonly dot: (a: Node, b: Node, over: ReadonlyArray<string>) => Node
  readonly reshape: (x: Node, from: ReadonlyArray<string>, to: Dims) => Node
  readonly rename: (x: Node, axes: Readonly<Record<string, string>>) => Node
  /** adds the dims that x lacks */
  readonly broadcast: (x: Node, dims: Dims) => Node
  readonly slice: (x: Node, axis: string, start: DimLike, size: DimLike) => Node
  readonly pad: (x: Node, axis: string, before: DimLike, after: DimLike) => Node
  readonly concat: (xs: ReadonlyArray<Node>, axis: string) => Node
  readonly gather: (table: Node, ids: Node, axis: string) => Node
  readonly scatterAdd: (updates: Node, ids: Node, axis: string, size: DimLike, over: ReadonlyArray<string>) => Node
  readonly solve: (a: Node, b: Node, row: string, col: string) => Node
  readonly triSolve: (a: Node, b: Node, row: string, col: string, lower: boolean) => Node
  readonly cumsum: (x: Node, axis: string) => Node
  readonly argmax: (x: Node, axis: string) => Node
  readonly stopGrad: (x: Node) => Node
  readonly call: (name: string, body: Region, rule: Region, args: ReadonlyArray<Node>) => Node
  readonly fault: (fault: Fault, args?: ReadonlyArray<Node>) => Node
  /** the region's results with args in place of its params */
  readonly inline: (region: Region, args: ReadonlyArray<Node>) => ReadonlyArray<Node>
  /** x summed over the axes that `dims` lacks and broadcast along those x lacks: the adjoint of broadcasting by name */
  readonly fit: (x: Node, dims: Dims) => Node
  /** the same op and attrs on other arguments, for passes that rewrite a graph */
  readonly rebuild: (node: Node, args: ReadonlyArray<Node>) => Node
}
