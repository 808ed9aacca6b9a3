/** Errors that code threw, as faults: a user's adapter is code that may throw anywhere it is called. */
import type { Fault } from '../dsl/index.ts'

const own = new URL('..', import.meta.url).href.replace('file://', '')

/** `file:line:column` of the innermost frame outside Node and its packages */
const siteOf = (e: Error): string | undefined =>
  (e.stack ?? '')
    .split('\n')
    .slice(1)
    .map((line) => /((?:file:\/\/)?[^\s(]+:\d+:\d+)\)?$/.exec(line)?.[1]?.replace('file://', ''))
    .find((at) => at !== undefined && !at.startsWith('node:') && !at.includes('/node_modules/'))

/** The fault of an error that a user's own code threw; undefined where it is Scion's own. */
export const userFault = (at: string, e: unknown): Fault | undefined => {
  if (!(e instanceof Error)) return { at, expected: 'code that runs', actual: String(e) }
  const site = siteOf(e)
  if (site === undefined) return { at, expected: 'code that runs', actual: e.message }
  return site.startsWith(own) ? undefined : { at, expected: 'code that runs', actual: e.message, site }
}
