"""The grammar of the ``tuckerseg`` command: its sub-commands and what help says of them.

A sub-command is a function in the module of its name in ``commands``, which is imported when it is asked for, so that
help needs none of them. Its options are in ``command_options``, or ``training_options``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import command_options, training_options

COMMANDS = {  # in the order of help, and what it says of them
    "segment": "segment an image",
    "summarize": "make one page of a folder of results: spreads, cases to look at first, pictures",
    "plan": "tell what segmenting an image would cost and save, without doing it",
    "compare": "run the original network and several strengths of compression, and compare the results",
    "explore": "measure agreement over factor and policy on CTs: table, CSV, JSON and picture",
    "reconstruct": "measure how well kernels are rebuilt at lower ranks: table, CSV, heat maps",
    "features": "draw what layers make of a CT, and measure how far their feature maps cluster",
    "evaluate": "measure Dice and normalized surface Dice of label files against reference ones",
    "check": "tell whether an image is fit to be segmented, and whether labels of it are plausible",
    "bodyparts": "tell where along the body the slices of a CT lie, and whether their order and distance can be true",
    "dicom": "list the DICOM series of a folder, a zip or a file, the one that is read first",
    "compress": "compress a model to a .tuckerseg file, or all networks of a task into the cache",
    "pack": "compress all networks of a task into one .tuckerseg file, which --model takes",
    "ratios": "tell what a compressed model takes in memory, on disk and in time against its original, by layer",
    "calibrate": "show a model a few patches of CTs, so that compression knows what matters",
    "inspect": "show a model's layers, what compression makes of them, costs, and why layers stay dense",
    "models": "list, download, import or remove the models that have a name",
    "export": "write a model, compressed or not, for nnU-Net and TotalSegmentator, ONNX or OpenVINO",
    "repair": "compress a model, then let it learn its original's outputs on CTs without labels",
    "finetune": "compress a model, then train it on a labeled nnU-Net dataset, with the Tucker paper's settings",
    "distill": "let a fresh, narrower network learn a model's outputs on CTs without labels",
    "devices": "list the hardware and what it offers",
    "cache": "show or clear the cache of compressed models",
    "demo": "segment the built-in volume with the original and the compressed demonstration model",
    "benchmark": "time this program against nnUNetPredictor and TotalSegmentator",
    "serve": "compute for applications on other computers, over a socket",
    "worker": "compute for an application: requests on standard input, events on standard output",
}


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line's grammar.

    Args:
        arguments: What is to be understood; sub-commands that it does not name get no options then. None: any.
    """
    parser = argparse.ArgumentParser(prog="tuckerseg", description="Segment a CT with a Tucker-compressed nnU-Net.")
    parser.add_argument("--version", action="version", version=_version())
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, words in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words, parents=[common])
        command.set_defaults(command=name)
        if arguments is not None and name not in arguments:
            continue
        add_options = f"{name}_options"
        getattr(training_options if hasattr(training_options, add_options) else command_options, add_options)(command)
    return parser


def _version() -> str:
    from .. import __version__

    return f"tuckerseg {__version__}"
