/**
 * LLaMA as a pure function of its weights and tokens (Touvron et al. 2023, arXiv 2302.13971), with sites
 * at which adapters are grafted. Weights are program inputs under Hugging Face's names.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { add, input, merge, rename, split, take, type Tensor, type Values } from '../dsl/index.ts'
import { linearHost, activationHost, type AttentionInput, type LinearHost } from '../adapters/adapter.ts'
import { linearShapes, tensorShapes, type LinearName, type LlamaConfig } from './config.ts'
import { ungrafted, type Graft, type Site } from './graft.ts'
import { causalAttention, rmsNorm, rope, swiGlu, type RopeLayout } from './layers.ts'

// ---------------------------------------------------------------------------------------- model

/** One weight as a program input and as a tensor of a file. */
export interface WeightSpec {
  /** input name and tensor name in files */
  readonly name: string
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
}

/** Keys after RoPE and values, of the tokens at hand. */
export interface KeyValue {
  readonly k: Tensor<'token' | 'kv' | 'h'>
  readonly v: Tensor<'token' | 'kv' | 'h'>
}

/** Where the tokens at hand stand in the text, and what their queries see. */
export interface Reading {
  /** of the tokens; absent: they count from 0 */
  readonly positions?: Tensor<'token', 'i32'>
  /** what the queries of a layer see, from its keys and values of the tokens at hand */
  readonly seen: (layer: number, fresh: KeyValue) => Pick<AttentionInput, 'k' | 'v'>
}

const layerPath = (i: number): string => `model.layers.${String(i)}`

// --------------------------------------------------------------------------------- constructors

/** Every weight of the model: its name, axes in file order, and shape. */
export const llamaWeights = (c: LlamaConfig): ReadonlyArray<WeightSpec> =>
  [...tensorShapes(c)].map(([name, shape]) => ({
    name,
    shape,
    axes: shape.length === 1 ? ['in'] : name === 'model.embed_tokens.weight' ? ['vocab', 'in'] : ['out', 'in'],
  }))

/** Stored tensors as values under the names and axes that the model's program asks for. */
export const llamaValues = (c: LlamaConfig, tensors: ReadonlyMap<string, { readonly data: Float32Array }>): Values =>
  Object.fromEntries(
    llamaWeights(c).map((w) => [
      w.name,
      {
        dims: w.axes.map((name, i) => ({ name, size: w.shape[i]! })),
        data: Float64Array.from(tensors.get(w.name)?.data ?? []),
      },
    ]),
  )

/** Every place where an adapter may sit. The output head is a site only where it is not the embedding. */
export const llamaSites = (c: LlamaConfig): ReadonlyArray<Site> => [
  ...Array.from({ length: c.layers }, (_, i): ReadonlyArray<Site> => [
    ...Object.entries(linearShapes(c)).map(([n, [out, width]]) => ({
      kind: 'linear' as const,
      path: `${layerPath(i)}.${n}`,
      sizes: { out, in: width },
    })),
    {
      kind: 'attention',
      path: `${layerPath(i)}.self_attn`,
      sizes: { in: c.dim, kv: c.kvHeads, group: c.heads / c.kvHeads, h: c.headDim },
    },
    { kind: 'activation', path: `${layerPath(i)}.attention_adapters`, sizes: { in: c.dim } },
    { kind: 'activation', path: `${layerPath(i)}.output_adapters`, sizes: { in: c.dim } },
  ]).flat(),
  ...(c.tied ? [] : [{ kind: 'linear' as const, path: 'lm_head', sizes: { out: c.vocab, in: c.dim } }]),
]

/** All tokens of the text are at hand. */
export const wholeText: Reading = {
  seen: (_, { k, v }) => ({ k: pipe(k, rename({ token: 'key' })), v: pipe(v, rename({ token: 'key' })) }),
}

// ---------------------------------------------------------------------------------- combinators

interface Layer {
  readonly x: Tensor<'token' | 'in'>
  readonly fresh: KeyValue
}

