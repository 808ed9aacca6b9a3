/**
 * The text form of a program, one node a line; `parse` reads it back to the same nodes.
 *
 *     program lora (a=%a, x=%x) -> (y=%4)
 *       %a = input() name=a : f32[r:2, in:8]
 *       %x = input() name=x : f32[token, in:8]
 *       %3 = dot(%x, %a) over=[in] : f32[token, r:2]
 *       %4 = exp(%3) : f32[token, r:2]
 *
 * An axis is `name:size`, or the name alone where its size is the symbol of that name. Regions come before what
 * calls them: `region @1 (%arg0, %arg1) -> (%3)`. A word that is not plain is quoted as in JSON.
 */
import type { Dim } from './dim.ts'
import type { DType } from './dtype.ts'
import { topological, type Attrs, type Dims, type Node, type Op, type Region, type Type } from './node.ts'
import { primitives } from './primitive.ts'
import type { Port, Program } from './program.ts'

// ---------------------------------------------------------------------------------------- model

/** How an attribute is written; `typeDims` and `typeDType` stand in the node's type already. */
export interface Attribute {
  readonly text: string
  readonly names: ReadonlyArray<string>
  readonly dims: Dims
  readonly dim: Dim
  readonly number: number
  readonly flag: boolean
  readonly renaming: Readonly<Record<string, string>>
  readonly region: Region
  readonly json: unknown
  readonly typeDims: Dims
  readonly typeDType: DType
}
export type Kind = keyof Attribute

/** The attributes of each op, in the order in which the builders write them: the order is part of a node's identity. */
export const attributes: { readonly [K in Op]: ReadonlyArray<readonly [keyof Attrs[K] & string, Kind]> } = {
  input: [
    ['name', 'text'],
    ['dims', 'typeDims'],
    ['dtype', 'typeDType'],
  ],
  const: [
    ['value', 'number'],
    ['dtype', 'typeDType'],
  ],
  iota: [
    ['axis', 'text'],
    ['size', 'dim'],
  ],
  randomBits: [['dims', 'typeDims']],
  map: [['fn', 'text']],
  cast: [['dtype', 'typeDType']],
  reduce: [
    ['fn', 'text'],
    ['over', 'names'],
  ],
  dot: [['over', 'names']],
  reshape: [
    ['from', 'names'],
    ['to', 'dims'],
  ],
  rename: [['axes', 'renaming']],
  broadcast: [['dims', 'dims']],
  slice: [
    ['axis', 'text'],
    ['start', 'dim'],
    ['size', 'dim'],
  ],
  pad: [
    ['axis', 'text'],
    ['before', 'dim'],
    ['after', 'dim'],
  ],
  concat: [['axis', 'text']],
  gather: [['axis', 'text']],
  scatterAdd: [
    ['axis', 'text'],
    ['size', 'dim'],
    ['over', 'names'],
  ],
  solve: [
    ['row', 'text'],
    ['col', 'text'],
  ],
  triSolve: [
    ['row', 'text'],
    ['col', 'text'],
    ['lower', 'flag'],
  ],
  cumsum: [['axis', 'text']],
  argmax: [['axis', 'text']],
  call: [
    ['name', 'text'],
    ['body', 'region'],
    ['rule', 'region'],
  ],
  stopGrad: [],
  fault: [['fault', 'json']],
}

// --------------------------------------------------------------------------------- constructors

/** A plain word, which needs no quotes. */
export const PLAIN = /^[A-Za-z_][\w.]*$/

export const printWord = (w: string): string => (PLAIN.test(w) ? w : JSON.stringify(w))

const printDims = (dims: Dims): string =>
  `[${dims
    .map((d) => (d.size.key === d.name && PLAIN.test(d.name) ? d.name : `${printWord(d.name)}:${d.size.key}`))
    .join(', ')}]`

/** `f32[token, in:8]`: what `parse` reads, where `showType` is for people only. */
export const printType = (t: Type): string => `${t.dtype}${printDims(t.dims)}`

/** the number of each region, shared by every scope of the text */
type Regions = (r: Region) => number

