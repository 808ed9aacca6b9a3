"""A llama2.c checkpoint as a transformers LlamaForCausalLM, and llama2.c's tokenizer.

    python bench/peft/stories.py --data ../shared/data

checks the two numbers that the port stands on: the published greedy text and the mean loss on Grimm.
"""
import argparse
import heapq
import struct
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

PUBLISHED = (
    'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a '
    'big, red ball. She wanted to play with it, but it was too high.'
)
GRIMM_LOSS = 3.54308  # nats, mean over 12 windows of 256
BOS = 1


def halves_from_pairs(w, heads):
    """Rows of wq or wk: llama2.c rotates the pairs (2i, 2i+1), transformers the pairs (i, i + h/2)."""
    rows, cols = w.shape
    return w.reshape(heads, rows // heads // 2, 2, cols).transpose(1, 2).reshape(rows, cols)


def load_stories(path, dtype=torch.float32, attention='eager'):
    """llama2.c .bin (7 int32, then f32 tensors) -> LlamaForCausalLM in eval mode."""
    raw = Path(path).read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, seq = struct.unpack('<7i', raw[:28])
    tied, vocab = vocab > 0, abs(vocab)
    data = torch.from_numpy(np.frombuffer(raw, dtype='<f4', offset=28).copy())
    at = 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        out = data[at:at + n].reshape(shape)
        at += n
        return out

    head = dim // heads
    kv = kv_heads * head
    embed = take(vocab, dim)
    att_norm = take(layers, dim)
    wq, wk, wv, wo = take(layers, dim, dim), take(layers, kv, dim), take(layers, kv, dim), take(layers, dim, dim)
    ffn_norm = take(layers, dim)
    w1, w2, w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    norm = take(dim)
    take(2, seq, head // 2)  # the stored cosines and sines, which transformers recomputes
    out = embed if tied else take(vocab, dim)
    assert at == data.numel(), (at, data.numel())
    state = {'model.embed_tokens.weight': embed, 'model.norm.weight': norm, 'lm_head.weight': out}
    for i in range(layers):
        state |= {f'model.layers.{i}.{k}.weight': v for k, v in {
            'input_layernorm': att_norm[i],
            'self_attn.q_proj': halves_from_pairs(wq[i], heads),
            'self_attn.k_proj': halves_from_pairs(wk[i], kv_heads),
            'self_attn.v_proj': wv[i],
            'self_attn.o_proj': wo[i],
            'post_attention_layernorm': ffn_norm[i],
            'mlp.gate_proj': w1[i],
            'mlp.down_proj': w2[i],
            'mlp.up_proj': w3[i],
        }.items()}
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=seq, rms_norm_eps=1e-5, rope_theta=10000.0,
        tie_word_embeddings=tied, attention_bias=False, mlp_bias=False, attn_implementation=attention)
    model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True)
    return model.to(dtype).eval()


class Tokenizer:
    """llama2.c's tokenizer.bin: i32 longest, then per piece f32 score, i32 length, bytes."""

    def __init__(self, path):
        raw, at = Path(path).read_bytes(), 4
        self.pieces, self.scores = [], []
        while at < len(raw):
            score, n = struct.unpack_from('<fi', raw, at)
            self.pieces.append(raw[at + 8:at + 8 + n])
            self.scores.append(score)
            at += 8 + n
        self.ids = {}
        for i, p in enumerate(self.pieces):
            self.ids.setdefault(p, i)

    def encode(self, text, bos=False):
        """Dummy leading space, one piece a character (bytes + 3 where there is none), then the best-scored leftmost merge
        until none is left."""
        ids = []
        if text:
            ids.append(self.ids[b' '])
        for c in text:
            b = c.encode()
            ids.extend([self.ids[b]] if b in self.ids else [x + 3 for x in b])
        n = len(ids)
        after, before, live = list(range(1, n + 1)), list(range(-1, n - 1)), [True] * n
        heap = []

        def offer(i):
            j = after[i]
            if j < n:
                k = self.ids.get(self.pieces[ids[i]] + self.pieces[ids[j]])
                if k is not None:
                    heapq.heappush(heap, (-self.scores[k], i, ids[i], j, ids[j], k))

        for i in range(n):
            offer(i)
        while heap:
            _, i, a, j, b, k = heapq.heappop(heap)
            if not (live[i] and live[j] and after[i] == j and ids[i] == a and ids[j] == b):
                continue
            ids[i], live[j], after[i] = k, False, after[j]
            if after[i] < n:
                before[after[i]] = i
            offer(i)
            if before[i] >= 0:
                offer(before[i])
        return ([BOS] if bos else []) + [t for t, on in zip(ids, live) if on]

    def decode(self, ids):
        out, last = b'', None
        for t in ids:
            p = self.pieces[t]
            if last == BOS and p.startswith(b' '):
                p = p[1:]
            if len(p) == 6 and p.startswith(b'<0x'):
                p = bytes([int(p[3:5], 16)])
            if t != BOS:
                out += p
            last = t
        return out.decode(errors='replace')


def read_grimm(data):
    text = (Path(data) / 'grimm' / 'grimm.txt').read_bytes().decode('utf-8-sig')
    return text.replace('\r\n', '\n')


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--data', required=True, help='folder holding stories260K/ and grimm/')
    data = Path(p.parse_args().data)
    tok = Tokenizer(data / 'stories260K' / 'tok512.bin')
    model = load_stories(data / 'stories260K' / 'stories260K.bin')
    with torch.no_grad():
        ids = [BOS]
        while not tok.decode(ids).startswith(PUBLISHED) and len(ids) < 120:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        same = tok.decode(ids).startswith(PUBLISHED)
        print(f'greedy from BOS: {"the published text" if same else "DIFFERS"}, {len(ids) - 1} tokens\n  {tok.decode(ids)}')
        enc = tok.encode(read_grimm(data)[:9000])
        x = torch.tensor(enc[:3073])
        worst = 0.0
        for dtype in (torch.float32, torch.float64):
            m = load_stories(data / 'stories260K' / 'stories260K.bin', dtype)
            logits = m(x[:3072].reshape(12, 256)).logits
            loss = torch.nn.functional.cross_entropy(logits.reshape(3072, -1), x[1:]).item()
            worst = max(worst, abs(loss - GRIMM_LOSS))
            print(f'Grimm, {len(enc)} tokens encoded, 3,072 scored, {dtype}: loss {loss:.6f}, expected {GRIMM_LOSS}, off by {loss - GRIMM_LOSS:+.1e}')
    raise SystemExit(0 if same and worst < 2e-5 else 1)


if __name__ == '__main__':
    main()
