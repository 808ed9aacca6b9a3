/**
 * What follows a text, asked again and again while the text grows: from kept keys and values where the
 * adapter allows it, else by reading everything again, in programs of a few fixed lengths.
 */
import * as E from 'fp-ts/lib/Either.js'
import { compile, type Executable, type TargetName } from '../codegen/index.ts'
import { layOut } from '../dsl/value.ts'
import type { Checked, Node, Program, Values } from '../dsl/index.ts'
import { literal } from '../dsl/dim.ts'
import type { LlamaConfig } from './config.ts'
import { decodeProgram, keptOf, nextTokenProgram, readProgram } from './decode.ts'
import type { Grafted } from './graft.ts'
import { hoist } from './hoist.ts'
import { whyNotTokenWise } from './token-wise.ts'
import { onlyInputs, type Buffers } from './train.ts'

// ---------------------------------------------------------------------------------------- model

/** A model, with an adapter or without, on a target. */
export interface Speaker {
  readonly config: LlamaConfig
  readonly weights: Values
  readonly grafted?: Grafted
  readonly params: Buffers
  readonly target: TargetName
}

/** What runs, why there, and why keys are not kept where they are not. */
export interface Ready {
  readonly target: string
  readonly reason: string
  /** absent: keys and values are kept; else why the text is read again for every token */
  readonly rereads?: string
}

/** A text under way. */
export interface Continuation {
  /** logits (vocab) of what follows; each text is the one before and further tokens */
  readonly next: (tokens: ReadonlyArray<number>) => Promise<Checked<Float32Array>>
  readonly dispose: () => void
}

// --------------------------------------------------------------------------------- constructors

/** the next length in 32, 64, 128, ..., at most the model's own */
const bucket = (n: number, most: number): number => {
  let b = 32
  while (b < n) b *= 2
  return Math.min(b, Math.max(n, most))
}

const compiled = async (speaker: Speaker, program: Checked<Program>, onReady: (e: Executable) => void) => {
  if (E.isLeft(program)) return program
  const { inputs } = program.right
  const weights = Object.entries(speaker.weights).filter(([name]) => inputs.some((i) => i.name === name))
  const made = await compile(program.right, { target: speaker.target, frozen: Object.fromEntries(weights) })()
  if (E.isRight(made)) onReady(made.right)
  return made
}

/** what weights and parameters alone say, by the names that the rest knows it under */
const runOnce = async (speaker: Speaker, once: Program): Promise<Checked<Buffers>> => {
  if (once.outputs.length === 0) return E.right({})
  const { target, weights, params } = speaker
  const used = (name: string): boolean => once.inputs.some((i) => i.name === name)
  const frozen = Object.fromEntries(Object.entries(weights).filter(([name]) => used(name)))
  const made = await compile(once, { target, frozen })()
  if (E.isLeft(made)) return made
  const ran = await made.right.run(onlyInputs(once, params))()
  made.right.dispose()
  return ran
}

const padded = (tokens: ReadonlyArray<number>, length: number): Float32Array => {
  const x = new Float32Array(length)
  x.set(tokens)
  return x
}

const logitsOf = (out: Buffers): Float32Array => out['logits'] ?? new Float32Array()

// ----------------------------------------------------------------------------------- reading again

const rereading = (speaker: Speaker, onReady: (e: Executable) => void): Continuation => {
  const { config, grafted, params } = speaker
  let made: { readonly length: number; readonly program: Program; readonly executable: Executable } | undefined
  return {
    next: async (tokens) => {
      const length = bucket(tokens.length, config.maxPositions)
      if (made?.length !== length) {
        made?.executable.dispose()
        const program = nextTokenProgram(config, grafted, length)
        const executable = await compiled(speaker, program, onReady)
        if (E.isLeft(program)) return program
        if (E.isLeft(executable)) return executable
        made = { length, program: program.right, executable: executable.right }
      }
      const inputs = { ...params, tokens: padded(tokens, length), at: Float32Array.of(tokens.length - 1) }
      return E.map(logitsOf)(await made.executable.run(onlyInputs(made.program, inputs))())
    },
    dispose: () => made?.executable.dispose(),
  }
}

// ------------------------------------------------------------------------------------ kept keys

