/** The registry: what `builtin.ts` lists. Programs that bring their own adapters pass a longer list instead. */
import * as E from 'fp-ts/lib/Either.js'
import type { Checked } from '../dsl/fault.ts'
import type { Adapter } from './adapter.ts'
import * as builtin from './builtin.ts'

export const registry: ReadonlyArray<Adapter> = Object.values(builtin)

/** The adapter of that name. Error: none of that name; the fault lists those there are. */
export const adapterNamed = (name: string, among: ReadonlyArray<Adapter> = registry): Checked<Adapter> => {
  const found = among.find((a) => a.name === name)
  const names = among.map((a) => a.name).join(', ')
  return found === undefined
    ? E.left([{ at: `adapter '${name}'`, expected: `one of ${names}`, actual: name }])
    : E.right(found)
}
