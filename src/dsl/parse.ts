/**
 * Reads what `print` writes. Nothing in the text is trusted: every line goes through the row's type rule, and
 * the type it claims must be the one that the rule gives. All faulty lines are reported, each once.
 */
import * as E from 'fp-ts/lib/Either.js'
import type { NonEmptyArray } from 'fp-ts/lib/NonEmptyArray.js'
import { make } from './build.ts'
import { dim, type Dim } from './dim.ts'
import { dtypes, type DType } from './dtype.ts'
import type { Checked, Fault } from './fault.ts'
import type { Dims, Node, Op, Region, Type } from './node.ts'
import { primitives } from './primitive.ts'
import { suggest } from './primitives/typing.ts'
import { attributes, printType, type Attribute, type Kind } from './print.ts'
import { check, type Port, type Program } from './program.ts'
import { scalarOps } from './scalar.ts'

// ---------------------------------------------------------------------------------------- model

/** A place in a line. It keeps the first thing that was wrong; after that every reader answers something harmless. */
interface Cursor {
  readonly line: number
  readonly text: string
  at: number
  fault: Fault | undefined
}

/** What a block has defined so far. */
interface Scope {
  readonly nodes: Map<string, Node>
  readonly regions: ReadonlyMap<string, Region>
}

// -------------------------------------------------------------------------------------- cursors

const fail = (c: Cursor, expected: string, hint?: string): void => {
  const rest = c.text.slice(c.at).trim()
  c.fault ??= {
    at: `line ${String(c.line)}, column ${String(c.at + 1)}`,
    expected,
    actual: rest === '' ? 'the end of the line' : rest.slice(0, 40),
    ...(hint === undefined ? {} : { hint }),
  }
}

const skip = (c: Cursor): void => {
  while (c.text[c.at] === ' ') c.at += 1
}

/** the text that the sticky pattern matches here, or undefined; nothing is consumed after a fault */
const match = (c: Cursor, pattern: RegExp): string | undefined => {
  skip(c)
  if (c.fault !== undefined) return undefined
  pattern.lastIndex = c.at
  const m = pattern.exec(c.text)?.[0]
  if (m !== undefined) c.at += m.length
  return m
}

const accept = (c: Cursor, token: string): boolean => {
  skip(c)
  const found = c.fault === undefined && c.text.startsWith(token, c.at)
  if (found) c.at += token.length
  return found
}
const expect = (c: Cursor, token: string): void => {
  if (!accept(c, token)) fail(c, `'${token}'`)
}

const need = (c: Cursor, pattern: RegExp, what: string): string => {
  const found = match(c, pattern)
  if (found === undefined) fail(c, what)
  return found ?? ''
}

const jsonText = (c: Cursor, pattern: RegExp, what: string): unknown => {
  const start = c.at
  const text = match(c, pattern)
  const value = text === undefined ? E.left(undefined) : E.tryCatch(() => JSON.parse(text) as unknown, String)
  if (E.isRight(value)) return value.right
  c.at = start
  fail(c, what)
  return undefined
}

const list = <A>(c: Cursor, open: string, close: string, item: () => A): ReadonlyArray<A> => {
  const items: A[] = []
  expect(c, open)
  if (accept(c, close)) return items
  do items.push(item())
  while (c.fault === undefined && accept(c, ','))
  expect(c, close)
  return items
}

// -------------------------------------------------------------------------------------- readers

const word = (c: Cursor): string => {
  skip(c)
  if (c.text[c.at] !== '"') return need(c, /[A-Za-z_][\w.]*/y, 'a name')
  const text = jsonText(c, /"(?:[^"\\]|\\.)*"/y, 'a quoted name')
  return typeof text === 'string' ? text : ''
}

/** a size as `Dim.key` writes it; it must print back as it was read */
const size = (c: Cursor): Dim => {
  skip(c)
  const start = c.at
  const text = need(c, /[\w.()+*/-]+/y, 'a size')
  const d = dim(/^-?\d+$/.test(text) ? Number(text) : text)
  if (d.key !== text) {
    c.at = start
    fail(c, 'a size in the form that it is printed in')
  }
  return d
}

