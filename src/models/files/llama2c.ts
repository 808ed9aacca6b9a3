/**
 * llama2.c's first ("legacy") checkpoint format: seven int32, then f32 tensors without names.
 *   dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: a separate output head), max_seq_len
 * The header is not trusted: its sizes must be sane and give exactly the file's length before anything is read.
 * Tensors come out under Hugging Face's names and in its layout, so that all that follows is one format.
 * Source: `read_checkpoint` and `memory_map_weights` in llama2.c's run.c.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import type { StoredTensor } from '../../adapters/files/safetensors.ts'
import type { Checked, Fault } from '../../dsl/fault.ts'
import { bytesInMemory, withFile, type ByteSource } from '../../adapters/files/bytes.ts'
import { failWith, unlessFaults } from '../../adapters/files/codec.ts'
import { checkConfig, layerTensor, type LlamaConfig } from '../config.ts'

// ------------------------------------------------------------------------------------------- model

/** What a llama2.c file holds, under Hugging Face's names. */
export interface LlamaTensors {
  readonly config: LlamaConfig
  /** by Hugging Face's names, `model.layers.0.self_attn.q_proj.weight`; linear weights are (out, in) */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

// ------------------------------------------------------------------------------- the rotation's pairs

/**
 * The rows of a q or k projection, from llama2.c's order to Hugging Face's. Within each head of D rows llama2.c turns
 * the neighbours (2j, 2j+1) and Hugging Face the halves (j, j + D/2), for j < D/2 and c = 0, 1:
 *   huggingFace[h D + c D/2 + j] = llama2c[h D + 2j + c]
 * `data` is (rows, columns), `headDim` D even. A permutation: exact.
 */
export const interleavedToHalves = (data: Float32Array, columns: number, headDim: number): Float32Array =>
  permuteRows(data, columns, (row) => {
    const [h, within] = [Math.floor(row / headDim), row % headDim]
    const half = headDim / 2
    return h * headDim + 2 * (within % half) + Math.floor(within / half)
  })

/** The inverse: llama2c[h D + 2j + c] = huggingFace[h D + c D/2 + j]. */
export const halvesToInterleaved = (data: Float32Array, columns: number, headDim: number): Float32Array =>
  permuteRows(data, columns, (row) => {
    const [h, within] = [Math.floor(row / headDim), row % headDim]
    return h * headDim + (within % 2) * (headDim / 2) + Math.floor(within / 2)
  })

/** out[row] = data[from(row)] */
const permuteRows = (data: Float32Array, columns: number, from: (row: number) => number): Float32Array => {
  const out = new Float32Array(data.length)
  for (let row = 0; row * columns < data.length; row++) {
    const source = from(row) * columns
    out.set(data.subarray(source, source + columns), row * columns)
  }
  return out
}

// ------------------------------------------------------------------------------------------- header

const FIELDS = ['dim', 'hidden_dim', 'n_layers', 'n_heads', 'n_kv_heads', 'vocab_size', 'max_seq_len'] as const

const HEADER_BYTES = 4 * FIELDS.length
const MAGIC = 0x616b3432
const NAMES = { heads: 'n_heads', kvHeads: 'n_kv_heads', headDim: 'dim / n_heads' } as const

/** llama2.c fixes these in its source. */
const FIXED = { normEps: 1e-5, ropeTheta: 10_000, bos: 1, eos: [2] } as const

const configOf = (at: string, header: Int32Array, size: number): Checked<LlamaConfig> => {
  if (header[0] === MAGIC) {
    return failWith(
      at,
      'a llama2.c checkpoint of version 0 (legacy)',
      `version ${header[1] ?? 0}`,
      'export it with --version 0',
    )
  }
  const faults = FIELDS.flatMap((field, i): ReadonlyArray<Fault> => {
    const value = header[i] ?? 0
    const most = field === 'n_layers' ? Math.min(4096, size) : size
    const fits = field === 'vocab_size' ? value !== 0 && Math.abs(value) <= most : value >= 1 && value <= most
    const expected =
      field === 'vocab_size' ? `at least 1 (or at most -1) and at most ${most}` : `an integer from 1 to ${most}`
    return fits ? [] : [{ at: `${at}: ${field}`, expected, actual: `${value}` }]
  })
  const [dim = 0, hidden = 0, layers = 0, heads = 0, kvHeads = 0, vocab = 0, maxPositions = 0] = header
  return pipe(
    unlessFaults(faults, () => ({
      dim,
      hidden,
      layers,
      heads,
      kvHeads,
      headDim: dim / heads,
      vocab: Math.abs(vocab),
      tied: vocab > 0,
      maxPositions,
      ...FIXED,
    })),
    E.flatMap((config) => checkConfig(at, config, (field) => NAMES[field])),
  )
}

// ------------------------------------------------------------------------------------------ tensors

interface Block {
  /** the tensors that lie one after the other, in order; none where the block is skipped */
  readonly names: ReadonlyArray<string>
  /** of each tensor */
  readonly shape: ReadonlyArray<number>
  readonly turned?: true
}

/** The file's order. `freq_cis_real` and `freq_cis_imag` are tables that nobody reads. */
const blocksOf = ({
  dim,
  hidden,
  layers,
  heads,
  kvHeads,
  headDim,
  vocab,
  tied,
  maxPositions,
}: LlamaConfig): ReadonlyArray<Block> => {
  const each = (part: string): ReadonlyArray<string> => Array.from({ length: layers }, (_, i) => layerTensor(i, part))
  return [
    { names: ['model.embed_tokens.weight'], shape: [vocab, dim] },
    { names: each('input_layernorm'), shape: [dim] },
    { names: each('self_attn.q_proj'), shape: [heads * headDim, dim], turned: true },
    { names: each('self_attn.k_proj'), shape: [kvHeads * headDim, dim], turned: true },
    { names: each('self_attn.v_proj'), shape: [kvHeads * headDim, dim] },
    { names: each('self_attn.o_proj'), shape: [dim, heads * headDim] },
    { names: each('post_attention_layernorm'), shape: [dim] },
    { names: each('mlp.gate_proj'), shape: [hidden, dim] },
    { names: each('mlp.down_proj'), shape: [dim, hidden] },
    { names: each('mlp.up_proj'), shape: [hidden, dim] },
    { names: ['model.norm.weight'], shape: [dim] },
    { names: [], shape: [2, maxPositions, headDim / 2] },
    ...(tied ? [] : [{ names: ['lm_head.weight'], shape: [vocab, dim] }]),
  ]
}

const countOf = (shape: ReadonlyArray<number>): number => shape.reduce((n, size) => n * size, 1)

const bytesOf = ({ names, shape }: Block): number => 4 * countOf(shape) * Math.max(1, names.length)

const readTensors = (source: ByteSource, config: LlamaConfig): Checked<LlamaTensors> => {
  const blocks = blocksOf(config)
  const expected = blocks.reduce((n, block) => n + bytesOf(block), HEADER_BYTES)
  if (expected !== source.size)
    return failWith(source.name, `${expected} bytes, as its header says`, `a file of ${source.size} bytes`)
  const tensors = new Map<string, StoredTensor>()
  let offset = HEADER_BYTES
  for (const block of blocks) {
    const bytes = bytesOf(block) / Math.max(1, block.names.length)
    for (const [i, name] of block.names.entries()) {
      const read = source.read(offset + i * bytes, bytes)
      if (E.isLeft(read)) return read
      const stored = new Float32Array(read.right.buffer)
      const data = block.turned === true ? interleavedToHalves(stored, config.dim, config.headDim) : stored
      tensors.set(name, { name, dtype: 'F32', shape: block.shape, data })
    }
    offset += bytesOf(block)
  }
  return E.right({ config, tensors })
}

const read = (source: ByteSource): Checked<LlamaTensors> =>
  source.size < HEADER_BYTES
    ? failWith(
        source.name,
        `a llama2.c checkpoint (a header of ${HEADER_BYTES} bytes)`,
        `a file of ${source.size} bytes`,
      )
    : pipe(
        source.read(0, HEADER_BYTES),
        E.flatMap((bytes) => configOf(source.name, new Int32Array(bytes.buffer), source.size)),
        E.flatMap((config) => readTensors(source, config)),
      )

/**
 * A llama2.c checkpoint, its q and k projections in Hugging Face's row order. Errors: a header whose values are out
 * of range or don't give the file's exact length; a newer llama2.c format.
 */
export const readLlama2c = (file: string): Checked<LlamaTensors> => withFile(file, read)

/** The same for bytes in memory; faults call them `name`. */
export const parseLlama2c = (name: string, bytes: Uint8Array): Checked<LlamaTensors> => read(bytesInMemory(name, bytes))
