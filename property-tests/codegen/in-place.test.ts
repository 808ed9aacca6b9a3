/**
 * Results in the place of an operand. The rule on kernels written for it, each harm that it has to see; on every kernel of
 * the zoo: what it allows is run with the two in one memory, in the interpreter and compiled, and changes no bit.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { originOf } from '../../src/codegen/fuse/alias.ts'
import { explain, showReport as showWhole } from '../../src/codegen/index.ts'
import { alikeIn, legalInPlace, type Pair } from '../../src/codegen/kernel/in-place.ts'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { keyOfKernel } from '../../src/codegen/kernel/kernel.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { compileNative, type Native } from '../../src/codegen/native.ts'
import { findCompiler } from '../../src/codegen/runtime/c.ts'
import { addressOf, loadKernels, sizeAt } from '../../src/codegen/runtime/kernels-c.ts'
import { elementsOf } from '../../src/codegen/schedule.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import { evaluateBounded, type Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { seed } from '../seed.ts'
import { randomChain } from './chains.ts'
import { illegal, inputsFor, legal, repeated, sizes } from './in-place-kernels.ts'
import { buffersFor, casesFor, type MadeCase, type Target } from './parts.ts'
import { get } from './traced.ts'
import { zoo } from './zoo.ts'

const xy: ReadonlyArray<Pair> = [{ operand: 'x', result: 'y' }]

describe('the rule', () => {
  test.each(Object.entries(legal))('%s: in one place, and nothing changes', (_, k) => {
    expect(verifyKernel(k)).toEqual([])
    expect(legalInPlace(k)).toEqual(xy)
    const [apart, together] = [[], xy].map((pairs) => runKernel(k, inputsFor(k), sizes, undefined, pairs))
    expect(together!.reports.map(showReport)).toEqual([])
    expect(together!.outputs).toEqual(apart!.outputs)
  })

  test.each(Object.entries(illegal))('%s: refused, and the interpreter sees why', (_, k) => {
    expect(verifyKernel(k)).toEqual([])
    expect(runKernel(k, inputsFor(k), sizes).reports.map(showReport)).toEqual([])
    expect(legalInPlace(k)).toEqual([])
    const kinds = runKernel(k, inputsFor(k), sizes, undefined, xy).reports.map((r) => r.kind)
    expect(kinds.some((r) => r === 'overwritten' || r === 'race')).toBe(true)
  })

  test('what stands before all blocks is refused: each thread runs it, which the interpreter does not show', () => {
    expect(verifyKernel(repeated)).toEqual([])
    expect(legalInPlace(repeated)).toEqual([])
  })
})

// -------------------------------------------------------------------------- the kernels of the zoo

/** every distinct kernel of a target, at several sizes */
const kernelsOf = (target: Target): ReadonlyMap<string, ReadonlyArray<readonly [MadeCase, Sizes]>> => {
  const found = new Map<string, (readonly [MadeCase, Sizes])[]>()
  for (const animal of zoo)
    for (const at of animal.sizes)
      for (const c of casesFor(animal, target, at, 1)) {
        if (alikeIn(c.part.kernel).length === 0) continue
        const key = keyOfKernel(c.part.kernel)
        found.set(key, [...(found.get(key) ?? []), [c, at]])
      }
  return found
}

const isSame = (a: ReadonlyArray<ArrayLike<number>>, b: ReadonlyArray<ArrayLike<number>>): boolean =>
  a.every((x, n) => Array.from(x).every((v, m) => Object.is(v, b[n]![m])))

describe.each(['c', 'cuda'] as const)('kernels for %s', (target) => {
  test('what is allowed changes nothing; what changes something is reported', { timeout: 300_000 }, () => {
    const tally = { allowed: 0, refused: 0, harmful: 0 }
    for (const cases of kernelsOf(target).values())
      cases.forEach(([c, at], n) => {
        const { kernel: k } = c.part
        const allowed = new Set(legalInPlace(k).map((p) => `${p.result} for ${p.operand}`))
        const pairs = alikeIn(k).filter((p) => n === 0 || allowed.has(`${p.result} for ${p.operand}`))
        if (pairs.length === 0) return
        const buffers = buffersFor(c, at)
        const apart = runKernel(k, buffers, at)
        for (const pair of pairs) {
          const name = `${pair.result} for ${pair.operand}`
          const where = `${k.name} ${JSON.stringify(at)} ${name}`
          const { outputs, reports } = runKernel(k, buffers, at, undefined, [pair])
          if (allowed.has(name)) {
            tally.allowed += 1
            expect(reports.map(showReport), where).toEqual([])
            expect(isSame(outputs, apart.outputs), where).toBe(true)
          } else {
            tally.refused += 1
            if (reports.length > 0) tally.harmful += 1
            // nothing goes wrong silently: other tests rely on the reports
            if (!isSame(outputs, apart.outputs)) expect(reports.length, where).toBeGreaterThan(0)
          }
        }
      })
    const { allowed, refused, harmful } = tally
    console.log(
      `${target}: ${String(allowed)} allowed, ${String(refused)} refused, ${String(harmful)} of them would be wrong`,
    )
    expect(allowed).toBeGreaterThan(30)
    expect(harmful).toBeGreaterThan(30)
  })
})

