/** The laws at work: on adapters with one mistake each, as a user would write them, and on those that are built in. */
import { describe, expect, test } from 'vitest'
import type { Adapter } from '../../src/adapters/adapter.ts'
import { judge } from '../../src/adapters/laws/judge.ts'
import {
  lawsOf,
  passes,
  PASSING_SCORE,
  runLaw,
  runLaws,
  showCounterexample,
  targetsAgree,
  type LawResult,
} from '../../src/adapters/laws/index.ts'
import { onlyWhen } from '../../src/adapters/laws/standard.ts'
import { registry } from '../../src/adapters/registry.ts'
import { scoreMutants } from '../../src/adapters/mutate/score.ts'
import { proveEqual } from '../../src/autodiff/prove/index.ts'
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import { evaluate } from '../../src/dsl/index.ts'
import * as E from 'fp-ts/lib/Either.js'
import { seed } from '../seed.ts'
import bothRandom from './adapters/both-random.ts'
import bothZero from './adapters/both-zero.ts'
import droppedTerm from './adapters/dropped-term.ts'
import forgottenScale from './adapters/forgotten-scale.ts'
import reusedKey from './adapters/reused-key.ts'
import truncatedRotation from './adapters/truncated-rotation.ts'
import { named } from '../adapters/named.ts'

const lora = named('lora')

const settings = { runs: 40, seed, prover: proveEqual }

const verdictOf = (a: Adapter, name: string): LawResult => {
  const law = lawsOf(a).find((l) => l.name === name)
  if (law === undefined) throw new Error(`no law ${name}`)
  return runLaw(a, law, settings)
}

