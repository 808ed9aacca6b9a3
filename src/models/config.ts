/**
 * What a LLaMA is, in numbers: Hugging Face's `config.json` in and out. A feature that changes the mathematics and
 * that this project doesn't have is an error where it is switched on; an unknown key is a warning.
 */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import * as t from 'io-ts'
import type { Checked, Fault } from '../dsl/fault.ts'
import {
  decodeJson,
  intFrom,
  optional,
  Positive,
  refined,
  showValue,
  unlessFaults,
  warnUnknownKeys,
} from '../adapters/files/codec.ts'

// ------------------------------------------------------------------------------------------- model

/** A LLaMA's sizes and constants, under names of our own. */
export interface LlamaConfig {
  /** width of the residual stream */
  readonly dim: number
  /** width inside the feed-forward layer */
  readonly hidden: number
  readonly layers: number
  /** query heads */
  readonly heads: number
  /** key and value heads, a divisor of `heads` */
  readonly kvHeads: number
  /** even, since RoPE turns pairs */
  readonly headDim: number
  readonly vocab: number
  readonly normEps: number
  readonly ropeTheta: number
  /** the output head is the embedding */
  readonly tied: boolean
  readonly maxPositions: number
  readonly bos?: number
  /** any of these ends a text */
  readonly eos: ReadonlyArray<number>
}

/** A config and the warnings that reading it gave. */
export interface ReadConfig {
  readonly config: LlamaConfig
  readonly warnings: ReadonlyArray<string>
}

// ------------------------------------------------------------------------------------------ codecs

const MOST = 2 ** 31 - 1

const Width = intFrom(1, MOST)
const TokenId = intFrom(0, MOST)

const ModelType = refined('"llama"', (u): u is 'llama' => u === 'llama')

const TokenIds = refined(
  'a token id or a list of token ids',
  (u): u is number | ReadonlyArray<number> => TokenId.is(u) || (Array.isArray(u) && u.every(TokenId.is)),
)

const JsonObject = refined(
  'an object',
  (u): u is Readonly<Record<string, unknown>> => typeof u === 'object' && u !== null && !Array.isArray(u),
)

/** Hugging Face's words, as they stand in `config.json`; the defaults are those of its `LlamaConfig`. */
const HuggingFaceConfig = t.type(
  {
    model_type: ModelType,
    hidden_size: Width,
    intermediate_size: Width,
    num_hidden_layers: intFrom(1, 4096),
    num_attention_heads: Width,
    num_key_value_heads: optional(Width),
    head_dim: optional(Width),
    vocab_size: Width,
    rms_norm_eps: optional(Positive),
    rope_theta: optional(Positive),
    rope_parameters: optional(JsonObject),
    rope_scaling: optional(JsonObject),
    tie_word_embeddings: optional(t.boolean),
    max_position_embeddings: optional(Width),
    bos_token_id: optional(TokenId),
    eos_token_id: optional(TokenIds),
  },
  'a config of a LLaMA',
)

type HuggingFaceConfig = t.TypeOf<typeof HuggingFaceConfig>

// ----------------------------------------------------------------------- features that are not here

interface Feature {
  readonly key: string
  /** what the key must say for the feature to be off; nothing and null always do */
  readonly off: (value: unknown) => boolean
  readonly expected: string
}

const off =
  (...values: ReadonlyArray<unknown>) =>
  (value: unknown): boolean =>
    values.includes(value)

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0

/** Keys of the rotation that change nothing: the kind's name where it is the default one, theta, and a factor of one. */
const isPlainRotation = (value: unknown): boolean =>
  JsonObject.is(value) &&
  Object.entries(value).every(([key, v]) =>
    key === 'rope_type' || key === 'type'
      ? v === 'default'
      : key === 'rope_theta'
        ? Positive.is(v)
        : (key === 'partial_rotary_factor' || key === 'factor') && v === 1,
  )

const PLAIN_ROTATION = 'the default rotation (scaled rotary embeddings are not supported)'

