"""Writes property-tests/fixtures/*.json: golden values and gradients, computed in float64 by PEFT and torch.

    python bench/peft/fixtures.py [--out property-tests/fixtures]

Where a golden number was published earlier (float32, six decimals), the float64 value must agree to 2e-6 or nothing is written.
"""
import argparse
import contextlib
import json
import math
import platform
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import AdaptionPromptConfig, HRAConfig, LoraConfig, OFTConfig, get_peft_model
from peft.tuners.adaption_prompt.layer import AdaptedAttention
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from methods import Bottleneck, Houlsby

warnings.filterwarnings('ignore')

# ---------------------------------------------------------------------------------------------------------------- formulas
def g(n, c):
    """g(n, c)[k] = sin(0.7 (k+1) + c)"""
    return torch.tensor([math.sin(0.7 * (k + 1) + c) for k in range(n)], dtype=torch.float64)


def h(n, c):
    """h(n, c)[k] = sin(0.7 (k+1) + 0.013 (k+1) (k+1) + c): as g, but a matrix of it has full rank"""
    return torch.tensor([math.sin(0.7 * (k + 1) + 0.013 * (k + 1) * (k + 1) + c) for k in range(n)], dtype=torch.float64)


FORMULAS = {
    'g': 'g(n, c)[k] = sin(0.7 * (k + 1) + c), k = 0..n-1, row-major',
    'h': 'h(n, c)[k] = sin(0.7 * (k + 1) + 0.013 * (k + 1) * (k + 1) + c), k = 0..n-1, row-major',
    'tensor': 'value[k] = add + scale * f(numel, phase)[k], f = g or h',
    'loss': 'loss = sum(y * g(numel(y), 9))',
}
WEIGH = {'g': g, 'h': h}


def spec(shape, scale, phase, f='g', add=0.0):
    return {'shape': list(shape), 'f': f, 'scale': scale, 'phase': phase, 'add': add}


def tensor(s):
    return (s['add'] + s['scale'] * WEIGH[s['f']](math.prod(s['shape']), s['phase'])).reshape(s['shape'])


def flat(t):
    return [float(f'{v:.15g}') for v in t.detach().double().reshape(-1).tolist()]


def weighed(y):
    return (y * g(y.numel(), 9).reshape(y.shape)).sum()


# ------------------------------------------------------------------------------------------------------- float64 throughout
class Torch64:
    """torch, whose float32 is float64: the models under test cast norms, softmax and rotations to float32 by name."""

    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


class Rope64(nn.Module):
    def __init__(self, head, theta):
        super().__init__()
        self.inv = 1.0 / theta ** (torch.arange(0, head, 2, dtype=torch.float64) / head)

    def forward(self, x, position_ids):
        a = position_ids[..., None].double() * self.inv
        a = torch.cat((a, a), dim=-1)
        return a.cos(), a.sin()


@contextlib.contextmanager
def in_float64():
    import peft.tuners.adaption_prompt.layer as prompt
    import transformers.models.llama.modeling_llama as llama
    torch.set_default_dtype(torch.float64)
    llama.torch = prompt.torch = Torch64()
    try:
        yield
    finally:
        llama.torch = prompt.torch = torch
        torch.set_default_dtype(torch.float32)


