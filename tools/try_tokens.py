"""Train a small transformer on what the built-in network says of the built-in torso, and see how few tokens it needs.

Run by hand on a quiet machine: ``python tools/try_tokens.py --minutes 30``. It prints, for several shares of kept
tokens, the agreement with all of them, and how much faster the patches are. What it trains knows one synthetic volume:
its numbers say how the method works, nothing of patients.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import catalog, load_model, read_image
from TuckerSegLib.compression import tokens
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.label_agreement import agreement_of_labels
from TuckerSegLib.models.patches import with_air
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import Architecture
from TuckerSegLib.preprocessing.preprocess import preprocess

SIDE = 64  # of a patch
PRIMUS = "dynamic_network_architectures.architectures.primus.Primus"
SIZES = {"embed_dim": 96, "eva_depth": 8, "eva_numheads": 4, "patch_embed_size": [8] * 3, "input_shape": [SIDE] * 3}
RATE, WARM_UP = 1.5e-3, 30
SHARES = (0.9, 0.75, 0.5, 0.25)


def main() -> None:
    """Train, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of training (default: %(default)s)")
    options = parser.parse_args()
    teacher = load_model("demo")
    volume = preprocess(read_image(catalog.DEMO_VOLUME), teacher.plans, teacher.plans.resampling_convention)
    image = torch.as_tensor(volume.data)
    labels = labels_of(teacher.network("0"), image, teacher.plans.patch_shape[0])
    torch.manual_seed(0)
    settings = {**SIZES, "init_values": 0.1, "scale_attn_inner": True}
    network = build_network(Architecture(PRIMUS, settings, ()), 1, teacher.plans.logit_channels)
    steps = train(network, image, labels, options.minutes * 60)
    patches = [image[None, :, z, y, x].contiguous() for z, y, x in boxes(image.shape[1:], SIDE)]
    expected = torch.cat([labels[box].flatten() for box in boxes(image.shape[1:], SIDE)])
    dense, dense_s = run(network, patches)
    print(f"{steps} steps; agreement with the teacher {agreement_of_labels([dense], [expected]):.3f}")
    print(f"{'share':>6}{'agreement':>11}{'MACs':>8}{'seconds':>9}")
    for share in SHARES:
        spec = with_air(teacher, tokens.Spec(share, agreement=0))
        sparse = copy.deepcopy(network)
        tokens.apply(sparse, tokens.plan(sparse, spec, (SIDE,) * 3))
        found, sparse_s = run(sparse, patches)
        macs = count(network, (SIDE,) * 3).total.macs / count(sparse, (SIDE,) * 3).total.macs
        print(f"{share:6.2f}{agreement_of_labels([found], [dense]):11.3f}{macs:7.2f}x{dense_s / sparse_s:8.2f}x")


def boxes(shape: torch.Size, side: int) -> Iterator[tuple[slice, ...]]:
    """Boxes that cover a volume (Z, Y, X), no smaller than a patch along each axis."""
    starts = [sorted({min(start, size - side) for start in range(0, size, side)}) for size in shape]
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + side) for start in corner)


@torch.inference_mode()
def labels_of(network: nn.Module, image: Tensor, side: int) -> Tensor:
    """Labels (Z, Y, X) that a network gives to an image (1, Z, Y, X), patch by patch."""
    labels = torch.zeros(image.shape[1:], dtype=torch.long)
    for box in boxes(image.shape[1:], side):
        labels[box] = network(image[(slice(None), *box)][None].contiguous())[0].argmax(dim=0)
    return labels


def train(network: nn.Module, image: Tensor, labels: Tensor, seconds: float) -> int:
    """Learn labels (Z, Y, X) of an image (1, Z, Y, X) for some seconds, in place; the number of steps."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    generator, begin, steps = torch.Generator().manual_seed(0), time.monotonic(), 0
    network.train()
    while (share := (time.monotonic() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (steps + 1) / WARM_UP) * (1 - share) ** 0.9
        corner = [int(torch.randint(0, size - SIDE + 1, (), generator=generator)) for size in labels.shape]
        box = tuple(slice(start, start + SIDE) for start in corner)
        patch = image[(slice(None), *box)][None] + 0.05 * torch.randn(1, 1, SIDE, SIDE, SIDE, generator=generator)
        loss = nn.functional.cross_entropy(network(patch), labels[box][None])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if steps % 100 == 0:
            print(f"step {steps}: loss {loss.item():.3f}", flush=True)
    network.eval()
    return steps


@torch.inference_mode()
def run(network: nn.Module, patches: list[Tensor]) -> tuple[Tensor, float]:
    """Labels of patches, in a row, and seconds of processor time for all of them."""
    network(patches[0])
    begin = time.process_time()
    labels = torch.cat([network(patch)[0].argmax(dim=0).flatten() for patch in patches])
    return labels, time.process_time() - begin


if __name__ == "__main__":
    main()
