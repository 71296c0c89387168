"""Compare Tucker alone with Tucker after a pruning while training, at equal multiply-accumulates.

Takes what ``tuckerseg finetune --method sauron`` has written, and the dataset that it learned from. Both networks, the
original and the pruned one, are compressed by Tucker, calibrated on the built-in torso and the CTs that are given, so
far that they cost the same; of each the Dice on the held-back cases is measured on the same patches, and with ``--ct``
the agreement with the original on whole CTs::

    python tools/measure_pruned.py pruned.tuckerseg --dataset Dataset901_Crops --patch 64 64 64 --ct CT.nii.gz
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import Cache, InferenceSpec, calibrate_model, compress, load_model, read_image, segment
from TuckerSegLib.compression.tucker import Spec
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.hardware import freed_memory_kept
from TuckerSegLib.models.calibration import ModelCalibration
from TuckerSegLib.models.material import prepare_folds
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.models.planning import plan_compression, with_calibration
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.patches import PatchSampler
from TuckerSegLib.training.finetuning.preparation import prepare_dataset
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.finetuning.validation import mean_patch_dice

HALVINGS = 7  # of the interval in which a rank ratio is looked for

DiceOf = Callable[[SegmentationModel], float]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pruned", metavar="FILE", help="what tuckerseg finetune --method sauron has written")
    parser.add_argument("--dataset", required=True, metavar="FOLDER", help="that it learned from")
    parser.add_argument("--model", default="demo", help="the original (default: %(default)s)")
    parser.add_argument("--shares", default="0.9,0.8,0.65,0.5", help="of the original's MACs (default: %(default)s)")
    parser.add_argument("--patch", type=int, nargs=3, metavar=("Z", "Y", "X"), help="(default: the model's)")
    parser.add_argument("--batches", type=int, default=16, help="of held-back patches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    parser.add_argument("--ct", nargs="+", default=[], metavar="CT", help="to calibrate on, and to agree on")
    options = parser.parse_args()
    original, pruned = load_model(options.model), load_model(options.pruned)
    dice_of = held_back_dice(options, original)
    images = [read_image(path) for path in options.ct]
    expected = [labels_of(original, image) for image in images]
    columns = "".join(f" agreement on {Path(path).name} |" for path in options.ct)
    print(f"| network | MACs | parameters | validation Dice |{columns}\n|---|---|---|---|{'---|' * len(images)}")

    def tell(name: str, model: SegmentationModel) -> None:
        agreements = [mean_dice(labels_of(model, image), labels) for image, labels in zip(images, expected)]
        shares = (model.cost.macs / original.cost.macs, model.cost.parameters / original.cost.parameters)
        cells = [f"{share:.2f}" for share in shares] + [f"{each:.3f}" for each in (dice_of(model), *agreements)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    tell("original", original)
    tell("pruned", pruned)
    starts = [
        ("Tucker alone", original, calibrated(original, images)),
        ("after it", pruned, calibrated(pruned, images)),
    ]
    for share in map(float, options.shares.split(",")):
        for name, start, calibration in starts:
            if start.cost.macs >= share * original.cost.macs:
                tell(f"{name}, {share:g}", at_macs(start, share * original.cost.macs, calibration))


def held_back_dice(options: argparse.Namespace, model: SegmentationModel) -> DiceOf:
    """A function of a model: its mean Dice on patches of the cases that the training held back."""
    settings = FineTuningSettings(seed=options.seed, patch_shape=options.patch and tuple(options.patch))
    plans = replace(model.plans, mirror_axes=())
    _, cases = prepare_dataset(read_raw_dataset(options.dataset, plans), plans).split(
        settings.validation_fraction, settings.seed
    )
    sampler = PatchSampler(cases, settings.patch_shape or plans.patch_shape, settings.batch_size, settings.seed)

    def dice_of(measured: SegmentationModel) -> float:
        with freed_memory_kept():
            batches = map(sampler.batch, range(options.batches))
            return mean_patch_dice(measured.network(measured.folds[0]), batches, None)

    return dice_of


def labels_of(model: SegmentationModel, image):
    """The labels (Z, Y, X) of a CT, in full precision."""
    return segment(image, model, InferenceSpec(precision="fp32")).labels


def calibrated(model: SegmentationModel, images: Sequence) -> ModelCalibration:
    """A calibration on the built-in torso and some CTs."""
    calibration = calibrate_model(model, None)
    for image in images:
        calibration = calibrate_model(model, image, calibration)
    return calibration


def at_macs(model: SegmentationModel, most: float, calibration: ModelCalibration) -> SegmentationModel:
    """The model compressed by Tucker, of all ratios the highest that costs at most so many multiply-accumulates."""
    cache, low, high = Cache(), 0.05, 1.0
    materials = prepare_folds(model, with_calibration(Spec.at(0.5), calibration.sha256), "tucker", cache, calibration)
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        spec = with_calibration(Spec.at(ratio), calibration.sha256)
        low, high = (
            (ratio, high) if plan_compression(model, spec, "tucker", materials).cost.macs <= most else (low, ratio)
        )
    return compress(model, Spec.at(low), "tucker", cache, calibration=calibration)


if __name__ == "__main__":
    main()
