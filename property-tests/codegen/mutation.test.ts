/** Mutation of the kernel IR: a sample of kernels with one thing wrong is caught by the verifier, the interpreter's reports, or the oracle. */
import { expect, test } from 'vitest'
import { runKernel } from '../../src/codegen/kernel/interpret.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { buffersOf, keyOfKernel, type Kernel } from '../../src/codegen/kernel/kernel.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import { diceOf } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import { equivalences } from './equivalents.ts'
import { kinds, mutantsOf, type Mutant } from './mutants.ts'
import { buffersFor, casesFor, type MadeCase, type Target } from './parts.ts'
import { zoo, type Animal } from './zoo.ts'

// ---------------------------------------------------------------------------------------- model

/** a kernel with what it is judged on: at several sizes */
interface Subject {
  readonly where: string
  readonly target: Target
  readonly animal: Animal
  readonly kernel: Kernel
  readonly cases: ReadonlyArray<{
    readonly made: MadeCase
    readonly sizes: Sizes
    readonly buffers: ReadonlyArray<Float64Array>
  }>
}

interface Marked {
  readonly subject: Subject
  readonly mutant: Mutant
}

const SAMPLE = Number(process.env['SCION_MUTANTS'] ?? 200)

// --------------------------------------------------------------------------------- constructors

/** every distinct kernel of the zoo on a target */
const subjectsOf = (target: Target): ReadonlyArray<Subject> => {
  const subjects = new Map<string, Subject>()
  const animals = target === 'gpujs' ? zoo.filter((a) => !a.name.startsWith('step')) : zoo
  for (const animal of animals)
    for (const sizes of target === 'gpujs' ? animal.sizes.slice(0, 1) : animal.sizes)
      for (const made of casesFor(animal, target, sizes, 1)) {
        const { kernel } = made.part
        const key = keyOfKernel(kernel)
        const known = subjects.get(key) ?? {
          where: `${target} ${animal.name} ${kernel.name}`,
          target,
          animal,
          kernel,
          cases: [],
        }
        const one = { made, sizes, buffers: buffersFor(made, sizes) }
        const isNew = known.cases.every((c) => JSON.stringify(c.sizes) !== JSON.stringify(sizes))
        subjects.set(key, isNew ? { ...known, cases: [...known.cases, one] } : known)
      }
  return [...subjects.values()]
}

const shuffled = <A>(xs: ReadonlyArray<A>, by: number): ReadonlyArray<A> => {
  const d = diceOf(by)
  return xs
    .map((x) => [d.real(), x] as const)
    .sort(([a], [b]) => a - b)
    .map(([, x]) => x)
}

/** of every kind in turn, as long as it lasts; of a kind, mutants of as many kernels as there are */
const sample = (subjects: ReadonlyArray<Subject>, size: number): ReadonlyArray<Marked> => {
  const byKind = new Map<string, Marked[][]>(kinds.map((k) => [k, []]))
  for (const subject of shuffled(subjects, seed)) {
    const all = shuffled(mutantsOf(subject.kernel), seed + 1)
    for (const kind of kinds) {
      const own = all.filter((m) => m.kind === kind).slice(0, 40)
      if (own.length > 0) byKind.get(kind)!.push(own.map((mutant) => ({ subject, mutant })))
    }
  }
  /** the first of each kernel, then the second of each, ... */
  const queues = [...byKind.values()].map((lists) =>
    Array.from({ length: Math.max(0, ...lists.map((l) => l.length)) }, (_, i) =>
      lists.flatMap((l) => l[i] ?? []),
    ).flat(),
  )
  const out: Marked[] = []
  for (let i = 0; out.length < size && queues.some((q) => i < q.length); i++)
    for (const q of queues) if (i < q.length && out.length < size) out.push(q[i]!)
  return out
}

// --------------------------------------------------------------------------------- interpreters

/** who noticed; undefined: nobody */
const catcher = ({ subject, mutant }: Marked): string | undefined => {
  const [fault] = verifyKernel(mutant.kernel)
  if (fault !== undefined) return 'verifier'
  for (const c of [...subject.cases, ...again(subject)]) {
    const by = noticed(mutant.kernel, c)
    if (by !== undefined) return by
  }
  return undefined
}