const dims = (c: Cursor): Dims =>
  list(c, '[', ']', () => {
    const name = word(c)
    return { name, size: accept(c, ':') ? size(c) : dim(name === '' ? 0 : name) }
  })

const dtype = (c: Cursor): DType => {
  const start = c.at
  const name = need(c, /[a-z]+\d*/y, 'a dtype')
  if (Object.hasOwn(dtypes, name)) return name as DType
  c.at = start
  fail(c, `one of ${Object.keys(dtypes).join(', ')}`, suggest(name, Object.keys(dtypes)))
  return 'f32'
}

const label = (c: Cursor): string => need(c, /%[\w.]+/y, 'a node, such as %3')

/** the node of a label that stands above */
const reference = (c: Cursor, scope: Scope): Node | undefined => {
  skip(c)
  const start = c.at
  const name = label(c)
  const node = scope.nodes.get(name)
  if (node === undefined) {
    c.at = start
    fail(c, 'a node defined above', suggest(name, [...scope.nodes.keys()]))
  }
  return node
}

const nothing: Region = { params: [], results: [] }

const readers: { readonly [K in Kind]: (c: Cursor, type: Type, scope: Scope) => Attribute[K] } = {
  text: word,
  names: (c) => list(c, '[', ']', () => word(c)),
  dims,
  dim: size,
  number: (c) => Number(need(c, /-?(?:Infinity|\d+(?:\.\d+)?(?:e[+-]?\d+)?)|NaN/y, 'a number')),
  flag: (c) => need(c, /true|false/y, 'true or false') === 'true',
  renaming: (c) =>
    Object.fromEntries(
      list(c, '[', ']', () => {
        const from = word(c)
        expect(c, '->')
        return [from, word(c)] as const
      }),
    ),
  region: (c, _, scope) => {
    const start = c.at
    const region = scope.regions.get(need(c, /@\d+/y, 'a region, such as @1'))
    if (region !== undefined) return region
    c.at = start
    fail(c, 'a region defined above')
    return nothing
  },
  json: (c) => jsonText(c, /\{.*\}(?= : )/y, 'a JSON object'),
  typeDims: (_, type) => type.dims,
  typeDType: (_, type) => type.dtype,
}

/** the type at the end of the line, read first: some attributes stand only there */
const typeAhead = (c: Cursor): { readonly type: Type; readonly from: number } => {
  const from = c.text.lastIndexOf(' : ')
  if (from < c.at) {
    fail(c, "' : ' and a type")
    return { type: { dims: [], dtype: 'f32' }, from: c.text.length }
  }
  const ahead: Cursor = { ...c, at: from + 3 }
  const d = dtype(ahead)
  const type: Type = { dtype: d, dims: dims(ahead) }
  if (match(ahead, /\S/y) !== undefined) {
    ahead.at -= 1
    fail(ahead, 'the end of the line')
  }
  c.fault ??= ahead.fault
  return { type, from }
}

/** a misuse without the source line of this reader */
const described = ({ expected, actual, hint }: Fault): Omit<Fault, 'at'> =>
  hint === undefined ? { expected, actual } : { expected, actual, hint }