describe('one mistake each', () => {
  const wrong: ReadonlyArray<readonly [Adapter, ReadonlyArray<string>]> = [
    [bothRandom, ['identityAtInit']],
    [bothZero, ['aliveAtInit']],
    [truncatedRotation, ['orthogonal']],
    [forgottenScale, ['mergeEquivalent']],
    [droppedTerm, ['gradMatchesDifferences']],
    [reusedKey, ['keysIndependent']],
  ]
  test.each(wrong.map(([a, names]) => [a.name, a, names] as const))('%s is refuted there', (_, a, names) => {
    const refuted = lawsOf(a)
      .map((law) => runLaw(a, law, settings))
      .filter((r) => !r.ok)
    for (const name of names) expect(refuted.map((r) => r.law)).toContain(name)
    // a forgotten scale also breaks what is merged twice; nothing else may be blamed
    const allowed = [...names, ...(a === forgottenScale ? ['sequentialMerge'] : [])]
    expect(refuted.map((r) => r.law).filter((n) => !allowed.includes(n))).toEqual([])
    expect(refuted.every((r) => r.verdict === 'refuted')).toBe(true)
  })

  test('the counterexample is shrunk, and prints with both programs', () => {
    const { counterexample } = verdictOf(bothRandom, 'identityAtInit')
    expect(counterexample?.config).toEqual({ rank: 1 })
    expect(counterexample?.sizes).toMatchObject({ token: 2, in: 2, out: 2 })
    const text = showCounterexample(counterexample!)
    expect(text).toMatch(/worst at \[token \d, out \d\]: -?[\d.]+ and -?[\d.]+, bound \d/)
    expect(text).toMatch(/left {3}add\(/)
    expect(text).toMatch(/right {2}add\(dot\(x, weight; in\), bias\)/)
  })

  test('a law that is stated to fail has to be refuted, or else that is the error', () => {
    const stated = { ...bothRandom, fails: { identityAtInit: 'both factors are random', aliveAtInit: 'so it is said' } }
    expect(verdictOf(stated, 'identityAtInit')).toMatchObject({ verdict: 'refuted', ok: true })
    expect(verdictOf(stated, 'aliveAtInit')).toMatchObject({ verdict: 'tested', ok: false })
  })

  test('a law that is nowhere applicable says why', () => {
    const law = onlyWhen(lawsOf(lora)[0]!, () => false, 'never')
    expect(runLaw(lora, law, settings)).toMatchObject({ verdict: 'notApplicable', ok: true, reason: 'never' })
  })
})

describe('judging', () => {
  const x = kit.input('x', [{ name: 'i', size: dim(3) }], 'f32')
  const equal = (left: typeof x, right: typeof x) => [
    { kind: 'equal' as const, label: 'l', left: { node: left }, right: { node: right } },
  ]

  test('what differs by rounding agrees, what differs by a millionth does not', () => {
    const third = kit.map('mul', kit.map('div', x, kit.scalar(3)), kit.scalar(3))
    expect(judge(equal(x, third), 1)[0]).toMatchObject({ kind: 'held' })
    const off = kit.map('mul', x, kit.scalar(1 + 2 ** -20))
    expect(judge(equal(x, off), 1)[0]).toMatchObject({ kind: 'broken', label: 'l' })
  })

  test('a bound without teeth is vacuous, never tested', () => {
    const large = kit.map('add', x, kit.scalar(2 ** 60))
    expect(judge(equal(kit.map('sub', large, kit.scalar(2 ** 60)), x), 1)[0]).toMatchObject({ kind: 'vacuous' })
  })

  test('numbers that are none never agree', () => {
    const none = kit.map('div', kit.map('mul', x, kit.scalar(0)), kit.map('mul', x, kit.scalar(0)))
    expect(judge(equal(none, none), 1)[0]).toMatchObject({ kind: 'vacuous' })
    const infinite = kit.map('exp', kit.map('add', x, kit.scalar(1e6)))
    expect(judge(equal(infinite, infinite), 1)[0]?.kind).not.toBe('held')
  })

  test('a tie is undecided', () => {
    const third = kit.map('mul', kit.map('div', x, kit.scalar(3)), kit.scalar(3))
    const choice = kit.map('select', kit.map('gt', third, x), kit.scalar(5), kit.scalar(1))
    expect(judge(equal(choice, kit.map('mul', choice, kit.scalar(1))), 1)[0]).toMatchObject({ kind: 'undecided' })
  })

  test('sides of different axes differ', () => {
    const y = kit.rename(x, { i: 'j' })
    expect(judge(equal(x, y), 1)[0]).toMatchObject({ kind: 'broken', why: 'the sides have axes i and j' })
  })
})

describe('targets as laws', () => {
  const onOracle = targetsAgree('oracle', (program, inputs) =>
    E.map((e: { outputs: never }) => e.outputs)(evaluate(program, inputs) as never),
  )
  const wrongTarget = targetsAgree('wrong', (program, inputs) =>
    E.map((e: { readonly outputs: Readonly<Record<string, { readonly dims: never; readonly data: Float64Array }>> }) =>
      Object.fromEntries(Object.entries(e.outputs).map(([n, v]) => [n, { ...v, data: v.data.map((y) => y * 1.001) }])),
    )(evaluate(program, inputs) as never),
  )
  test('the oracle agrees with itself, and a target that is off by a thousandth does not', () => {
    expect(runLaw(lora, onOracle, settings)).toMatchObject({ verdict: 'tested' })
    expect(runLaw(lora, wrongTarget, settings)).toMatchObject({ verdict: 'refuted', ok: false })
  })
})

describe('the built-in adapters', () => {
  const report = runLaws(registry, { runs: 20, seed, mutation: false })

  test('hold every law, or fail where they say so', () => {
    expect(report.laws.filter((l) => !l.ok).map((l) => `${l.adapter} ${l.law} ${l.verdict}`)).toEqual([])
    expect(passes(report)).toBe(true)
  })

  test.each([
    ['lora', 'identityAtInit'],
    ['oft', 'identityAtInit'],
    ['bottleneck', 'identityAtInit'],
    ['llama-adapter', 'identityAtInit'],
    ['lora', 'mergeEquivalent'],
    ['oft', 'orthogonal'],
    ['hra', 'orthogonal'],
  ])('%s %s is proved', (adapter, law) => {
    expect(report.laws.find((l) => l.adapter === adapter && l.law === law)?.verdict).toBe('proved')
  })

  test('proved laws are run all the same', () => {
    for (const l of report.laws.filter((r) => r.verdict === 'proved')) expect(l.cases).toBeGreaterThanOrEqual(20)
  })

  test.each(registry.map((a) => [a.name, a] as const))('%s: laws kill its mutants', (_, a) => {
    const m = scoreMutants(a, seed)
    expect(m.score, m.survivors.join('\n')).toBeGreaterThanOrEqual(PASSING_SCORE)
    expect(m.generated).toBe(m.stillborn + m.equivalent + m.killed + m.survivors.length)
    expect(m.killed).toBeGreaterThan(10)
  })

  test('a law that the original breaks kills no mutant', () => {
    expect(Object.keys(scoreMutants(forgottenScale, seed).killers)).not.toContain('mergeEquivalent')
  })

  test('an adapter without a definition of its weight has weak laws, and its survivors are named', () => {
    const { weight: _, ...rest } = lora
    const m = scoreMutants({ ...rest, laws: [] }, seed)
    expect(m.score).toBeLessThan(PASSING_SCORE)
    expect(m.survivors.join()).toMatch(/apply: double a constant/)
  })
})
