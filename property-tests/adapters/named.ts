/** The built-in adapters by name, so that a test of one stays compilable when that one's file is deleted. */
import * as E from 'fp-ts/lib/Either.js'
import type { Adapter } from '../../src/adapters/adapter.ts'
import { adapterNamed } from '../../src/adapters/registry.ts'
import { showFaults } from '../../src/dsl/index.ts'

export const named = (name: string): Adapter => {
  const found = adapterNamed(name)
  if (E.isLeft(found)) throw new Error(showFaults(found.left))
  return found.right
}