# --------------------------------------------------------------------------------------------------------- a linear layer
PUBLISHED = {
    'base': '-0.838803 -1.668414 -1.750575 -1.047048 0.127778 1.247345 0.659243 -0.569793 -1.544516 -1.826044 -1.286606 -0.167555',
    'lora r2 alpha4': '-1.757724 -1.422151 -0.747941 -0.952482 -0.842710 0.822876 0.531491 -0.394980 -1.357339 -1.937229 -1.511579 -0.132845',
    'rslora r2 alpha4': '-2.138354 -1.320145 -0.332636 -0.913311 -1.244699 0.647056 0.478575 -0.322570 -1.279808 -1.983284 -1.604765 -0.118468',
    'oft b4 neumann n5': '-0.731865 -1.294616 -1.277704 -0.687360 0.212830 1.019584 0.103108 -0.942197 -1.566029 -1.487009 -0.739205 0.342500',
    'oft b4 neumann n4': '-0.723790 -1.240353 -1.201610 -0.623591 0.235650 0.991212 -0.006819 -1.021151 -1.578569 -1.427507 -0.634370 0.445612',
    'oft b4 exact': '0.069260 -0.933449 -1.518612 -1.422207 -0.686106 0.360062 1.019274 -0.095019 -1.168110 -1.716962 -1.493813 -0.598042',
    'oft b4 exact block_share': '0.420557 -0.642419 -1.418482 -1.557922 -0.996749 0.013930 1.479832 0.351123 -0.936643 -1.804069 -1.860393 -1.079549',
    'hra r3': '-0.840784 -1.578542 -1.609192 -0.917615 0.187162 1.210025 0.657113 -0.473183 -1.392531 -1.686905 -1.222769 -0.207674',
    'hra r2 GS': '-0.840894 -1.512943 -1.507329 -0.825212 0.228629 1.181942 0.657001 -0.403300 -1.284021 -1.588475 -1.178601 -0.237594',
}
TOLERANCE = 2e-6


def agreement(name, y, published):
    """Largest difference to the published six decimals; the run stops above TOLERANCE."""
    worst = (y.detach().double().reshape(-1) - torch.tensor([float(v) for v in published.split()], dtype=torch.float64)).abs().max().item()
    print(f'{name:44} published numbers: max abs difference {worst:.1e}')
    if worst > TOLERANCE:
        raise SystemExit(f'{name}: off the published numbers by {worst:.2e} > {TOLERANCE:.0e}')
    return float(f'{worst:.2e}')


def plain(name):
    return name.replace('.default', '')


def fill(params, make):
    """params by key without adapter name, sorted; the j-th gets make(shape, j). Returns the specs."""
    specs = {}
    for j, key in enumerate(sorted(params)):
        specs[key] = make(tuple(params[key].shape), j)
        params[key].data = tensor(specs[key]).to(params[key].dtype)
    return specs


def thirds(f='g', scale=0.3):
    return lambda shape, j: spec(shape, scale, 3 + j, f)


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(8, 6)

    def forward(self, x):
        return self.lin(x)


def linear_file():
    base = {'W': spec((6, 8), 0.5, 0), 'b': spec((6,), 0.1, 1), 'x': spec((2, 8), 1.0, 2)}
    lora = lambda **k: LoraConfig(r=2, lora_alpha=4, target_modules=['lin'], **k)
    oft = lambda **k: OFTConfig(r=0, oft_block_size=4, target_modules=['lin'], **k)
    hra = lambda r, **k: HRAConfig(r=r, target_modules=['lin'], **k)
    table = [
        ('lora r2 alpha4', lora()),
        ('rslora r2 alpha4', lora(use_rslora=True)),
        ('oft b4 neumann n5', oft(use_cayley_neumann=True, num_cayley_neumann_terms=5)),
        ('oft b4 neumann n4', oft(use_cayley_neumann=True, num_cayley_neumann_terms=4)),
        ('oft b4 exact', oft(use_cayley_neumann=False)),
        ('oft b4 exact block_share', oft(use_cayley_neumann=False, block_share=True)),
        ('hra r3', hra(3)),
        ('hra r2', hra(2)),
        ('hra r2 GS', hra(2, apply_GS=True)),
    ]
    shown = ('peft_type', 'r', 'lora_alpha', 'use_rslora', 'oft_block_size', 'use_cayley_neumann', 'num_cayley_neumann_terms',
             'block_share', 'apply_GS')

    def host():
        net = Host()
        net.lin.weight.data, net.lin.bias.data = tensor(base['W']), tensor(base['b'])
        return net

    base_y = host()(tensor(base['x']))
    agreement('base', base_y, PUBLISHED['base'])
    cases = []
    for name, config in table:
        model = get_peft_model(host(), config).eval()
        params = {plain(n): p for n, p in model.named_parameters() if p.requires_grad}
        specs = fill(params, thirds())
        x = tensor(base['x']).requires_grad_()
        y = model(x)
        loss = weighed(y)
        keys = sorted(params)
        grads = torch.autograd.grad(loss, [*(params[k] for k in keys), x])
        merged = model.merge_and_unload()
        case = {'name': name, 'config': {k: v for k, v in config.to_dict().items() if k in shown}, 'tensors': specs,
                'y': flat(y), 'loss': flat(loss)[0], 'grad': {k: flat(d) for k, d in zip([*keys, 'x'], grads)},
                'mergedWeight': flat(merged.lin.weight), 'mergedMaxDiff': float(f'{(merged(x) - y).abs().max():.2e}')}
        if name in PUBLISHED:
            case['publishedMaxDiff'] = agreement(name, y, PUBLISHED[name])
        cases.append(case)
    return {'base': {**base, 'y': flat(base_y)}, 'cases': cases}


