/**
 * LLaMA as a pure function of its weights and tokens (Touvron et al. 2023, arXiv 2302.13971), with sites
 * at which adapters are grafted. Weights are program inputs under Hugging Face's names.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { add, input, merge, rename, split, take, type Tensor, type Values } from '../dsl/index.ts'
import { linearHost, activationHost, type LinearHost } from '../adapters/adapter.ts'
import { linearShapes, tensorShapes, type LinearName, type LlamaConfig } from './config.ts'
import { ungrafted, type Graft, type Site } from './graft.ts'
import { causalAttention, rmsNorm, rope, swiGlu, type RopeLayout } from './layers.ts'

// ---------------------------------------------------------------------------------------- model

export interface WeightSpec {
  /** input name and tensor name in files */
  readonly name: string
  readonly axes: ReadonlyArray<string>
  readonly shape: ReadonlyArray<number>
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

// ---------------------------------------------------------------------------------- combinators

/** One decoder layer:  h = x + attention(norm x),  y = h + mlp(norm h) */
const decoderLayer =
  (c: LlamaConfig, graft: Graft, layout: RopeLayout, i: number) =>
  (x: Tensor<'token' | 'in'>): Tensor<'token' | 'in'> => {
    const path = layerPath(i)
    const gain = (name: string): Tensor<'in'> => input(`${path}.${name}.weight`, { in: c.dim })
    const linear = (name: LinearName): LinearHost['call'] => {
      const [out, width] = linearShapes(c)[name]
      return graft.linear(`${path}.${name}`, linearHost(input(`${path}.${name}.weight`, { out, in: width })))
    }
    const keys = (project: LinearHost['call']) => (z: Tensor<'token' | 'in'>) =>
      pipe(project(z), split('out', { kv: c.kvHeads, h: c.headDim }))
    const turn = rope(c.headDim, c.ropeTheta, layout)
    const [projectKey, projectValue] = [keys(linear('self_attn.k_proj')), keys(linear('self_attn.v_proj'))]
    const attend = graft.attention(`${path}.self_attn`, { projectKey, projectValue, call: causalAttention(c.headDim) })

    const normed = rmsNorm(gain('input_layernorm'), c.normEps)(x)
    const heads = attend({
      q: pipe(
        linear('self_attn.q_proj')(normed),
        split('out', { kv: c.kvHeads, group: c.heads / c.kvHeads, h: c.headDim }),
        turn,
      ),
      k: pipe(projectKey(normed), turn, rename({ token: 'key' })),
      v: pipe(projectValue(normed), rename({ token: 'key' })),
    })
    const attended = pipe(heads, merge(['kv', 'group', 'h'], 'in'), linear('self_attn.o_proj'), rename({ out: 'in' }))
    const h = pipe(x, add(graft.activation(`${path}.attention_adapters`, activationHost)(attended)))
    const fed = swiGlu(
      linear('mlp.gate_proj'),
      linear('mlp.up_proj'),
      linear('mlp.down_proj'),
    )(rmsNorm(gain('post_attention_layernorm'), c.normEps)(h))
    return pipe(h, add(graft.activation(`${path}.output_adapters`, activationHost)(fed)))
  }

/** The residual stream after the last norm.  tokens: (token) and any further axes, i32. */
export const llamaHidden =
  (c: LlamaConfig, graft: Graft = ungrafted, layout: RopeLayout = 'halves') =>
  (tokens: Tensor<'token', 'i32'>): Tensor<'token' | 'in'> => {
    const embedding = input('model.embed_tokens.weight', { vocab: c.vocab, in: c.dim })
    const layers = Array.from({ length: c.layers }, (_, i) => decoderLayer(c, graft, layout, i))
    const x = layers.reduce((h, layer) => layer(h), pipe(embedding, take(tokens, 'vocab')))
    return rmsNorm(input('model.norm.weight', { in: c.dim }), c.normEps)(x)
  }

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
