/**
 * Which results of a kernel may lie where one of its operands does, address on address.
 *
 *     (p, r) is legal  when, for every read p[a] and every write r[b] of the kernel,
 *
 *       order      the read stands before the write: earlier in the list of statements that holds both, or in the
 *                  value that is stored
 *       ownership  a = b only within one turn of every loop that is around both; and no block or thread loop is around
 *                  one of them alone
 *
 * An element is then read for the last time before it is written, by the thread that writes it: of what is around both,
 * a = b happens in one turn only, and within that turn the whole of the read's statement comes first. Nothing has to be
 * waited for, so that tasks and blocks stay as independent as they were.
 *
 * Ownership is decided from the addresses: a = b gives  floor(a/f) = floor(b/f)  and  a mod f = b mod f  for each factor f
 * of theirs, and so on, until an axis stands alone on both sides. What is not decided is not legal: addresses that were
 * read, intrinsics that do not say what they reach, bounds between symbols.
 *
 *     y[t, i] = x[t, i] / sum_j x[t, j]     legal: all of row t is read before t's own first write, a = b makes t the same
 *     y[i] = x[i + 1]                       not: i is not the same
 *     y[i, j] = x[j, i]                     not: i and j are not the same
 */
import { dim, isNonNegative, literal, productDim, type Dim } from '../../dsl/dim.ts'
import { accessesOf, type Access, type Around } from './accesses.ts'
import { addIndex, divIndex, isAtLeast, modIndex, scaleIndex, subIndex, whole } from './affine.ts'
import {
  bodyOf,
  indicesOfAtom,
  type Atom,
  type Buffer,
  type Index,
  type Kernel,
  type Stmt,
  type Term,
} from './kernel.ts'
import { fromTerms } from './terms.ts'

// ---------------------------------------------------------------------------------------- model

/** names of a parameter and of an output of the kernel */
export interface Pair {
  readonly operand: string
  readonly result: string
}

/** what is known of a = b: both sides have the same value, one in the read's turns, one in the write's */
type Equation = readonly [Index, Index]

/** more steps than any kernel's addresses take */
const MOST = 64

// ------------------------------------------------------------------------------------- analyses

const readsData = (i: Index): boolean =>
  i.terms.some(({ atom }) => atom.kind === 'data' || indicesOfAtom(atom).some(readsData))

const isSingle = ({ terms, offset }: Index): boolean =>
  terms.length === 1 && offset.key === '0' && terms[0]!.factor.key === '1'

/** both sides less what is added to both */
const withoutOffset = ([a, b]: Equation): Equation => {
  if (a.offset.key !== b.offset.key || a.offset.key === '0') return [a, b]
  const [x, y] = [a, b].map((i) => subIndex(i, whole(i.offset))) as [Index, Index]
  return isAtLeast(x, 0) && isAtLeast(y, 0) ? [x, y] : [a, b]
}

/** the greatest value of an atom, where it is a number */
const mostOfAtom = (a: Atom): number | undefined => {
  const above = a.kind === 'axis' ? literal(a.size) : a.kind === 'mod' ? literal(a.by) : undefined
  return above === undefined ? undefined : above - 1
}

/** `apart` where all is numbers, as it mostly is: what is no multiple of n stays below n. Undefined: something is not. */
const apartByNumber = (i: Index, n: number): readonly [Index, Index] | 'whole' | undefined => {
  const offset = literal(i.offset)
  if (offset === undefined || offset < 0) return undefined
  const [multiples, others]: [Term[], Term[]] = [[], []]
  let most = offset % n
  for (const t of i.terms) {
    const factor = literal(t.factor)
    if (factor === undefined || factor < 0) return undefined
    if (factor % n === 0) multiples.push({ factor: dim(factor / n), atom: t.atom })
    else {
      const own = mostOfAtom(t.atom)
      if (own === undefined) return undefined
      others.push(t)
      most += factor * own
    }
  }
  if (most >= n) return 'whole'
  return [fromTerms(dim(Math.floor(offset / n)), multiples), fromTerms(dim(offset % n), others)]
}

