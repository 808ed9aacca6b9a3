/** Concrete tensors: what the f64 interpreter computes with. Row-major, one number an element. */

export interface ConcreteAxis {
  readonly name: string
  readonly size: number
}
export type ConcreteDims = ReadonlyArray<ConcreteAxis>

export interface Value {
  readonly dims: ConcreteDims
  readonly data: Float64Array
}

// --------------------------------------------------------------------------------- constructors

export const elements = (dims: ConcreteDims): number => dims.reduce((n, d) => n * d.size, 1)

/** `value({token: 2, in: 3}, data)`: the record's order is the data's row-major order. */
export const value = (shape: Readonly<Record<string, number>>, data: ArrayLike<number>): Value => ({
  dims: Object.entries(shape).map(([name, size]) => ({ name, size })),
  data: Float64Array.from(data),
})

export const scalarValue = (x: number): Value => ({ dims: [], data: Float64Array.of(x) })

/** Each element from its row-major position. */
export const tabulate = (dims: ConcreteDims, f: (i: number) => number): Value => {
  const data = new Float64Array(elements(dims))
  for (let i = 0; i < data.length; i++) data[i] = f(i)
  return { dims, data }
}

// ---------------------------------------------------------------------------------- combinators

/** Element strides by axis name. */
export const stridesOf = (dims: ConcreteDims): ReadonlyMap<string, number> => {
  const strides = new Map<string, number>()
  let s = 1
  for (const d of [...dims].reverse()) {
    strides.set(d.name, s)
    s *= d.size
  }
  return strides
}

/**
 * Flat offsets into a tensor of dims `of`, for every row-major position of the loop `over`. An axis of
 * the loop that the tensor does not have adds nothing: broadcasting is by name.
 */
export const offsets = (of: ConcreteDims, over: ConcreteDims): Int32Array => {
  const strides = stridesOf(of)
  let table = Int32Array.of(0)
  for (const { name, size } of over) {
    const stride = strides.get(name) ?? 0
    const next = new Int32Array(table.length * size)
    for (let i = 0, at = 0; i < table.length; i++) for (let j = 0; j < size; j++) next[at++] = table[i]! + j * stride
    table = next
  }
  return table
}

export const sameDims = (a: ConcreteDims, b: ConcreteDims): boolean =>
  a.length === b.length && a.every((d, i) => d.name === b[i]?.name && d.size === b[i]?.size)

/** The same tensor with its axes laid out in the order of `dims` (broadcast along those it lacks). */
export const layOut = (v: Value, dims: ConcreteDims): Value => {
  if (sameDims(v.dims, dims)) return v
  const from = offsets(v.dims, dims)
  return tabulate(dims, (i) => v.data[from[i]!]!)
}
