"""Fine-tunes stories260K on Grimm with PEFT (and the torch reference for the bottleneck).

    python bench/peft/train.py --data ../shared/data [--batches FILE] [--adapters lora oft] [--lr 3e-3] [--out DIR]
                               [--config JSON] [--sweep] [--seeds 0 1 2] [--record bench/peft/results.json]

FILE: {"train": [steps][rows][T+1] ids, "heldout": [windows][T+1] ids}; without it a stand-in is drawn from grimm.txt.
"""
import argparse
import copy
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

from methods import METHODS
from stories import Tokenizer, load_stories, read_grimm

WARMUP, CLIP, BETAS, EPS = 20, 1.0, (0.9, 0.999), 1e-8


def stand_in(data, seed=0, steps=200, rows=4, width=128, held_out=0.1):
    tok = Tokenizer(data / 'stories260K' / 'tok512.bin')
    ids = tok.encode(read_grimm(data))
    cut = len(ids) - int(len(ids) * held_out)
    rng = np.random.default_rng(seed)
    train = [[ids[o:o + width + 1] for o in rng.integers(0, cut - width, rows)] for _ in range(steps)]
    tail = ids[cut:]
    held = [tail[o:o + width + 1] for o in range(0, len(tail) - width, width)]
    return {'source': f'stand-in: grimm.txt, numpy default_rng({seed}) offsets, {len(ids)} tokens', 'train': train, 'heldout': held}


def rate(s, peak, steps):
    if s < WARMUP:
        return peak * (s + 1) / WARMUP
    return peak * 0.5 * (1 + math.cos(math.pi * (s - WARMUP) / (steps - WARMUP)))


def loss_of(model, windows):
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), windows[:, 1:].reshape(-1))


def held_out_loss(model, windows, rows=64):
    with torch.no_grad():
        return sum(loss_of(model, w).item() * len(w) for w in windows.split(rows)) / len(windows)


def fine_tune(base, name, config, peak, train, held, seed, out=None):
    build = METHODS[name][0]
    host = copy.deepcopy(base)
    torch.manual_seed(seed)
    model = build(host, config)
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = held_out_loss(model, held)
    step = torch.optim.AdamW(own.values(), lr=peak, betas=BETAS, eps=EPS, weight_decay=0.0)
    started, curve = time.perf_counter(), []
    for s, rows in enumerate(train):
        for group in step.param_groups:
            group['lr'] = rate(s, peak, len(train))
        step.zero_grad(set_to_none=True)
        loss = loss_of(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own.values(), CLIP)
        step.step()
        curve.append(loss.item())
    seconds = time.perf_counter() - started
    after = held_out_loss(model, held)
    changed = [n for n, p in model.named_parameters() if n in kept and not torch.equal(p, kept[n])]
    assert not changed, changed
    if out:
        model.save_pretrained(str(Path(out) / name))
    return {'config': config, 'lr': peak, 'seed': seed, 'loss_before': before, 'loss_after': after, 'drop': before - after,
            'trainable': sum(p.numel() for p in own.values()), 'seconds': round(seconds, 2),
            'train_loss_first': curve[0], 'train_loss_last20': float(np.mean(curve[-20:]))}


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--data', required=True, help='folder holding stories260K/ and grimm/')
    p.add_argument('--batches')
    p.add_argument('--adapters', nargs='+', default=list(METHODS), choices=list(METHODS))
    p.add_argument('--lr', type=float, nargs='+', help='peak rates; default: the table row')
    p.add_argument('--config', default='{}', help='JSON laid over the table row')
    p.add_argument('--sweep', action='store_true', help='also a third and three times the rate')
    p.add_argument('--seeds', type=int, nargs='+', default=[0])
    p.add_argument('--out', help='where to save one folder an adapter (first seed, first rate)')
    p.add_argument('--record', help='JSON file to write')
    p.add_argument('--write-batches', help='save the stand-in batches and stop')
    a = p.parse_args()
    data = Path(a.data)
    batches = json.loads(Path(a.batches).read_text()) if a.batches else stand_in(data)
    if a.write_batches:
        Path(a.write_batches).write_text(json.dumps(batches, separators=(',', ':')))
        return
    train, held = torch.tensor(batches['train']), torch.tensor(batches['heldout'])
    base = load_stories(data / 'stories260K' / 'stories260K.bin', attention='sdpa')
    print(f'{tuple(train.shape)} training ids, {tuple(held.shape)} held out; base loss {held_out_loss(base, held):.5f}')
    print(f'{"adapter":16} {"lr":>8} {"seed":>4} {"trainable":>9} {"before":>8} {"after":>8} {"drop":>8} {"seconds":>8}  config')
    results = {}
    for name in a.adapters:
        config = {**METHODS[name][1], **json.loads(a.config)}
        rates = a.lr or [METHODS[name][2]]
        if a.sweep:
            rates = [r for peak in rates for r in (peak, peak / 3, peak * 3)]
        runs = []
        for i, peak in enumerate(rates):
            for seed in (a.seeds if i == 0 else a.seeds[:1]):
                r = fine_tune(base, name, config, peak, train, held, seed, a.out if not runs else None)
                runs.append(r)
                print(f'{name:16} {peak:8.2g} {seed:4} {r["trainable"]:9,} {r["loss_before"]:8.5f} {r["loss_after"]:8.5f} '
                      f'{r["drop"]:8.5f} {r["seconds"]:8.1f}  {json.dumps(config)}', flush=True)
        results[name] = {**runs[0], 'others': [{k: r[k] for k in ('lr', 'seed', 'loss_after', 'drop', 'seconds')} for r in runs[1:]]}
    if a.record:
        Path(a.record).write_text(json.dumps({
            'source': {'peft': peft.__version__, 'torch': torch.__version__, 'transformers': transformers.__version__,
                       'python': platform.python_version(), 'threads': torch.get_num_threads(),
                       'batches': batches.get('source', 'written by scion'), 'train': list(train.shape), 'heldout': list(held.shape)},
            'recipe': {'optimizer': 'AdamW', 'betas': BETAS, 'eps': EPS, 'weight_decay': 0, 'clip': CLIP, 'warmup': WARMUP,
                       'schedule': 'linear warm-up, cosine to 0'},
            'adapters': results}, indent=1) + '\n')


if __name__ == '__main__':
    main()
