/**
 * Kernels -> one CUDA C source. A kernel's blocks are numbered by `blockIdx.x`, nest after nest; its threads are the
 * `thread` loop. Pointers first, then sizes as ints; no headers for f32.
 */
import { literal } from '../../dsl/dim.ts'
import { scalarOp, type Spelling } from '../../dsl/scalar.ts'
import { fragmentType } from '../kernel/intrinsics/wmma.ts'
import { intrinsics } from '../kernel/intrinsics.ts'
import type { Buffer, Kernel, Loop, Stmt } from '../kernel/kernel.ts'
import {
  allStmts,
  block,
  elementsOf,
  indent,
  keepsNaN,
  loopHead,
  printerFor,
  symbolNames,
  type Dialect,
  type Lines,
  type Printer,
} from './c-family.ts'
import { launchOf, nestOf, stepsOf, type Nest } from './cuda/launch.ts'
import { deviceFunctions, functionsIn } from './cuda/prelude.ts'

export { blocksAt, launchOf, showGrid, type CudaLaunch, type Grid } from './cuda/launch.ts'

// -------------------------------------------------------------------------------------- dialect

/** spelt otherwise than in the rows */
const own: Readonly<Record<string, Spelling>> = {
  ...keepsNaN,
  select: (a, b, c) => `(${condition(a)} ? ${b} : ${c})`,
}

const NAN = '__int_as_float(0x7fc00000)'

/** a comparison as a condition, and not as the number that it is */
const condition = (text: string): string => {
  const inner = /^\((?<test>[^?]*) \? 1\.0f : 0\.0f\)$/.exec(text)?.groups?.['test']
  return inner === undefined ? `${text} != 0.0f` : inner
}

const spell = (fn: string): Spelling => {
  const row = scalarOp(fn)?.spell
  return own[fn] ?? (typeof row === 'function' ? row : (row?.cuda ?? (() => NAN)))
}

const showNumber = (x: number): string => {
  if (Number.isNaN(x)) return NAN
  const f = Math.fround(x)
  if (!Number.isFinite(f)) return f > 0 ? '__int_as_float(0x7f800000)' : '__int_as_float(0xff800000)'
  const text = Object.is(f, -0) ? '-0' : String(f)
  const literalText = /[.e]/.test(text) ? `${text}f` : `${text}.0f`
  return text.startsWith('-') ? `(${literalText})` : literalText
}

/** a register of one element is a plain variable */
const isVariable = (b: Buffer): boolean => b.space === 'register' && elementsOf(b) === 1

const elementAt = (b: Buffer, address: string): string => (isVariable(b) ? b.name : `${b.name}[${address}]`)

const load = (b: Buffer, address: string): string => {
  const element = elementAt(b, address)
  switch (b.dtype) {
    case 'f32':
      return element
    case 'f16':
      return `half_to_float(${element})`
    case 'bf16':
      return `bfloat_to_float(${element})`
    case 'i32':
      return `(float)${element}`
    default:
      return b.dtype satisfies never
  }
}

const stored = (b: Buffer, value: string): string => {
  switch (b.dtype) {
    case 'f32':
      return value
    case 'f16':
      return `float_to_half(${value})`
    case 'bf16':
      return `float_to_bfloat(${value})`
    case 'i32':
      return `(int)(${value})`
    default:
      return b.dtype satisfies never
  }
}

const isWhole = ({ from, to, size, step }: Loop): boolean => from.key === '0' && to.key === size.key && step === 1

/** loops by role */
const loopLines = (s: Extract<Stmt, { readonly kind: 'for' }>, p: Printer): Lines | undefined => {
  const { loop } = s
  switch (loop.role) {
    case 'thread':
      return [`const int ${loop.axis} = threadIdx.x;`, ...p.stmts(s.body)]
    case 'unroll':
    case 'vector':
      return ['#pragma unroll', ...block(loopHead(loop, p), p.stmts(s.body))]
    case 'loop':
    case 'reduce': {
      const written = loop.unroll > 1 || (isWhole(loop) && (literal(loop.size) ?? 99) <= 16) ? ['#pragma unroll'] : []
      return [...written, ...block(loopHead(loop, p), p.stmts(s.body))]
    }
    default:
      return undefined
  }
}

