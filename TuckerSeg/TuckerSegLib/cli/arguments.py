"""Options that several sub-commands of ``tuckerseg`` share."""

from __future__ import annotations

import argparse
from typing import Any

from ..export import FORMATS
from ..export.settings import WEIGHTS
from ..printable import excerpt
from ..records.job import CALIBRATE, OUTPUT_GRIDS, PRECISIONS, SMALL_BLOB_MM3

POLICIES = ("auto", "uniform", "paper", "energy", "evbmf", "fixed")

RANK_HELP = (
    "rank ratio in (0, 1]: compress the network to this share of its channels' ranks; 1 is the original network. "
    "Low ranks are faster and lose accuracy: 'tuckerseg demo' and 'tuckerseg compare' show how much"
)


LARGEST_WHOLE, LARGEST_REAL = 2**31 - 1, 1e9  # what every library below takes; no setting comes near


def whole(text: str) -> int:
    """What was typed as a whole number; whether it fits is told by the setting that it is for."""
    return _number(text, int, "a whole number", LARGEST_WHOLE)


def real(text: str) -> float:
    """What was typed as a number with an end; whether it fits is told by the setting that it is for."""
    return _number(text, float, "a number", LARGEST_REAL)


def _number(text: str, kind: type, words: str, largest: float) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not abs(number) <= largest:
        raise argparse.ArgumentTypeError(f"{words} of at most {largest:g} was expected; found '{excerpt(text, 40)}'")
    return number


def add_images(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    parser.add_argument(
        "images",
        metavar="IN",
        nargs="?" if optional else None,
        help="NIfTI, NRRD, MHA/MHD file or DICOM folder; more channels: --channel",
    )
    parser.add_argument("--channel", action="append", default=[], help="further input channels, in the model's order")
    parser.add_argument("--timepoint", type=whole, help="which volume of a 4D image, counted from 0")


def add_label_names(parser: argparse.ArgumentParser, option: str, more: str = "") -> None:
    parser.add_argument(
        option,
        metavar="NAMES",
        help="what label values stand for: a task (total, body, ...) or a dataset.json (default: what a "
        f".seg.nrrd or nnU-Net's dataset.json says{more})",
    )


def add_model(parser: argparse.ArgumentParser, default: str, preset: bool = True) -> None:
    """Options that name a model.

    Args:
        preset: Put the default in where no model is named; else the command does.
    """
    parser.add_argument(
        "--model",
        default=default if preset else None,
        metavar="NAME_OR_PATH",
        help=f"name from 'tuckerseg models', nnU-Net v2 folder or zip, or .tuckerseg file (default: {default})",
    )
    parser.add_argument("--folds", metavar="0,1", help="folds of the model to average (default: all)")


def add_model_actions(parser: argparse.ArgumentParser) -> None:
    """What can be done with models that have a name."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION")

    def add(name: str, words: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=words, description=words)
        added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
        added.set_defaults(action=name)
        return added

    add("list", "list tasks and imported models, and where they lie (default)")
    download = add("download", "download a task's networks, or go on with a download that was interrupted")
    download.add_argument("names", nargs="+", metavar="TASK", help="as total_fast")
    imported = add("import", "give any nnU-Net v2 model a name; it is copied")
    imported.add_argument("path", metavar="PATH", help="results folder, DatasetXXX folder, or zip of either")
    imported.add_argument("--name", required=True, help="what --model takes from then on")
    remove = add("remove", "remove an imported model, or what was downloaded of a task")
    remove.add_argument("names", nargs="+", metavar="NAME")


def add_structures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--structures",
        metavar="NAMES",
        help="structures or groups to keep, as liver,left kidney,ribs,lungs; of a task of several networks, only those "
        "that know one of them are run (default: all)",
    )
    parser.add_argument(
        "--crop",
        choices=("auto", "none"),
        help="auto: a fast network finds the box of the structures, and only that, with a margin, is computed "
        "(default: where the task's networks are made for such a box)",
    )


def add_compression(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rank", type=real, metavar="RATIO", help=RANK_HELP + " (default: 1)")
    add_policy(parser)


def add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="auto",
        help="where the ranks come from. auto: the ratio's budget, spread over the layers so that the output changes "
        "least, by a calibration on the volume where there is one; uniform: the same ratio in every layer, multiples "
        "of 8; paper: every layer, ranks as in the Tucker paper (rank 0.3 unless --rank); energy: the ratio is the "
        "share of the weights' energy to keep; evbmf: variational Bayes on the weights; fixed: --minimum-rank "
        "everywhere (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        choices=("macs", "parameters"),
        default="macs",
        help="what --policy auto spares: macs is faster, parameters smaller (default: %(default)s)",
    )
    parser.add_argument(
        "--calibrate",
        choices=CALIBRATE,
        default="auto",
        help="auto: take the calibration of earlier volumes, else calibrate on this one; volume: add this volume to "
        "it; none: ranks from the weights alone (default: %(default)s)",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="with --policy auto: fit the compressed layers once more, to this volume; a minute, and nearer to the "
        "original on it",
    )
    parser.add_argument(
        "--rank-mode", choices=("relative", "fixed"), default="relative", help="with --policy paper or uniform"
    )
    parser.add_argument("--minimum-rank", type=whole, default=8, help="no rank below this (default: %(default)s)")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where a network runs, as far as its compiled form depends on it."""
    parser.add_argument("--device", default="auto", help="an id from 'tuckerseg devices' (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="(default: %(default)s)")
    parser.add_argument(
        "--threads", type=whole, help="CPU threads (default: all but one, where there are more than two)"
    )


def add_inference(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument(
        "--step",
        type=real,
        help="patch step / patch size (default: 0.8 for TotalSegmentator's total tasks, else 0.5)",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="average over mirrored patches, where the model allows it"
    )
    parser.add_argument("--batch", type=whole, default=1, help="patches at once (default: %(default)s)")
    parser.add_argument(
        "--output-grid",
        choices=OUTPUT_GRIDS,
        default="native",
        help="native: smooth, nnU-Net's way; nearest: blocky, TotalSegmentator's way (default: %(default)s)",
    )
    parser.add_argument(
        "--remove-small-blobs",
        type=real,
        nargs="?",
        const=SMALL_BLOB_MM3,
        default=0.0,
        metavar="MM3",
        help="remove separate blobs of a structure of up to this volume (%(const)g mm3 where none is given, as "
        "TotalSegmentator does)",
    )
    parser.add_argument("--no-skip", action="store_true", help="run the patches of a CT that hold nothing but air, too")


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="name from 'tuckerseg models', nnU-Net v2 folder or zip, or .tuckerseg file"
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="nnunet: nnU-Net's results folder, as nnUNet_results; onnx: file .onnx; openvino: file .xml",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--dataset-name", metavar="DatasetXXX_Name", help="of nnunet (default: the model's own)")
    parser.add_argument(
        "--trainer-folder",
        metavar="TRAINER__PLANS__CONFIGURATION",
        help="of nnunet: where another program looks for it (default: nnUNetTrainer, and the model's own)",
    )
    parser.add_argument("--opset", type=whole, help="of onnx: version of the operators (default: 17)")
    parser.add_argument(
        "--dynamic-batch", action="store_true", default=None, help="of onnx: any number of patches per call"
    )
    parser.add_argument("--weights", choices=WEIGHTS, help="of openvino: as stored in the file (default: fp32)")
    parser.add_argument("--folds", metavar="0,1", help="folds of the model to write (default: all)")
    parser.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where the model is not calibrated yet")
