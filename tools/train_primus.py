"""Train a small Primus on what the built-in network says of CTs: a transformer to try token sparsification on.

Run by hand: ``python tools/train_primus.py --data FOLDER_OF_CTS --folder primus --minutes 60``, and again with
``--resume`` after a break. Minutes are those of the processor: on a busy machine it takes longer, and learns no less.
The last CTs of ``--data`` are held back; how far both kinds agree with the teacher is printed. The network is written
to ``FOLDER/primus.tuckerseg``, an ordinary model. Its labels are a few large kinds of structures (all vertebrae are
one), so that left and right may be mirrored and an hour of one processor core is enough. It knows no more than its
teacher, which was trained on synthetic CTs: it tells how methods work, nothing of patients.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import catalog, load_model, read_image
from TuckerSegLib.compression.label_agreement import agreement_of_labels
from TuckerSegLib.models.fresh import FOLD, fresh_model
from TuckerSegLib.models.model import SegmentationModel, weights_of
from TuckerSegLib.nnunet.plans import Architecture, Label, ModelPlans
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.training.orthogonal_momentum import OrthogonalMomentum, has_directions
from TuckerSegLib.training.tensor_states import moments_of, put_moments, put_tensors, tensors_of

PATCH = (64, 96, 96)
PRIMUS = "dynamic_network_architectures.architectures.primus.Primus"
KINDS = ("lung", "heart", "liver", "spleen", "kidney", "vertebrae", "autochthon", "hip")
SIDES_AND_NUMBERS = re.compile(r"_(left|right|upper|middle|lower|lobe|[CTLS]?\d+)(?=_|$)")
RATE, WARM_UP, WEIGHT_DECAY, DROP_PATH = 1e-3, 50, 0.05, 0.1
ZOOM = 0.2  # by how much a patch is smaller or larger than what it was drawn from, along each axis
SAVE_EVERY_S = 60.0

Box = tuple[slice, slice, slice]
Volume = tuple[Tensor, Tensor]  # image (1, Z, Y, X), labels (Z, Y, X)


def main() -> None:
    """Label, train, save, compare."""
    options = parsed()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    random.seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [path for folder in options.data for path in ct_files(folder)]
    teacher = load_model("demo")
    volumes = [labelled(teacher, path, options.folder) for path in (catalog.DEMO_VOLUME, *paths)]
    seen = volumes[: len(volumes) - options.held_back]
    table = kinds_of([label.name for label in teacher.plans.labels])
    volumes = [(image, table[labels.long()]) for image, labels in volumes]
    seen = volumes[: len(seen)]
    model = fresh_model(plans_of(teacher, options), 0)
    network = model.network(FOLD).requires_grad_(True)
    train(network, seen, options)
    network.eval().requires_grad_(False)
    model = replace(model, name="small Primus", weights=weights_of(network, FOLD))
    model.save(options.folder / "primus.tuckerseg")
    for path, (image, labels), number in zip(("built-in", *paths), volumes, itertools.count()):
        found = patchwise(network, image, PATCH)
        kind = "seen" if number < len(seen) else "held back"
        print(f"{Path(path).name:28} {kind:10} agreement with the teacher {agreement_of_labels([found], [labels]):.3f}")


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="CTs, or folders of them")
    parser.add_argument("--folder", type=Path, required=True, help="for labels, state and result")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the processor, in all (default: %(default)s)")
    parser.add_argument("--held-back", type=int, default=2, help="CTs that are measured on (default: %(default)s)")
    parser.add_argument("--width", type=int, default=192, help="channels of a token (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=12, help="blocks (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=4, help="of attention (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the state in the folder")
    return parser.parse_args()


def ct_files(place: Path) -> list[Path]:
    """The NIfTI files of a folder, or the one that is named."""
    return sorted(place.glob("*.nii.gz")) if place.is_dir() else [place]


def plans_of(teacher: SegmentationModel, options: argparse.Namespace) -> ModelPlans:
    """The teacher's plans for a small Primus and its own labels."""
    sizes = {"embed_dim": options.width, "eva_depth": options.depth, "eva_numheads": options.heads}
    settings = {"patch_embed_size": [8] * 3, "input_shape": list(PATCH), "init_values": 0.1, "scale_attn_inner": True}
    return replace(
        teacher.plans,
        dataset_name="Dataset900_SmallPrimus",
        patch_shape=PATCH,
        labels=tuple(Label(value, name) for value, name in enumerate(KINDS, start=1)),
        logit_channels=len(KINDS) + 1,
        architecture=Architecture(PRIMUS, {**sizes, **settings, "drop_path_rate": DROP_PATH}, ()),
        documents=None,
    )