const dialect: Dialect = {
  long: 'long long',
  spell,
  number: showNumber,
  unit: { sum: '0.0f', max: showNumber(-Infinity), min: showNumber(Infinity) },
  combine: {
    sum: (a, b) => `${a} + ${b}`,
    max: (a, b) => `larger(${a}, ${b})`,
    min: (a, b) => `smaller(${a}, ${b})`,
  },
  load,
  store: (b, address, value) => `${elementAt(b, address)} = ${stored(b, value)};`,
  cast: (dtype, value) =>
    dtype === 'f16'
      ? `half_to_float(float_to_half(${value}))`
      : dtype === 'bf16'
        ? `bfloat_to_float(float_to_bfloat(${value}))`
        : undefined,
  stmt: (body, at, p) => {
    const s = body[at]!
    return s.kind === 'for' ? loopLines(s, p) : s.kind === 'note' ? [`// ${s.text.replaceAll('\n', ' ')}`] : undefined
  },
  barrier: (scope) => [scope === 'block' ? '__syncthreads();' : '__syncwarp();'],
  call: (s, places, ints, p) => {
    if (s.intrinsic.startsWith('warp_')) {
      const [x] = s.places
      const element = elementAt(p.buffer(x!.buffer), p.address(x!.buffer, x!.at))
      return [`${element} = ${s.intrinsic}(${element});`]
    }
    if (s.intrinsic.startsWith('wmma_')) {
      const operands = s.places.map((x, i) => (p.buffer(x.buffer).space === 'register' ? x.buffer : places[i]!))
      return [`${s.intrinsic}(${[...operands, ...ints].join(', ')});`]
    }
    const addresses = s.places.map((x, i) => (isVariable(p.buffer(x.buffer)) ? `&${x.buffer}` : places[i]!))
    return [`${s.intrinsic}(${[...addresses, ...ints].join(', ')});`]
  },
}

// -------------------------------------------------------------------------------------- kernels

const TYPE = { f32: 'float', f16: 'unsigned short', bf16: 'unsigned short', i32: 'int' } as const

/** what the tensor cores' fragments hold, by the place at which a call takes them */
const fragmentsOf = (k: Kernel): ReadonlyMap<string, 'left' | 'right' | 'acc'> => {
  const found = new Map<string, 'left' | 'right' | 'acc'>()
  for (const s of allStmts(k.body)) {
    if (s.kind !== 'call') continue
    const [first] = s.places
    if (s.intrinsic === 'wmma_load_left') found.set(first!.buffer, 'left')
    if (s.intrinsic === 'wmma_load_right') found.set(first!.buffer, 'right')
    if (s.intrinsic === 'wmma_fill') found.set(first!.buffer, 'acc')
  }
  return found
}

const ELEMENT = { f32: 'float', f16: '__half', bf16: '__nv_bfloat16', i32: 'int' } as const

const declaration = (b: Buffer, use: 'left' | 'right' | 'acc' | undefined): string => {
  if (use !== undefined) return `${fragmentType[use](ELEMENT[b.dtype])} ${b.name};`
  if (isVariable(b)) return `${TYPE[b.dtype]} ${b.name};`
  const array = `${TYPE[b.dtype]} ${b.name}[${String(elementsOf(b) ?? 0)}];`
  return b.space === 'shared' ? `__shared__ __align__(32) ${array}` : `__align__(16) ${array}`
}

/** ceil(extent / step) */
const stepsText = (l: Loop, p: Printer): string => {
  const { extent, step } = stepsOf(l)
  const n = literal(extent)
  if (n !== undefined) return String(Math.ceil(n / step))
  return step === 1 ? `(${p.dim(extent)})` : `((${p.dim(extent)} + ${String(step - 1)}) / ${String(step)})`
}

