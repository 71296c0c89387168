"""How few tokens a transformer needs without any training, and how much faster it is then.

Run by hand on a quiet machine, on CTs that the network was not trained on: ``python tools/try_tokens.py --model
primus/primus.tuckerseg --ct A.nii.gz B.nii.gz``. Patches are those of a sliding window over whole CTs, air included,
but for those that hold nothing else. The network and all its sparse forms see each patch one after the other, so that
what disturbs the machine disturbs all alike; seconds are those of the processor. ``tools/train_primus.py`` trains such
a network.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import compress, hardware, load_model, read_image
from TuckerSegLib.compression import tokens
from TuckerSegLib.compression.label_agreement import agreement_of_labels
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.models.patches import with_air
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.segmentation.running_form import rewrite
from TuckerSegLib.sliding_window.grid import padding, patch_origins

VARIANTS = ("0.99", "0.9", "0.85", "0.8", "0.75", "0.7", "0.6", "leave:0.9", "leave:0.75")
LEAVE = "leave:"  # in front of a share: the others leave, and are not merged
Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Run all forms on all patches, and tell."""
    options = parsed()
    torch.set_num_threads(options.threads)
    dense = load_model(options.model)
    models = {"all": dense} | {variant: sparse(dense, variant) for variant in options.variants}
    runs = {("torch", name): on_torch(model, options.bf16) for name, model in models.items()}
    if not options.no_openvino:
        runs |= {("openvino", name): on_openvino(model, options) for name, model in models.items()}
    labels: dict[tuple[str, str], list[Tensor]] = {key: [] for key in runs}
    seconds, patches = dict.fromkeys(runs, 0.0), 0
    for path in options.ct:
        volume = preprocess(read_image(path), dense.plans, dense.plans.resampling_convention)
        patches += run_all(runs, torch.as_tensor(volume.data), dense, options.step, labels, seconds)
    print(
        f"{patches} patches of {len(options.ct)} CTs, {options.threads} thread(s), {'bf16' if options.bf16 else 'fp32'}"
    )
    print(f"{'share:blocks':>16}{'MACs':>8}{'agreement':>11}{'torch':>8}{'agreement':>11}{'OpenVINO':>10}{'best':>8}")
    backends = sorted({backend for backend, _ in runs}, reverse=True)
    for name, model in models.items():
        cells = [f"{dense.cost.macs / model.cost.macs:7.2f}x"]
        for backend in backends:
            cells.append(f"{agreement_of_labels(labels[backend, name], labels[backend, 'all']):11.3f}")
            cells.append(f"{seconds[backend, 'all'] / seconds[backend, name]:8.2f}x")
        fastest = [min(seconds[backend, each] for backend in backends) for each in ("all", name)]
        print(f"{name:>16}{''.join(cells)}{fastest[0] / fastest[1]:8.2f}x")
    print(
        "seconds a patch, all tokens: " + ", ".join(f"{each} {seconds[each, 'all'] / patches:.3f}" for each in backends)
    )


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a transformer: a .tuckerseg file or a folder of nnU-Net's")
    parser.add_argument("--ct", nargs="+", required=True, help="CTs")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=VARIANTS,
        metavar="[leave:]SHARE[:BLOCK,...]",
        help="shares of tokens, others merged or left out, after which blocks, counted from 0 (default: %(default)s)",
    )
    parser.add_argument("--step", type=float, default=0.5, help="of the sliding window (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="in place of fp32")
    parser.add_argument("--no-openvino", action="store_true", help="PyTorch alone")
    return parser.parse_args()


def sparse(dense: SegmentationModel, variant: str) -> SegmentationModel:
    """The model with fewer tokens as a variant says, untried."""
    share, _, blocks = variant.removeprefix(LEAVE).partition(":")
    after = tuple(int(block) for block in blocks.split(",")) if blocks else None
    merged = not variant.startswith(LEAVE)
    return compress(
        dense, with_air(dense, tokens.Spec(float(share), after, agreement=0, merged=merged, paired=merged)), "tokens"
    )


def network_of(model: SegmentationModel) -> nn.Module:
    """The network as the engine runs it."""
    network = model.network(model.folds[0])
    rewrite(network, processor=True)
    return network


def on_torch(model: SegmentationModel, bf16: bool) -> Run:
    """From a patch (1, C, Z, Y, X) to logits by PyTorch."""
    network = network_of(model)

    def run(patch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(patch)

    return run


def on_openvino(model: SegmentationModel, options: argparse.Namespace) -> Run:
    """From a patch (1, C, Z, Y, X) to logits by OpenVINO, as the engine runs it."""
    backend = hardware.backend("openvino")
    (device,) = (each for each in backend.devices() if each.id == "openvino:cpu")
    precision, plans = "bf16" if options.bf16 else "fp32", model.plans
    spec = hardware.PrepareSpec(plans.patch_shape, plans.input_channels, precision=precision, threads=options.threads)
    return backend.prepare(lambda: network_of(model), device, spec)


def run_all(
    runs: dict[tuple[str, str], Run],
    image: Tensor,
    model: SegmentationModel,
    step: float,
    labels: dict[tuple[str, str], list[Tensor]],
    seconds: dict[tuple[str, str], float],
) -> int:
    """Run all forms on the patches of an image (C, Z, Y, X); their labels and seconds are added, patches counted."""
    shape, air = model.plans.patch_shape, with_air(model, tokens.Spec(0.5, agreement=0)).air
    behind = [amount for pair in reversed(padding(image.shape[1:], shape)) for amount in pair]
    image = nn.functional.pad(image, behind, value=float(image.min()))
    sums = {key: torch.zeros(model.plans.logit_channels, *image.shape[1:], dtype=torch.float16) for key in runs}
    count = 0
    for origin in patch_origins(image.shape[1:], shape, step):
        box = (slice(None), *(slice(start, start + side) for start, side in zip(origin, shape)))
        patch = image[box][None].contiguous()
        if air is not None and not bool((patch > air).any()):
            continue
        for key, run in runs.items():
            if not count:
                run(patch)  # a first run is slower
            begin = time.process_time()
            logits = run(patch)
            seconds[key] += time.process_time() - begin
            sums[key][box] += logits[0].float().softmax(dim=0).half()
        count += 1
    for key, probabilities in sums.items():
        labels[key].append(probabilities.float().argmax(dim=0))
    return count


if __name__ == "__main__":
    main()
