/**
 * What every kernel has to be before its meaning is asked for: names bound before they are used and bound once, buffers
 * known and indexed with as many indices as they have extents, literal extents where threads, lanes and local memory
 * need them, barriers where all threads pass. Run between passes in tests.
 */
import { literal, type Dim } from '../../dsl/dim.ts'
import type { Fault } from '../../dsl/fault.ts'
import { scalarOp } from '../../dsl/scalar.ts'
import { intrinsic } from './intrinsics.ts'
import { addIndex, isAtMost, literalIndex, subIndex, whole } from './affine.ts'
import {
  bodyOf,
  buffersOf,
  indicesOf,
  indicesOfAtom,
  indicesOfStmt,
  partsOf,
  valuesOf,
  type Buffer,
  type Expr,
  type Index,
  type Kernel,
  type Loop,
  type Stmt,
} from './kernel.ts'

// ---------------------------------------------------------------------------------------- model

/** what is known at a statement */
interface Scope {
  /** axes and indices, with the size they were bound with */
  readonly axes: ReadonlyMap<string, Dim>
  readonly registers: ReadonlySet<string>
  /** axes whose value is not the same in all threads of a block */
  readonly varying: ReadonlySet<string>
  /** loops around, outermost first */
  readonly loops: ReadonlyArray<Loop>
}

type Tell = (at: string, expected: string, actual: string) => void

const identifier = /^[A-Za-z_]\w*$/

// ------------------------------------------------------------------------------------- analyses

const dependsOnAny = (i: Index, varying: ReadonlySet<string>): boolean =>
  i.terms.some(({ atom }) =>
    atom.kind === 'axis'
      ? varying.has(atom.name)
      : atom.kind === 'data' || indicesOfAtom(atom).some((j) => dependsOnAny(j, varying)),
  )

const hasBlockBarrier = (s: Stmt): boolean =>
  (s.kind === 'barrier' && s.scope === 'block') || bodyOf(s).some(hasBlockBarrier)

const isParallel = (l: Loop): boolean => l.role === 'block' || l.role === 'grid'

// ------------------------------------------------------------------------------------- the checks

const checkBuffers = (k: Kernel, tell: Tell): void => {
  const names = buffersOf(k).map((b) => b.name)
  names.forEach((n, i) => {
    if (!identifier.test(n)) tell(`buffer ${n}`, 'an identifier', n)
    if (names.indexOf(n) !== i) tell(`buffer ${n}`, 'a name of its own', 'two buffers')
  })
  for (const b of [...k.params, ...k.outputs])
    if (b.space !== 'global') tell(`buffer ${b.name}`, 'global memory', b.space)
  for (const b of k.locals) {
    if (b.space === 'global') tell(`buffer ${b.name}`, 'shared, register or scratch', b.space)
    const open = b.space === 'scratch' ? undefined : b.shape.find((d) => literal(d) === undefined)
    if (open !== undefined) tell(`buffer ${b.name}`, `literal extents of ${b.space} memory`, open.key)
  }
  if (k.outputs.length === 0) tell('kernel', 'an output', 'none')
}

/** a loop ends where the first of these is reached */
const endsOf = (to: Index): ReadonlyArray<Index> => {
  const [only, more] = to.terms
  return only?.atom.kind === 'min' && more === undefined && only.factor.key === '1'
    ? only.atom.of.map((i) => addIndex(i, whole(to.offset)))
    : [to]
}

