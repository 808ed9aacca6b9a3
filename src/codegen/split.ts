/**
 * Graph -> Graphs: what the host computes, and what is left for the device.
 *
 * Note [Host values]. Two kinds of values never depend on the device. *Constants* (cones over `const`
 * and `iota`) are evaluated once, when the program is compiled: axisless ones become numbers, costly ones
 * arrays. *Random* values (cones over random bits, keys and constants) are evaluated by the oracle before
 * every run, because f32 cannot carry 32-bit integers. Both enter the device program as further inputs.
 */
import * as E from 'fp-ts/lib/Either.js'
import { kit } from '../dsl/build.ts'
import { evalDim, symbolsOf, type Sizes } from '../dsl/dim.ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import { evaluate } from '../dsl/interpret.ts'
import { topological, type Dims, type Node } from '../dsl/node.ts'
import { rewrite, trace, withOutputs, type Program } from '../dsl/program.ts'
import { scalarOp } from '../dsl/scalar.ts'
import { layOut, type Value } from '../dsl/value.ts'
import { usersOf } from './fuse/costs.ts'

// ---------------------------------------------------------------------------------------- model

export interface Split {
  /** inputs: the program's own, then `constant.i` and `random.i` */
  readonly device: Program
  readonly constants: Readonly<Record<string, Value>>
  /** run by the oracle before each run; its outputs are the device's `random.i` */
  readonly random: Program
}

type Place = 'constant' | 'random' | 'device'

/** constants of more elements than this are computed where they are used */
const LARGEST_CONSTANT = 1 << 22

// ----------------------------------------------------------------------------------- where a node lives

const placeOf = (n: Node, args: ReadonlyArray<Place>): Place => {
  if (n.op === 'const' || n.op === 'iota') return 'constant'
  if (n.op === 'input') return n.attrs.dtype === 'u32' ? 'random' : 'device'
  if (args.some((a) => a === 'device')) return 'device'
  return n.op === 'randomBits' || args.some((a) => a === 'random') ? 'random' : 'constant'
}

/** symbols among the sizes of a node and all that it needs */
const symbolsBelow = (nodes: ReadonlyArray<Node>): ReadonlyMap<Node, ReadonlySet<string>> => {
  const found = new Map<Node, ReadonlySet<string>>()
  for (const n of nodes) {
    let all: ReadonlySet<string> = NONE
    const add = (more: ReadonlyArray<string> | ReadonlySet<string>): void => {
      for (const s of more) if (!all.has(s)) all = new Set([...all, s])
    }
    for (const a of n.args) {
      const below = found.get(a)!
      if (all === NONE) all = below
      else if (all !== below) add(below)
    }
    for (const d of n.type.dims) if (d.size.number === undefined) add(symbolsOf(d.size))
    found.set(n, all)
  }
  return found
}
const NONE: ReadonlySet<string> = new Set()

const placesOf = (nodes: ReadonlyArray<Node>, isKnown: (n: Node) => boolean): ReadonlyMap<Node, Place> => {
  const places = new Map<Node, Place>()
  for (const n of nodes) {
    const place = placeOf(
      n,
      n.args.map((a) => places.get(a)!),
    )
    places.set(n, place === 'constant' && !isKnown(n) ? 'device' : place)
  }
  return places
}

/** elements under these sizes; NaN where a symbol has none */
const countAt = (n: Node, sizes: Sizes): number =>
  n.type.dims.reduce((s, d) => s * E.getOrElse(() => NaN)(evalDim(d.size, sizes)), 1)

/** arithmetic per element from its leaves on: what inlining it into a consumer would cost there */
const costsOf = (nodes: ReadonlyArray<Node>): ReadonlyMap<Node, number> => {
  const costs = new Map<Node, number>()
  for (const n of nodes) {
    const own =
      n.op === 'map' ? (scalarOp(n.attrs.fn)?.flops ?? 1) : ['reduce', 'dot', 'gather', 'cast'].includes(n.op) ? 8 : 0
    costs.set(n, own + n.args.reduce((s, a) => s + costs.get(a)!, 0))
  }
  return costs
}

const f32Only = (target: string): Readonly<Record<string, string>> => ({
  f16: `f32, for ${target} stores f32 and does not round to f16`,
  bf16: `f32, for ${target} stores f32 and does not round to bf16`,
  u32: `whole numbers below 2^24, for ${target} stores f32`,
})

