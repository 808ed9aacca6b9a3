/**
 * A `vector` loop of the kernel IR -> C vectors. Lanes are consecutive values of its axis, `unroll` of them; only those
 * below `to` are loaded, stored or added up. An expression is uniform (a float, the same in every lane) or a vector;
 * reads that are contiguous along the lanes are loads, all others are done lane by lane.
 *
 *     vector c from j to min(j + 16, n):  y[c] = silu(x[c])
 */
import type { ReduceFn } from '../../../dsl/node.ts'
import { flatten, literalIndex, subIndex } from '../../kernel/affine.ts'
import { partsOf, type Atom, type Expr, type Index, type Stmt } from '../../kernel/kernel.ts'
import { allStmts, block, countType, indent, loopHead, type Lines, type LoopStmt, type Printer } from '../c-family.ts'

// ------------------------------------------------------------------------------------- analyses

const atomDepends = (a: Atom, on: ReadonlySet<string>): boolean => {
  switch (a.kind) {
    case 'axis':
      return on.has(a.name)
    case 'data':
      return exprDepends(a.of, on)
    case 'min':
      return a.of.some((i) => indexDepends(i, on))
    default:
      return indexDepends(a.of, on)
  }
}
/** on axes and registers of these names */
export const indexDepends = (i: Index, on: ReadonlySet<string>): boolean =>
  i.terms.some(({ atom }) => atomDepends(atom, on))
export const exprDepends = (e: Expr, on: ReadonlySet<string>): boolean => {
  switch (e.kind) {
    case 'register':
      return on.has(e.name)
    case 'read':
      return e.at.some((i) => indexDepends(i, on))
    case 'index':
      return indexDepends(e.of, on)
    case 'guard':
      return indexDepends(e.of, on) || exprDepends(e.then, on) || exprDepends(e.otherwise, on)
    default:
      return partsOf(e).some((p) => exprDepends(p, on))
  }
}

/** how far a step along the axis moves an index; undefined: not by the same distance everywhere */
export const strideAlong = (i: Index, axis: string, on: ReadonlySet<string>): string | undefined => {
  let by = '0'
  for (const { factor, atom } of i.terms) {
    if (atom.kind === 'axis' && atom.name === axis) by = factor.key
    else if (atomDepends(atom, on)) return undefined
  }
  return by
}

/** Registers that lanes fold into one number: their `unit` stands outside of the vector loop. */
export const foldedAcross = (body: ReadonlyArray<Stmt>): ReadonlySet<string> => {
  const found = new Set<string>()
  for (const s of allStmts(body)) {
    if (s.kind !== 'for' || !isVectorLoop(s)) continue
    const inside = allStmts(s.body)
    const own = new Set(inside.flatMap((b) => (b.kind === 'unit' ? [b.register] : [])))
    for (const b of inside) if (b.kind === 'fold' && !own.has(b.register)) found.add(b.register)
  }
  return found
}

/** what the lanes of the loop can do together; any other vector loop is printed as a plain one */
export const isVectorLoop = (s: LoopStmt): boolean => {
  if (s.loop.role !== 'vector') return false
  const names = new Set([s.loop.axis])
  for (const b of allStmts(s.body))
    if (b.kind === 'let' || b.kind === 'unit') names.add(b.kind === 'let' ? b.name : b.register)
  return (
    s.loop.step === 1 &&
    allStmts(s.body).every((b) => {
      switch (b.kind) {
        case 'for':
          return b.loop.role !== 'vector' && !indexDepends(b.loop.from, names) && !indexDepends(b.loop.to, names)
        case 'if':
          return !indexDepends(b.of, names)
        case 'index':
          return !indexDepends(b.value, names)
        case 'call':
        case 'barrier':
          return false
        default:
          return true
      }
    })
  )
}

// --------------------------------------------------------------------------------- interpreters

