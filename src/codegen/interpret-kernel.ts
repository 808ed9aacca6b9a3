/** The meaning of a kernel, in f64: what every printer has to reproduce. A read outside a buffer answers NaN. */
import { roundToDType } from '../dsl/dtype.ts'
import { scalarOp } from '../dsl/scalar.ts'
import type { Buffer, Expr, Index, Kernel, Stmt } from './kernel.ts'

type Env = Map<string, number>
type Arrays = ReadonlyMap<string, ArrayLike<number>>

const units = { sum: 0, max: -Infinity, min: Infinity } as const
const steps = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min } as const

const flatAt = (b: Buffer, at: ReadonlyArray<number>): number =>
  at.every((i, d) => Number.isInteger(i) && i >= 0 && i < b.shape[d]!)
    ? at.reduce((flat, i, d) => flat * b.shape[d]! + i, 0)
    : -1

/** output := kernel(arrays); arrays in order of the kernel's parameters */
export const interpretKernel = (k: Kernel, inputs: ReadonlyArray<ArrayLike<number>>): Float64Array => {
  const arrays: Arrays = new Map(k.params.map((p, i) => [p.name, inputs[i]!]))
  const buffers = new Map(k.params.map((p) => [p.name, p]))
  const out = new Float64Array(k.output.shape.reduce((a, b) => a * b, 1)).fill(NaN)
  const env: Env = new Map()

  const index = (i: Index): number =>
    i.terms.reduce((sum, { factor, atom }) => {
      switch (atom.kind) {
        case 'axis':
          return sum + factor * env.get(atom.name)!
        case 'div':
          return sum + factor * Math.floor(index(atom.of) / atom.by)
        case 'mod': {
          const v = index(atom.of)
          return sum + factor * (v - atom.by * Math.floor(v / atom.by))
        }
        case 'clamp':
          return sum + factor * Math.min(atom.high, Math.max(atom.low, index(atom.of)))
        case 'data':
          return sum + factor * value(atom.of)
        default:
          return atom satisfies never
      }
    }, i.offset)

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
        return value(i >= e.low && i < e.high ? e.then : e.otherwise)
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
        for (let i = 0; i < s.loop.size; i++) {
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
        out[flatAt(k.output, s.at.map(index))] = value(s.value)
        return
      default:
        return s satisfies never
    }
  }
  k.body.forEach(run)
  return out
}
