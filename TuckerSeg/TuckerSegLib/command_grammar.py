"""The grammar of the ``tuckerseg`` command: its sub-commands, their options and what help says of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from .job import CALIBRATE, OUTPUT_GRIDS, PRECISIONS

POLICIES = ("auto", "uniform", "paper", "energy", "evbmf", "fixed")

RANK_HELP = (
    "rank ratio in (0, 1]: compress the network to this share of its channels' ranks; 1 is the original network. "
    "Low ranks are faster and lose accuracy: 'tuckerseg demo' and 'tuckerseg compare' show how much"
)


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="tuckerseg", description="Segment a CT with a Tucker-compressed nnU-Net.")
    parser.add_argument("--version", action="version", version=_version())
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words, parents=[common])
        added.set_defaults(command=name)
        return added

    _add_running(command)
    _add_models(command)
    _add_others(command)
    return parser


def _add_running(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Sub-commands that take an image through a network, or tell of it."""
    segment = command("segment", "segment an image")
    _add_images(segment)
    segment.add_argument("output", metavar="OUT", help="NIfTI, NRRD, MHA or .seg.nrrd file to write")
    segment.add_argument("--stats", metavar="FILE", help="write the statistics as JSON")
    segment.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    _add_model(segment, default="demo")
    _add_compression(segment)
    _add_inference(segment)

    plan = command("plan", "tell what segmenting an image would cost and save, without doing it")
    _add_images(plan)
    plan.add_argument("--measure", action="store_true", help="run a patch where this computer's speed is not known")
    plan.add_argument("--json", action="store_true", help="the same as JSON")
    _add_model(plan, default="demo")
    _add_compression(plan)
    _add_inference(plan)

    compare = command("compare", "run the original network and several ranks on an image, and compare the results")
    _add_images(compare)
    compare.add_argument("--ranks", default="0.85,0.7,0.5", help="rank ratios below 1 (default: %(default)s)")
    compare.add_argument("--out", metavar="DIR", help="folder for the label maps and comparison.json")
    compare.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    _add_model(compare, default="demo")
    _add_inference(compare)
    _add_policy(compare)
    compare.set_defaults(rank=None)

    explore = command("explore", "measure agreement over factor and policy on CTs: table, CSV, JSON and picture")
    explore.add_argument("ct", nargs="+", metavar="CT", help="files or DICOM folders; no labels are needed")
    explore.add_argument("--factors", default="0.7,0.5,0.3", help="rank ratios below 1 (default: %(default)s)")
    explore.add_argument(
        "--policies", default="paper,auto", help="of paper, uniform, weights, auto (default: %(default)s)"
    )
    explore.add_argument("--calibrate-on", metavar="CT", help="volume to calibrate on (default: the first)")
    explore.add_argument(
        "--reference", action="append", default=[], metavar="SEG", help="labels taken for true, once per CT: adds Dice"
    )
    explore.add_argument("--out", default="explore-output", metavar="DIR", help="folder (default: %(default)s)")
    _add_model(explore, default="demo")
    _add_inference(explore)

    evaluate = command("evaluate", "measure Dice and normalized surface Dice of label files against reference ones")
    evaluate.add_argument("prediction", metavar="PRED", help="label file, or folder of them")
    evaluate.add_argument("reference", metavar="REF", help="label file, or folder with files of the same names")
    evaluate.add_argument("--out", metavar="CSV", help="write every structure of every case; means go to *_means.csv")
    evaluate.add_argument("--tolerance-mm", type=float, default=3.0, help="surfaces this near agree (default: 3)")
    evaluate.add_argument(
        "--minimum-voxels", type=int, default=0, help="smaller reference structures do not count (default: %(default)s)"
    )
    evaluate.add_argument(
        "--labels",
        metavar="NAMES",
        help="what label values stand for: total (TotalSegmentator), demo, or a dataset.json (default: what a "
        ".seg.nrrd says, or a dataset.json in a folder)",
    )
    evaluate.add_argument("--json", action="store_true", help="the same as JSON")


