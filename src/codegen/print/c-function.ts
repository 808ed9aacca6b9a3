/**
 * Kernels -> one C source: a readable function for each, and a table by which the host calls them. Loops of role `block`
 * are tasks: a function runs the tasks [begin, end), so that threads can share a launch. Statements before the block
 * loops are run by every caller into its own scratch.
 *
 *     static void rms_norm(const float *a, float *out, float *scratch, int n_token, long begin, long end)
 */
import type { Dim } from '../../dsl/dim.ts'
import { scalarOp, type Spelling } from '../../dsl/scalar.ts'
import { intrinsic } from '../kernel/intrinsics.ts'
import { symbolsOfKernel, type Buffer, type Kernel, type Loop, type Stmt } from '../kernel/kernel.ts'
import {
  allStmts,
  block,
  countType,
  elementsOf,
  indent,
  keepsNaN,
  printerFor,
  symbolNames,
  type Dialect,
  type Lines,
  type Printer,
} from './c-family.ts'
import { foldedAcross, isVectorLoop, partialName, printVectorLoop } from './c/vector.ts'
import { vectorPrelude } from './c/vector-prelude.ts'
import { hostC } from './c/host.ts'

// ------------------------------------------------------------------------------------ the dialect

export const spellC = (fn: string): Spelling => {
  const spell = scalarOp(fn)?.spell
  return keepsNaN[fn] ?? (typeof spell === 'function' ? spell : (spell?.c ?? (() => '__builtin_nanf("")')))
}

export const floatC = (x: number): string => {
  if (Number.isNaN(x)) return '__builtin_nanf("")'
  if (!Number.isFinite(x) || !Number.isFinite(Math.fround(x))) return x > 0 ? '__builtin_inff()' : '(-__builtin_inff())'
  const text = String(Math.fround(x))
  const number = /[.e]/.test(text) ? `${text}f` : `${text}.0f`
  return x < 0 || Object.is(x, -0) ? `(${Object.is(x, -0) ? '-0.0f' : number})` : number
}

/** a step outside of the lanes, of a register that is filled across them, goes into the first one */
const foldOne = ({ register, fn, value }: Stmt & { readonly kind: 'fold' }, p: Printer): Lines => {
  const first = `${partialName(register)}[0]`
  return [`${first} = ${p.dialect.combine[fn](first, p.expr(value))};`]
}

/** one a kernel: it knows which registers are filled across lanes, and numbers its own names */
const dialectFor = (k: Kernel, width: number): Dialect => {
  const across = foldedAcross(k.body)
  let names = 0
  const fresh = (): string => `v${String(names++)}`
  const folds = (s: Stmt): ReadonlySet<string> =>
    new Set(allStmts([s]).flatMap((b) => (b.kind === 'fold' && across.has(b.register) ? [b.register] : [])))
  return {
    long: 'long',
    spell: spellC,
    number: floatC,
    unit: { sum: '0.0f', max: '(-__builtin_inff())', min: '__builtin_inff()' },
    combine: {
      sum: (a, b) => `${a} + ${b}`,
      max: (a, b) => `larger(${a}, ${b})`,
      min: (a, b) => `smaller(${a}, ${b})`,
    },
    load: (b, at) => `${b.name}[${at}]`,
    store: (b, at, value) => `${b.name}[${at}] = ${value};`,
    barrier: () => [],
    call: (s, places, ints) => [`${s.intrinsic}(${[...places, ...ints].join(', ')});`],
    stmt: (body, at, p) => {
      const s = body[at]!
      if (s.kind === 'unit')
        return across.has(s.register) ? [`vf ${partialName(s.register)} = bc(${p.dialect.unit[s.fn]});`] : undefined
      if (across.size === 0)
        return s.kind === 'for' && isVectorLoop(s) ? printVectorLoop(s, p, width, fresh) : undefined
      const lines =
        s.kind === 'for' && isVectorLoop(s)
          ? printVectorLoop(s, p, width, fresh)
          : s.kind === 'fold' && across.has(s.register)
            ? foldOne(s, p)
            : p.plain(s)
      // a register whose unit stands in this list is whole behind the last statement that folds into it
      const later = new Set(body.slice(at + 1).flatMap((b) => [...folds(b)]))
      const units = new Map(body.slice(0, at).flatMap((b) => (b.kind === 'unit' ? [[b.register, b.fn] as const] : [])))
      const done = [...folds(s)].filter((r) => units.has(r) && !later.has(r))
      return [...lines, ...done.map((r) => `const float ${r} = ${units.get(r)!}_w(${partialName(r)});`)]
    },
  }
}

