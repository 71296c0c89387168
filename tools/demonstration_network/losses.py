"""The loss, on voxels drawn from a patch."""

from __future__ import annotations

import torch
from tissues import CLASSES


def sampled_loss(net, feats, y, known, share, gen=None):
    """Cross-entropy and soft Dice on voxels of the two finest resolutions, rare structures drawn more often.

    Dice weighs the drawn voxels by 1 / probability, so it is the patch's own; cross-entropy by the root of that,
    halfway between every structure and every voxel counting the same.

    Args:
        feats: Features of one patch, as ``network.features`` gives them.
        y: Labels, (1, z, y, x).
        known: Whether they are known, (1, z, y, x).
        share: How many of the voxels are drawn.
    """
    total = 0
    for lvl, w in ((-1, 1.0), (-2, 0.35)):
        f = feats[lvl]
        t, ok = (y, known) if lvl == -1 else (y[:, ::2, ::2, ::2], known[:, ::2, ::2, ::2])
        t, ok = t.flatten(), ok.flatten().float()
        n = t.numel()
        k = int(n * share)
        freq = (torch.bincount(t, weights=ok, minlength=CLASSES)).float()
        p = freq.clamp(min=1).pow(-0.6)[t] * ok
        p = p / p.sum() * 0.7 + ok / ok.sum() * 0.3
        c = p.cumsum(0)
        idx = torch.searchsorted(c, (torch.rand(k, generator=gen) + torch.arange(k)) / k * c[-1]).clamp(max=n - 1)
        h = net.decoder.seg_layers[lvl]
        z = (f[0].permute(1, 2, 3, 0).reshape(n, -1)[idx] @ h.weight.flatten(1).t() + h.bias).float()
        tt = t[idx]
        v = 1 / (k * p[idx]).clamp(min=1e-9)  # voxels that each drawn one stands for
        logp = z.log_softmax(1)
        own = logp.gather(1, tt[:, None])[:, 0]
        ce = -(own * v.sqrt()).sum() / v.sqrt().sum()
        hit = torch.zeros(CLASSES).index_add(0, tt, own.exp() * v)
        dice = (2 * hit + 1) / (v @ logp.exp() + freq + 1)
        u = freq / (freq + 20)  # structures cut to a few voxels count less
        u[0] = 0
        total = total + w * (ce + 1 - (dice * u).sum() / u.sum().clamp(min=1e-6))
    return total