/** floor(i/f) and i mod f, where each term goes to one of them as it stands */
const apart = (i: Index, f: Dim): readonly [Index, Index] | undefined => {
  const n = literal(f)
  const parts = n === undefined ? undefined : apartByNumber(i, n)
  if (parts !== undefined) return parts === 'whole' ? undefined : parts
  const [q, r] = [divIndex(i, f), modIndex(i, f)]
  const atoms = new Set(i.terms.map((t) => t.atom))
  return [...q.terms, ...r.terms].every((t) => atoms.has(t.atom)) ? [q, r] : undefined
}

/** floor(a/f) = floor(b/f) and a mod f = b mod f, for a factor by which both come apart */
const split = ([a, b]: Equation): ReadonlyArray<Equation> | undefined => {
  const factors = new Map([...a.terms, ...b.terms].map((t) => [t.factor.key, t.factor]))
  for (const f of factors.values()) {
    if (f.key === '1' || !isNonNegative(f)) continue
    const x = apart(a, f)
    const y = x === undefined ? undefined : apart(b, f)
    if (x === undefined || y === undefined || (x[0].key === '0' && y[0].key === '0')) continue
    return [
      [x[0], y[0]],
      [x[1], y[1]],
    ]
  }
  return undefined
}

/** Whether a = b, with these loops around, makes the axes of `common` the same on both sides. */
const makesSame = (a: Index, b: Index, loops: ReadonlyMap<string, Around>, common: ReadonlyArray<Around>): boolean => {
  const same = new Set<string>()
  const parts = new Map<string, Atom>()
  const todo: Equation[] = [[a, b]]
  /** axis = from + step * turn, one level of it */
  const unfolded = (i: Index): Index =>
    i.terms.reduce<Index>((sum, { factor, atom }) => {
      const loop = atom.kind === 'axis' ? loops.get(atom.name) : undefined
      const one: Index = { offset: whole(0).offset, terms: [{ factor: whole(1).offset, atom }], key: '' }
      const value = loop === undefined ? one : addIndex(loop.from(), scaleIndex(loop.step, loop.turn()))
      return addIndex(sum, scaleIndex(factor, value))
    }, whole(i.offset))
  const learn = (x: Atom, y: Atom): void => {
    if (x.kind === 'axis' && y.kind === 'axis' && x.name === y.name) same.add(x.name)
    if ((x.kind !== 'div' && x.kind !== 'mod') || y.kind !== x.kind) return
    if (x.of.key !== y.of.key || x.by.key !== y.by.key) return
    // floor(e/n) and e mod n: e
    const [own, other] = [
      `${x.kind} ${x.of.key} ${x.by.key}`,
      `${x.kind === 'div' ? 'mod' : 'div'} ${x.of.key} ${x.by.key}`,
    ]
    if (parts.has(other)) todo.push([x.of, y.of])
    parts.set(own, x)
  }
  const isDone = (): boolean =>
    common.every((l) => l.turn().terms.length === 0 || same.has(l.name) || same.has(`${l.name} turn`))
  for (let n = 0; n < MOST && !isDone(); n++) {
    const next = todo.pop()
    if (next === undefined) return false
    const [x, y] = withoutOffset(next)
    if (isSingle(x) && isSingle(y)) learn(x.terms[0]!.atom, y.terms[0]!.atom)
    const parted = split([x, y])
    if (parted !== undefined) {
      todo.push(...parted)
      continue
    }
    const inside: Equation = [unfolded(x), unfolded(y)]
    if (inside[0].key !== x.key || inside[1].key !== y.key) todo.push(inside)
  }
  return isDone()
}

const commonLoops = (r: Access, w: Access): ReadonlyArray<Around> => {
  const n = r.loops.findIndex((l, i) => w.loops[i] !== l)
  return n < 0 ? r.loops : r.loops.slice(0, n)
}