// ------------------------------------------------------------------------------------ a function

/** floats in a cache line */
const LINE = 16

/** block loops directly in each other, and what is inside */
interface Nest {
  readonly loops: ReadonlyArray<Loop>
  readonly body: ReadonlyArray<Stmt>
}
const nestOf = (s: Stmt): Nest | undefined => {
  if (s.kind !== 'for' || s.loop.role !== 'block') return undefined
  const [only, ...more] = s.body
  const inner = only === undefined || more.length > 0 ? undefined : nestOf(only)
  return inner === undefined ? { loops: [s.loop], body: s.body } : { loops: [s.loop, ...inner.loops], body: inner.body }
}

/** how many times a loop repeats */
const tripsOf = ({ from, to, step }: Loop, p: Printer): string => {
  const length = from.key === '0' ? p.index(to) : `(${p.index(to)}) - (${p.index(from)})`
  return step === 1 ? `(long)(${length})` : `((long)(${length}) + ${String(step - 1)}) / ${String(step)}`
}

const printNest = ({ loops, body }: Nest, n: number, p: Printer): Lines => {
  const trips = loops.map((l, i) => `const long trips${String(n)}_${String(i)} = ${tripsOf(l, p)};`)
  const count = loops.map((_, i) => `trips${String(n)}_${String(i)}`)
  const variables = loops.flatMap(({ axis, size, from, step }, i): Lines => {
    const below = count.slice(i + 1)
    const quotient = below.length === 0 ? 'task' : `task / ${below.length === 1 ? below[0]! : `(${below.join(' * ')})`}`
    const trip = i === 0 ? quotient : `(${quotient}) % ${count[i]!}`
    const value = step === 1 ? trip : `(${trip}) * ${String(step)}`
    return [
      `const ${countType(size, p.dialect)} ${axis} = ${from.key === '0' ? value : `${p.index(from)} + ${value}`};`,
    ]
  })
  return block('', [
    ...trips,
    `const long tasks = ${count.join(' * ')};`,
    ...block('for (long task = begin < 0 ? 0 : begin; task < (end < tasks ? end : tasks); task++)', [
      ...variables,
      ...p.stmts(body),
    ]),
    `begin -= tasks, end -= tasks;`,
  ])
}

export interface FunctionC {
  readonly name: string
  readonly source: string
  /** in order of the ints behind the pointers */
  readonly symbols: ReadonlyArray<string>
}

/** intrinsics by name */
const calledBy = (kernels: ReadonlyArray<Kernel>): ReadonlySet<string> =>
  new Set(kernels.flatMap((k) => allStmts(k.body).flatMap((s) => (s.kind === 'call' ? [s.intrinsic] : []))))

/** locals that a function has on its stack; all others are in the caller's scratch */
export const isOnStack = (b: Buffer): boolean => b.space !== 'scratch' && elementsOf(b) !== undefined

/** Elements of a local, rounded up to whole cache lines. */
const roundedSize = (shape: ReadonlyArray<Dim>, p: Printer): string => {
  const n = shape.map((d) => `(long)(${p.dim(d)})`).join(' * ') || '1'
  return `((${n} + ${String(LINE - 1)}) & ~${String(LINE - 1)}L)`
}

