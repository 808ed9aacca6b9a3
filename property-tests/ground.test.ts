/** The ground the rest stands on: the loader, the libraries' import forms, and gpu.js without its native parts. */
import { Tokenizer } from '@huggingface/tokenizers'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { GPU, type KernelFunction } from 'gpu.js'
import * as t from 'io-ts'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { showFault } from '../src/index.ts'

test('a fault is one line', () => {
  const line = showFault({
    at: 'dot',
    expected: "axis 'in'",
    actual: 'axes r',
    hint: "did you mean 'r'?",
    site: 'f.ts:3:9',
  })
  expect(line).toBe("dot: expected axis 'in', found axes r (did you mean 'r'?) at f.ts:3:9")
})

test('fp-ts and io-ts load and agree', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      (n) =>
        E.isRight(t.number.decode(n)) &&
        pipe(
          E.right(n),
          E.exists((m) => m === n),
        ),
    ),
  )
})

test('the tokenizer library reads a tokenizer.json held in memory', () => {
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null }
  const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] }
  const tokenizer = new Tokenizer({ ...absent, model, added_tokens: [], decoder: { type: 'Fuse' } }, {})
  expect(tokenizer.encode('abba').ids).toEqual([2, 1, 0])
  expect(tokenizer.decode([2, 1, 0])).toBe('abba')
})

test.each(['cpu', 'webasm'] as const)('gpu.js runs on %s, and really there', (mode) => {
  const gpu = new GPU({ mode: mode as 'cpu' })
  const source = 'function (a) { return a[this.thread.x] * 2; }' as unknown as KernelFunction
  const kernel = gpu.createKernel(source, { output: [3] })
  expect(Array.from(kernel(Float32Array.of(1, 2, 3)) as Float32Array)).toEqual([2, 4, 6])
  const built = (kernel as unknown as { readonly kernel: { readonly constructor: { readonly mode: string } } }).kernel
  expect(built.constructor.mode).toBe(mode)
})

test('the lockfile names no registry', () => {
  expect(readFileSync('package-lock.json', 'utf8')).not.toMatch(/"resolved"|registry/)
})

test.each(['webgpu', 'gl'])("gpu.js's native %s is overridden away, and cannot be loaded", (name) => {
  const manifest: unknown = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'))
  expect(manifest).toMatchObject({ name: '@webgpu/types' })
  expect(() => createRequire(import.meta.url)(name) as unknown).toThrow(/Cannot find/)
})
