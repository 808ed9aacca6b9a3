#!/usr/bin/env node
// The command is TypeScript run in place: register the loader (with our tsconfig, not the caller's), then hand over.
import { fileURLToPath } from 'node:url'
import { register } from 'tsx/esm/api'

process.setSourceMapsEnabled(true)
register({ tsconfig: fileURLToPath(new URL('../tsconfig.json', import.meta.url)) })
const { main } = await import('../src/cli/main.ts')
process.exitCode = await main(process.argv.slice(2))