const checkLoop = (l: Loop, s: Scope, parents: ReadonlyArray<Loop>, tell: Tell): void => {
  const at = `loop ${l.axis}`
  if (!Number.isInteger(l.step) || l.step < 1) tell(at, 'a step of at least 1', String(l.step))
  if (!Number.isInteger(l.unroll) || l.unroll < 1) tell(at, 'an unroll of at least 1', String(l.unroll))
  const size = literal(l.size)
  if (size !== undefined && size < 0) tell(at, 'a size of at least 0', String(size))
  const last = literalIndex(l.to)
  if (size !== undefined && last !== undefined && last > size) tell(at, `an end of at most ${String(size)}`, l.to.key)
  const isWhole = l.from.key === '0' && l.to.key === l.size.key && l.step === 1
  if (l.role === 'thread') {
    if (size === undefined || !isWhole) tell(at, 'all of a literal extent for threads', `${l.from.key} to ${l.to.key}`)
    if (parents.some((p) => p.role === 'thread')) tell(at, 'one thread loop', 'a second inside')
  }
  if (l.role === 'vector') {
    if (l.step !== 1 || ![4, 8, 16].includes(l.unroll)) tell(at, '4, 8 or 16 lanes, one by one', String(l.unroll))
    if (!endsOf(l.to).some((end) => isAtMost(subIndex(end, l.from), l.unroll)))
      tell(at, `at most ${String(l.unroll)} lanes`, `${l.from.key} to ${l.to.key}`)
    if (parents.some((p) => p.role === 'vector')) tell(at, 'one loop over lanes', 'a second inside')
  }
  const outer = parents.at(-1)
  if (isParallel(l) && parents.some((p) => !isParallel(p)))
    tell(at, `a ${l.role} loop outside of others`, `inside ${outer?.role ?? ''} ${outer?.axis ?? ''}`)
  if (isParallel(l) && [l.from, l.to].some((i) => dependsOnAny(i, s.varying)))
    tell(at, 'bounds of independent blocks', `${l.from.key} to ${l.to.key}`)
}

