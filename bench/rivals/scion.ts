/** The process that runs Scion on the target named: `node --import tsx bench/rivals/scion.ts c [ID]`; results go by the id. */
import * as E from 'fp-ts/lib/Either.js'
import { findCompiler } from '../../src/codegen/runtime/c.ts'
import { prepareOurs } from './ours.ts'
import { serve } from './serve.ts'

const [wanted, id = wanted] = process.argv.slice(2)
const target = (['c', 'gpujs'] as const).find((t) => t === wanted)
if (target === undefined) throw new Error(`expected c or gpujs, got ${String(wanted)}`)
const compiler = findCompiler()
const ours = E.isRight(compiler)
  ? `${compiler.right.version}, ${compiler.right.hasTiles ? 'vectors and bf16 tiles' : 'vectors'}`
  : 'no compiler'
const build = target === 'gpujs' ? 'gpu.js, WebAssembly' : ours
await serve({ build, prepare: prepareOurs(target) }, id ?? target)