# ------------------------------------------------------------------------------------------------------ attention + prompts
ATTENTION = {
    'halves without': '2.664136 0.479790 -1.919918 -3.457836 -3.443641 -1.883705 0.521766 2.693033 3.030201 1.128421 -1.279871 -3.113670 -3.549841 -2.392601 -0.161399 2.142250 3.947910 3.430910 1.373884 -1.299835 -3.390100 -3.958656 -2.750297 -0.307418',
    'peft scalar gate': '2.257527 -0.959816 -3.746328 -4.851233 -3.778573 -1.009832 2.212191 4.441231 3.469786 0.421155 -2.816520 -4.789948 -4.613320 -2.365920 0.943466 3.829361 4.350756 2.691869 -0.175312 -2.963801 -4.421934 -3.895201 -1.620036 1.382312',
    'pairs without': '2.664136 0.479790 -1.919918 -3.457836 -3.443641 -1.883705 0.521766 2.693033 2.991079 1.066519 -1.336768 -3.140021 -3.533819 -2.341398 -0.097997 2.189391 3.840601 3.519870 1.619181 -1.008307 -3.183197 -3.929252 -2.911590 -0.587008',
    'original per-head tanh gates, f16-rounded': '2.464861 0.143767 -2.241860 -3.621187 -3.375078 -1.614004 0.871545 2.965885 2.938822 0.860573 -1.603960 -3.348526 -3.590045 -2.220108 0.146366 2.447141 3.740048 3.270824 1.333432 -1.202496 -3.198662 -3.759049 -2.632119 -0.323715',
}


def rotate_pairs(x, theta=10000.0):
    """x (B, T, H, h): the pair (2i, 2i+1) turned by t theta^(-2i/h)."""
    head = x.shape[-1]
    a = torch.arange(x.shape[1]).double()[:, None] / theta ** (torch.arange(0, head, 2).double() / head)
    c, s = a.cos()[None, :, None], a.sin()[None, :, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * c - odd * s, even * s + odd * c), dim=-1).flatten(-2)