/** each block loop's variable from the block's number within its nest, the innermost fastest */
const decoded = (loops: ReadonlyArray<Loop>, number: string, p: Printer): Lines => {
  const blocks = loops.map((l) => stepsText(l, p))
  return loops.map((l, i) => {
    if (blocks[i] === '1') return `const int ${l.axis} = ${p.index(l.from)};`
    const below = blocks.slice(i + 1).filter((b) => b !== '1')
    const quotient =
      below.length === 0 ? number : `${number} / ${below.length === 1 ? below[0]! : `(${below.join(' * ')})`}`
    const own =
      i === 0
        ? quotient
        : blocks[i] === '1'
          ? '0'
          : below.length === 0
            ? `${quotient} % ${blocks[i]!}`
            : `(${quotient}) % ${blocks[i]!}`
    const scaled = l.step === 1 ? own : `${/^[\w.]+$/.test(own) ? own : `(${own})`} * ${String(l.step)}`
    return `const int ${l.axis} = ${l.from.key === '0' ? scaled : `${p.index(l.from)} + ${scaled}`};`
  })
}

const blocksOf = ({ loops }: Nest, p: Printer): string =>
  loops
    .map((l) => stepsText(l, p))
    .filter((f) => f !== '1')
    .join(' * ') || '1'

const threadLine = 'const int thread = threadIdx.x;'

const bodyLines = (k: Kernel, p: Printer): Lines => {
  const nests = k.body.flatMap((s) => nestOf(s) ?? [])
  const notes = k.body.flatMap((s) => (s.kind === 'note' ? p.stmts([s]) : []))
  const [only] = nests
  return only === undefined
    ? notes
    : nests.length === 1
      ? [...notes, ...decoded(only.loops, 'blockIdx.x', p), threadLine, ...p.stmts(only.body)]
      : nestedChoice(nests, notes, p)
}

/** several nests: each has its own range of blocks; which one is the same for all threads of a block */
const nestedChoice = (nests: ReadonlyArray<Nest>, notes: Lines, p: Printer): Lines => {
  const ends = nests.slice(0, -1).map((n, i) => {
    const before = i === 0 ? '' : `end${String(i - 1)} + `
    return `const int end${String(i)} = ${before}${blocksOf(n, p)};`
  })
  const arms = nests.flatMap((n, i): Lines => {
    const isLast = i === nests.length - 1
    const number = i === 0 ? 'blockIdx.x' : 'block'
    const shift = i === 0 ? [] : [`const int block = blockIdx.x - end${String(i - 1)};`]
    const head = isLast
      ? '} else {'
      : i === 0
        ? `if (blockIdx.x < end0) {`
        : `} else if (blockIdx.x < end${String(i)}) {`
    return [head, ...indent([...shift, ...decoded(n.loops, number, p), ...p.stmts(n.body)])]
  })
  return [...notes, threadLine, ...ends, ...arms, '}']
}

export const signatureOf = (k: Kernel): string => {
  // without it loads of an operand that a result takes the place of do not go through the read-only cache
  const pointer = (b: Buffer): string =>
    `${TYPE[b.dtype]} *${k.mayAlias?.has(b.name) === true ? '' : '__restrict__ '}${b.name}`
  const pointers = [...k.params.map((b) => `const ${pointer(b)}`), ...k.outputs.map(pointer)]
  const sizes = [...symbolNames(k).values()].map((n) => `int ${n}`)
  const { block: threads } = launchOf(k)
  // one block at least: without it the compiler saves registers for more blocks a processor, and may spill for them
  return `extern "C" __global__ void __launch_bounds__(${String(threads)}, 1) ${k.name}(${[...pointers, ...sizes].join(', ')})`
}

const kernelLines = (k: Kernel): Lines => {
  const p = printerFor(k, dialect)
  const fragments = fragmentsOf(k)
  return block(signatureOf(k), [...k.locals.map((b) => declaration(b, fragments.get(b.name))), ...bodyLines(k, p)])
}

/** The kernels with the device functions that they call; distinct kernels need distinct names. */
export const printCuda = (kernels: ReadonlyArray<Kernel>): string => {
  const bodies = kernels.map((k) => kernelLines(k).join('\n'))
  const table = [
    ...deviceFunctions,
    ...intrinsics.flatMap((i) => (i.text.cuda === undefined ? [] : [[i.name, i.text.cuda] as const])),
  ]
  const needsTensorCores = bodies.some((b) => b.includes('wmma_'))
  const headers = needsTensorCores ? ['#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n#include <mma.h>'] : []
  return [...headers, ...functionsIn(bodies.join('\n'), table), ...bodies, ''].join('\n\n')
}
