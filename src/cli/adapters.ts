/** The adapters that a command line names, and their configs. */
import * as E from 'fp-ts/lib/Either.js'
import { collect, decodeJson, parseJson, unlessFaults } from '../adapters/files/codec.ts'
import { registry, type Adapter, type Config } from '../adapters/index.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import { suggest } from '../dsl/primitives/typing.ts'
import { loadUserFile } from './user-file.ts'

// ---------------------------------------------------------------------------------------- model

/** An adapter that was named on the command line, and where its code came from. */
export interface NamedAdapter {
  readonly adapter: Adapter
  /** of a user's file: a digest of its code */
  readonly sha256?: string
}

const isFileName = (name: string): boolean => /[/\\]|\.[cm]?[jt]s$/.test(name)

// --------------------------------------------------------------------------------- constructors

const builtIn = (name: string): Checked<NamedAdapter> => {
  const adapter = registry.find((a) => a.name === name)
  if (adapter !== undefined) return E.right({ adapter })
  const names = registry.map((a) => a.name)
  const hint = suggest(name, names)
  return E.left([
    {
      at: `adapter '${name}'`,
      expected: `one of ${names.join(', ')}, or a file.ts`,
      actual: name,
      ...(hint === undefined ? {} : { hint }),
    },
  ])
}

/** A built-in adapter by name, or the one that a file exports. */
export const findAdapter = async (name: string): Promise<Checked<NamedAdapter>> =>
  isFileName(name) ? loadUserFile(name) : builtIn(name)

/** All of them, or every fault; none named means all that are built in. */
export const findAdapters = async (names: ReadonlyArray<string>): Promise<Checked<ReadonlyArray<Adapter>>> => {
  if (names.length === 0) return E.right(registry)
  const found: Checked<NamedAdapter>[] = []
  for (const name of names) found.push(await findAdapter(name))
  return E.map((all: ReadonlyArray<NamedAdapter>) => all.map((a) => a.adapter))(collect(found))
}

// ---------------------------------------------------------------------------------- combinators

/** `--config`'s JSON over the adapter's defaults. Errors: no object, a key that is no field, a value of the wrong type. */
export const readConfigOption = (adapter: Adapter, text: string | undefined): Checked<Config> => {
  const at = `--config of ${adapter.name}`
  return E.flatMap(text === undefined ? E.right({}) : parseJson(at, text), (json): Checked<Config> => {
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      return E.left([{ at, expected: 'a JSON object', actual: text ?? '' }])
    const given = new Map(Object.entries(json))
    const fields = Object.keys(adapter.config)
    const unknown = [...given.keys()]
      .filter((key) => !fields.includes(key))
      .map((key): Fault => {
        const hint = suggest(key, fields)
        const expected = `a field of ${adapter.name}: ${fields.join(', ')}`
        return { at: `${at}: ${key}`, expected, actual: key, ...(hint === undefined ? {} : { hint }) }
      })
    const decoded = Object.entries(adapter.config).map(([key, field]): Checked<readonly [string, unknown]> =>
      given.has(key)
        ? E.map((v: unknown) => [key, v] as const)(decodeJson(at, field.codec, given.get(key), [key]))
        : E.right([key, field.default]),
    )
    const faults = [...unknown, ...decoded.flatMap((d) => (E.isLeft(d) ? [...d.left] : []))]
    return unlessFaults(faults, () => Object.fromEntries(decoded.flatMap((d) => (E.isRight(d) ? [d.right] : []))))
  })
}
