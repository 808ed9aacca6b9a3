/**
 * A recipe found once for all groups that are alike is, for each of them, the recipe that would have been found for it:
 * the same kernel on the same values. And layers are alike: a deeper model asks for no further recipe.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, it, test } from 'vitest'
import { stepConfig, stepOf, stepRecipe } from '../../bench/case.ts'
import { simplify } from '../../src/autodiff/simplify.ts'
import { onceForAlike } from '../../src/codegen/alike.ts'
import type { Group } from '../../src/codegen/fuse/group.ts'
import { keyOfKernel } from '../../src/codegen/kernel/kernel.ts'
import { blockStages } from '../../src/codegen/pipeline.ts'
import { recipeC, type Argument, type Options, type Recipe } from '../../src/codegen/recipes/c/index.ts'
import type { Sizes } from '../../src/dsl/dim.ts'
import * as L from '../../src/dsl/index.ts'
import type { Node } from '../../src/dsl/node.ts'
import type { Program } from '../../src/dsl/program.ts'
import { get, zoo } from './zoo.ts'

const isWeight = (n: Node): boolean => n.op === 'input' && /^W$|^model[.]/.test(n.attrs.name)

const groupsOf = (program: Program, sizes: Sizes): ReadonlyArray<Group> =>
  get(blockStages(program, 'c', sizes, simplify)).fused.launches.flat()

/** the values of an argument; panels by the kernel that fills them, for their keys are names */
const valuesOf = (a: Argument): ReadonlyArray<unknown> =>
  a.kind === 'node' ? [a.node] : [keyOfKernel(a.packed.kernel), ...a.packed.args]

const options = (isFrozen: Options['isFrozen']): Options => ({ width: 8, isFrozen })

const same = (program: Program, sizes: Sizes, isFrozen: Options['isFrozen']): void => {
  const groups = groupsOf(program, sizes)
  const once = onceForAlike(recipeC, options(isFrozen))
  for (const g of groups) {
    const [own, shared] = [recipeC(g, options(isFrozen)), once(g)]
    expect(keyOfKernel(shared.kernel)).toBe(keyOfKernel(own.kernel))
    // node by node: `toEqual` would walk the graph behind every one
    const pairs = [
      [own.results, shared.results],
      ...own.args.map((a, i) => [valuesOf(a), valuesOf(shared.args[i]!)] as const),
    ] as const
    for (const [a, b] of pairs) expect(b.length === a.length && b.every((x, i) => x === a[i])).toBe(true)
    expect(shared.args.length).toBe(own.args.length)
  }
}

describe('a recipe for all groups that are alike is the recipe of each', () => {
  test.each(zoo.map((a) => [a.name, a] as const))('%s', (_, { program, sizes }) => {
    same(program, sizes[0]!, () => false)
    same(program, sizes[0]!, isWeight)
  })

  it('a frozen operand is not that of one who changes', () => {
    const product = (x: string, w: string): L.AnyTensor =>
      pipe(L.input(x, { token: 32, in: 64 }), L.dot(L.input(w, { in: 64, out: 48 }), 'in'))
    // the second waits for the first: one after the other, never side by side in one kernel
    const first = product('x', 'W')
    const second = pipe(
      L.wrap<'token' | 'out'>(first.node),
      L.rename({ out: 'in' }),
      L.pad('in', 0, 16),
      L.dot(L.input('V', { in: 64, out: 48 }), 'in'),
    )
    const program = get(L.program('two', { first, other: product('z', 'V'), second }))
    same(program, {}, isWeight)
  })

  it('a step of three layers', () => {
    const { program } = stepOf(stepConfig(64, 3), stepRecipe(2, 16))
    same(program, {}, isWeight)
  })
})

describe('panels', () => {
  it('have one key for one weight in one form, and another for another weight', () => {
    const groups = groupsOf(stepOf(stepConfig(64, 3), stepRecipe(2, 16)).program, {})
    const once = onceForAlike(recipeC, options(isWeight))
    const contents = new Map<string, string>()
    for (const g of groups)
      for (const a of once(g).args)
        if (a.kind === 'packed') {
          const content = `${keyOfKernel(a.packed.kernel)} ${a.packed.args.map((n) => n.id).join(' ')}`
          expect(contents.get(a.packed.key) ?? content).toBe(content)
          contents.set(a.packed.key, content)
        }
    expect(new Set(contents.values()).size).toBe(contents.size)
    // seven weights a layer and the head, all of them forward and most of them backward
    expect(contents.size).toBeGreaterThan(3 * 7)
  })
})

describe('layers', () => {
  const asked = (layers: number): number => {
    let count = 0
    const counting = (g: Group, o: Options): Recipe => {
      count++
      return recipeC(g, o)
    }
    const once = onceForAlike(counting, options(isWeight))
    groupsOf(stepOf(stepConfig(64, layers), stepRecipe(2, 16)).program, {}).forEach(once)
    return count
  }

  it('ask for no recipe that four layers have not asked for', () => {
    // gradients are summed in groups whose size follows from their number: those differ
    expect(asked(7) - asked(4)).toBeLessThanOrEqual(2)
  })
})