def original_attention(x, prompt, gates, w, heads):
    """softmax over tokens + gate_h softmax over prompts, one o projection; gates (H,) already squashed, or None."""
    b, t, d = x.shape
    split = lambda y: y.view(y.shape[0], y.shape[1], heads, d // heads)
    q, k, v = (split(x @ w[n].T) for n in 'qkv')
    q, k = (rotate_pairs(y).transpose(1, 2) for y in (q, k))
    v = v.transpose(1, 2)
    mask = torch.full((t, t), float('-inf')).triu(1)
    out = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(d // heads) + mask, -1) @ v
    if gates is not None:
        pk, pv = (split(prompt @ w[n].T).transpose(1, 2) for n in 'kv')
        out = out + gates[None, :, None, None] * torch.softmax(q @ pk.transpose(2, 3) / math.sqrt(d // heads), -1) @ pv
    return out.transpose(1, 2).reshape(b, t, d) @ w['o'].T


def attention_file():
    from transformers.models.llama.modeling_llama import LlamaAttention
    d, heads, t, k = 8, 2, 3, 2
    weights = {n: spec((d, d), 0.5, j) for j, n in enumerate('qkvo')}
    inputs = {'x': spec((1, t, d), 1.0, 5), 'prompt': spec((1, k, d), 1.0, 6)}
    w = {n: tensor(s) for n, s in weights.items()}
    config = LlamaConfig(vocab_size=32, hidden_size=d, num_attention_heads=heads, num_key_value_heads=heads, num_hidden_layers=1,
                         rope_theta=10000.0, attn_implementation='eager')
    cases = []

    def record(name, y, loss_inputs=None, **more):
        case = {'name': name, **more, 'y': flat(y)}
        if name in ATTENTION:
            case['publishedMaxDiff'] = agreement(name, y, ATTENTION[name])
        if loss_inputs:
            loss = weighed(y)
            case['loss'] = flat(loss)[0]
            case['grad'] = {n: flat(v) for n, v in zip(loss_inputs, torch.autograd.grad(loss, list(loss_inputs.values())))}
        cases.append(case)

    attention = LlamaAttention(config, 0)
    for n in 'qkvo':
        getattr(attention, f'{n}_proj').weight.data = w[n]
    wrapped = AdaptedAttention('llama', k, attention)
    wrapped.adaption_prompt.data, wrapped.adaption_gate.data = tensor(inputs['prompt']), torch.tensor([0.5])
    x = tensor(inputs['x']).requires_grad_()
    call = dict(hidden_states=x, attention_mask=torch.full((t, t), float('-inf')).triu(1)[None, None],
                position_embeddings=Rope64(d // heads, 10000.0)(x, torch.arange(t)[None]))
    record('halves without', attention(**call)[0], {'x': x}, rope='halves', gate=None)
    record('peft scalar gate', wrapped(**call)[0], {'adaption_gate': wrapped.adaption_gate, 'adaption_prompt': wrapped.adaption_prompt, 'x': x},
           rope='halves', gate=[0.5], squash=None)
    prompt, gate = tensor(inputs['prompt']).requires_grad_(), torch.tensor([0.5, -0.3]).requires_grad_()
    record('pairs without', original_attention(x, prompt, None, w, heads), {'x': x}, rope='pairs', gate=None)
    record('original per-head tanh gates', original_attention(x, prompt, gate.tanh(), w, heads),
           {'gate': gate, 'prompt': prompt, 'x': x}, rope='pairs', gate=[0.5, -0.3], squash='tanh')
    rounded = gate.detach().float().tanh().half().double()
    record('original per-head tanh gates, f16-rounded', original_attention(x, prompt, rounded, w, heads), rope='pairs',
           gate=[0.5, -0.3], squash='tanh then float16', squashed=flat(rounded))
    return {'heads': heads, 'theta': 10000.0, 'weights': weights, 'inputs': inputs, 'cases': cases}


# ---------------------------------------------------------------------------------------------------------------- bottleneck
def bottleneck_file():
    cases = []
    for d, m in ((8, 3), (6, 1)):
        block = Bottleneck(d, m)
        params = dict(block.named_parameters())
        specs = fill(params, thirds())
        x = tensor(spec((2, d), 1.0, 2)).requires_grad_()
        y = block(x)
        loss = weighed(y)
        keys = sorted(params)
        grads = torch.autograd.grad(loss, [*(params[n] for n in keys), x])
        cases.append({'name': f'houlsby block d{d} m{m}', 'x': spec((2, d), 1.0, 2), 'tensors': specs, 'y': flat(y), 'loss': flat(loss)[0],
                      'grad': {n: flat(v) for n, v in zip([*keys, 'x'], grads)}})
    return {'formula': 'y = x + swish(x W_down^T + b_down) W_up^T + b_up, swish(z) = z / (1 + exp(-z))',
            'keys': 'model.layers.<i>.{attention,output}_adapters.adapters.<name>.{adapter_down.0,adapter_up}.{weight,bias}', 'cases': cases}


# ---------------------------------------------------------------------------------------------------------------- tiny LLaMA
TINY = {'vocab_size': 32, 'hidden_size': 16, 'intermediate_size': 24, 'num_hidden_layers': 2, 'num_attention_heads': 4,
        'num_key_value_heads': 2, 'max_position_embeddings': 32, 'rms_norm_eps': 1e-5, 'rope_theta': 10000.0}
IDS = [[1, 5, 9, 30, 2], [7, 7, 0, 31, 12]]
TARGETS = [[5, 9, 30, 2, 17], [7, 0, 31, 12, 3]]


def tiny(tied, dtype=torch.float64):
    model = LlamaForCausalLM(LlamaConfig(**TINY, tie_word_embeddings=tied, attention_bias=False, mlp_bias=False, attn_implementation='eager'))
    params = dict(model.named_parameters())  # a tied head is listed once, as the embedding

    def make(shape, j):
        if len(shape) == 1:
            return spec(shape, 0.1, j, 'h', 1.0)
        return spec(shape, 0.5 if shape[0] == 32 else 0.35, j, 'h')

    specs = fill(params, make)
    if dtype == torch.float64:
        model.model.rotary_emb = Rope64(TINY['hidden_size'] // TINY['num_attention_heads'], TINY['rope_theta'])
    return model.to(dtype).eval(), specs


def adapters():
    qv = {'target_modules': ['q_proj', 'v_proj'], 'task_type': 'CAUSAL_LM'}
    return [
        ('lora', {'r': 2, 'alpha': 4, 'targets': ['q_proj', 'v_proj']}, lambda m: get_peft_model(m, LoraConfig(r=2, lora_alpha=4, **qv))),
        ('oft', {'block': 4, 'targets': ['q_proj', 'v_proj'], 'map': 'exact Cayley'},
         lambda m: get_peft_model(m, OFTConfig(r=0, oft_block_size=4, use_cayley_neumann=False, **qv))),
        ('hra', {'r': 3, 'targets': ['q_proj', 'v_proj']}, lambda m: get_peft_model(m, HRAConfig(r=3, **qv))),
        ('adaption_prompt', {'len': 3, 'layers': 1, 'which': 'the last'},
         lambda m: get_peft_model(m, AdaptionPromptConfig(adapter_len=3, adapter_layers=1, task_type='CAUSAL_LM'))),
        ('bottleneck', {'size': 3, 'sites': ['attention', 'output']}, lambda m: Houlsby(m, 3)),
    ]


def run(model, ids=IDS):
    logits = model(input_ids=torch.tensor(ids), use_cache=False).logits
    return logits, nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), torch.tensor(TARGETS).reshape(-1))


def adapter_params(model):
    if isinstance(model, Houlsby):
        return {model.key(n): p for n, p in model.blocks.named_parameters()}
    return {plain(n): p for n, p in model.named_parameters() if p.requires_grad}


def assert_float64(name, model, params, grads, step=1e-5):
    """Central difference along one direction against the gradient: a float32 cast anywhere shows as an error near 1e-2."""
    directions = [g(v.numel(), 4).reshape(v.shape) for v in params]
    slope = sum((d * v).sum().item() for d, v in zip(directions, grads))
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            for v, d in zip(params, directions):
                v += sign * step * d
            ends.append(run(model)[1].item())
        for v, d in zip(params, directions):
            v += step * d
    off = abs((ends[0] - ends[1]) / (2 * step) - slope) / abs(slope)
    print(f'tiny LLaMA {name:16} gradient against central differences: relative error {off:.1e}')
    if off > 1e-6:
        raise SystemExit(f'{name}: not float64 throughout, or a wrong gradient')


def tiny_file(tied):
    model, weights = tiny(tied)
    logits, loss = run(model)
    params = dict(model.named_parameters())
    grads = torch.autograd.grad(loss, list(params.values()))
    assert_float64('base', model, list(params.values()), grads)
    cases = [{'name': 'base', 'logits': flat(logits), 'loss': flat(loss)[0],
              'gradSummary': {n: {'norm': flat(v.norm())[0], 'weighed': flat(weighed(v))[0]} for n, v in zip(params, grads)}}]
    for name, shown, build in adapters():
        adapted = build(tiny(tied)[0]).eval()
        own = adapter_params(adapted)
        specs = fill(own, thirds('h'))
        logits, loss = run(adapted)
        keys = sorted(own)
        grads = torch.autograd.grad(loss, [own[n] for n in keys])
        assert_float64(name, adapted, [own[n] for n in keys], grads)
        cases.append({'name': name, 'config': shown, 'tensors': specs, 'logits': flat(logits), 'loss': flat(loss)[0],
                      'grad': {n: flat(v) for n, v in zip(keys, grads)}})
    return {'config': {**TINY, 'tie_word_embeddings': tied, 'rope': 'halves'}, 'ids': IDS, 'targets': TARGETS, 'weights': weights, 'cases': cases}


def against_stock(content, tied):
    """The same model run by transformers and PEFT untouched, in their float32: how far it is from the float64 file."""
    build = {n: b for n, _, b in adapters()}
    for case in content['cases']:
        model, _ = tiny(tied, torch.float32)
        if case['name'] != 'base':
            model = build[case['name']](model).eval()
            fill(adapter_params(model), thirds('h'))
        logits, loss = run(model)
        case['float32MaxDiff'] = float(f'{(logits.double().reshape(-1) - torch.tensor(case["logits"], dtype=torch.float64)).abs().max():.2e}')
        print(f'tiny LLaMA {"tied" if tied else "untied":7} {case["name"]:16} untouched float32: max abs logit difference {case["float32MaxDiff"]:.1e}')
        if case['float32MaxDiff'] > 2e-5:
            raise SystemExit('float64 and float32 models differ')


def write_folders(out):
    """One folder a method, written by PEFT itself (float32) on the untied tiny LLaMA with the tensors of its file."""
    for name, _, build in adapters():
        model = build(tiny(False, torch.float32)[0])
        fill(adapter_params(model), thirds('h'))
        folder = out / 'tiny-llama-peft' / name
        model.save_pretrained(str(folder))
        (folder / 'README.md').unlink(missing_ok=True)
        print(f'{folder.name}: {", ".join(f"{f.name} {f.stat().st_size:,} bytes" for f in sorted(folder.iterdir()))}')


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--out', default='property-tests/fixtures')
    out = Path(p.parse_args().out)
    out.mkdir(parents=True, exist_ok=True)
    with in_float64():
        files = {'linear': linear_file(), 'llama-adapter-attention': attention_file(), 'bottleneck': bottleneck_file(),
                 'tiny-llama-tied': tiny_file(True), 'tiny-llama-untied': tiny_file(False)}
    for tied in (True, False):
        against_stock(files[f'tiny-llama-{"tied" if tied else "untied"}'], tied)
    source = {'command': 'python bench/peft/fixtures.py', 'peft': peft.__version__, 'torch': torch.__version__.split('+')[0],
              'transformers': transformers.__version__, 'python': platform.python_version(), 'dtype': 'float64', 'digits': 15}
    for name, content in files.items():
        path = out / f'{name}.json'
        path.write_text(json.dumps({'source': source, 'formulas': FORMULAS, **content}, separators=(',', ':')) + '\n')
        print(f'{path.name}: {path.stat().st_size:,} bytes')
    write_folders(out)


if __name__ == '__main__':
    main()
