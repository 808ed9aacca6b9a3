/** print and parse: the same nodes come back (hash-consed: `===`), and bad text is one clear fault a line. */
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { describe, expect, test } from 'vitest'
import { withVjp, vjpProgram } from '../../src/autodiff/index.ts'
import { kit } from '../../src/dsl/build.ts'
import { dim } from '../../src/dsl/dim.ts'
import { showFaults } from '../../src/dsl/fault.ts'
import { add, dot, input, mul } from '../../src/dsl/index.ts'
import { axisNames } from '../../src/dsl/node.ts'
import { parse } from '../../src/dsl/parse.ts'
import { print } from '../../src/dsl/print.ts'
import { program, trace, withOutputs, type Program } from '../../src/dsl/program.ts'
import { drawGraph } from './graphs.ts'
import { rows } from './samples.ts'
import { named } from '../adapters/named.ts'

const lora = named('lora')

const right = (p: ReturnType<typeof parse>): Program => {
  if (E.isLeft(p)) throw new Error(showFaults(p.left))
  return p.right
}

const returns = (p: Program): void => {
  const text = print(p)
  const back = right(parse(text))
  expect(back.name).toBe(p.name)
  expect(back.inputs.map((i) => i.name)).toEqual(p.inputs.map((i) => i.name))
  back.inputs.forEach((i, k) => expect(i.node).toBe(p.inputs[k]!.node))
  back.outputs.forEach((o, k) => expect(o.node === p.outputs[k]!.node, text).toBe(true))
  expect(print(back)).toBe(text)
}

describe('what is printed is read back to the same nodes', () => {
  test('random graphs of all primitives', () => {
    const met = new Set<string>()
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const { program: p } = drawGraph(g, { smooth: false, c: 'n' })
        for (const line of print(p).matchAll(/= (\w+)\(/g)) met.add(line[1]!)
        returns(p)
      }),
      { numRuns: 400 },
    )
    // the generator reaches what it is there for
    expect(
      ['call', 'gather', 'scatterAdd', 'solve', 'randomBits', 'reshape', 'select'].filter((o) => !met.has(o)),
    ).toEqual([])
  })
  test.each(rows)('the sample of $name', ({ draw }) => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        returns(trace('sample', { y: { node: draw(g).node } }))
      }),
      { numRuns: 10 },
    )
  })
  test('an adapter with its gradient', () => {
    const x = input('x', { token: 'token', in: 'in' })
    const sizes = { in: 'in', out: 'out' }
    const config = { rank: 4, alpha: 8, rslora: false }
    expect(lora.name).toBe('lora')
    expect([config.rank, sizes.in]).toEqual([4, 'in'])
    const a = input('a', { r: 4, in: 'in' })
    const b = input('b', { out: 'out', r: 4 })
    const p = right(program('lora', { y: pipe(x, dot(a, 'in'), dot(b, 'r')) }))
    returns(right(vjpProgram(p, ['a', 'b'])))
  })
  test('names that are not plain words, inputs that nothing needs, sizes that are quotients', () => {
    const x = kit.input('model.layers[0] "q"', [{ name: 'ein ä', size: dim('(in/8)') }], 'f32')
    const p = trace('a program', { 'y 1': { node: kit.map('exp', x) } })
    returns(p)
    returns(withOutputs(p, [kit.scalar(-0)]))
  })
})

test('what it looks like', () => {
  const [x, a, b] = [input('x', { token: 'token', in: 8 }), input('a', { r: 2, in: 8 }), input('b', { out: 6, r: 2 })]
  const double = withVjp(
    'double',
    (t) => pipe(t, mul(2)),
    (_args, _y, ct) => [pipe(ct, mul(2))],
  )
  const y = pipe(x, dot(a, 'in'), dot(b, 'r'))
  expect(`\n${print(trace('lora', { y: pipe(y, add(double<'token' | 'out'>(y))) }))}`).toMatchInlineSnapshot(`
    "
    region @1 (%arg0) -> (%3)
      %arg0 = input() name=arg0 : f32[token, out:6]
      %2 = const() value=2 : f32[]
      %3 = mul(%arg0, %2) : f32[token, out:6]

    region @2 (%arg0, %y, %ct) -> (%5)
      %arg0 = input() name=arg0 : f32[token, out:6]
      %y = input() name=y : f32[token, out:6]
      %ct = input() name=ct : f32[token, out:6]
      %4 = const() value=2 : f32[]
      %5 = mul(%ct, %4) : f32[token, out:6]

    program lora (a=%a, b=%b, x=%x) -> (y=%7)
      %a = input() name=a : f32[r:2, in:8]
      %b = input() name=b : f32[out:6, r:2]
      %x = input() name=x : f32[token, in:8]
      %4 = dot(%x, %a) over=[in] : f32[token, r:2]
      %5 = dot(%4, %b) over=[r] : f32[token, out:6]
      %6 = call(%5) name=double body=@1 rule=@2 : f32[token, out:6]
      %7 = add(%5, %6) : f32[token, out:6]
    "
  `)
  expect(axisNames(y.node.type)).toEqual(['token', 'out'])
})

