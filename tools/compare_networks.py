"""Compare networks that a training has left with Tucker compression and pruning alone, at equal multiply-accumulates.

Takes files as ``tuckerseg finetune --method sauron`` and ``tuckerseg distill`` write them. Beside each that costs less
than the original there is that one, compressed by Tucker or pruned until it costs as much; with ``--shares`` the files
are compressed by Tucker, too, beside Tucker alone at the same cost. Compressions are calibrated on the built-in torso
and the first CT. Of every network it prints the agreement with the original on each CT; with ``--dataset`` the Dice on
the cases that a training of that dataset held back, always on the same patches; with ``--runs`` the seconds of the
first CT, the networks taking turns::

    python tools/compare_networks.py pruned.tuckerseg --ct seen.nii.gz unseen.nii.gz --dataset Dataset901_Crops
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import Cache, InferenceSpec, calibrate_model, compress, load_model, prepare, read_image, segment
from TuckerSegLib.compression import method
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.hardware import freed_memory_kept
from TuckerSegLib.image import Image
from TuckerSegLib.models.calibration import ModelCalibration
from TuckerSegLib.models.material import prepare_folds
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.models.planning import plan_compression, with_calibration
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.patches import PatchSampler
from TuckerSegLib.training.finetuning.preparation import prepare_dataset
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.finetuning.validation import mean_patch_dice

HALVINGS = 7  # of the interval in which a strength is looked for


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="networks that a training has left")
    parser.add_argument("--ct", nargs="+", required=True, metavar="CT", help="to agree on; the first to calibrate on")
    parser.add_argument("--model", default="demo", help="the original (default: %(default)s)")
    parser.add_argument("--shares", default="", metavar="LIST", help="of the original's MACs, as 0.8,0.65,0.5")
    parser.add_argument("--dataset", metavar="FOLDER", help="of a training; labels tell the Dice")
    parser.add_argument("--patch", type=int, nargs=3, metavar=("Z", "Y", "X"), help="(default: the model's)")
    parser.add_argument("--batches", type=int, default=16, help="of held-back patches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=0, help="of every network, for the seconds (default: none)")
    parser.add_argument("--precision", default="fp32", help="of the runs (default: %(default)s)")
    options = parser.parse_args()
    original, images = load_model(options.model), [read_image(path) for path in options.ct]
    networks = list(compared(options, original, images[0]))
    table = {"MACs": [], "parameters": []}
    for _, model in networks:
        table["MACs"].append(f"{model.cost.macs / original.cost.macs:.2f}")
        table["parameters"].append(f"{model.cost.parameters / original.cost.parameters:.2f}")
    if options.dataset:
        dice_of = held_back_dice(options, original)
        table["validation Dice"] = [f"{dice_of(model):.3f}" for _, model in networks]
    for path, image in zip(options.ct, images, strict=True):
        labels = [segment(image, model, InferenceSpec(precision=options.precision)).labels for _, model in networks]
        table[f"agreement, {Path(path).name}"] = [f"{mean_dice(each, labels[0]):.3f}" for each in labels]
    if options.runs:
        table["seconds"] = [f"{each:.2f}" for each in seconds(options, [model for _, model in networks], images[0])]
    print(f"| network | {' | '.join(table)} |\n|---|{'---|' * len(table)}")
    for (name, _), *cells in zip(networks, *table.values(), strict=True):
        print(f"| {name} | {' | '.join(cells)} |")


def compared(options: argparse.Namespace, original: SegmentationModel, image: Image):
    """Names and networks, the original first."""
    yield "original", original
    known = calibrated(original, image)
    files = [(Path(path).stem, load_model(path)) for path in options.files]
    for name, model in files:
        yield name, model
        for means in ("tucker", "prune") if model.cost.macs < original.cost.macs else ():
            yield f"{means} alone, as dear as {name}", at_macs(original, means, model.cost.macs, known)
    shares = [float(share) for share in options.shares.split(",") if share]
    calibrations = {name: calibrated(model, image) for name, model in files} if shares else {}
    for share in shares:
        most = share * original.cost.macs
        yield f"tucker alone, {share:g}", at_macs(original, "tucker", most, known)
        for name, model in files:
            if model.cost.macs >= most:
                yield f"{name} and tucker, {share:g}", at_macs(model, "tucker", most, calibrations[name])


def calibrated(model: SegmentationModel, image: Image) -> ModelCalibration:
    """A calibration on the built-in torso and a CT."""
    return calibrate_model(model, image, calibrate_model(model, None))


def at_macs(model: SegmentationModel, means: str, most: float, calibration: ModelCalibration) -> SegmentationModel:
    """The model compressed by a method, at the highest strength that costs at most so many multiply-accumulates."""
    cache, low, high = Cache(), 0.05, 1.0

    def spec_at(strength: float):
        return with_calibration(method(means).Spec.at(strength), calibration.sha256)

    materials = prepare_folds(model, spec_at(0.5), means, cache, calibration)
    for _ in range(HALVINGS):
        strength = (low + high) / 2
        planned = plan_compression(model, spec_at(strength), means, materials)
        low, high = (strength, high) if planned.cost.macs <= most else (low, strength)
    return compress(model, spec_at(low), means, cache, calibration=calibration)


def held_back_dice(options: argparse.Namespace, model: SegmentationModel) -> Callable[[SegmentationModel], float]:
    """A function of a model: its mean Dice on patches of the cases that a training held back."""
    settings = FineTuningSettings(seed=options.seed)
    plans = replace(model.plans, mirror_axes=())
    prepared = prepare_dataset(read_raw_dataset(options.dataset, plans), plans)
    _, cases = prepared.split(settings.validation_fraction, settings.seed)
    sampler = PatchSampler(cases, tuple(options.patch or plans.patch_shape), settings.batch_size, settings.seed)

    def dice_of(measured: SegmentationModel) -> float:
        with freed_memory_kept():
            batches = map(sampler.batch, range(options.batches))
            return mean_patch_dice(measured.network(measured.folds[0]), batches, prepared.ignore_label)

    return dice_of


def seconds(options: argparse.Namespace, models: list[SegmentationModel], image: Image) -> list[float]:
    """Median seconds of every model on an image; they take turns, so that a busy moment meets all alike."""
    prepared = [prepare(model, InferenceSpec(precision=options.precision)) for model in models]
    measured: list[list[float]] = [[] for _ in models]
    for _ in range(options.runs):
        for ready, own in zip(prepared, measured, strict=True):
            begun = time.perf_counter()
            segment(image, ready)
            own.append(time.perf_counter() - begun)
    return [statistics.median(own) for own in measured]


if __name__ == "__main__":
    main()