/** rows in the order that they are kept in: (batch, token, kv, h) of one text is (token, kv, h) */
const inKeptOrder = (node: Node, data: Float32Array): ArrayLike<number> => {
  const dims = node.type.dims.map((d) => ({ name: d.name, size: literal(d.size) ?? 0 }))
  const wanted = ['batch', 'token', 'kv', 'h'].flatMap((name) => dims.filter((d) => d.name === name))
  return wanted.every((d, i) => d === dims[i]) ? data : layOut({ dims, data: Float64Array.from(data) }, wanted).data
}

const keeping = (speaker: Speaker, most: number, onReady: (e: Executable) => void): Continuation => {
  const { config, grafted, params } = speaker
  const row = config.kvHeads * config.headDim
  const total = Math.min(most, config.maxPositions)
  /** so many tokens are kept */
  let known = 0
  let capacity = 0
  let kept: Readonly<Record<string, Float32Array>> = {}
  let step: { readonly program: Program; readonly executable: Executable; readonly fixed: Buffers } | undefined

  /** room for `count` tokens, and for as many again where so many may come */
  const makeRoom = (count: number): void => {
    if (count <= capacity) return
    capacity = bucket(Math.min(total, Math.max(512, 2 * count)), config.maxPositions)
    step?.executable.dispose()
    step = undefined
    kept = Object.fromEntries(
      keptOf(config).map(({ name }) => {
        const grown = new Float32Array(capacity * row)
        grown.set(kept[name] ?? [])
        return [name, grown]
      }),
    )
  }
  const keep = (program: Program, out: Buffers, at: number, count: number): void => {
    for (const { name, node } of program.outputs) {
      const rows = out[name]
      if (rows === undefined || kept[name] === undefined) continue
      const ordered = inKeptOrder(node, rows)
      for (let i = 0; i < count * row; i++) kept[name][at * row + i] = ordered[i]!
    }
    known = at + count
  }
  const read = async (tokens: ReadonlyArray<number>): Promise<Checked<Float32Array>> => {
    const length = bucket(tokens.length, config.maxPositions)
    const program = readProgram(config, grafted, 1, length)
    const executable = await compiled(speaker, program, onReady)
    if (E.isLeft(program)) return program
    if (E.isLeft(executable)) return executable
    const inputs = { ...params, tokens: padded(tokens, length), at: Float32Array.of(tokens.length - 1) }
    const ran = await executable.right.run(onlyInputs(program.right, inputs))()
    executable.right.dispose()
    if (E.isRight(ran)) keep(program.right, ran.right, 0, tokens.length)
    return E.map(logitsOf)(ran)
  }
  const decode = async (token: number): Promise<Checked<Float32Array>> => {
    if (step === undefined) {
      const program = decodeProgram(config, grafted, 1, capacity)
      if (E.isLeft(program)) return program
      const { once, each } = hoist(program.right, new Set(['tokens', 'at', ...keptOf(config).map((k) => k.name)]))
      const computed = await runOnce(speaker, once)
      if (E.isLeft(computed)) return computed
      const executable = await compiled(speaker, E.right(each), onReady)
      if (E.isLeft(executable)) return executable
      step = { program: each, executable: executable.right, fixed: { ...params, ...computed.right } }
    }
    const { fixed, program, executable } = step
    const ran = await executable.run(
      onlyInputs(program, { ...fixed, ...kept, tokens: Float32Array.of(token), at: Float32Array.of(known) }),
    )()
    if (E.isRight(ran)) keep(program, ran.right, known, 1)
    return E.map(logitsOf)(ran)
  }
  return {
    next: async (tokens) => {
      makeRoom(tokens.length)
      if (known === 0) return read(tokens)
      let last: Checked<Float32Array> = E.right(new Float32Array())
      while (known < tokens.length && E.isRight(last)) last = await decode(tokens[known]!)
      return last
    },
    dispose: () => step?.executable.dispose(),
  }
}

// --------------------------------------------------------------------------------- interpreters

/** Continues a text of at most `most` tokens; `onReady` is told of what runs, once. `reread` asks for no kept keys. */
export const continuation = (
  speaker: Speaker,
  most: number,
  onReady: (r: Ready) => void = () => undefined,
  reread = false,
): Continuation => {
  const rereads = reread ? 'asked for' : speaker.grafted === undefined ? undefined : whyNotTokenWise(speaker.grafted)
  let told = false
  const tell = ({ target, reason }: Executable): void => {
    if (!told) onReady({ target, reason, ...(rereads === undefined ? {} : { rereads }) })
    told = true
  }
  return rereads === undefined ? keeping(speaker, most, tell) : rereading(speaker, tell)
}