/** The function of a kernel under a name of its own. `width`: floats in a vector. */
export const printFunctionC = (k: Kernel, width: number, name = k.name): FunctionC => {
  const p = printerFor(k, dialectFor(k, width))
  const names = symbolNames(k)
  const symbols = symbolsOfKernel(k)
  const pointer = (b: Buffer): string => (k.mayAlias?.has(b.name) === true ? '*' : '*RESTRICT ')
  const parameters = [
    ...k.params.map((b) => `const float ${pointer(b)}${b.name}`),
    ...k.outputs.map((b) => `float ${pointer(b)}${b.name}`),
    'float *RESTRICT scratch',
    ...symbols.map((s) => `long ${names.get(s)!}`),
    'long begin',
    'long end',
  ]
  const locals = k.locals.flatMap((b): Lines => {
    if (isOnStack(b)) return [`__attribute__((aligned(64))) float ${b.name}[${String(Math.max(1, elementsOf(b)!))}];`]
    return [`float *RESTRICT ${b.name} = scratch;`, `scratch += ${roundedSize(b.shape, p)};`]
  })
  const firstNest = k.body.findIndex((s) => nestOf(s) !== undefined)
  const prologue = firstNest < 0 ? [] : k.body.slice(0, firstNest)
  const rest = firstNest < 0 ? k.body : k.body.slice(firstNest)
  const main =
    firstNest < 0
      ? block('if (begin == 0)', p.stmts(rest))
      : rest.flatMap((s, n) => {
          const nest = nestOf(s)
          return nest === undefined ? p.stmts([s]) : printNest(nest, n, p)
        })
  const around = [...calledBy([k])].flatMap((c) => intrinsic(c)?.around?.c ?? [])
  const nests = rest.flatMap((s) => nestOf(s) ?? [])
  const tasks = nests.map(({ loops }) => loops.map((l) => `(${tripsOf(l, p)})`).join(' * '))
  const ints = symbols.map((s, i) => `const long ${names.get(s)!} = n[${String(i)}];`)
  const args = [
    ...[...k.params, ...k.outputs].map((_, i) => `b[${String(i)}]`),
    's',
    ...symbols.map((_, i) => `n[${String(i)}]`),
    ...['begin', 'end'],
  ]
  const source = [
    `static __attribute__((noinline)) void ${name}(${parameters.join(', ')}) {`,
    ...indent([
      ...locals,
      ...around.map((a) => a.before),
      ...p.stmts(prologue),
      ...main,
      ...around.map((a) => a.after),
    ]),
    '}',
    `static void call_${name}(float *const *b, const int *n, float *s, long begin, long end) { ${name}(${args.join(', ')}); }`,
    `static long tasks_${name}(const int *n) { ${ints.join(' ')} return ${tasks.length === 0 ? '1' : tasks.join(' + ')}; }`,
  ].join('\n')
  return { name, source, symbols }
}

// ------------------------------------------------------------------------------------ a program

export interface SourceC {
  readonly source: string
  readonly functions: ReadonlyArray<FunctionC>
}

/** Kernels that differ in more than their names (`keyOfKernel`) -> the source; `functions` in their order, names made distinct. */
export const printSourceC = (kernels: ReadonlyArray<Kernel>, width: number): SourceC => {
  const taken = new Set<string>()
  const functions = kernels.map((k) => {
    // a suffix, for a kernel may be called as a function of libm is
    let name = `${k.name}_kernel`
    for (let i = 2; taken.has(name); i++) name = `${k.name}_kernel_${String(i)}`
    taken.add(name)
    return printFunctionC(k, width, name)
  })
  const called = calledBy(kernels)
  const source = [
    vectorPrelude(width),
    ...[...called].sort().map((c) => intrinsic(c)?.text.c ?? `#error no ${c}`),
    ...functions.map((f) => `${f.source}\n`),
    hostC(functions.map((f) => f.name)),
  ].join('\n')
  return { source, functions }
}