/** One decoder layer:  h = x + attention(norm x),  y = h + mlp(norm h) */
const decoderLayer =
  (c: LlamaConfig, graft: Graft, layout: RopeLayout, reading: Reading, i: number) =>
  (x: Tensor<'token' | 'in'>): Layer => {
    const path = layerPath(i)
    const gain = (name: string): Tensor<'in'> => input(`${path}.${name}.weight`, { in: c.dim })
    const linear = (name: LinearName): LinearHost['call'] => {
      const [out, width] = linearShapes(c)[name]
      return graft.linear(`${path}.${name}`, linearHost(input(`${path}.${name}.weight`, { out, in: width })))
    }
    const keys = (project: LinearHost['call']) => (z: Tensor<'token' | 'in'>) =>
      pipe(project(z), split('out', { kv: c.kvHeads, h: c.headDim }))
    const turn = rope(c.headDim, c.ropeTheta, layout, reading.positions)
    const [projectKey, projectValue] = [keys(linear('self_attn.k_proj')), keys(linear('self_attn.v_proj'))]
    const call = causalAttention(c.headDim, reading.positions)
    const attend = graft.attention(`${path}.self_attn`, { projectKey, projectValue, call })

    const normed = rmsNorm(gain('input_layernorm'), c.normEps)(x)
    const fresh = { k: pipe(projectKey(normed), turn), v: projectValue(normed) }
    const heads = attend({
      q: pipe(
        linear('self_attn.q_proj')(normed),
        split('out', { kv: c.kvHeads, group: c.heads / c.kvHeads, h: c.headDim }),
        turn,
      ),
      ...reading.seen(i, fresh),
    })
    const attended = pipe(heads, merge(['kv', 'group', 'h'], 'in'), linear('self_attn.o_proj'), rename({ out: 'in' }))
    const h = pipe(x, add(graft.activation(`${path}.attention_adapters`, activationHost)(attended)))
    const fed = swiGlu(
      linear('mlp.gate_proj'),
      linear('mlp.up_proj'),
      linear('mlp.down_proj'),
    )(rmsNorm(gain('post_attention_layernorm'), c.normEps)(h))
    return { x: pipe(h, add(graft.activation(`${path}.output_adapters`, activationHost)(fed))), fresh }
  }

/** The residual stream after the last norm, and every layer's keys and values of these tokens.  tokens: (token) and any further axes, i32. */
export const llamaReading =
  (c: LlamaConfig, graft: Graft = ungrafted, reading: Reading = wholeText, layout: RopeLayout = 'halves') =>
  (
    tokens: Tensor<'token', 'i32'>,
  ): { readonly hidden: Tensor<'token' | 'in'>; readonly fresh: ReadonlyArray<KeyValue> } => {
    const embedding = input('model.embed_tokens.weight', { vocab: c.vocab, in: c.dim })
    const fresh: KeyValue[] = []
    let x: Tensor<'token' | 'in'> = pipe(embedding, take(tokens, 'vocab'))
    for (let i = 0; i < c.layers; i++) {
      const layer = decoderLayer(c, graft, layout, reading, i)(x)
      x = layer.x
      fresh.push(layer.fresh)
    }
    return { hidden: rmsNorm(input('model.norm.weight', { in: c.dim }), c.normEps)(x), fresh }
  }

/** The residual stream after the last norm.  tokens: (token) and any further axes, i32. */
export const llamaHidden =
  (c: LlamaConfig, graft: Graft = ungrafted, layout: RopeLayout = 'halves') =>
  (tokens: Tensor<'token', 'i32'>): Tensor<'token' | 'in'> =>
    llamaReading(c, graft, wholeText, layout)(tokens).hidden

/** Scores of the next token: the head applied to the residual stream. */
export const llamaHead =
  (c: LlamaConfig, graft: Graft = ungrafted) =>
  <A extends string>(hidden: Tensor<A | 'in'>): Tensor<A | 'vocab'> => {
    const weight = c.tied
      ? pipe(input('model.embed_tokens.weight', { vocab: c.vocab, in: c.dim }), rename({ vocab: 'out' }))
      : input('lm_head.weight', { out: c.vocab, in: c.dim })
    const head = c.tied ? linearHost(weight).call : graft.linear('lm_head', linearHost(weight))
    return pipe(head(hidden as unknown as Tensor<'token' | 'in'>), rename({ out: 'vocab' })) as unknown as Tensor<
      A | 'vocab'
    >
  }

/** logits (token, vocab) of tokens (token). */
export const llama =
  (c: LlamaConfig, graft: Graft = ungrafted, layout: RopeLayout = 'halves') =>
  (tokens: Tensor<'token', 'i32'>): Tensor<'token' | 'vocab'> =>
    llamaHead(c, graft)<'token'>(llamaHidden(c, graft, layout)(tokens))