const writers: { readonly [K in Kind]: (v: Attribute[K], regions: Regions) => string | undefined } = {
  text: printWord,
  names: (ns) => `[${ns.map(printWord).join(', ')}]`,
  dims: printDims,
  dim: (d) => d.key,
  number: (x) => (Object.is(x, -0) ? '-0' : String(x)),
  flag: String,
  renaming: (axes) =>
    `[${Object.entries(axes)
      .map(([from, to]) => `${printWord(from)}->${printWord(to)}`)
      .join(', ')}]`,
  region: (r, regions) => `@${String(regions(r))}`,
  json: (v) => JSON.stringify(v),
  typeDims: () => undefined,
  typeDType: () => undefined,
}

// --------------------------------------------------------------------------------- interpreters

/** `%x` for an input of a plain name that no other input of the scope has, else `%3` by position. */
const labels = (nodes: ReadonlyArray<Node>): ReadonlyMap<Node, string> => {
  const taken = new Set<string>()
  return new Map(
    nodes.map((n, i) => {
      const name = n.op === 'input' && PLAIN.test(n.attrs.name) && !taken.has(n.attrs.name) ? n.attrs.name : undefined
      if (name !== undefined) taken.add(name)
      return [n, `%${name ?? String(i + 1)}`]
    }),
  )
}

const printNode = (n: Node, label: (n: Node) => string, regions: Regions): string => {
  const short = n.op === 'map' && !Object.hasOwn(primitives, n.attrs.fn) && PLAIN.test(n.attrs.fn)
  const attrs = n.attrs as Readonly<Record<string, unknown>>
  const written = (short ? [] : (attributes[n.op] as ReadonlyArray<readonly [string, Kind]>)).flatMap(([key, kind]) => {
    const text = writers[kind](attrs[key] as never, regions)
    return text === undefined ? [] : [` ${key}=${text}`]
  })
  const head = `${short ? n.attrs.fn : n.op}(${n.args.map(label).join(', ')})`
  return `  ${label(n)} = ${head}${written.join('')} : ${printType(n.type)}`
}

const printScope = (
  header: (label: (n: Node) => string) => string,
  first: ReadonlyArray<Node>,
  roots: ReadonlyArray<Node>,
  regions: Regions,
): string => {
  const inputs = [...new Set(first)]
  const nodes = [...inputs, ...topological(roots).filter((n) => !inputs.includes(n))]
  const names = labels(nodes)
  const label = (n: Node): string => names.get(n) ?? '%?'
  return [header(label), ...nodes.map((n) => printNode(n, label, regions))].join('\n')
}

/** The program as text. */
export const print = (p: Program): string => {
  const numbers = new Map<Region, number>()
  const blocks: string[] = []
  // a region prints when it is first met, after the regions it calls itself
  const regions: Regions = (r) => {
    const known = numbers.get(r)
    if (known !== undefined) return known
    const list = (ns: ReadonlyArray<Node>, label: (n: Node) => string): string => `(${ns.map(label).join(', ')})`
    const body = (n: number) =>
      printScope(
        (label) => `region @${String(n)} ${list(r.params, label)} -> ${list(r.results, label)}`,
        r.params,
        r.results,
        regions,
      )
    topological(r.results).forEach((n) => {
      if (n.op === 'call') [n.attrs.body, n.attrs.rule].forEach(regions)
    })
    const number = numbers.size + 1
    numbers.set(r, number)
    blocks.push(body(number))
    return number
  }
  const ports = (ps: ReadonlyArray<Port>, label: (n: Node) => string): string =>
    `(${ps.map((o) => `${printWord(o.name)}=${label(o.node)}`).join(', ')})`
  const main = printScope(
    (label) => `program ${printWord(p.name)} ${ports(p.inputs, label)} -> ${ports(p.outputs, label)}`,
    p.inputs.map((i) => i.node),
    p.outputs.map((o) => o.node),
    regions,
  )
  return [...blocks, main].map((b) => `${b}\n`).join('\n')
}
