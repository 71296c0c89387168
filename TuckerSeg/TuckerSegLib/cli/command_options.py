"""The grammar of the ``tuckerseg`` command: its sub-commands, their options and what help says of them.

A sub-command is a function of its name in a module of ``commands``, which is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable

from ..training.distillation.settings import RepairSettings
from ..training.finetuning.settings import FineTuningSettings
from ..typed_numbers import real, whole
from .arguments import (
    add_compression,
    add_export,
    add_factors_and_policies,
    add_images,
    add_inference,
    add_label_names,
    add_model,
    add_model_actions,
    add_place,
    add_strengths,
    add_structures,
    add_training_place,
)

Command = Callable[[str, str], argparse.ArgumentParser]  # takes a name and what help says of it


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="tuckerseg", description="Segment a CT with a Tucker-compressed nnU-Net.")
    parser.add_argument("--version", action="version", version=_version())
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(module: str, name: str, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words, parents=[common])
        added.set_defaults(module=module, command=name)
        return added

    _add_running(functools.partial(add, "running"))
    _add_accuracy(functools.partial(add, "accuracy"))
    _add_evaluation(functools.partial(add, "evaluation"))
    _add_quality(functools.partial(add, "quality"))
    _add_compression(functools.partial(add, "compression"))
    _add_models(functools.partial(add, "models"))
    _add_export(functools.partial(add, "exporting"))
    _add_training(functools.partial(add, "training"))
    _add_housekeeping(functools.partial(add, "housekeeping"))
    _add_serving(functools.partial(add, "serving"))
    return parser


def _add_running(command: Command) -> None:
    """Sub-commands that take an image through a network, or tell of it."""
    segment = command("segment", "segment an image")
    add_images(segment)
    segment.add_argument("output", metavar="OUT", help="NIfTI, NRRD, MHA or .seg.nrrd file to write")
    segment.add_argument("--stats", metavar="FILE", help="write the statistics as JSON")
    segment.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    add_model(segment, default="demo")
    add_structures(segment)
    add_compression(segment)
    add_inference(segment)

    plan = command("plan", "tell what segmenting an image would cost and save, without doing it")
    add_images(plan)
    plan.add_argument("--measure", action="store_true", help="run a patch where this computer's speed is not known")
    plan.add_argument("--json", action="store_true", help="the same as JSON")
    add_model(plan, default="demo")
    add_structures(plan)
    add_compression(plan)
    add_inference(plan)

    compare = command(
        "compare",
        "run the original network and several strengths of compression, and compare the results",
    )
    add_images(compare)
    add_strengths(compare)
    compare.add_argument("--out", metavar="DIR", help="folder for the label maps and comparison.json")
    compare.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    add_model(compare, default="demo")
    add_structures(compare)
    add_inference(compare)
    add_compression(compare, strength=False)


def _add_accuracy(command: Command) -> None:
    """Sub-commands that measure what compression costs."""
    explore = command("explore", "measure agreement over factor and policy on CTs: table, CSV, JSON and picture")
    explore.add_argument("ct", nargs="+", metavar="CT", help="files or DICOM folders; no labels are needed")
    add_factors_and_policies(explore)
    explore.add_argument("--repair-steps", type=whole, default=300, help="of +repair (default: %(default)s)")
    explore.add_argument("--calibrate-on", metavar="CT", help="volume to calibrate on (default: the first)")
    explore.add_argument(
        "--reference", action="append", default=[], metavar="SEG", help="labels taken for true, once per CT: adds Dice"
    )
    explore.add_argument("--out", default="explore-output", metavar="DIR", help="folder (default: %(default)s)")
    add_model(explore, default="demo")
    add_inference(explore)

    reconstruct = command("reconstruct", "measure how well kernels are rebuilt at lower ranks: table, CSV, heat maps")
    reconstruct.add_argument(
        "--ct", metavar="FILE", help="CT to calibrate on for this once (default: the calibration that the model has)"
    )
    reconstruct.add_argument(
        "--layer", action="append", default=[], metavar="PATTERN", help="as 'decoder.*'; repeatable (default: all)"
    )
    reconstruct.add_argument("--multiple", type=whole, default=8, help="step of the ranks (default: %(default)s)")
    reconstruct.add_argument("--out", default="reconstruct-output", metavar="DIR", help="folder (default: %(default)s)")
    add_model(reconstruct, default="demo")


def _add_evaluation(command: Command) -> None:
    """The sub-command that compares label files."""
    evaluate = command("evaluate", "measure Dice and normalized surface Dice of label files against reference ones")
    evaluate.add_argument("prediction", metavar="PRED", help="label file, or folder of them")
    evaluate.add_argument("reference", metavar="REF", help="label file, or folder with files of the same names")
    evaluate.add_argument("--out", metavar="CSV", help="write every structure of every case; means go to *_means.csv")
    evaluate.add_argument("--tolerance-mm", type=real, default=3.0, help="surfaces this near agree (default: 3)")
    evaluate.add_argument(
        "--minimum-voxels", type=whole, default=0, help="smaller reference structures do not count (default: 0)"
    )
    add_label_names(evaluate, "--labels", "; where both files have names, structures are matched by name")
    evaluate.add_argument("--json", action="store_true", help="the same as JSON")


def _add_quality(command: Command) -> None:
    """Sub-commands that look at images and labels."""
    check = command("check", "tell whether an image is fit to be segmented, and whether labels of it are plausible")
    add_images(check, optional=True)
    check.add_argument("--labels", metavar="SEG", help="label file: NIfTI, NRRD, MHA or .seg.nrrd; needs no image")
    add_label_names(check, "--labels-names")
    check.add_argument("--json", action="store_true", help="the same as JSON")

    dicom = command("dicom", "list the DICOM series of a folder, a zip or a file, the one that is read first")
    dicom.add_argument("path", metavar="FOLDER", help="folder, zip, or file with several frames")
    dicom.add_argument("--json", action="store_true", help="the same as JSON")


def _add_compression(command: Command) -> None:
    """Sub-commands that make models and tell of them."""
    compress = command("compress", "compress a model to a .tuckerseg file, or all networks of a task into the cache")
    compress.add_argument(
        "output",
        nargs="?",
        metavar="OUT",
        help=".tuckerseg file to write; or a model's name or path, to prepare it in the cache for runs to come",
    )
    compress.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where the model is not calibrated yet")
    add_model(compress, default="demo", preset=False)
    add_structures(compress)
    add_place(compress)
    add_compression(compress)

    calibrate = command("calibrate", "show a model a few patches of CTs, so that compression knows what matters")
    calibrate.add_argument("ct", nargs="+", metavar="CT", help="file or DICOM folder; no labels are needed")
    calibrate.add_argument("--anew", action="store_true", help="forget the earlier calibration instead of adding to it")
    add_model(calibrate, default="demo")

    inspect = command(
        "inspect", "show a model's layers, what compression makes of them, costs, and why layers stay dense"
    )
    add_model(inspect, default="demo")
    add_compression(inspect)
    inspect.add_argument("--json", action="store_true", help="the same as JSON")


def _add_models(command: Command) -> None:
    """The sub-command about models that have a name."""
    models = command("models", "list, download, import or remove the models that have a name")
    models.add_argument("--json", action="store_true", help="the same as JSON; progress as one JSON event per line")
    models.set_defaults(action="list")
    add_model_actions(models)


def _add_export(command: Command) -> None:
    """The sub-command that writes models for other programs."""
    export = command("export", "write a model, compressed or not, for nnU-Net and TotalSegmentator, ONNX or OpenVINO")
    add_export(export)
    add_compression(export)


def _add_training(command: Command) -> None:
    """Sub-commands that train a compressed model on."""
    _add_repair(command)
    _add_finetune(command)


def _add_repair(command: Command) -> None:
    repair = command("repair", "compress a model, then let it learn its original's outputs on CTs without labels")
    repair.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    repair.add_argument(
        "--ct",
        nargs="+",
        required=True,
        metavar="CT",
        help="files or DICOM folders; of several, the last is held back to measure on",
    )
    defaults = RepairSettings
    repair.add_argument("--steps", type=whole, default=defaults.steps, help="about 1 s each (default: %(default)s)")
    repair.add_argument("--learning-rate", type=real, default=defaults.learning_rate, help="(default: %(default)s)")
    repair.add_argument("--seed", type=whole, default=defaults.seed, help="of crops and voxels (default: %(default)s)")
    add_training_place(repair)
    repair.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the device is faster so"
    )
    add_model(repair, default="demo")
    add_compression(repair)


def _add_finetune(command: Command) -> None:
    finetune = command(
        "finetune", "compress a model, then train it on a labeled nnU-Net dataset, with the Tucker paper's settings"
    )
    finetune.add_argument("output", metavar="OUT", help=".tuckerseg file to write")
    finetune.add_argument(
        "--dataset",
        required=True,
        metavar="FOLDER",
        help="nnU-Net raw dataset (dataset.json, imagesTr, labelsTr) with the labels of the model",
    )
    defaults = FineTuningSettings
    finetune.add_argument("--epochs", type=whole, default=defaults.epochs, help="(default: %(default)s)")
    finetune.add_argument(
        "--iterations", type=whole, default=defaults.iterations, help="batches per epoch (default: %(default)s)"
    )
    finetune.add_argument("--learning-rate", type=real, default=defaults.learning_rate, help="(default: %(default)s)")
    finetune.add_argument(
        "--batch-size", type=whole, default=defaults.batch_size, help="patches per batch (default: %(default)s)"
    )
    finetune.add_argument(
        "--validation-fraction",
        type=real,
        default=defaults.validation_fraction,
        help="share of the cases that is held back to choose the best epoch (default: %(default)s)",
    )
    finetune.add_argument("--batch-dice", action="store_true", help="where the model's plans say batch_dice: true")
    finetune.add_argument(
        "--seed", type=whole, default=defaults.seed, help="of the held-back cases and patches (default: %(default)s)"
    )
    add_training_place(finetune)
    add_model(finetune, default="demo")
    add_compression(finetune)


def _add_housekeeping(command: Command) -> None:
    """Sub-commands about the hardware, the cache, the demonstration and the benchmark."""
    devices = command("devices", "list the hardware and what it offers")
    devices.add_argument("--json", action="store_true", help="the same as JSON")

    cache = command("cache", "show or clear the cache of compressed models")
    cache.add_argument("action", nargs="?", choices=("list", "clear", "folder"), default="list")
    cache.add_argument("--json", action="store_true", help="the same as JSON")

    demo = command("demo", "segment the built-in volume with the original and the compressed demonstration model")
    demo.add_argument("--out", default="demo-output", metavar="DIR", help="folder for results (default: demo-output)")
    demo.add_argument("--rank", type=real, help="rank ratio of the compressed model")

    benchmark = command("benchmark", "time this program against nnUNetPredictor and TotalSegmentator")
    benchmark.add_argument("--volume", metavar="FILE", help="CT to run (default: the built-in volume)")
    benchmark.add_argument(
        "--task", choices=("total_fast", "total"), default="total_fast", help="whose networks (default: %(default)s)"
    )
    benchmark.add_argument("--one-volume", action="store_true", help="leave out the larger one made of it")
    benchmark.add_argument("--out", default="bench-output", metavar="DIR", help="folder for results")
    benchmark.add_argument("--runs", type=whole, default=3, help="rounds; medians are shown")
    benchmark.add_argument(
        "--totalsegmentator-python",
        metavar="PYTHON",
        default=os.environ.get("TUCKERSEG_TOTALSEGMENTATOR_PYTHON"),
        help="Python of an environment in which TotalSegmentator is installed",
    )


def _add_serving(command: Command) -> None:
    """The sub-command for applications."""
    worker = command("worker", "compute for an application: requests on standard input, events on standard output")
    worker.add_argument(
        "--workspace", required=True, metavar="DIR", help="folder for files that pass; removed at the end"
    )
    worker.add_argument("--idle", type=real, default=1800, help="end after so many idle seconds (default: %(default)s)")


def _version() -> str:
    from .. import __version__

    return f"tuckerseg {__version__}"
