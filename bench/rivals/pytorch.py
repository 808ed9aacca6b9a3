"""PyTorch's side of the bench: the protocol of serve.ts, eager, one thread.

    pytorch.py NAME [float64]     NAME: suffix of result files; float64 computes the reference that all are compared with
"""
import json, math, os, sys, time
from types import SimpleNamespace
import torch
import torch.nn.functional as F

NAME, DTYPE = sys.argv[1], torch.float64 if 'float64' in sys.argv[2:] else torch.float32
torch.set_num_threads(1)


def blas():
    """The BLAS in the address space: Debian's torch calls whatever libblas.so.3 is, and its config doesn't know."""
    torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    try:
        with open('/proc/self/maps') as maps:
            loaded = {os.path.realpath(line.split()[-1]) for line in maps if '/' in line}
    except OSError:
        loaded = set()
    names = [os.path.basename(p) for p in loaded]
    # numpy may bring an OpenBLAS of its own
    if 'BLAS_INFO=mkl' in torch.__config__.show() or any(n.startswith('libmkl') for n in names):
        return 'MKL'
    if any('openblas' in p and 'numpy' not in p for p in loaded):
        return 'OpenBLAS'
    return 'reference BLAS' if any(n.startswith('libblas') for n in names) else 'BLAS unknown'


def capability():
    lines = [l for l in torch.__config__.show().split('\n') if 'CPU capability' in l]
    return lines[0].split(':')[-1].split()[-1] if lines else 'unknown'


# ------------------------------------------------------------------------------------ formulations

def contraction(t, n):
    return lambda: torch.mm(t.x, t.W), []


def lora(t, n):
    return lambda: F.linear(t.x, t.W) + n['s'] * F.linear(F.linear(t.x, t.a), t.b), [t.x, t.a, t.b]


def hra(t, n):
    # x H^T = x H_{r-1} ... H_0
    def f():
        y = t.x
        for k in reversed(range(int(n['r']))):
            u = t.u[:, k]
            y = y - (2.0 / (u @ u)) * torch.outer(y @ u, u)
        return F.linear(y, t.W)
    return f, [t.x, t.u]


def oft(t, n):
    b = int(n['b'])
    blocks = t.v.shape[0]
    rows, cols = torch.triu_indices(b, b, 1)
    eye = torch.eye(b, dtype=DTYPE).expand(blocks, b, b)

    def f():
        upper = torch.zeros(blocks, b, b, dtype=DTYPE).index_put((torch.arange(blocks)[:, None], rows, cols), t.v)
        Q = upper - upper.transpose(1, 2)
        # R (I + Q) = I - Q, by the transpose: (I - Q) R^T = I + Q
        R = torch.linalg.solve(eye - Q, eye + Q).transpose(1, 2)
        turned = torch.einsum('nbi,bij->nbj', t.x.view(-1, blocks, b), R)
        return F.linear(turned.reshape(t.x.shape), t.W)
    return f, [t.x, t.v]


def attention(t, n):
    T, d = int(n['length']), int(n['headDim'])
    mask = torch.full((T, T), float('-inf'), dtype=DTYPE).triu(1)
    scale = 1 / math.sqrt(d)

    def f():
        q, gate = t.q.squeeze(2), t.gate.view(1, -1, 1, 1)
        o = torch.softmax(q @ t.k.transpose(2, 3) * scale + mask, -1) @ t.v
        a = torch.softmax(q @ t.ak[None].transpose(2, 3) * scale, -1)
        return (o + torch.tanh(gate) * (a @ t.av[None])).unsqueeze(2)
    return f, [t.q, t.k, t.v, t.ak, t.av, t.gate]


def silu(t, n):
    return lambda: F.silu(t.a) * t.b, []


def softmax(t, n):
    return lambda: torch.softmax(t.a, -1), []


def rmsnorm(t, n):
    return lambda: t.a * torch.rsqrt(t.a.pow(2).mean(-1, keepdim=True) + 1e-5) * t.gain, []


FORMULATIONS = dict(contraction=contraction, lora=lora, hra=hra, oft=oft, attention=attention, silu=silu,
                    softmax=softmax, rmsnorm=rmsnorm)


def differentiated(case, tensors):
    """forms and results of a case that is one function and its gradients"""
    wrt = case['wrt']
    t = SimpleNamespace(**{k: v.requires_grad_(k in wrt) for k, v in tensors.items() if k != 'ct.y'})
    f, wanted = FORMULATIONS[case['kind']](t, case['numbers'])

    def forward():
        with torch.no_grad():
            return f()

    def both():
        y = f()
        return [y.detach(), *torch.autograd.grad(y, wanted, tensors['ct.y'])]
    forms = {'forward': forward, **({'both': both} if wrt else {})}

    def results():
        return dict(zip(['y', *['d.' + w for w in wrt]], both())) if wrt else {'y': forward()}
    return forms, results


