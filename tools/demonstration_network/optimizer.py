"""The optimizer: Muon for convolutions, AdamW for the rest."""

from __future__ import annotations

import torch


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Newton-Schulz), for convolutions; steps as large as AdamW's."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=1e-4):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - g["momentum"])
                u = p.grad.lerp(m, g["momentum"]).contiguous(memory_format=torch.contiguous_format).flatten(1)
                long = u.shape[0] > u.shape[1]
                x = (u.t() if long else u).bfloat16()
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.t()
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                u = (x.t() if long else x).float().reshape(p.shape) * (0.2 * max(u.shape) ** 0.5)
                p.mul_(1 - g["lr"] * g["weight_decay"]).add_(u, alpha=-g["lr"])


class Both:
    """Muon (if wanted) for convolutions, AdamW for the rest, as one."""

    def __init__(self, net, lr, muon):
        body = {n: p for n, p in net.named_parameters() if muon and p.dim() == 5 and "seg_layers" not in n}
        conv = [p for p in body.values() if min(p.shape[0], p[0].numel()) >= 16]
        rest = [p for p in net.parameters() if all(p is not q for q in conv)]
        self.parts = [torch.optim.AdamW(rest, lr, weight_decay=1e-4, betas=(0.9, 0.99))]
        if conv:
            self.parts.append(Muon(conv, lr))

    def step(self, lr):
        for o in self.parts:
            for g in o.param_groups:
                g["lr"] = lr
            o.step()

    def state_dict(self):
        return [o.state_dict() for o in self.parts]

    def load_state_dict(self, s):
        for o, k in zip(self.parts, s):
            o.load_state_dict(k)