const FEATURES: ReadonlyArray<Feature> = [
  { key: 'hidden_act', off: off('silu', 'swish'), expected: '"silu" (no other activation is supported)' },
  { key: 'attention_bias', off: off(false), expected: 'false (biases in attention are not supported)' },
  { key: 'mlp_bias', off: off(false), expected: 'false (biases in the feed-forward layer are not supported)' },
  { key: 'rope_scaling', off: isPlainRotation, expected: PLAIN_ROTATION },
  { key: 'rope_parameters', off: isPlainRotation, expected: PLAIN_ROTATION },
  { key: 'partial_rotary_factor', off: off(1), expected: '1 (partial rotation is not supported)' },
  { key: 'attention_dropout', off: off(0), expected: '0 (dropout in the base model is not supported)' },
  { key: 'quantization_config', off: isEmpty, expected: 'null (quantised weights are not supported)' },
  { key: 'sliding_window', off: off(), expected: 'null (sliding windows are not supported)' },
  { key: 'is_encoder_decoder', off: off(false), expected: 'false' },
  { key: 'add_cross_attention', off: off(false), expected: 'false (cross-attention is not supported)' },
  { key: 'pruned_heads', off: isEmpty, expected: 'no pruned heads' },
]

/** Keys that say nothing about the mathematics. */
const HARMLESS = [
  'architectures',
  'torch_dtype',
  'dtype',
  'transformers_version',
  '_name_or_path',
  'name_or_path',
  'use_cache',
  'initializer_range',
  'pad_token_id',
  'pretraining_tp',
  'return_dict',
  'output_attentions',
  'output_hidden_states',
  'torchscript',
  'use_bfloat16',
  'is_decoder',
  'chunk_size_feed_forward',
  'id2label',
  'label2id',
  'problem_type',
  'task_specific_params',
  'finetuning_task',
  'tokenizer_class',
  'prefix',
  'decoder_start_token_id',
  'sep_token_id',
  'cross_attention_hidden_size',
  'tie_encoder_decoder',
  'tf_legacy_loss',
]

const KNOWN: ReadonlySet<string> = new Set([
  ...Object.keys(HuggingFaceConfig.props),
  ...FEATURES.map((f) => f.key),
  ...HARMLESS,
])

const featureFaults = (file: string, json: Readonly<Record<string, unknown>>): ReadonlyArray<Fault> =>
  FEATURES.flatMap(({ key, off: isOff, expected }) => {
    const value = Object.hasOwn(json, key) ? json[key] : undefined
    return value === undefined || value === null || isOff(value)
      ? []
      : [{ at: `${file}: ${key}`, expected, actual: showValue(value) }]
  })

// ------------------------------------------------------------------------------------ constructors

/** What must hold between the numbers: each query group whole, pairs to turn. `named` gives the file's own key of a field. */
export const checkConfig = (
  file: string,
  config: LlamaConfig,
  named: (field: 'heads' | 'kvHeads' | 'headDim') => string,
): Checked<LlamaConfig> => {
  const { dim, heads, kvHeads, headDim } = config
  const faults: Fault[] = []
  if (heads % kvHeads !== 0) {
    faults.push({
      at: `${file}: ${named('kvHeads')}`,
      expected: `a divisor of ${named('heads')}, ${heads}`,
      actual: `${kvHeads}`,
    })
  }
  if (!Number.isInteger(headDim)) {
    faults.push({ at: `${file}: ${named('heads')}`, expected: `a divisor of the width, ${dim}`, actual: `${heads}` })
  } else if (headDim % 2 !== 0) {
    faults.push({
      at: `${file}: ${named('headDim')}`,
      expected: 'an even width of each head (RoPE turns pairs)',
      actual: `${headDim}`,
    })
  }
  return unlessFaults(faults, () => config)
}

const HUGGING_FACE_NAMES = {
  heads: 'num_attention_heads',
  kvHeads: 'num_key_value_heads',
  headDim: 'head_dim',
} as const

const thetaOf = (json: HuggingFaceConfig): number => {
  const nested = json.rope_parameters?.['rope_theta'] ?? json.rope_scaling?.['rope_theta']
  return json.rope_theta ?? (Positive.is(nested) ? nested : 10_000)
}

const fromHuggingFace = (json: HuggingFaceConfig): LlamaConfig => ({
  dim: json.hidden_size,
  hidden: json.intermediate_size,
  layers: json.num_hidden_layers,
  heads: json.num_attention_heads,
  kvHeads: json.num_key_value_heads ?? json.num_attention_heads,
  headDim: json.head_dim ?? json.hidden_size / json.num_attention_heads,
  vocab: json.vocab_size,
  normEps: json.rms_norm_eps ?? 1e-6,
  ropeTheta: thetaOf(json),
  tied: json.tie_word_embeddings ?? false,
  maxPositions: json.max_position_embeddings ?? 2048,
  ...(json.bos_token_id === null || json.bos_token_id === undefined ? {} : { bos: json.bos_token_id }),
  eos: json.eos_token_id === null || json.eos_token_id === undefined ? [] : [json.eos_token_id].flat(),
})

