/**
 * Scion against PEFT on the same batches: held-out loss before and after, and the share of PEFT's drop that Scion reaches.
 *
 *     for a in lora oft hra llama-adapter bottleneck; do npx scion train --model DATA/stories260K --adapter $a --data DATA/grimm/grimm.txt --out RUNS/$a --batches-out RUNS/batches.json; done
 *     python bench/peft/train.py --data DATA --batches RUNS/batches.json --record RUNS/peft.json
 *     npx tsx bench/peft/compare.ts RUNS bench/peft/same-batches.json
 *
 * (oft with --config '{"block": 8}', as in methods.py.)
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as t from 'io-ts'
import * as E from 'fp-ts/lib/Either.js'
import { decodeJson } from '../../src/adapters/files/codec.ts'
import { showFaults } from '../../src/dsl/index.ts'

const Scion = t.type({ heldOut: t.type({ before: t.number, after: t.number }) })
const Peft = t.type({ adapters: t.record(t.string, t.type({ loss_before: t.number, loss_after: t.number })) })

const names = { lora: 'lora', oft: 'oft', hra: 'hra', 'llama-adapter': 'adaption_prompt', bottleneck: 'bottleneck' }

const read = <A>(file: string, codec: t.Type<A>): A => {
  const json: unknown = JSON.parse(readFileSync(file, 'utf8'))
  const decoded = decodeJson(file, codec, json)
  if (E.isRight(decoded)) return decoded.right
  throw new Error(showFaults(decoded.left))
}

const [runs = '.', record] = process.argv.slice(2)
const peft = read(join(runs, 'peft.json'), Peft)
const rows = Object.entries(names).map(([adapter, method]) => {
  const { before, after } = read(join(runs, adapter, 'training.json'), Scion).heldOut
  const theirs = peft.adapters[method]!
  const share = (before - after) / (theirs.loss_before - theirs.loss_after)
  return { adapter, before, after, peftBefore: theirs.loss_before, peftAfter: theirs.loss_after, shareOfDrop: share }
})
for (const r of rows)
  console.log(
    `${r.adapter.padEnd(14)} before ${r.before.toFixed(5)}  after ${r.after.toFixed(5)}  PEFT ${r.peftAfter.toFixed(5)}  ${(100 * r.shareOfDrop).toFixed(1)} % of its drop`,
  )
if (record !== undefined)
  writeFileSync(record, `${JSON.stringify({ steps: 200, rows: 4, length: 128, seed: 0, adapters: rows }, null, 1)}\n`)
