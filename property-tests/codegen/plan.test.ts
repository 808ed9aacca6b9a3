/**
 * Fused plans as a whole, on random graphs and on the zoo: run kernel by kernel they answer what the program means; the
 * arena is hardly larger than what lives at once, and no two values alive at once share a place in it.
 */
import * as E from 'fp-ts/lib/Either.js'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { simplify } from '../../src/autodiff/simplify.ts'
import { leastArena } from '../../src/codegen/arena.ts'
import { sharedLives, takesOf, type Run } from '../../src/codegen/in-place.ts'
import type { Pair } from '../../src/codegen/kernel/in-place.ts'
import { originOf } from '../../src/codegen/fuse/alias.ts'
import { runKernel, showReport } from '../../src/codegen/kernel/interpret.ts'
import { judgeAll } from '../../src/codegen/lockstep.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { elementsOf, livesOf, placeValues, scheduleOf } from '../../src/codegen/schedule.ts'
import { verifyKernel } from '../../src/codegen/kernel/verify.ts'
import { dim, evalDim, type Sizes } from '../../src/dsl/dim.ts'
import { evaluate, evaluateBounded, f64, type Values } from '../../src/dsl/interpret.ts'
import type { Node } from '../../src/dsl/node.ts'
import { bindSizes, type Program } from '../../src/dsl/program.ts'
import { layOut } from '../../src/dsl/value.ts'
import { randomGraph } from '../codegen-graphs.ts'
import { seed } from '../seed.ts'
import { buffersFor, madeFor, partCasesOf, type Target } from './parts.ts'
import { randomChain } from './chains.ts'
import { misplacedIn } from './places.ts'
import { get, inputsFor, steps, zoo, type Animal } from './zoo.ts'

// ---------------------------------------------------------------------- a plan in one memory

const boundTo = (p: Program, sizes: Sizes): Program =>
  bindSizes(p, Object.fromEntries(Object.entries(sizes).map(([k, n]) => [k, dim(n)])))

/**
 * Every kernel in order, each on what the ones before it left, results in the place of operands where they may be; by
 * output, what none of inputs or numbers already is.
 */
const runPlan = (animal: Animal, target: Target, sizes: Sizes, inputs: Values): ReadonlyMap<string, Float64Array> => {
  const { split, made, program } = madeFor(animal, target, sizes)
  const random = split.random.outputs.length === 0 ? {} : get(evaluate(boundTo(split.random, sizes), inputs)).outputs
  const given: Values = { ...inputs, ...split.constants, ...random }
  const memory = new Map<Node, Float64Array>()
  const valueOf = (n: Node): Float64Array => {
    const found = memory.get(n) ?? (n.op === 'input' ? given[n.attrs.name]?.data : undefined)
    if (found === undefined) throw new Error(`#${String(n.id)} ${n.op} is read before it is made`)
    return found
  }
  const kept = new Set(program.outputs.map((o) => originOf(o.node)))
  const runs = made.map(({ kernel, given: args, results }): Run => ({
    ...{ kernel, results },
    args: args.map((a) => (a.kind === 'node' ? a.node : undefined)),
  }))
  const takes = takesOf(
    runs.map((r) => [r]),
    (n) => kept.has(n),
  )
  tally.inPlace += takes.size
  made.forEach(({ kernel, given: args, results }, i) => {
    const pairs = results.flatMap((n, j): ReadonlyArray<Pair> => {
      const operand = takes.get(n)
      if (operand === undefined) return []
      return [{ operand: kernel.params[runs[i]!.args.indexOf(operand)]!.name, result: kernel.outputs[j]!.name }]
    })
    const read = args.map((a) =>
      a.kind === 'node' ? valueOf(a.node) : runKernel(a.packed.kernel, a.packed.args.map(valueOf), sizes).outputs[0]!,
    )
    const { outputs, reports } = runKernel(kernel, read, sizes, undefined, pairs)
    expect(reports.map(showReport), kernel.name).toEqual([])
    // what an operand held is gone
    results.forEach((n) => takes.has(n) && memory.delete(takes.get(n)!))
    results.forEach((n, j) => memory.set(n, outputs[j]!))
  })
  return new Map(
    program.outputs.flatMap(({ name, node }) => {
      const n = originOf(node)
      return n.op === 'input' || n.op === 'const' ? [] : [[name, valueOf(n)] as const]
    }),
  )
}

/** within the bounds of the program and of the fused program, both evaluated in f64 */
const expectMeaning = (animal: Animal, target: Target, sizes: Sizes, inputs: Values): void => {
  const got = runPlan(animal, target, sizes, inputs)
  const wanted = get(evaluateBounded(boundTo(animal.program, sizes), inputs, {}, {}, f64))
  if (wanted.undecided) return
  const { split, program } = madeFor(animal, target, sizes)
  const random = split.random.outputs.length === 0 ? {} : get(evaluate(boundTo(split.random, sizes), inputs)).outputs
  const fused = boundTo(program, sizes)
  const own = get(evaluateBounded(fused, { ...inputs, ...split.constants, ...random }, {}, {}, f64))
  for (const [name, data] of got) {
    const [a, b] = [wanted.outputs[name]!, own.outputs[name]!]
    const inOrder = (x: Float64Array): Float64Array => layOut({ dims: b.value.dims, data: x }, a.value.dims).data
    const fusedBound = inOrder(b.bound)
    const bound = a.bound.map((x, i) => x + fusedBound[i]!)
    const { worst } = judgeAll([{ value: a.value.data, bound }], [inOrder(data)])
    expect(worst, `${animal.name} ${target} ${name}`).toBeLessThanOrEqual(1)
  }
}