/** `%3 = dot(%1, %2) over=[in] : f32[token, out:6]` */
const nodeLine = (c: Cursor, scope: Scope): void => {
  const name = label(c)
  if (scope.nodes.has(name)) fail(c, `a new label, not ${name} again`)
  expect(c, '=')
  skip(c)
  const start = c.at
  const spelt = need(c, /[A-Za-z_][\w.]*/y, 'an operation')
  const op: Op = Object.hasOwn(primitives, spelt) ? (spelt as Op) : 'map'
  if (op === 'map' && spelt !== 'map' && !Object.hasOwn(scalarOps, spelt)) {
    c.at = start
    fail(c, 'an operation', suggest(spelt, [...Object.keys(primitives), ...Object.keys(scalarOps)]))
  }
  const args = list(c, '(', ')', () => reference(c, scope))
  const { type, from } = typeAhead(c)
  const attrs: Record<string, unknown> = {}
  for (const [key, kind] of attributes[op] as ReadonlyArray<readonly [string, Kind]>) {
    const implied = kind === 'typeDims' || kind === 'typeDType'
    if (op === 'map' && spelt !== 'map') attrs[key] = spelt
    else {
      if (!implied) expect(c, `${key}=`)
      attrs[key] = readers[kind](c, type, scope)
    }
  }
  if (c.fault === undefined && c.at < from) fail(c, "' : ' and the type")
  // a faulty line counts as what it claims to be, so that the lines that use it are judged on their own
  scope.nodes.set(name, make('input', [], { name, dims: type.dims, dtype: type.dtype }))
  if (c.fault !== undefined) return
  const node = make(op, args as ReadonlyArray<Node>, attrs as never)
  const misuse = node.op === 'fault' && op !== 'fault' ? node.attrs.fault : undefined
  const found = printType(node.type)
  const at = `line ${String(c.line)}`
  if (misuse !== undefined) c.fault = { at: `${at}: ${misuse.at}`, ...described(misuse) }
  else if (found !== printType(type)) c.fault = { at: `${at}: ${spelt}`, expected: found, actual: printType(type) }
  else scope.nodes.set(name, node)
}

// --------------------------------------------------------------------------------- interpreters

/** A header and the lines under it. */
interface Block {
  readonly header: Cursor
  readonly lines: ReadonlyArray<Cursor>
}

const blocksOf = (text: string): { readonly blocks: ReadonlyArray<Block>; readonly stray: Cursor | undefined } => {
  const blocks: { header: Cursor; lines: Cursor[] }[] = []
  let stray: Cursor | undefined
  text.split(/\r?\n/).forEach((line, i) => {
    const c: Cursor = { line: i + 1, text: line, at: 0, fault: undefined }
    if (line.trim() === '' || line.trimStart().startsWith('#')) return
    if (!line.startsWith(' ')) blocks.push({ header: c, lines: [] })
    else if (blocks.length > 0) blocks[blocks.length - 1]!.lines.push(c)
    else stray ??= c
  })
  return { blocks, stray }
}

/** The program, or every line that is not one, with what was expected there. Regions and inputs come as printed. */
export const parse = (text: string): Checked<Program> => {
  const { blocks, stray } = blocksOf(text)
  const faults: Fault[] = []
  const regions = new Map<string, Region>()
  let program: Program | undefined
  if (stray !== undefined) fail(stray, "'program' or 'region' before the first node")
  if (stray?.fault !== undefined) faults.push(stray.fault)
  for (const { header: h, lines } of blocks) {
    const scope: Scope = { nodes: new Map(), regions }
    for (const line of lines) {
      nodeLine(line, scope)
    }
    const broken = lines.flatMap((l) => l.fault ?? [])
    faults.push(...broken)
    if (broken.length > 0) continue
    const nodes = () => list(h, '(', ')', () => reference(h, scope)) as ReadonlyArray<Node>
    const ports = () =>
      list(h, '(', ')', (): Port => {
        const name = word(h)
        expect(h, '=')
        return { name, node: reference(h, scope)! }
      })
    if (accept(h, 'region ')) {
      const name = need(h, /@\d+/y, 'a number, such as @1')
      const params = nodes()
      expect(h, '->')
      const results = nodes()
      if (h.fault === undefined) regions.set(name, { params, results })
    } else {
      expect(h, 'program ')
      const name = word(h)
      const inputs = ports()
      expect(h, '->')
      const outputs = ports()
      if (program !== undefined) fail(h, 'one program')
      if (h.fault === undefined) program = { name, inputs, outputs }
    }
    if (match(h, /\S/y) !== undefined) {
      h.at -= 1
      fail(h, 'the end of the line')
    }
    if (h.fault !== undefined) faults.push(h.fault)
  }
  if (faults.length === 0 && program === undefined)
    faults.push({ at: 'the text', expected: "a line 'program name (inputs) -> (outputs)'", actual: 'none' })
  return program === undefined || faults.length > 0 ? E.left(faults as unknown as NonEmptyArray<Fault>) : check(program)
}