const isShared = ({ role }: Around): boolean => role === 'block' || role === 'thread' || role === 'grid'

/** the read's statement comes before the write's, or is the store itself */
const isBefore = (r: Access, w: Access): boolean => {
  const at = r.path.findIndex((p, i) => w.path[i] !== p)
  if (at < 0) return r.path.length === w.path.length && r.isStore && w.isStore
  return at < w.path.length && r.path[at]! < w.path[at]!
}

/** `decided`: by addresses and loops, for operands are often read alike */
const isOwned = (r: Access, w: Access, decided: Map<string, boolean>): boolean => {
  const common = commonLoops(r, w)
  if ([...r.loops, ...w.loops].some((l) => isShared(l) && !common.includes(l))) return false
  const [a, b] = [r.address()!, w.address()!]
  const key = `${a.key} = ${b.key} in ${common.map((l) => l.name).join()}`
  const known = decided.get(key)
  if (known !== undefined) return known
  const loops = new Map([...r.loops, ...w.loops].map((l) => [l.name, l]))
  const made = makesSame(a, b, loops, common)
  decided.set(key, made)
  return made
}

const hasBlocks = (body: ReadonlyArray<Stmt>): boolean =>
  body.some((s) => (s.kind === 'for' && (s.loop.role === 'block' || s.loop.role === 'grid')) || hasBlocks(bodyOf(s)))

// --------------------------------------------------------------------------------- interpreters

const elements = (b: Buffer): string => productDim(b.shape).key

/** Parameters and outputs with equally many elements. */
export const alikeIn = (k: Kernel): ReadonlyArray<Pair> =>
  k.params.flatMap((p) =>
    k.outputs.flatMap((r): ReadonlyArray<Pair> =>
      p.dtype === r.dtype && elements(p) === elements(r) ? [{ operand: p.name, result: r.name }] : [],
    ),
  )

/** what is known of a kernel: its accesses, and which pairs are legal */
interface Known {
  readonly accesses: ReadonlyArray<Access>
  readonly needsBlock: boolean
  readonly legal: Map<string, boolean>
  readonly owned: Map<string, boolean>
}
const kernels = new WeakMap<Kernel, Known>()

const knownOf = (k: Kernel): Known => {
  const found = kernels.get(k)
  if (found !== undefined) return found
  const wanted = new Set(alikeIn(k).flatMap((p) => [p.operand, p.result]))
  const made: Known = {
    accesses: accessesOf(k, wanted),
    needsBlock: hasBlocks(k.body),
    legal: new Map(),
    owned: new Map(),
  }
  kernels.set(k, made)
  return made
}

/** Whether a pair of `alikeIn` is legal: by itself, and together with pairs of other buffers. */
export const isLegalInPlace = (k: Kernel, pair: Pair): boolean => {
  const known = knownOf(k)
  const { legal } = known
  const key = `${pair.operand} ${pair.result}`
  const decided = legal.get(key) ?? isLegal(pair, known)
  legal.set(key, decided)
  return decided
}

/** All pairs that are legal. */
export const legalInPlace = (k: Kernel): ReadonlyArray<Pair> => alikeIn(k).filter((p) => isLegalInPlace(k, p))

const isLegal = ({ operand, result }: Pair, { accesses, needsBlock, owned }: Known): boolean => {
  const reads = accesses.filter((a) => a.buffer === operand && a.kind === 'read')
  const writes = accesses.filter((a) => a.buffer === result && a.kind === 'write')
  const isInBlock = (a: Access): boolean => !needsBlock || a.loops.some(isShared)
  const isKnown = (a: Access): boolean => {
    const address = a.address()
    return address !== undefined && !readsData(address)
  }
  return (
    [...reads, ...writes].every(isInBlock) &&
    reads.every((r) => writes.every((w) => isBefore(r, w))) &&
    [...reads, ...writes].every(isKnown) &&
    reads.every((r) => writes.every((w) => isOwned(r, w, owned)))
  )
}
