/** A planned program as a manifest describes it: tensors by name, launches in order. Of every target. */
import { dim, productDim, scaleDim, symbolsOf, type Dim } from '../../dsl/dim.ts'
import type { Node } from '../../dsl/node.ts'
import type { Program } from '../../dsl/program.ts'
import type { Takes } from '../in-place.ts'
import { showDimWith } from '../print/c-family.ts'
import type { SequenceEntry, SymbolEntry, TensorEntry } from './manifest.ts'

// ---------------------------------------------------------------------------------------- model

/** what every target's plan comes down to */
export interface Planned {
  readonly program: Program
  readonly launches: ReadonlyArray<{
    /** its name in the exported source */
    readonly kernel: string
    readonly args: ReadonlyArray<Node>
    readonly results: ReadonlyArray<Node>
    /** the whole numbers behind its pointers */
    readonly sizes: ReadonlyArray<string>
    /** results that may take the place of an operand */
    readonly takes?: Takes
  }>
  /** values of the program's inputs that are known beforehand */
  readonly constants: Readonly<Record<string, ReadonlyArray<number>>>
  /** the value whose memory a value shares; itself on targets where none does */
  readonly originOf: (n: Node) => Node
}

// ------------------------------------------------------------------------------------- expressions

/** how kernels call the size `token` */
export const symbolName = (symbol: string): string => `n_${symbol.replace(/[^A-Za-z0-9]/g, '_')}`

/** Without parentheses around single words; those of calls stay. */
export const tidied = (expression: string): string => {
  const less = expression.replace(/(?<!\w)\((\w+)\)/g, '$1')
  return less === expression ? expression : tidied(less)
}

/** A size as an expression over the kernels' symbols. */
export const showSize = (d: Dim): string => tidied(showDimWith(symbolName)(d))

/** bytes of an element: every buffer is f32 or i32 */
const BYTES = 4

// --------------------------------------------------------------------------------- constructors

const tensorOf = (name: string, n: Node): TensorEntry => ({
  name,
  dtype: n.type.dtype === 'i32' ? 'i32' : 'f32',
  axes: n.type.dims.map((d) => d.name),
  shape: n.type.dims.map((d) => showSize(d.size)),
})

/** Every tensor of the sequence has one name: the program's own, or `t0`, `t1`... */
const namesIn = ({ program, launches, originOf }: Planned): ReadonlyMap<Node, string> => {
  const names = new Map<Node, string>()
  const give = (n: Node, name: string): void => {
    if (!names.has(n)) names.set(n, name)
  }
  program.inputs.forEach((i) => give(i.node, i.name))
  program.outputs.forEach((o) => give(originOf(o.node), o.name))
  const own = new Set([...program.inputs, ...program.outputs].map((p) => p.name))
  let next = 0
  const fresh = (): string => {
    while (own.has(`t${String(next)}`)) next++
    return `t${String(next++)}`
  }
  for (const r of launches.flatMap((l) => l.results)) if (!names.has(r)) names.set(r, fresh())
  return names
}

export const sequenceOf = (planned: Planned): SequenceEntry => {
  const { program, launches, constants, originOf } = planned
  const names = namesIn(planned)
  const nameOf = (n: Node): string => names.get(n) ?? '?'
  const kept = new Set([...program.inputs, ...program.outputs].map((p) => originOf(p.node)))
  const life = new Map<Node, { readonly first: number; last: number }>()
  launches.forEach((l, i) => {
    l.results.forEach((r) => life.set(r, { first: i, last: i }))
    l.args.forEach((a) => {
      const known = life.get(a)
      if (known !== undefined) known.last = i
    })
  })
  const inPlaceOf = (operand: Node | undefined) => (operand === undefined ? {} : { inPlaceOf: nameOf(operand) })
  const isConstant = (name: string): boolean => constants[name] !== undefined
  return {
    inputs: program.inputs.filter((i) => !isConstant(i.name)).map((i) => tensorOf(i.name, i.node)),
    constants: [
      ...program.inputs
        .filter((i) => isConstant(i.name))
        .map((i) => ({ ...tensorOf(i.name, i.node), values: constants[i.name] ?? [] })),
      // an output that is a number is launched by nobody
      ...program.outputs.flatMap(({ name, node }) => {
        const origin = originOf(node)
        return origin.op === 'const' && nameOf(origin) === name
          ? [{ ...tensorOf(name, node), values: [origin.attrs.value] }]
          : []
      }),
    ],
    outputs: program.outputs.map((o) => ({
      ...tensorOf(o.name, o.node),
      ...(nameOf(originOf(o.node)) === o.name ? {} : { from: nameOf(originOf(o.node)) }),
    })),
    temporaries: [...life]
      .filter(([n]) => !kept.has(n))
      .map(([n, { first, last }]) => ({
        ...tensorOf(nameOf(n), n),
        bytes: showSize(scaleDim(BYTES, productDim(n.type.dims.map((d) => d.size)))),
        first,
        last,
        ...inPlaceOf(launches[first]!.takes?.get(n)),
      })),
    launches: launches.map((l) => ({
      kernel: l.kernel,
      arguments: [...l.args, ...l.results].map(nameOf),
      sizes: l.sizes,
    })),
  }
}

/** Symbols of a program's sizes, with what must divide them. */
export const symbolsIn = (programs: ReadonlyArray<Program>): ReadonlyArray<SymbolEntry> => {
  const sizes = new Map<string, Dim>()
  for (const p of programs)
    for (const { node } of [...p.inputs, ...p.outputs]) for (const d of node.type.dims) sizes.set(d.size.key, d.size)
  const symbols = new Set([...sizes.values()].flatMap(symbolsOf))
  // (in/8) prints as a quotient: what is below the line must divide what is above it
  const quotients = [...sizes.keys()].flatMap((key) => [...key.matchAll(/\(([A-Za-z_][\w.]*)\/([\w.*]+)\)/g)])
  return [...symbols].sort().map((s) => ({
    name: symbolName(s),
    meaning: `the size ${s}`,
    least: 1,
    divisors: [
      ...new Set(
        quotients.flatMap(([, above, below]) => (above === s && below !== undefined ? [showSize(dim(below))] : [])),
      ),
    ],
  }))
}
