/** A tiny random model with a tokenizer, a text, and the command line run inside this process or as one of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import * as E from 'fp-ts/lib/Either.js'
import { writeSafetensors, type StoredTensor } from '../../src/adapters/files/safetensors.ts'
import { main } from '../../src/cli/main.ts'
import { showFaults, type Checked } from '../../src/dsl/index.ts'
import { threefry } from '../../src/dsl/primitives/leaf.ts'
import { tensorShapes } from '../../src/models/config.ts'

export const right = <A>(c: Checked<A>): A => {
  if (E.isLeft(c)) throw new Error(showFaults(c.left))
  return c.right
}

// ---------------------------------------------------------------------------------------- model

const letters = Array.from('abcdefghijklmnopqrstuvwxyz .')
const pieces = ['<unk>', '<s>', '</s>', ...letters, 'th']

export const tinyConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  vocab_size: pieces.length,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  max_position_embeddings: 64,
  hidden_act: 'silu',
  bos_token_id: 1,
  eos_token_id: 2,
}

const tokenizer = {
  version: '1.0',
  added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  })),
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: { type: 'Fuse' },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: ['t h'],
  },
}

const shapes = tensorShapes({
  dim: 16,
  hidden: 24,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  vocab: pieces.length,
  normEps: 1e-5,
  ropeTheta: 10000,
  tied: true,
  maxPositions: 64,
  bos: 1,
  eos: [2],
})

/** numbers in [-0.4, 0.4), the same on every machine */
const numbers = (stream: number, n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => (threefry(5, stream, i, 0)[0] / 2 ** 32 - 0.5) * 0.8)

export const writeTinyModel = (folder: string): void => {
  mkdirSync(folder, { recursive: true })
  const tensors = [...shapes].map(([name, shape], i): StoredTensor => {
    const data = numbers(
      i,
      shape.reduce((a, b) => a * b, 1),
    )
    return { name, dtype: 'F32', shape, data: name.includes('norm') ? data.map((x) => 1 + x) : data }
  })
  right(writeSafetensors(join(folder, 'model.safetensors'), tensors))
  writeFileSync(join(folder, 'config.json'), JSON.stringify(tinyConfig))
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: '</s>' }))
}

/** words that repeat, so that there is something to learn */
export const tinyText = Array.from(
  { length: 400 },
  (_, i) => ['the cat', 'sat on', 'the mat', 'with a', 'hat.'][threefry(1, 2, i, 0)[0] % 5] ?? '',
).join(' ')

export interface Workplace {
  readonly folder: string
  readonly model: string
  readonly data: string
  /** a path in the folder */
  readonly at: (name: string) => string
}

export const makeWorkplace = (): Workplace => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'scion-cli-')))
  const at = (name: string): string => join(folder, name)
  writeTinyModel(at('model'))
  writeFileSync(at('text.txt'), tinyText)
  return { folder, model: at('model'), data: at('text.txt'), at }
}

/** every path under a folder */
export const listing = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((e) => relative(folder, join(e.parentPath, e.name)))
    .sort()

export const contents = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    listing(folder)
      .filter((name) => statSync(join(folder, name)).isFile())
      .map((name) => [name, readFileSync(join(folder, name)).toString('base64')]),
  )

// ------------------------------------------------------------------------------ the command line

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

const collector = (): { readonly stream: Writable; readonly text: () => string } => {
  const chunks: string[] = []
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      chunks.push(chunk.toString())
      done()
    },
  })
  return { stream, text: () => chunks.join('') }
}

/** One command in this process. */
export const scion = async (...argv: ReadonlyArray<string>): Promise<Ran> => {
  const [out, err] = [collector(), collector()]
  const code = await main(argv, { out: out.stream, err: err.stream })
  return { code, out: out.text(), err: err.text() }
}

const bin = fileURLToPath(new URL('../../bin/scion.js', import.meta.url))

/** The command as users start it. */
export const startScion = (argv: ReadonlyArray<string>, cwd: string): ChildProcess =>
  spawn(process.execPath, [bin, ...argv], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })

/** The same, to its end. */
export const runScion = (argv: ReadonlyArray<string>, cwd: string): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const child = startScion(argv, cwd)
    const text = { out: '', err: '' }
    child.stdout?.on('data', (d: Buffer) => (text.out += d.toString()))
    child.stderr?.on('data', (d: Buffer) => (text.err += d.toString()))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? -1, ...text }))
  })