describe('bad text is a fault that names its line', () => {
  const text = (...lines: ReadonlyArray<string>): string =>
    [
      'program p (x=%x, w=%w) -> (y=%3)',
      '  %x = input() name=x : f32[t, in:4]',
      '  %w = input() name=w : f32[in:4]',
      ...lines,
    ].join('\n')
  const good = '  %3 = dot(%x, %w) over=[in] : f32[t]'
  const cases: Readonly<Record<string, string>> = {
    'nothing at all': '',
    'an unknown operation': text('  %3 = dott(%x, %w) over=[in] : f32[t]'),
    'a node that is not there': text('  %3 = dot(%x, %v) over=[in] : f32[t]'),
    'a wrong axis': text('  %3 = dot(%x, %w) over=[inn] : f32[t]'),
    'a type that is not so': text('  %3 = dot(%x, %w) over=[in] : f32[t, in:4]'),
    'a missing attribute': text('  %3 = dot(%x, %w) : f32[t]'),
    'an unknown dtype': text('  %3 = dot(%x, %w) over=[in] : f33[t]'),
    'no type': text('  %3 = dot(%x, %w) over=[in]'),
    'more than a type': text(`${good} and more`),
    'the same label twice': text(good, good),
    'no output': text('  %4 = dot(%x, %w) over=[in] : f32[t]'),
    'a node before any program': good,
    'a hostile name': text('  %3 = constructor(%x) : f32[t]'),
    'two lines, two faults': text('  %3 = exq(%x) : f32[t, in:4]', '  %4 = sum(%3) : f32[t]'),
  }
  const reported = Object.entries(cases).map(([name, t]) => {
    const p = parse(t)
    return `${name}\n    ${E.isLeft(p) ? p.left.map((f) => `${f.at}: expected ${f.expected}, found ${f.actual}${f.hint === undefined ? '' : ` (${f.hint})`}`).join('\n    ') : 'READ'}`
  })
  test('each', () => {
    expect(`\n${reported.join('\n')}\n`).toMatchInlineSnapshot(`
      "
      nothing at all
          the text: expected a line 'program name (inputs) -> (outputs)', found none
      an unknown operation
          line 4, column 8: expected an operation, found dott(%x, %w) over=[in] : f32[t] (did you mean 'dot'?)
      a node that is not there
          line 4, column 16: expected a node defined above, found %v) over=[in] : f32[t] (did you mean '%x'?)
      a wrong axis
          line 4: dot: expected axis 'inn', found f32[t, in:4] (did you mean 'in'?)
      a type that is not so
          line 4: dot: expected f32[t], found f32[t, in:4]
      a missing attribute
          line 4, column 20: expected 'over=', found : f32[t]
      an unknown dtype
          line 4, column 32: expected one of f32, f16, bf16, i32, u32, bool, found f33[t] (did you mean 'f32'?)
      no type
          line 4, column 19: expected ' : ' and a type, found over=[in]
      more than a type
          line 4, column 39: expected the end of the line, found and more
      the same label twice
          line 5, column 5: expected a new label, not %3 again, found = dot(%x, %w) over=[in] : f32[t]
      no output
          line 1, column 30: expected a node defined above, found %3) (did you mean '%x'?)
      a node before any program
          line 1, column 1: expected 'program' or 'region' before the first node, found %3 = dot(%x, %w) over=[in] : f32[t]
      a hostile name
          line 4, column 8: expected an operation, found constructor(%x) : f32[t]
      two lines, two faults
          line 4, column 8: expected an operation, found exq(%x) : f32[t, in:4] (did you mean 'exp'?)
          line 5, column 8: expected an operation, found sum(%3) : f32[t] (did you mean 'sub'?)
      "
    `)
    expect(E.isRight(parse(text(good)))).toBe(true)
  })
  test('any change of a character is read as another program or is a fault, never a throw', () => {
    const whole = text(good)
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.constantFrom('', ' ', '%', '"', '[', '9', 'x', '=', ':', '\n'),
        (i, ch) => {
          const p = parse(whole.slice(0, i) + ch + whole.slice(i + 1))
          expect(E.isLeft(p) ? p.left.length > 0 : p.right.outputs.length > 0).toBe(true)
        },
      ),
      { numRuns: 500 },
    )
  })
})