/** what the target cannot hold or round, named */
const unsupported = (n: Node, place: Place, target: string): Fault | undefined => {
  if (place !== 'device') return undefined
  const actual = `${n.op}${n.op === 'map' ? ` ${n.attrs.fn}` : ''} of ${n.type.dtype}`
  const isRounding = n.op === 'cast' && (n.attrs.dtype === 'f16' || n.attrs.dtype === 'bf16')
  if ((isRounding && target !== 'cuda') || n.type.dtype === 'u32')
    return {
      at: `${target}: ${n.op}`,
      expected: f32Only(target)[n.type.dtype] ?? 'f32',
      actual,
      hint: 'target oracle runs it',
    }
  if (target === 'gpujs' && n.op === 'const' && !Number.isFinite(n.attrs.value))
    return { at: `${target}: const`, expected: 'a finite number', actual: String(n.attrs.value) }
  return undefined
}

// ------------------------------------------------------------------------------------- the pass

/** Constants and random values taken out of the program; constants whose symbols `sizes` lacks stay on the device. */
export const splitHost = (p: Program, target: string, sizes: Sizes = {}): Checked<Split> => {
  const roots = p.outputs.map((o) => o.node)
  const nodes = topological(roots)
  const symbols = symbolsBelow(nodes)
  const places = placesOf(nodes, (n) => [...symbols.get(n)!].every((s) => Object.hasOwn(sizes, s)))
  const costs = costsOf(nodes)
  const faults = nodes.flatMap((n) => unsupported(n, places.get(n)!, target) ?? [])
  const [first, ...others] = faults
  if (first !== undefined) return E.left([first, ...others])

  const usedOnDevice = new Set<Node>(roots)
  for (const n of nodes) if (places.get(n) === 'device') n.args.forEach((a) => usedOnDevice.add(a))
  const frontier = (place: Place): ReadonlyArray<Node> => [...usedOnDevice].filter((n) => places.get(n) === place)

  const random = frontier('random').filter((n) => n.op !== 'input' || usedOnDevice.has(n))
  const costly = (n: Node): boolean => costs.get(n)! >= 4 && countAt(n, sizes) <= LARGEST_CONSTANT
  const isLeaf = (n: Node): boolean => n.op === 'const' || n.op === 'iota'
  const constant = frontier('constant').filter(
    (n) => !isLeaf(n) && (n.type.dims.length === 0 || costly(n) || roots.includes(n)),
  )

  const users = usersOf(nodes)
  /** the axes of a constant in the order of the largest tensor that it is combined with, so that both lie alike */
  const dimsFor = (n: Node): Dims => {
    const widest = users
      .get(n)!
      .filter((u) => u.op === 'map')
      .reduce<Node | undefined>((w, u) => (u.type.dims.length > (w?.type.dims.length ?? 0) ? u : w), undefined)
    const order = widest?.type.dims.map((d) => d.name) ?? []
    return target === 'gpujs' || n.type.dims.some((d) => !order.includes(d.name))
      ? n.type.dims
      : [...n.type.dims].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  }

  // what depends on a symbol's size is data, so that one source serves all sizes
  const isNumber = (n: Node, v: Value): boolean =>
    n.type.dims.length === 0 && Number.isFinite(v.data[0]) && symbols.get(n)!.size === 0
  const named = (prefix: string, ns: ReadonlyArray<Node>) =>
    Object.fromEntries(ns.map((node, i) => [`${prefix}.${String(i)}`, { node }] as const))
  const randomProgram = trace(`${p.name}.random`, named('random', random))
  const constantProgram = trace(`${p.name}.constants`, named('constant', constant))
  return E.map(({ outputs }: { outputs: Readonly<Record<string, Value>> }): Split => {
    const replaced = new Map<Node, Node>()
    random.forEach((n, i) =>
      replaced.set(n, kit.input(`random.${String(i)}`, n.type.dims, n.type.dtype === 'u32' ? 'f32' : n.type.dtype)),
    )
    constant.forEach((n, i) => {
      const v = outputs[`constant.${String(i)}`]!
      replaced.set(
        n,
        isNumber(n, v)
          ? kit.scalar(v.data[0]!, n.type.dtype)
          : kit.input(`constant.${String(i)}`, dimsFor(n), n.type.dtype),
      )
    })
    const device = rewrite(roots, (n, args) => replaced.get(n) ?? kit.rebuild(n, args))
    const used = topological(device)
    const inputs = used.flatMap((n) => (n.op === 'input' ? [{ name: n.attrs.name, node: n }] : []))
    const constants = Object.fromEntries(
      Object.entries(outputs).flatMap(([name, v]) => {
        const node = inputs.find((i) => i.name === name)?.node
        const dims = node?.type.dims.map((d) => v.dims.find((e) => e.name === d.name)!)
        return dims === undefined ? [] : [[name, layOut(v, dims)] as const]
      }),
    )
    return { device: { ...withOutputs(p, device), inputs }, constants, random: randomProgram }
  })(evaluate(constantProgram, {}, sizes) as Checked<{ outputs: Readonly<Record<string, Value>> }>)
}