const tally = { kernels: 0, undecided: 0, inPlace: 0 }

const expectKernels = (animal: Animal, target: Target, inputs: Values): void => {
  for (const c of partCasesOf(animal, target, {}, inputs)) {
    const { kernel } = c.part
    expect(verifyKernel(kernel)).toEqual([])
    const { outputs, reports } = runKernel(kernel, buffersFor(c, {}), {})
    expect(reports.map(showReport), `${target} ${kernel.name}`).toEqual([])
    tally.kernels += 1
    if (c.undecided) tally.undecided += 1
    else expect(judgeAll(c.wanted, outputs).worst, `${target} ${kernel.name}`).toBeLessThanOrEqual(1)
  }
}

describe.each(['c', 'cuda'] as const)('for %s', (target) => {
  test('random graphs: each kernel, and the plan', { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 3, max: 40 }), (s, length) => {
        const { program, inputs } = randomGraph(s, length)
        const animal = { name: program.name, program, sizes: [{}], large: [], ids: 4 }
        expectKernels(animal, target, inputs)
        expectMeaning(animal, target, {}, inputs)
      }),
      { numRuns: 150, seed },
    )
  })

  test('random chains of layers: the plan, results in the place of operands', { timeout: 300_000 }, () => {
    const before = tally.inPlace
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 }), fc.integer({ min: 6, max: 16 }), (s, length) => {
        const { program, inputs } = randomChain(s, length)
        expectMeaning({ name: program.name, program, sizes: [{}], large: [], ids: 4 }, target, {}, inputs)
      }),
      { numRuns: 40, seed },
    )
    console.log(`${target}: 40 chains, ${String(tally.inPlace - before)} results in place`)
    expect(tally.inPlace - before).toBeGreaterThan(20)
  })

  test.each(zoo.map((a) => [a.name, a] as const))('the plan of %s', { timeout: 100_000 }, (_, animal) => {
    const sizes = animal.sizes[0]!
    expectMeaning(animal, target, sizes, inputsFor(animal.program, sizes, 4, animal.ids))
  })

  afterAll(() => {
    console.log(`random graphs: ${String(tally.kernels)} kernels, ${String(tally.undecided)} undecided`)
    expect(tally.undecided).toBeLessThanOrEqual(0.15 * tally.kernels)
  })
})

// --------------------------------------------------------------------------------------- the arena

describe('the arena', () => {
  const larger: Sizes = { B: 4, T: 128, D: 288 }
  const arenas = [...zoo.filter((a) => !a.name.startsWith('step')), ...steps]

  test.each(arenas.map((a) => [a.name, a] as const))('of %s', (_, { program }) => {
    const { fused } = get(blockStages(program, 'c', larger, simplify))
    const schedule = scheduleOf(fused, { width: 8, isFrozen: () => false })
    const results = new Set(fused.program.outputs.map((o) => originOf(o.node)))
    const sizeOf = (n: Node): number => E.getOrElse(() => NaN)(evalDim(elementsOf(n), larger))
    const lived = livesOf(schedule, (n) => results.has(n), sizeOf)
    const places = placeValues(lived, schedule.takes)
    expect(misplacedIn(schedule, lived, places)).toEqual([])
    const { size } = places
    // a place is alive from its first value's writer to its last one's reader: no plan with these launches needs less
    const least = leastArena(sharedLives(lived, schedule.takes).map((s) => s.life))
    const apart = placeValues(lived, new Map()).size
    console.log(
      `arena ${String(size)} floats, ${(size / Math.max(1, least)).toFixed(3)} of what lives at once; ${String(schedule.takes.size)} of ${String(lived.length)} values in place, without it ${String(apart)}`,
    )
    expect(size).toBeLessThanOrEqual(1.2 * least)
    expect(size).toBeLessThanOrEqual(apart)
  })

  test('a result in a place that it may not take is seen', () => {
    const { program } = zoo.find((a) => a.name === 'step with lora')!
    const { fused } = get(blockStages(program, 'c', {}, simplify))
    const schedule = scheduleOf(fused, { width: 8, isFrozen: () => false })
    const results = new Set(fused.program.outputs.map((o) => originOf(o.node)))
    const sizeOf = (n: Node): number => E.getOrElse(() => NaN)(evalDim(elementsOf(n), {}))
    const lived = livesOf(schedule, (n) => results.has(n), sizeOf)
    expect(schedule.takes.size).toBeGreaterThan(2)
    /** each value that lives on in the place of each other of its size: all that are wrong are found */
    let [wrong, right] = [0, 0]
    for (const a of lived)
      for (const b of lived) {
        if (a === b || a.life.size !== b.life.size || a.life.from >= b.life.from || a.life.to < b.life.from) continue
        const found = misplacedIn(schedule, lived, placeValues(lived, new Map([[b.node, a.node]]))).length > 0
        if (schedule.takes.get(b.node) === a.node) {
          right += 1
          expect(found, `#${String(b.node.id)} for #${String(a.node.id)}`).toBe(false)
        } else if (found) wrong += 1
      }
    console.log(`${String(right)} in place as planned, ${String(wrong)} others seen to be wrong`)
    expect(right).toBe(schedule.takes.size)
    expect(wrong).toBeGreaterThan(20)
  })
})
