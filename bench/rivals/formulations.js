/**
 * The cases in the words that jax-js and tfjs share: each as a function of its tensors by name, over a table of
 * operations `A` that either library fills. W is (out, in), so a layer is x W^T.
 */

/** @param A operations: mm(a, b, transposeA, transposeB), add, sub, mul, div, times, reshape, permute, softmax, sum, ... */
export const formulations = (A) => {
  const linear = A.linear
  const attend = (q, k, v, mask, scale) => {
    const scores = A.times(A.mm(q, k, false, true), scale)
    return A.mm(A.softmax(mask === undefined ? scores : A.add(scores, mask)), v)
  }
  return {
    contraction: () => (t) => A.mm(t.x, t.W),
    lora:
      ({ s }) =>
      (t) =>
        A.add(linear(t.x, t.W), A.times(linear(linear(t.x, t.a), t.b), s)),
    // x H^T = x H_{r-1} ... H_0
    hra:
      ({ r }) =>
      (t) => {
        let y = t.x
        // a copy: tfjs keeps the array for its gradient
        for (const u of [...A.columns(t.u, r)].reverse()) {
          const factor = A.div(A.times(A.ones(u), 2), A.sum(A.mul(u, u)))
          y = A.sub(y, A.mm(A.mm(y, u), A.mul(u, factor), false, true))
        }
        return linear(y, t.W)
      },
    attention: ({ batch, heads, length, headDim, prompts }) => {
      const mask = A.causal(length)
      const scale = 1 / Math.sqrt(headDim)
      return (t) => {
        const q = A.reshape(t.q, [batch, heads, length, headDim])
        const both = (p) => A.repeat(A.reshape(p, [1, heads, prompts, headDim]), batch)
        const gate = A.tanh(A.reshape(t.gate, [1, heads, 1, 1]))
        const y = A.add(
          attend(q, t.k, t.v, mask, scale),
          A.mul(gate, attend(q, both(t.ak), both(t.av), undefined, scale)),
        )
        return A.reshape(y, [batch, heads, 1, length, headDim])
      }
    },
    silu: () => (t) => A.mul(A.silu(t.a), t.b),
    softmax: () => (t) => A.softmax(t.a),
    rmsnorm: () => (t) => A.mul(A.mul(t.a, A.rsqrt(A.add(A.mean(A.mul(t.a, t.a)), 1e-5))), t.gain),
    /** the loss of the step: gradients only, without clipping and AdamW, and the embedding's rows found beforehand */
    step: (n) => {
      const { layers, rows, length, dim, heads, headDim, vocab, s, eps } = n
      const [cos, sin] = A.rotation(length, headDim, n.theta)
      const mask = A.causal(length)
      const norm = (x, gain) => A.mul(A.mul(x, A.rsqrt(A.add(A.mean(A.mul(x, x)), eps))), gain)
      const rope = (x) => {
        const [a, b] = A.halves(x)
        return A.join(A.sub(A.mul(a, cos), A.mul(b, sin)), A.add(A.mul(b, cos), A.mul(a, sin)))
      }
      const split = (x) => A.permute(A.reshape(x, [rows, length, heads, headDim]), [0, 2, 1, 3])
      return (t) => {
        let h = t.embedded
        for (let i = 0; i < layers; i++) {
          const at = `model.layers.${i}.`
          const w = (name) => t[`${at}${name}.weight`]
          const lora = (y, name) =>
            A.add(linear(y, w(name)), A.times(linear(linear(y, t[`${at}${name}.a`]), t[`${at}${name}.b`]), s))
          let y = norm(h, w('input_layernorm'))
          const q = rope(split(lora(y, 'self_attn.q_proj')))
          const k = rope(split(linear(y, w('self_attn.k_proj'))))
          const v = split(lora(y, 'self_attn.v_proj'))
          const a = attend(q, k, v, mask, 1 / Math.sqrt(headDim))
          h = A.add(h, linear(A.reshape(A.permute(a, [0, 2, 1, 3]), [rows * length, dim]), w('self_attn.o_proj')))
          y = norm(h, w('post_attention_layernorm'))
          const fed = A.mul(A.silu(linear(y, w('mlp.gate_proj'))), linear(y, w('mlp.up_proj')))
          h = A.add(h, linear(fed, w('mlp.down_proj')))
        }
        const logits = linear(norm(h, t['model.norm.weight']), t['model.embed_tokens.weight'])
        return A.times(A.picked(A.logSoftmax(logits), t.targets, vocab), -1 / (rows * length))
      }
    },
  }
}

/** tables of cos and sin of the rotary embedding, (length, headDim / 2) */
export const rotation = (length, headDim, theta) => {
  const half = headDim / 2
  const at = (f) =>
    Float32Array.from({ length: length * half }, (_, i) =>
      f(Math.floor(i / half) * theta ** ((-2 * (i % half)) / headDim)),
    )
  return [at(Math.cos), at(Math.sin)]
}

/** 0 on and below the diagonal, -1e9 above */
export const causal = (length) =>
  Float32Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -1e9 : 0))

/** the rows of a table that ids name */
export const rowsOf = (table, width, ids) => {
  const rows = new Float32Array(ids.length * width)
  ids.forEach((id, i) => rows.set(table.subarray(id * width, (id + 1) * width), i * width))
  return rows
}