def training_step(case, tensors):
    """The model of performance.md's training step: LoRA on q and v, clipping, AdamW. Weights by Hugging Face's names."""
    n = {k: int(v) if float(v).is_integer() else v for k, v in case['numbers'].items()}
    B, T, dim, H, hd = n['rows'], n['length'], n['dim'], n['heads'], n['headDim']
    G = H // n['kvHeads']
    w = tensors
    params = {p: w[p].requires_grad_() for p in case['wrt']}
    tokens, targets = (w[k].long() for k in ('tokens', 'targets'))
    optimiser = torch.optim.AdamW(params.values(), lr=n['lr'], betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    frequency = 1 / (n['theta'] ** (torch.arange(0, hd, 2, dtype=DTYPE) / hd))
    angle = torch.outer(torch.arange(T, dtype=DTYPE), frequency)
    cos, sin = angle.cos(), angle.sin()
    mask = torch.full((T, T), float('-inf'), dtype=DTYPE).triu(1)
    embedding = w['model.embed_tokens.weight']

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + n['eps']) * w[name + '.weight']

    def rope(x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def linear(x, path):
        y = F.linear(x, w[path + '.weight'])
        return y + n['s'] * F.linear(F.linear(x, params[path + '.a']), params[path + '.b']) if path + '.a' in params else y

    def heads(x, count):
        return x.view(B, T, count, hd).transpose(1, 2)

    def loss_of():
        h = embedding[tokens]
        for i in range(n['layers']):
            at = 'model.layers.%d.' % i
            y = norm(h, at + 'input_layernorm')
            q = rope(heads(linear(y, at + 'self_attn.q_proj'), H))
            k = rope(heads(linear(y, at + 'self_attn.k_proj'), n['kvHeads']))
            v = heads(linear(y, at + 'self_attn.v_proj'), n['kvHeads'])
            if G > 1:
                k, v = k.repeat_interleave(G, 1), v.repeat_interleave(G, 1)
            a = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(hd) + mask, -1) @ v
            h = h + linear(a.transpose(1, 2).reshape(B, T, H * hd), at + 'self_attn.o_proj')
            y = norm(h, at + 'post_attention_layernorm')
            h = h + linear(F.silu(linear(y, at + 'mlp.gate_proj')) * linear(y, at + 'mlp.up_proj'), at + 'mlp.down_proj')
        logits = F.linear(norm(h, 'model.norm'), embedding)
        return F.cross_entropy(logits.view(-1, n['vocab']), targets.view(-1))

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        total = torch.nn.utils.clip_grad_norm_(list(params.values()), n['clip'])
        optimiser.step()
        return loss.detach(), total

    def results():
        loss, total = step()
        moments = {'m.' + p: optimiser.state[x]['exp_avg'] for p, x in params.items()}
        return {'loss': loss, 'gradNorm': total, **moments}
    return {'step': step}, results


# --------------------------------------------------------------------------------------- protocol

def read(case, folder):
    def one(spec):
        with open(os.path.join(folder, spec['name'] + '.f32'), 'rb') as file:
            flat = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
        return flat.reshape(spec['shape']).to(DTYPE).clone()
    return {spec['name']: one(spec) for spec in case['tensors']}


def measure(call, ms, inner):
    walls, cpus, begun = [], [], time.perf_counter()
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(inner):
            call()
        walls.append((time.perf_counter() - wall) / inner * 1e3)
        cpus.append((time.process_time() - cpu) / inner * 1e3)
        if (time.perf_counter() - begun) * 1e3 >= ms:
            return {'ms': walls, 'cpu': cpus}


def main():
    out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def answer(x):
        out.write(json.dumps(x) + '\n')
        out.flush()
    answer({'ok': True, 'build': 'torch %s, %s, %s kernels' % (torch.__version__, blas(), capability())})
    forms = {}
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request['do'] == 'quit':
                break
            if request['do'] == 'prepare':
                case, begun = request['case'], time.perf_counter()
                make = training_step if case['kind'] == 'step' else differentiated
                forms, results = make(case, read(case, request['folder']))
                made = results()
                first = (time.perf_counter() - begun) * 1e3
                for name, x in made.items():
                    with open(os.path.join(request['folder'], name + '.' + NAME), 'wb') as file:
                        file.write(x.detach().to(torch.float32).contiguous().numpy().tobytes())
                answer({'ok': True, 'first': first, 'forms': list(forms)})
            else:
                answer({'ok': True, **measure(forms[request['form']], request['ms'], request['inner'])})
        except Exception as e:
            answer({'ok': False, 'error': '%s: %s' % (type(e).__name__, e)})


main()