// ---------------------------------------------------------------------------------- whole programs

/** the launches of a program with memory of its own for every value: nothing shares a place */
const runApart = (
  { schedule }: Native,
  inputs: Values,
  at: Sizes,
  threads: number,
): ReadonlyMap<Node, Float32Array> => {
  const memory = new Map<Node, Float32Array>()
  const of = (n: Node): Float32Array => {
    const known =
      memory.get(n) ??
      (n.op === 'input'
        ? Float32Array.from(inputs[n.attrs.name]!.data)
        : new Float32Array(sizeAt(elementsOf(n), at)).fill(NaN))
    memory.set(n, known)
    return known
  }
  const loaded = get(loadKernels(schedule.kernels, { threads: threads > 1 }))
  const launches = schedule.launches.flat().map(({ kernel: k, args, results }) => ({
    kernel: k,
    buffers: [...args.flatMap((a) => (a.kind === 'node' ? [a.node] : [])), ...results].map((n) => addressOf(of(n))),
  }))
  loaded.bind(launches, at, threads).run()
  return memory
}

describe.runIf(E.isRight(findCompiler()))('programs on c', () => {
  test.each([1, 3])('chains of layers mean what the oracle says, with %d threads', { timeout: 300_000 }, (threads) => {
    const tally = { values: 0, inPlace: 0, undecided: 0, programs: 0 }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 8, max: 20 }), (s, length) => {
        const { program, inputs } = randomChain(s, length)
        const native = get(compileNative(program, { threads }, simplify))
        const given = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v.data)]))
        // twice: what the first run left in the arena is of no use to the second
        get(native.runNow(given))
        const got = get(native.runNow(given))
        const apart = runApart(native, inputs, {}, threads)
        const { outputs } = native.stages.fused.program
        const wanted = get(evaluateBounded(program, inputs))
        tally.programs += 1
        tally.values += native.schedule.launches.flat().reduce((n, c) => n + c.results.length, 0)
        tally.inPlace += native.schedule.takes.size
        if (wanted.undecided) tally.undecided += 1
        outputs.forEach(({ name, node }, i) => {
          const own = apart.get(originOf(node))
          const dims = program.outputs[i]!.node.type.dims.map((a) => a.name).join()
          if (own !== undefined && node.type.dims.map((a) => a.name).join() === dims)
            expect(isSame([got[name]!], [own]), `${program.name} ${name}`).toBe(true)
          const { value, bound } = wanted.outputs[name]!
          if (!wanted.undecided)
            expect(judgeAll([{ value: value.data, bound }], [got[name]!]).worst, program.name).toBeLessThanOrEqual(1)
        })
        native.dispose()
      }),
      { numRuns: 25, seed },
    )
    console.log(
      `${String(tally.programs)} chains, ${String(tally.inPlace)} of ${String(tally.values)} values in place, ${String(tally.undecided)} undecided`,
    )
    expect(tally.inPlace).toBeGreaterThan(tally.programs / 2)
    expect(tally.undecided).toBeLessThan(0.2 * tally.programs)
  })

  test('what may alias is printed without restrict, and nothing else', () => {
    const { program } = randomChain(3, 12)
    const { schedule, source } = get(compileNative(program, {}, simplify))
    expect(schedule.takes.size).toBeGreaterThan(0)
    schedule.kernels.forEach((k, n) => {
      const head = source.functions[n]!.source.split('\n')[0]!
      for (const b of [...k.params, ...k.outputs])
        expect(new RegExp(`float \\*${b.name}[,)]`).test(head), `${head}: ${b.name}`).toBe(
          k.mayAlias?.has(b.name) === true,
        )
    })
    const may = schedule.kernels.flatMap((k) => [...(k.mayAlias ?? [])])
    expect(may.length).toBeGreaterThanOrEqual(2)
  })

  test('the report names every result in place, and the arena as it is', () => {
    const { program } = randomChain(3, 12)
    const { schedule, arena } = get(compileNative(program, {}, simplify))
    const report = get(explain(program, {}, 'c'))
    expect(report.kernels.flatMap((k) => k.inPlace ?? []).length).toBe(schedule.takes.size)
    expect(report.arenaBytes).toBe(4 * arena)
    expect(showWhole(report)).toMatch(/in place: \d+_\w+(\.\d)? for \d+_\w+/)
  })
})
