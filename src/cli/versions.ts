/** Which Scion made a file. */
import { readFileSync } from 'node:fs'

const read = (): string => {
  const json: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : 'unknown'
}

/** What made a file: for records of runs. */
export const versions: Readonly<Record<string, string>> = { scion: read(), node: process.versions.node }