// ------------------------------------------------------------------------------------ interpreters

/**
 * Hugging Face's `config.json`. Errors: a value of the wrong kind, sizes that don't fit each other, a feature that
 * changes the mathematics and is not here (scaled rotary embeddings, biases, another activation, quantisation...).
 */
export const decodeConfig = (file: string, json: unknown): Checked<ReadConfig> =>
  pipe(
    decodeJson(file, JsonObject, json),
    E.flatMap((object) => {
      const decoded = decodeJson(file, HuggingFaceConfig, object)
      const features = featureFaults(file, object)
      const faults = [...(E.isLeft(decoded) ? decoded.left : []), ...features]
      return pipe(
        unlessFaults(faults, () => undefined),
        E.flatMap(() => decoded),
        E.flatMap((c) => checkConfig(file, fromHuggingFace(c), (field) => HUGGING_FACE_NAMES[field])),
        E.map((config) => ({ config, warnings: warnUnknownKeys(file, KNOWN, object) })),
      )
    }),
  )

/** The same in Hugging Face's words; `decodeConfig` reads it back. `dtype` is PyTorch's name of the weights' format. */
export const encodeConfig = (
  config: LlamaConfig,
  dtype: 'float32' | 'float16' | 'bfloat16',
): Readonly<Record<string, unknown>> => ({
  architectures: ['LlamaForCausalLM'],
  attention_bias: false,
  attention_dropout: 0,
  bos_token_id: config.bos ?? null,
  eos_token_id: config.eos.length > 1 ? config.eos : (config.eos[0] ?? null),
  head_dim: config.headDim,
  hidden_act: 'silu',
  hidden_size: config.dim,
  intermediate_size: config.hidden,
  max_position_embeddings: config.maxPositions,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: config.heads,
  num_hidden_layers: config.layers,
  num_key_value_heads: config.kvHeads,
  rms_norm_eps: config.normEps,
  rope_scaling: null,
  rope_theta: config.ropeTheta,
  tie_word_embeddings: config.tied,
  torch_dtype: dtype,
  vocab_size: config.vocab,
})

/** The dotted name of a tensor of layer `i`: `model.layers.0.self_attn.q_proj.weight`. */
export const layerTensor = (i: number, part: string): string => `model.layers.${i}.${part}.weight`

/** The linear layers of one decoder layer, each (out, in). */
export const linearShapes = ({ dim, hidden, heads, kvHeads, headDim }: LlamaConfig) =>
  ({
    'self_attn.q_proj': [heads * headDim, dim],
    'self_attn.k_proj': [kvHeads * headDim, dim],
    'self_attn.v_proj': [kvHeads * headDim, dim],
    'self_attn.o_proj': [dim, heads * headDim],
    'mlp.gate_proj': [hidden, dim],
    'mlp.up_proj': [hidden, dim],
    'mlp.down_proj': [dim, hidden],
  }) as const
/** The linear layers of a decoder layer, by their paths within it. */
export type LinearName = keyof ReturnType<typeof linearShapes>

/** Every tensor that a model of this config has, by Hugging Face's name, with its shape; linear weights are (out, in). */
export const tensorShapes = (config: LlamaConfig): ReadonlyMap<string, ReadonlyArray<number>> => {
  const { dim, layers, vocab, tied } = config
  const perLayer: ReadonlyArray<readonly [string, ReadonlyArray<number>]> = [
    ['input_layernorm', [dim]],
    ...Object.entries(linearShapes(config)),
    ['post_attention_layernorm', [dim]],
  ]
  const inLayers = Array.from({ length: layers }, (_, i) =>
    perLayer.map(([part, shape]) => [layerTensor(i, part), shape] as const),
  ).flat()
  return new Map<string, ReadonlyArray<number>>([
    ['model.embed_tokens.weight', [vocab, dim]],
    ...inLayers,
    ['model.norm.weight', [dim]],
    ...(tied ? [] : [['lm_head.weight', [vocab, dim]] as const]),
  ])
}