const infix: Readonly<Record<string, string>> = { add: '+', sub: '-', mul: '*', div: '/' }
const compare: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' }
const named: Readonly<Record<string, string>> = { max: 'larger_w', min: 'smaller_w', round: 'rint_w' }
export const partialName = (register: string): string => `${register}_w`
const combine: Readonly<Record<ReduceFn, (a: string, b: string) => string>> = {
  sum: (a, b) => `${a} + ${b}`,
  max: (a, b) => `larger_w(${a}, ${b})`,
  min: (a, b) => `smaller_w(${a}, ${b})`,
}

/** the lines of a vector loop; `taken` numbers names that are its own */
export const printVectorLoop = (s: LoopStmt, p: Printer, width: number, fresh: () => string): Lines => {
  const lane = s.loop.axis
  const from = p.index(s.loop.from)
  const isWhole = literalIndex(subIndex(s.loop.to, s.loop.from)) === width
  const lanes = isWhole ? String(width) : `${lane}_n`
  /** how many lanes there are */
  const [ends] = s.loop.to.terms
  const bounds =
    s.loop.to.terms.length === 1 && ends?.atom.kind === 'min' && s.loop.to.offset.key === '0' && ends.factor.key === '1'
      ? ends.atom.of
      : [s.loop.to]
  const size = bounds.map((b) => p.index(subIndex(b, s.loop.from))).reduce((a, b) => `least(${a}, ${b})`)
  /** everything at lane 0 */
  const first = p.within({ axis: (n) => (n === lane ? `(${from})` : n) })
  /** the lane's axis and registers that are vectors */
  const varying = new Set([lane])
  /** registers whose unit stands in this loop */
  const own = new Set(allStmts(s.body).flatMap((b) => (b.kind === 'unit' ? [b.register] : [])))
  own.forEach((r) => varying.add(r))
  const number = `${lane} - (${from})`
  const eachLane = `for (${countType(s.loop.size, p.dialect)} ${lane} = ${from}; ${lane} < (${from}) + ${lanes}; ${lane}++)`
  const oneLane = p.within({ register: (r) => (varying.has(r) ? `${r}[${number}]` : r) })

  /** text of a vector, with lines that have to come before */
  const before: string[] = []
  const laneByLane = (e: Expr): string => {
    const name = fresh()
    before.push(`float ${name}[${String(width)}] = {0};`, `${eachLane} ${name}[${number}] = ${oneLane.expr(e)};`)
    return `LOAD(${name})`
  }
  const vector = (e: Expr): string => (exprDepends(e, varying) ? varyingExpr(e) : `bc(${p.expr(e)})`)
  /** an operand of + - * /, where a float will do */
  const operand = (e: Expr): string => (exprDepends(e, varying) ? varyingExpr(e) : p.expr(e))
  const mask = (e: Expr): string => {
    if (!exprDepends(e, varying)) return `((vi){0} - (${p.expr(e)} != 0.0f))`
    if (e.kind === 'apply') {
      const [a, b] = e.args
      const op = compare[e.fn]
      if (op !== undefined) return `(vi)(${vector(a!)} ${op} ${vector(b!)})`
      if (e.fn === 'and') return `(${mask(a!)} & ${mask(b!)})`
      if (e.fn === 'or') return `(${mask(a!)} | ${mask(b!)})`
      if (e.fn === 'not') return `~(${mask(a!)})`
    }
    return `(vi)(${vector(e)} != 0.0f)`
  }
  const applied = (e: Extract<Expr, { readonly kind: 'apply' }>): string => {
    const [a, b, c] = e.args
    if (e.fn === 'div' && !exprDepends(b!, varying)) return `over_w(${vector(a!)}, ${p.expr(b!)})`
    if (infix[e.fn] !== undefined) return `(${operand(a!)} ${infix[e.fn]!} ${operand(b!)})`
    if (compare[e.fn] !== undefined || e.fn === 'and' || e.fn === 'or' || e.fn === 'not') return `flag_w(${mask(e)})`
    if (e.fn === 'select')
      return exprDepends(a!, varying)
        ? `pick_w(${mask(a!)}, ${vector(b!)}, ${vector(c!)})`
        : `(${p.expr(a!)} != 0.0f ? ${vector(b!)} : ${vector(c!)})`
    if (e.fn === 'neg') return `(-${operand(a!)})`
    if (e.fn === 'sigmoid') return `(1.0f / (1.0f + exp_w(-${vector(a!)})))`
    if (e.fn === 'rsqrt') return `(1.0f / sqrt_w(${vector(a!)}))`
    return `${named[e.fn] ?? `${e.fn}_w`}(${e.args.map(vector).join(', ')})`
  }
  const varyingExpr = (e: Expr): string => {
    switch (e.kind) {
      case 'register':
        return e.name
      case 'apply':
        return applied(e)
      case 'cast':
        return e.dtype === 'bool' ? `flag_w((vi)(${vector(e.of)} != 0.0f))` : `trunc_w(${vector(e.of)})`
      case 'index': {
        const stride = strideAlong(e.of, lane, varying)
        const by = stride !== undefined && /^-?\d+$/.test(stride) ? Number(stride) : undefined
        if (by === undefined) return laneByLane(e)
        return `float_w(${by === 1 ? 'LANES' : `LANES * ${String(by)}`} + (int)(${first.index(e.of)}))`
      }
      case 'read': {
        const b = p.buffer(e.buffer)
        const stride = strideAlong(flatten(e.at, b.shape), lane, varying)
        if (stride !== '1') return laneByLane(e)
        const place = first.place({ buffer: e.buffer, at: e.at })
        return isWhole ? `LOAD(${place})` : `load_n(${place}, ${lanes})`
      }
      case 'guard':
        if (indexDepends(e.of, varying)) return laneByLane(e)
        return `(${p.index(e.of)} >= ${p.dim(e.low)} && ${p.index(e.of)} < ${p.dim(e.high)} ? ${vector(e.then)} : ${vector(e.otherwise)})`
      default:
        return `bc(${p.expr(e)})`
    }
  }

  const flush = (line: string): Lines => [...before.splice(0), line]
  const store = (b: Extract<Stmt, { readonly kind: 'store' }>): Lines => {
    const stride = strideAlong(flatten(b.at, p.buffer(b.buffer).shape), lane, varying)
    const value = vector(b.value)
    if (stride === '1') {
      const place = first.place({ buffer: b.buffer, at: b.at })
      return flush(isWhole ? `STORE(${place}, ${value});` : `store_n(${place}, ${value}, ${lanes});`)
    }
    const name = fresh()
    return [
      ...flush(`const vf ${name} = ${value};`),
      `${eachLane} ${b.buffer}[${p.address(b.buffer, b.at)}] = ${name}[${number}];`,
    ]
  }
  const stmt = (b: Stmt): Lines => {
    switch (b.kind) {
      case 'for':
        return block(loopHead(b.loop, p), b.body.flatMap(stmt))
      case 'let': {
        if (!exprDepends(b.value, varying)) return [`const float ${b.name} = ${p.expr(b.value)};`]
        const value = vector(b.value)
        varying.add(b.name)
        return flush(`const vf ${b.name} = ${value};`)
      }
      case 'unit':
        return [`vf ${b.register} = bc(${p.dialect.unit[b.fn]});`]
      case 'fold': {
        const isOwn = own.has(b.register)
        const name = isOwn ? b.register : partialName(b.register)
        const value = vector(b.value)
        const kept = isOwn || isWhole ? value : `keep_w(${value}, ${lanes}, ${p.dialect.unit[b.fn]})`
        return flush(b.fn === 'sum' ? `${name} += ${kept};` : `${name} = ${combine[b.fn](name, kept)};`)
      }
      case 'store':
        return store(b)
      case 'if': {
        const [head] = p.plain({ ...b, body: [] })
        return [head!, ...indent(b.body.flatMap(stmt)), '}']
      }
      default:
        return p.plain(b)
    }
  }
  const body = s.body.flatMap(stmt)
  return block('', [...(isWhole ? [] : [`const int ${lanes} = ${size};`]), ...body])
}
