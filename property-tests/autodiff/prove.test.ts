/** What must be proved is proved, for all sizes. */
import { expect, test } from 'vitest'
import { proveEqual } from '../../src/autodiff/prove/prove.ts'
import { specimens } from './specimens.ts'

test.each(specimens)('$name', ({ left, right }) => {
  const proof = proveEqual(left, right)
  expect(proof.verdict, JSON.stringify(proof)).toBe('proved')
})