/** Everything that is wrong with the kernel's form; nothing where it is well-formed. */
export const verifyKernel = (k: Kernel): ReadonlyArray<Fault> => {
  const faults = new Map<string, Fault>()
  const tell: Tell = (at, expected, actual) => {
    const fault = { at: `kernel ${k.name}: ${at}`, expected, actual }
    faults.set(JSON.stringify(fault), fault)
  }
  const buffers = new Map<string, Buffer>(buffersOf(k).map((b) => [b.name, b]))
  const written = new Set([...k.outputs, ...k.locals].map((b) => b.name))
  /** of one statement: expressions are shared */
  let seen = new Set<Expr>()

  const place = (name: string, at: ReadonlyArray<Index>, isWrite: boolean): void => {
    const b = buffers.get(name)
    if (b === undefined) tell(`buffer ${name}`, `one of ${[...buffers.keys()].join(', ')}`, 'not declared')
    else if (b.shape.length !== at.length)
      tell(`buffer ${name}`, `${String(b.shape.length)} indices`, `${name}[${at.map((i) => i.key).join(', ')}]`)
    if (isWrite && b !== undefined && !written.has(name))
      tell(`buffer ${name}`, 'an output or a local to write', 'a parameter')
  }
  const index = (i: Index, s: Scope): void => {
    for (const { atom } of i.terms) {
      if (atom.kind === 'axis') {
        const size = s.axes.get(atom.name)
        if (size === undefined) tell(`index ${i.key}`, 'a loop or index above', atom.name)
        else if (size.key !== atom.size.key)
          tell(`index ${i.key}`, `${atom.name} of size ${size.key}`, `size ${atom.size.key}`)
      } else if (atom.kind === 'data') expr(atom.of, s)
      if (atom.kind === 'div' || atom.kind === 'mod') {
        const by = literal(atom.by)
        if (by !== undefined && by < 1) tell(`index ${i.key}`, 'a divisor of at least 1', String(by))
      }
      indicesOfAtom(atom).forEach((j) => index(j, s))
    }
  }
  const expr = (e: Expr, s: Scope): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.kind === 'register' && !s.registers.has(e.name)) tell(`register ${e.name}`, 'a let or unit above', 'none')
    if (e.kind === 'read') place(e.buffer, e.at, false)
    if (e.kind === 'apply') {
      const row = scalarOp(e.fn)
      if (row === undefined) tell(`apply ${e.fn}`, 'a scalar function', 'unknown')
    }
    indicesOf(e).forEach((i) => index(i, s))
    partsOf(e).forEach((p) => expr(p, s))
  }
  const bind = (name: string, what: string): void => {
    if (!identifier.test(name)) tell(`${what} ${name}`, 'an identifier', name)
    if (buffers.has(name)) tell(`${what} ${name}`, 'a name of its own', 'a buffer has it')
  }

  const list = (stmts: ReadonlyArray<Stmt>, outer: Scope): void => {
    let s = outer
    for (const stmt of stmts) {
      seen = new Set()
      indicesOfStmt(stmt).forEach((i) => index(i, s))
      valuesOf(stmt).forEach((e) => expr(e, s))
      switch (stmt.kind) {
        case 'for': {
          const { loop } = stmt
          bind(loop.axis, 'loop')
          if (s.axes.has(loop.axis)) tell(`loop ${loop.axis}`, 'a name that is free', 'one bound around it')
          checkLoop(loop, s, s.loops, tell)
          const isVarying = loop.role === 'thread' || [loop.from, loop.to].some((i) => dependsOnAny(i, s.varying))
          if (isVarying && loop.role !== 'thread' && hasBlockBarrier(stmt))
            tell(
              `loop ${loop.axis}`,
              'bounds that all threads share around a barrier',
              `${loop.from.key} to ${loop.to.key}`,
            )
          if (loop.role === 'vector' && hasBlockBarrier(stmt))
            tell(`loop ${loop.axis}`, 'no barrier among lanes', 'one')
          list(stmt.body, {
            axes: new Map([...s.axes, [loop.axis, loop.size]]),
            registers: s.registers,
            varying: isVarying ? new Set([...s.varying, loop.axis]) : s.varying,
            loops: [...s.loops, loop],
          })
          break
        }
        case 'index': {
          bind(stmt.name, 'index')
          if (s.axes.has(stmt.name)) tell(`index ${stmt.name}`, 'a name that is free', 'one bound above')
          const isVarying = dependsOnAny(stmt.value, s.varying)
          s = {
            ...s,
            axes: new Map([...s.axes, [stmt.name, stmt.size]]),
            varying: isVarying ? new Set([...s.varying, stmt.name]) : s.varying,
          }
          break
        }
        case 'let':
        case 'unit': {
          const name = stmt.kind === 'let' ? stmt.name : stmt.register
          bind(name, stmt.kind)
          if (s.registers.has(name)) tell(`${stmt.kind} ${name}`, 'a name that is free', 'one bound above')
          s = { ...s, registers: new Set([...s.registers, name]) }
          break
        }
        case 'fold':
          if (!s.registers.has(stmt.register)) tell(`fold ${stmt.register}`, 'its unit above', 'none')
          break
        case 'store':
          place(stmt.buffer, stmt.at, true)
          break
        case 'if':
          if (hasBlockBarrier(stmt) && dependsOnAny(stmt.of, s.varying))
            tell(`if ${stmt.of.key}`, 'a condition that all threads share around a barrier', stmt.of.key)
          list(stmt.body, s)
          break
        case 'barrier':
          if (!s.loops.some((l) => l.role === 'thread')) tell('barrier', 'a thread loop around it', 'none')
          break
        case 'call': {
          const row = intrinsic(stmt.intrinsic)
          if (row === undefined) tell(`call ${stmt.intrinsic}`, 'a row of the table of intrinsics', 'none')
          else {
            const [p, n] = [stmt.places.length, stmt.ints.length]
            if (p !== row.places.length || n !== row.ints.length)
              tell(
                `call ${stmt.intrinsic}`,
                `${String(row.places.length)} places, ${String(row.ints.length)} ints`,
                `${String(p)} and ${String(n)}`,
              )
            if (row.scope === 'warp' && !s.loops.some((l) => l.role === 'thread'))
              tell(`call ${stmt.intrinsic}`, 'a thread loop around it', 'none')
          }
          stmt.places.forEach((x, i) => place(x.buffer, x.at, row?.places[i]?.access !== 'read' && row !== undefined))
          break
        }
        case 'note':
          break
        default:
          stmt satisfies never
      }
    }
  }
  if (!identifier.test(k.name)) tell('kernel', 'an identifier', k.name)
  checkBuffers(k, tell)
  list(k.body, { axes: new Map(), registers: new Set(), varying: new Set(), loops: [] })
  return [...faults.values()]
}