const noticed = (k: Kernel, { made, sizes, buffers }: Subject['cases'][number]): string | undefined => {
  const { outputs, reports } = runKernel(k, buffers, sizes)
  return reports[0]?.kind ?? (judgeAll(made.wanted, outputs).worst > 1 ? 'oracle' : undefined)
}

const cases = new Map<string, ReadonlyArray<MadeCase>>()
/** other numbers, and larger sizes */
const again = ({ target, animal, kernel, cases: first }: Subject): Subject['cases'] => {
  const key = keyOfKernel(kernel)
  const sizes = target === 'gpujs' ? first.map((c) => c.sizes) : [...animal.sizes, ...animal.large]
  return sizes.flatMap((s) => {
    const name = `${target} ${animal.name} ${JSON.stringify(s)}`
    const all = cases.get(name) ?? casesFor(animal, target, s, 2)
    cases.set(name, all)
    const made = all.find((c) => keyOfKernel(c.part.kernel) === key)
    return made === undefined ? [] : [{ made, sizes: s, buffers: buffersFor(made, s) }]
  })
}

/** every access in a number: of each thread its elements and values, in order */
const accessesOf = (k: Kernel, { sizes, buffers }: Subject['cases'][number]): number => {
  const names = new Map(buffersOf(k).map((b, i) => [b.name, i]))
  const value = new Float64Array(1)
  const bits = new Int32Array(value.buffer)
  const hashes = new Map<number, number>()
  runKernel(k, buffers, sizes, (buffer, flat, written, clock) => {
    value[0] = written
    const thread = clock.block * 2 ** 12 + clock.thread
    let hash = hashes.get(thread) ?? thread
    for (const x of [names.get(buffer)!, flat, bits[0]!, bits[1]!])
      hash = (Math.imul(hash ^ x, 0x9e3779b1) + (hash >>> 15)) | 0
    hashes.set(thread, hash)
  })
  return [...hashes.values()].reduce((sum, h) => (sum + Math.imul(h, h | 1)) | 0, 0)
}

const sameAccesses = ({ subject, mutant }: Marked): boolean =>
  [...subject.cases, ...again(subject)].every((c) => accessesOf(subject.kernel, c) === accessesOf(mutant.kernel, c))

test('at least 95 % of those that are not equivalent are caught', { timeout: 600_000 }, () => {
  const subjects = (['c', 'cuda', 'gpujs'] as const).flatMap(subjectsOf)
  const marked = sample(subjects, SAMPLE)
  // a mutant says nothing where the kernel itself is wrong
  const wrong = [...new Set(marked.map((m) => m.subject))].filter((s) =>
    s.cases.some((c) => noticed(s.kernel, c) !== undefined),
  )
  expect(wrong.map((s) => s.where)).toEqual([])
  const tally = new Map<string, number>()
  const escaped: string[] = []
  const equal = new Map<string, string[]>(equivalences.map((e) => [e.why, []]))
  for (const m of marked) {
    const by = catcher(m)
    tally.set(by ?? 'nobody', (tally.get(by ?? 'nobody') ?? 0) + 1)
    if (by !== undefined) continue
    const text = `  ${m.mutant.kind}: ${m.mutant.change.slice(0, 150)} [${m.subject.where}]`
    const survivor = { made: m.subject.cases[0]!.made.part, mutant: m.mutant, sameAccesses: sameAccesses(m) }
    const reason = equivalences.find((e) => e.holds(survivor))
    if (reason === undefined) escaped.push(`${text}\n    ${m.mutant.stmt.slice(0, 200)}`)
    else equal.get(reason.why)!.push(text)
  }
  const equivalent = [...equal.values()].flat().length
  const share = 1 - escaped.length / (marked.length - equivalent)
  console.log(
    [
      `${String(marked.length)} mutants of ${String(subjects.length)} kernels: ${JSON.stringify(Object.fromEntries(tally))}`,
      `${String(equivalent)} equivalent; of the others ${(100 * share).toFixed(1)} % caught`,
      ...[...equal].flatMap(([why, texts]) => (texts.length === 0 ? [] : [why, ...texts])),
      ...(escaped.length === 0 ? [] : ['ESCAPED', ...escaped]),
    ].join('\n'),
  )
  expect(marked.length).toBe(SAMPLE)
  expect(share).toBeGreaterThanOrEqual(0.95)
})
