"""Loads an adapter folder written by scion onto stories260K with PEFT and compares logits.

    python bench/peft/check.py --data ../shared/data --adapter DIR --logits FILE.safetensors [--ids FILE.json] [--limit 1e-4]

FILE.safetensors: `logits` f32 [batch, position, vocab], and `ids` (any integer type, [batch, position]) unless --ids gives them as JSON.
DIR: a PEFT folder (adapter_model.safetensors), or an AdapterHub-keyed bottleneck folder (adapter.safetensors).
With --write the logits of this side are written to FILE.safetensors instead.
"""
import argparse
import json
import warnings
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from methods import Houlsby
from stories import load_stories


def load_adapter(base, folder):
    if (folder / 'adapter.safetensors').exists():
        return Houlsby.load(base, folder)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the key sets are compared below; for some methods PEFT says nothing
        model = PeftModel.from_pretrained(base, str(folder))
    there, wanted = set(load_file(str(folder / 'adapter_model.safetensors'))), set(get_peft_model_state_dict(model))
    if there != wanted:
        raise SystemExit(f'{folder}: keys PEFT misses {sorted(wanted - there)}, keys it does not know {sorted(there - wanted)}')
    return model.eval()


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--data', required=True)
    p.add_argument('--adapter', required=True, type=Path)
    p.add_argument('--logits', required=True, type=Path)
    p.add_argument('--ids', type=Path)
    p.add_argument('--limit', type=float, default=1e-4)
    p.add_argument('--write', action='store_true')
    a = p.parse_args()
    base = load_stories(Path(a.data) / 'stories260K' / 'stories260K.bin')
    theirs = {} if a.write else load_file(str(a.logits))
    if a.ids:
        ids = torch.tensor(json.loads(a.ids.read_text()))
    elif 'ids' in theirs:
        ids = theirs['ids'].long()
    else:
        raise SystemExit(f'{a.logits}: no tensor `ids`, and no --ids')
    with torch.no_grad():
        plain = base(input_ids=ids, use_cache=False).logits
        ours = load_adapter(base, a.adapter)(input_ids=ids, use_cache=False).logits
    moved = (ours - plain).abs().max().item()
    if a.write:
        save_file({'logits': ours.contiguous(), 'ids': ids.contiguous()}, str(a.logits))
        print(f'wrote {a.logits}: {tuple(ours.shape)}; the adapter moves logits by up to {moved:.3g}')
        return
    if theirs['logits'].shape != ours.shape:
        raise SystemExit(f'{a.logits}: logits {tuple(theirs["logits"].shape)}, expected {tuple(ours.shape)}')
    off = (ours - theirs['logits'].float()).abs().max().item()
    print(f'{tuple(ours.shape)} logits, max abs difference {off:.3e} (limit {a.limit:g}); the adapter moves logits by up to {moved:.3g}')
    raise SystemExit(0 if off <= a.limit else 1)


if __name__ == '__main__':
    main()
