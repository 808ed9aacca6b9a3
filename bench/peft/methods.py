"""The five methods as PEFT (or, for the bottleneck, a short torch reference) puts them on a LlamaForCausalLM."""
import json
from pathlib import Path

import torch
from peft import AdaptionPromptConfig, HRAConfig, LoraConfig, OFTConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn


class Bottleneck(nn.Module):
    """A(h) = h + W_up swish(W_down h + b_down) + b_up, under AdapterHub's key names."""

    def __init__(self, dim, size):
        super().__init__()
        self.adapter_down = nn.Sequential(nn.Linear(dim, size), nn.SiLU())
        self.adapter_up = nn.Linear(size, dim)
        nn.init.normal_(self.adapter_down[0].weight, 0.0, 0.02)
        for zero in (self.adapter_down[0].bias, self.adapter_up.weight, self.adapter_up.bias):
            nn.init.zeros_(zero)

    def forward(self, h):
        return h + self.adapter_up(self.adapter_down(h))


class Houlsby(nn.Module):
    """Two adapters a layer: on the attention's output projection and on the feed-forward's output, before each residual add."""

    name = 'default'

    def __init__(self, model, size, sites=('attention', 'output')):
        super().__init__()
        self.model, self.size, self.sites = model, size, tuple(sites)
        for p in model.parameters():
            p.requires_grad_(False)
        dim = model.config.hidden_size
        self.blocks = nn.ModuleDict()
        for i, layer in enumerate(model.model.layers):
            hosts = {'attention': layer.self_attn.o_proj, 'output': layer.mlp.down_proj}
            for site in sites:
                block = Bottleneck(dim, size)
                self.blocks[f'{i}_{site}'] = block
                hosts[site].register_forward_hook(lambda _m, _x, y, block=block: block(y))

    def forward(self, *args, **kw):
        return self.model(*args, **kw)

    def key(self, short):
        block, rest = short.split('.', 1)
        i, site = block.split('_')
        return f'model.layers.{i}.{site}_adapters.adapters.{self.name}.{rest}'

    def tensors(self):
        return {self.key(k): v.detach().clone().contiguous() for k, v in self.blocks.state_dict().items()}

    def save_pretrained(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors(), str(folder / 'adapter.safetensors'), metadata={'format': 'pt'})
        dim = self.model.config.hidden_size
        (folder / 'adapter_config.json').write_text(json.dumps({
            'config': {'architecture': None, 'mh_adapter': 'attention' in self.sites, 'output_adapter': 'output' in self.sites,
                       'non_linearity': 'swish', 'reduction_factor': dim / self.size, 'is_parallel': False, 'scaling': 1.0,
                       'ln_before': False, 'ln_after': False, 'residual_before_ln': True, 'original_ln_before': False,
                       'original_ln_after': True, 'use_gating': False, 'inv_adapter': None},
            'hidden_size': dim, 'model_class': 'LlamaForCausalLM', 'model_name': None, 'model_type': 'llama',
            'name': self.name}, indent=2, sort_keys=True) + '\n')

    @classmethod
    def load(cls, model, folder):
        state = load_file(str(Path(folder) / 'adapter.safetensors'))
        down = [v for k, v in state.items() if k.endswith('adapter_down.0.weight')]
        sites = [s for s in ('attention', 'output') if any(f'.{s}_adapters.' in k for k in state)]
        out = cls(model, down[0].shape[0], sites)
        names = {k.split('.adapters.')[1].split('.')[0] for k in state}
        assert len(names) == 1, names
        out.name = names.pop()
        wanted = {out.key(k): k for k in out.blocks.state_dict()}
        assert set(wanted) == set(state), sorted(set(wanted) ^ set(state))
        out.blocks.load_state_dict({wanted[k]: v for k, v in state.items()})
        return out


def lora(model, c):
    return get_peft_model(model, LoraConfig(
        task_type='CAUSAL_LM', r=c['r'], lora_alpha=c['alpha'], target_modules=c['targets'], lora_dropout=0.0, bias='none'))


def oft(model, c):
    return get_peft_model(model, OFTConfig(
        task_type='CAUSAL_LM', r=0, oft_block_size=c['block'], target_modules=c['targets'], use_cayley_neumann=False,
        bias='none'))


def hra(model, c):
    return get_peft_model(model, HRAConfig(task_type='CAUSAL_LM', r=c['r'], target_modules=c['targets'], bias='none'))


def adaption_prompt(model, c):
    layers = model.config.num_hidden_layers if c['layers'] == 'all' else c['layers']
    return get_peft_model(model, AdaptionPromptConfig(task_type='CAUSAL_LM', adapter_len=c['len'], adapter_layers=layers))


def bottleneck(model, c):
    return Houlsby(model, c['size'], c.get('sites', ('attention', 'output')))


QV = ['q_proj', 'v_proj']

# one row, one truth: how to build it, the default configuration and the default peak learning rate
METHODS = {
    'lora': (lora, {'r': 8, 'alpha': 16, 'targets': QV}, 1e-2),
    'oft': (oft, {'block': 8, 'targets': QV}, 2e-2),
    'hra': (hra, {'r': 8, 'targets': QV}, 1e-1),
    'adaption_prompt': (adaption_prompt, {'len': 10, 'layers': 'all'}, 1e-1),
    'bottleneck': (bottleneck, {'size': 16}, 2e-2),
}