def _add_models(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Sub-commands about models and hardware."""
    compress = command("compress", "compress a model to a .tuckerseg file")
    compress.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    compress.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where the model is not calibrated yet")
    _add_model(compress, default="demo")
    _add_compression(compress)

    repair = command("repair", "compress a model, then let it learn its original's outputs on CTs without labels")
    repair.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    repair.add_argument(
        "--ct",
        nargs="+",
        required=True,
        metavar="CT",
        help="files or DICOM folders; of several, the last is held back to measure on",
    )
    repair.add_argument("--steps", type=int, default=300, help="a second or more each (default: %(default)s)")
    repair.add_argument("--learning-rate", type=float, default=1e-3, help="(default: %(default)s)")
    repair.add_argument("--seed", type=int, default=0, help="of crops and voxels (default: %(default)s)")
    repair.add_argument("--resume", action="store_true", help="keep a state file beside OUT, and go on from it")
    repair.add_argument("--threads", type=int, help="CPU threads (default: all but one, where there are more than two)")
    _add_model(repair, default="demo")
    _add_compression(repair)

    calibrate = command("calibrate", "show a model a few patches of CTs, so that compression knows what matters")
    calibrate.add_argument("ct", nargs="+", metavar="CT", help="file or DICOM folder; no labels are needed")
    calibrate.add_argument("--anew", action="store_true", help="forget the earlier calibration instead of adding to it")
    _add_model(calibrate, default="demo")

    inspect = command("inspect", "show a model's layers, ranks, costs, and why layers stay dense")
    _add_model(inspect, default="demo")
    _add_compression(inspect)
    inspect.add_argument("--json", action="store_true", help="the same as JSON")

    devices = command("devices", "list the hardware and what it offers")
    devices.add_argument("--json", action="store_true", help="the same as JSON")
    models = command("models", "list the models that have a name")
    models.add_argument("--json", action="store_true", help="the same as JSON")


def _add_others(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Housekeeping, the demonstration, the worker and the benchmark."""
    cache = command("cache", "show or clear the cache of compressed models")
    cache.add_argument("action", nargs="?", choices=("list", "clear", "folder"), default="list")
    cache.add_argument("--json", action="store_true", help="the same as JSON")

    demo = command("demo", "segment the built-in volume with the original and the compressed demonstration model")
    demo.add_argument("--out", default="demo-output", metavar="DIR", help="folder for results (default: demo-output)")
    demo.add_argument("--rank", type=float, help="rank ratio of the compressed model")

    worker = command("worker", "compute for an application: requests on standard input, events on standard output")
    worker.add_argument(
        "--workspace", required=True, metavar="DIR", help="folder for files that pass; removed at the end"
    )
    worker.add_argument(
        "--idle", type=float, default=1800, help="end after so many idle seconds (default: %(default)s)"
    )

    benchmark = command("benchmark", "time this program against nnUNetPredictor and TotalSegmentator")
    benchmark.add_argument("--volume", metavar="FILE", help="CT to run (default: the built-in volume)")
    benchmark.add_argument("--out", default="bench-output", metavar="DIR", help="folder for results")
    benchmark.add_argument("--runs", type=int, default=3, help="rounds; medians are shown")
    benchmark.add_argument(
        "--totalsegmentator-python",
        metavar="PYTHON",
        default=os.environ.get("TUCKERSEG_TOTALSEGMENTATOR_PYTHON"),
        help="Python of an environment in which TotalSegmentator is installed",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", metavar="IN", help="NIfTI, NRRD, MHA/MHD file or DICOM folder; more channels: --channel"
    )
    parser.add_argument("--channel", action="append", default=[], help="further input channels, in the model's order")
    parser.add_argument("--timepoint", type=int, help="which volume of a 4D image, counted from 0")


def _add_model(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--model",
        default=default,
        metavar="NAME_OR_PATH",
        help="name from 'tuckerseg models', nnU-Net v2 folder or zip, or .tuckerseg file (default: %(default)s)",
    )
    parser.add_argument("--folds", metavar="0,1", help="folds of the model to average (default: all)")


def _add_compression(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rank", type=float, metavar="RATIO", help=RANK_HELP + " (default: 1)")
    _add_policy(parser)


def _add_policy(parser: argparse.ArgumentParser) -> None:
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
        "--rank-mode", choices=("relative", "fixed"), default="relative", help="with --policy paper or uniform"
    )
    parser.add_argument("--minimum-rank", type=int, default=8, help="no rank below this (default: %(default)s)")


def _add_inference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="an id from 'tuckerseg devices' (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="(default: %(default)s)")
    parser.add_argument("--step", type=float, default=0.5, help="patch step / patch size (default: %(default)s)")
    parser.add_argument(
        "--mirror", action="store_true", help="average over mirrored patches, where the model allows it"
    )
    parser.add_argument("--batch", type=int, default=1, help="patches at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all but one, where there are more than two)")
    parser.add_argument(
        "--output-grid",
        choices=OUTPUT_GRIDS,
        default="native",
        help="native: smooth, nnU-Net's way; nearest: blocky, TotalSegmentator's way (default: %(default)s)",
    )


def _version() -> str:
    from . import __version__

    return f"tuckerseg {__version__}"