def kinds_of(names: list[str]) -> Tensor:
    """The table from the teacher's labels, whose names are given, to the kinds."""
    kinds = [SIDES_AND_NUMBERS.sub("", name) for name in names]
    return torch.tensor([0] + [KINDS.index(kind) + 1 if kind in KINDS else 0 for kind in kinds])


def labelled(teacher: SegmentationModel, path: Path, folder: Path) -> Volume:
    """A CT as the teacher's network sees it, at least a patch in size, and the teacher's labels, which are kept."""
    image = torch.as_tensor(preprocess(read_image(path), teacher.plans, teacher.plans.resampling_convention).data)
    image = padded(image, PATCH)
    kept = folder / f"{Path(path).name}.labels.safetensors"
    if not kept.is_file():
        labels = patchwise(teacher.network(FOLD), image, teacher.plans.patch_shape)
        save_file({"labels": labels.to(torch.uint8)}, kept)
    return image, load_file(kept)["labels"]


def padded(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An image (1, Z, Y, X) with air behind it where it is smaller than a patch."""
    behind = [amount for size, least in zip(image.shape[:0:-1], shape[::-1]) for amount in (0, max(0, least - size))]
    return nn.functional.pad(image, behind, value=float(image.min()))


def boxes(shape: torch.Size, patch: tuple[int, ...]) -> Iterator[Box]:
    """Boxes that cover a volume (Z, Y, X) with as few patches as do."""
    starts = []
    for size, side in zip(shape, patch):
        number = -(-size // side)
        starts.append([round((size - side) * each / max(1, number - 1)) for each in range(number)])
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + side) for start, side in zip(corner, patch))


@torch.inference_mode()
def patchwise(network: nn.Module, image: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Labels (Z, Y, X) that a network gives to an image (1, Z, Y, X) by the mean of overlapping patches."""
    whole, sums = padded(image, patch), None
    for box in boxes(whole.shape[1:], patch):
        probabilities = network(whole[(slice(None), *box)][None].contiguous())[0].softmax(dim=0).half()
        if sums is None:
            sums = torch.zeros(len(probabilities), *whole.shape[1:], dtype=torch.float16)
        sums[(slice(None), *box)] += probabilities
    return sums[:, : image.shape[1], : image.shape[2], : image.shape[3]].float().argmax(dim=0)


class DroppingPath(nn.Module):
    """All tokens through the blocks, of which some are skipped at random, the later the more, as Primus is trained."""

    def forward(self, blocks: nn.ModuleList, tokens: Tensor, rotation: Tensor | None, patches: Tensor) -> Tensor:
        """As ``AllTokens``."""
        for number, block in enumerate(blocks):
            if torch.rand(()) >= DROP_PATH * number / (len(blocks) - 1):
                tokens = block(tokens, rotation)
        return tokens


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy plus one minus the mean soft Dice of the structures that are there."""
    logits = logits.float()
    probabilities = logits.softmax(dim=1).flatten(2)[0]
    truth = labels.flatten()
    sizes = torch.bincount(truth, minlength=len(probabilities)).float()
    both = torch.zeros(len(probabilities)).scatter_add(0, truth, probabilities.gather(0, truth[None])[0])
    dice = 2 * both / (sizes + probabilities.sum(dim=1) + 1)
    return nn.functional.cross_entropy(logits, labels[None]) + 1 - dice[sizes > 0].mean()


def train(network: nn.Module, volumes: list[Volume], options: argparse.Namespace) -> None:
    """Learn the labels of volumes, in place, until the minutes are over; from a state on where one is asked for."""
    state_file, seconds = options.folder / "state.safetensors", options.minutes * 60
    names = [name for name, _ in network.named_parameters()]
    optimizer = OrthogonalMomentum(network.parameters(), RATE)
    steps, before = 0, 0.0
    if options.resume and state_file.is_file():
        steps, before = load_state(state_file, network, optimizer, names)
    begin, saved = time.process_time(), time.monotonic()
    passage, network.eva.passage = network.eva.passage, DroppingPath()
    network.train()
    losses: list[float] = []
    weights = torch.tensor([float(labels.numel()) for _, labels in volumes])
    while (elapsed := before + (time.process_time() - begin) / options.threads) < seconds:
        rate = RATE * min(1, (steps + 1) / WARM_UP) * (1 - elapsed / seconds) ** 0.9
        for group in optimizer.param_groups:
            group["lr"] = rate
        patch, labels = drawn(*volumes[int(torch.multinomial(weights, 1))])
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(patch)
        loss = loss_of(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        with torch.no_grad():
            for parameter in filter(has_directions, network.parameters()):
                parameter.mul_(1 - rate * WEIGHT_DECAY)
        optimizer.step()
        steps, losses = steps + 1, [*losses[-49:], loss.item()]
        if time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            save_state(state_file, network, optimizer, names, steps, elapsed)
            print(f"step {steps}: loss {sum(losses) / len(losses):.3f} ({elapsed / 60:.1f} min)", flush=True)
    network.eva.passage = passage
    save_state(state_file, network, optimizer, names, steps, min(elapsed, seconds))
    print(f"{steps} steps", flush=True)


def drawn(image: Tensor, labels: Tensor) -> Volume:
    """A patch (1, 1, Z, Y, X) and its labels: from anywhere, zoomed, mirrored, brighter or darker, noisy."""
    sides = [min(size, round(side * (1 + ZOOM * (2 * random.random() - 1)))) for size, side in zip(labels.shape, PATCH)]
    corner = [random.randint(0, size - side) for size, side in zip(labels.shape, sides)]
    box = tuple(slice(start, start + side) for start, side in zip(corner, sides))
    patch = nn.functional.interpolate(image[(slice(None), *box)][None], PATCH, mode="trilinear")
    labels = nn.functional.interpolate(labels[box][None, None].float(), PATCH, mode="nearest")[0, 0].long()
    if random.random() < 0.5:
        patch, labels = patch.flip(-1), labels.flip(-1)
    patch = patch * (0.9 + 0.2 * random.random()) + random.gauss(0, 0.1) + 0.05 * torch.randn(patch.shape)
    return patch.contiguous(), labels.contiguous()


def save_state(path: Path, network: nn.Module, optimizer, names: list[str], steps: int, seconds: float) -> None:
    """Write what a training goes on from."""
    tensors = {f"weight/{name}": each for name, each in tensors_of(network).items() if "rotation" not in name}
    tensors |= {f"moment/{name}": each.contiguous() for name, each in moments_of(optimizer, names).items()}
    new = path.with_suffix(".new")
    save_file(tensors, new, {"progress": json.dumps([steps, seconds])})
    new.replace(path)


def load_state(path: Path, network: nn.Module, optimizer, names: list[str]) -> tuple[int, float]:
    """Put a state into network and optimizer, in place; steps and seconds that were done."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        steps, seconds = json.loads(file.metadata()["progress"])
    tensors = load_file(path)
    weights = {name.removeprefix("weight/"): each for name, each in tensors.items() if name.startswith("weight/")}
    put_tensors(network, {**dict(network.named_buffers()), **weights})
    moments = {name.removeprefix("moment/"): each for name, each in tensors.items() if name.startswith("moment/")}
    put_moments(optimizer, names, moments)
    return steps, seconds


if __name__ == "__main__":
    main()
