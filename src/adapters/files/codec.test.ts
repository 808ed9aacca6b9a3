import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { describe, expect, it } from 'vitest'
import { showFaults, type Checked } from '../../dsl/fault.ts'
import { decodeJson, intFrom, parseJson, Positive, showKey, warnUnknownKeys } from './codec.ts'

const message = <A>(checked: Checked<A>): string => (E.isLeft(checked) ? showFaults(checked.left) : 'decoded')

const Config = t.type({
  r: intFrom(1),
  alpha: Positive,
  nested: t.type({ targets: t.union([t.string, t.array(t.string)]) }),
})

describe('decodeJson', () => {
  it('names file, key path, expectation and value, all at once', () => {
    expect(message(decodeJson('c.json', Config, { r: 0, alpha: 'x', nested: { targets: 5 } }))).toBe(
      [
        'c.json: r: expected an integer of at least 1, found 0',
        'c.json: alpha: expected a positive number, found "x"',
        'c.json: nested.targets: expected (string | Array<string>), found 5',
      ].join('\n'),
    )
  })

  it('says that a key is missing, and what stands in place of the object', () => {
    expect(message(decodeJson('c.json', Config, { r: 1, alpha: 1, nested: {} }))).toContain(
      'c.json: nested.targets: expected (string | Array<string>), found nothing',
    )
    expect(message(decodeJson('c.json', Config, null))).toContain('c.json: expected {')
    expect(message(decodeJson('c.json', Config, { r: 1, alpha: 1, nested: { targets: ['a', 3] } }))).toContain(
      'nested.targets.1: expected string, found 3',
    )
  })

  it('reads 1e999 and NaN as no number', () => {
    expect(message(decodeJson('c.json', Positive, JSON.parse('1e999')))).toContain('a positive number')
  })
})

describe('parseJson', () => {
  it('finds keys that stand twice, at any depth, and no others', () => {
    expect(message(parseJson('f', '{"a":{"b":[{"c":1,"c":2}]},"a":1}'))).toBe(
      'f: a.b.[].c: expected each key once, found the key twice\nf: a: expected each key once, found the key twice',
    )
    expect(message(parseJson('f', '{"a":{"a":"a"},"b":["a","a",{"a":"\\"a\\":,{"}],"c":"a"}'))).toBe('decoded')
  })

  it('tames what a file puts into a message', () => {
    expect(showKey('a\u001b[31m\n\u202e')).toBe('a\\u001b[31m\\u000a\\u202e')
    expect(showKey('x'.repeat(1000)).length).toBeLessThan(100)
  })
})

describe('warnUnknownKeys', () => {
  it('lists them in one warning', () => {
    expect(warnUnknownKeys('c.json', new Set(['r']), { r: 1, x: 2, y: 3 })).toEqual([
      'c.json: ignored unknown keys x, y',
    ])
    expect(warnUnknownKeys('c.json', new Set(['r']), { r: 1 })).toEqual([])
  })
})
