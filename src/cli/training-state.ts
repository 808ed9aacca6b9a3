/**
 * A training run that can be taken up again: everything that the next step depends on, in *one* file that is
 * replaced as a whole, `<out>/.training/state.safetensors`. A process that is killed leaves the state of its
 * last save, never half of one.
 */
import * as E from 'fp-ts/lib/Either.js'
import * as t from 'io-ts'
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../adapters/files/atomic.ts'
import { attempt } from '../adapters/files/bytes.ts'
import { decodeJson, Finite, intFrom, parseJson, unlessFaults } from '../adapters/files/codec.ts'
import { readSafetensors, writeSafetensors, type StoredTensor } from '../adapters/files/safetensors.ts'
import type { Checked, Fault } from '../dsl/index.ts'
import type { Buffers, Optimiser, Trainable, TrainState } from '../models/index.ts'

// ---------------------------------------------------------------------------------------- model

/** What a run is, flag by flag: two runs with the same record compute the same numbers. */
export type RunRecord = Readonly<Record<string, string | number>>

/** What a killed run goes on from. */
export interface SavedRun {
  readonly run: RunRecord
  /** held-out loss before the first step */
  readonly before: number
  readonly state: TrainState
}

const Saved = t.type({
  run: t.record(t.string, t.union([t.string, t.number])),
  before: Finite,
  step: intFrom(0),
})

/** the metadata's key */
const SCION = 'scion'

// --------------------------------------------------------------------------------- constructors

/** Where a run keeps its state until it has finished. */
export const trainingFolder = (out: string): string => join(out, '.training')
const stateFile = (out: string): string => join(trainingFolder(out), 'state.safetensors')
/** Whether there is a state to go on from. */
export const hasSavedRun = (out: string): boolean => existsSync(stateFile(out))

interface Slot {
  readonly name: string
  readonly shape: ReadonlyArray<number>
}

const slotsOf = (params: ReadonlyArray<Trainable>, optimiser: Optimiser): ReadonlyArray<Slot> =>
  params.flatMap(({ name, shape }) => [
    { name, shape },
    ...optimiser.state.map((s) => ({ name: `${s}.${name}`, shape })),
  ])

const LOSSES = 'losses'

// --------------------------------------------------------------------------------- interpreters

/** Makes the folder, so that one that can't be written is found out before anything is computed. */
export const claimFolder = (out: string): Checked<void> => writeFileAtomic(join(trainingFolder(out), 'claimed'), '')

/** Writes the state over the last one, whole or not at all. Errors: an unwritable folder. */
export const saveRun = (
  out: string,
  { run, before, state }: SavedRun,
  params: ReadonlyArray<Trainable>,
  optimiser: Optimiser,
): Checked<void> => {
  const arrays: Buffers = { ...state.params, ...state.optimiser }
  const tensors = slotsOf(params, optimiser).map(({ name, shape }): StoredTensor => ({
    name,
    dtype: 'F32',
    shape,
    data: arrays[name] ?? new Float32Array(),
  }))
  const losses = Float32Array.from(state.losses)
  return writeSafetensors(
    stateFile(out),
    [...tensors, { name: LOSSES, dtype: 'F32', shape: [losses.length], data: losses }],
    { metadata: { format: 'pt', [SCION]: JSON.stringify({ run, before, step: state.step }) } },
  )
}

/** what differs between the run that was saved and the one that is asked for */
const differences = (file: string, saved: RunRecord, asked: RunRecord): ReadonlyArray<Fault> =>
  [...new Set([...Object.keys(saved), ...Object.keys(asked)])]
    .filter((key) => saved[key] !== asked[key])
    .map((key) => ({
      at: `--resume: ${key}`,
      expected: `${String(saved[key] ?? 'nothing')}, as the run in ${file} began with`,
      actual: String(asked[key] ?? 'nothing'),
    }))

/** The state saved in `out`, to go on with. Errors: a file that is no such state; a run that is not this one. */
export const readRun = (
  out: string,
  asked: RunRecord,
  params: ReadonlyArray<Trainable>,
  optimiser: Optimiser,
): Checked<SavedRun> => {
  const file = stateFile(out)
  return E.flatMap(readSafetensors(file), ({ tensors, metadata }) =>
    E.flatMap(
      E.flatMap(parseJson(`${file}: ${SCION}`, metadata.get(SCION) ?? ''), (json) => decodeJson(file, Saved, json)),
      ({ run, before, step }): Checked<SavedRun> => {
        const other = differences(file, run, asked)
        if (other.length > 0) return unlessFaults(other, () => ({ run, before, state: emptyState }))
        const slots = [...slotsOf(params, optimiser), { name: LOSSES, shape: [step] }]
        const faults = slots.flatMap(({ name, shape }): ReadonlyArray<Fault> => {
          const found = tensors.get(name)?.shape
          return found?.join() === shape.join()
            ? []
            : [
                {
                  at: `${file}: ${name}`,
                  expected: `shape [${shape.join(', ')}]`,
                  actual: found === undefined ? 'none' : `[${found.join(', ')}]`,
                },
              ]
        })
        const data = (name: string): Float32Array => tensors.get(name)?.data ?? new Float32Array()
        const pick = (all: ReadonlyArray<string>): Buffers => Object.fromEntries(all.map((n) => [n, data(n)]))
        return unlessFaults(faults, () => ({
          run,
          before,
          state: {
            step,
            params: pick(params.map((p) => p.name)),
            optimiser: pick(params.flatMap((p) => optimiser.state.map((s) => `${s}.${p.name}`))),
            losses: [...data(LOSSES)],
          },
        }))
      },
    ),
  )
}

const emptyState: TrainState = { step: 0, params: {}, optimiser: {}, losses: [] }

/** Removes the saved state, with what a kill may have left beside it. */
export const removeRun = (out: string): Checked<void> =>
  attempt(trainingFolder(out), 'a folder that can be removed', () =>
    rmSync(trainingFolder(out), { recursive: true, force: true }),
  )

/** Removes the saved state, and `out` where nothing else is in it. */
export const abandonRun = (out: string, made: boolean): void => {
  removeRun(out)
  if (made && existsSync(out) && readdirSync(out).length === 0) rmdirSync(out)
}
