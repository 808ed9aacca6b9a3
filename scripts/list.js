// `npm run help`: every script of package.json with a line on what it does.
import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const names = Object.keys(manifest.scripts)
const undescribed = names.filter((name) => manifest['//scripts'][name] === undefined)
const width = Math.max(...names.map((name) => name.length))

for (const name of names)
  console.log(`npm run ${name.padEnd(width)}  ${manifest['//scripts'][name] ?? '(no description)'}`)
if (undescribed.length > 0) process.exitCode = 1
