/** The meaning of a kernel, in f64: what every printer has to reproduce. A read outside a buffer answers NaN. */
import { literal, type Dim } from '../dsl/dim.ts'
import { roundToDType } from '../dsl/dtype.ts'
import { scalarOp } from '../dsl/scalar.ts'
import type { Buffer, Expr, Index, Kernel, Stmt } from './kernel.ts'

type Env = Map<string, number>
type Arrays = ReadonlyMap<string, ArrayLike<number>>

const units = { sum: 0, max: -Infinity, min: Infinity } as const
const steps = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min } as const

const size = (d: Dim): number => literal(d) ?? NaN

const flatAt = (b: Buffer, at: ReadonlyArray<number>): number =>
  at.every((i, d) => Number.isInteger(i) && i >= 0 && i < size(b.shape[d]!))
    ? at.reduce((flat, i, d) => flat * size(b.shape[d]!) + i, 0)
    : -1

/** output := kernel(arrays); arrays in order of the kernel's parameters */
export const interpretKernel = (k: Kernel, inputs: ReadonlyArray<ArrayLike<number>>): Float64Array => {
  const arrays: Arrays = new Map(k.params.map((p, i) => [p.name, inputs[i]!]))
  const buffers = new Map(k.params.map((p) => [p.name, p]))
  const out = new Float64Array(k.outputs[0]!.shape.reduce((a, b) => a * size(b), 1)).fill(NaN)
  const env: Env = new Map()

  const index = (i: Index): number =>
    i.terms.reduce((sum, { factor: f, atom }) => {
      const factor = size(f)
      switch (atom.kind) {
        case 'axis':
          return sum + factor * env.get(atom.name)!
        case 'div':
          return sum + factor * Math.floor(index(atom.of) / size(atom.by))
        case 'mod': {
          const v = index(atom.of)
          return sum + factor * (v - size(atom.by) * Math.floor(v / size(atom.by)))
        }
        case 'clamp':
          return sum + factor * Math.min(size(atom.high), Math.max(size(atom.low), index(atom.of)))
        case 'min':
          return sum + factor * Math.min(...atom.of.map(index))
        case 'data':
          return sum + factor * value(atom.of)
        default:
          return atom satisfies never
      }
    }, size(i.offset))

  const value = (e: Expr): number => {
    switch (e.kind) {
      case 'number':
        return e.value
      case 'index':
        return index(e.of)
      case 'read':
        return arrays.get(e.buffer)?.[flatAt(buffers.get(e.buffer)!, e.at.map(index))] ?? NaN
      case 'apply': {
        const [a, b, c] = e.args.map(value)
        return (scalarOp(e.fn)?.eval ?? (() => NaN))(a ?? 0, b ?? 0, c ?? 0)
      }
      case 'cast':
        return roundToDType[e.dtype](value(e.of))
      case 'guard': {
        const i = index(e.of)
        return value(i >= size(e.low) && i < size(e.high) ? e.then : e.otherwise)
      }
      case 'register':
        return env.get(e.name) ?? NaN
      default:
        return e satisfies never
    }
  }

  const run = (s: Stmt): void => {
    switch (s.kind) {
      case 'for':
        for (let i = 0; i < size(s.loop.size); i++) {
          env.set(s.loop.axis, i)
          s.body.forEach(run)
        }
        return
      case 'let':
        env.set(s.name, value(s.value))
        return
      case 'unit':
        env.set(s.register, units[s.fn])
        return
      case 'fold':
        env.set(s.register, steps[s.fn](env.get(s.register)!, value(s.value)))
        return
      case 'store':
        out[flatAt(k.outputs[0]!, s.at.map(index))] = value(s.value)
        return
      default:
        return
    }
  }
  k.body.forEach(run)
  return out
}
