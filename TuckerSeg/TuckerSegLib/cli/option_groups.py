"""Options that several sub-commands of ``tuckerseg`` share."""

from __future__ import annotations

import argparse

from ..compression import ALLOCATOR, METHODS, add_options
from ..compression.policies import policies
from ..export import FORMATS
from ..export.settings import WEIGHTS
from ..records.job import (
    CALIBRATE,
    DEFAULT_METHOD,
    OUTPUT_GRIDS,
    OUTPUT_TYPES,
    PRECISIONS,
    SMALL_BLOB_MM3,
    STRUCTURE_STATISTICS,
)
from ..typed_numbers import real, whole
from .model_options import add_checkpoint


def add_images(parser: argparse.ArgumentParser, optional: bool = False, many: bool = False) -> None:
    """Options that name an image, or one of several within it.

    Args:
        optional: Whether the command also works without one.
        many: Whether the command also takes many.
    """
    parser.add_argument(
        "images",
        metavar="IN",
        nargs="?" if optional else None,
        help="NIfTI, NRRD, MHA/MHD file, DICOM folder (or zip of it, or multi-frame file); more channels: --channel"
        + ("; or many: a folder of such, a .txt list of paths, a .csv table with a column 'image'" if many else ""),
    )
    parser.add_argument("--channel", action="append", default=[], help="further input channels, in the model's order")
    parser.add_argument("--timepoint", type=whole, help="which volume of a 4D image, counted from 0")
    parser.add_argument(
        "--series",
        metavar="UID|NUMBER",
        help="which DICOM series, as 'tuckerseg dicom' lists them (default: the largest stack that suits the model)",
    )


def add_output_types(parser: argparse.ArgumentParser) -> None:
    """Which types of files are written."""
    parser.add_argument(
        "--output-type",
        metavar="TYPES",
        help=f"what to write, one or several of {', '.join(OUTPUT_TYPES)}, as nifti,seg (default: what OUT's ending "
        "says, for many images nifti); seg, rtstruct and sr are DICOM objects, which refer to the DICOM that was read",
    )
    parser.add_argument(
        "--split", action="store_true", help="one file per structure, in a folder called as OUT without its ending"
    )


def add_extras(parser: argparse.ArgumentParser) -> None:
    """What is written beside labels."""
    parser.add_argument(
        "--statistics",
        nargs="?",
        const="whole",
        choices=STRUCTURE_STATISTICS[1:],
        help="write OUT_statistics.json with volume (mm3) and mean intensity of every structure, as TotalSegmentator "
        "does; whole: 0 for those that reach the border (default where nothing follows); all",
    )
    parser.add_argument("--preview", action="store_true", help="write OUT_preview.png, a picture of the structures")


def add_cohort(parser: argparse.ArgumentParser) -> None:
    """How many images are segmented in one run."""
    parser.add_argument("--all-series", action="store_true", help="every CT series of a DICOM folder or zip on its own")
    parser.add_argument(
        "--dry-run", action="store_true", help="of many images: tell what would be done, and do nothing"
    )
    parser.add_argument("--again", action="store_true", help="of many images: do what is done and whole, too")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="of a folder: go on, and segment what comes into it as soon as it has stopped growing, until Ctrl-C",
    )
    parser.add_argument(
        "--settle",
        type=real,
        default=30.0,
        metavar="SECONDS",
        help="of --watch: how long nothing of an image may have changed (default: %(default)g)",
    )
    parser.add_argument(
        "--cluster",
        metavar="local|slurm|ADDRESS",
        help="of many images: on Dask's workers: processes of this computer, jobs of Slurm, or those of a running "
        "scheduler, as tcp://10.0.0.1:8786 (needs the extra 'cohort'; --threads is then for each worker)",
    )
    parser.add_argument("--workers", type=whole, help="of --cluster local or slurm (default: by the cores; 1)")
    parser.add_argument("--memory-limit", metavar="SIZE", help="of each worker, as 8GB (default: a share)")
    parser.add_argument(
        "--retries",
        type=whole,
        default=2,
        help="how often an image is tried again on another worker, where it failed for a reason that may pass "
        "(default: %(default)s)",
    )


def add_label_names(parser: argparse.ArgumentParser, option: str, more: str = "") -> None:
    """An option that says what label values stand for.

    Args:
        option: Its name, with dashes.
        more: What help adds about the default.
    """
    parser.add_argument(
        option,
        metavar="NAMES",
        help="what label values stand for: a task (total, body, ...) or a dataset.json (default: what a "
        f".seg.nrrd or nnU-Net's dataset.json says{more})",
    )


def add_structures(parser: argparse.ArgumentParser) -> None:
    """Which structures are wanted, and whether only their box is computed."""
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


def add_compression(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """How a model is compressed: the options of every method, and what all of them share.

    Args:
        strength: False leaves out how far, for a command that tries several strengths.
    """
    parser.add_argument(
        "--method",
        metavar="NAMES",
        help=f"how to compress: one of {', '.join(METHODS)}, or several in the order in which they follow each other; "
        f"or {ALLOCATOR}: all together, layer by layer what costs least for what it saves; "
        f"each with its strength where its own options do not say it, as {DEFAULT_METHOD}:0.5 "
        f"(default: {DEFAULT_METHOD})",
    )
    add_options(parser, strength)
    parser.add_argument(
        "--calibrate",
        choices=CALIBRATE,
        default="auto",
        help="auto: take the calibration of earlier volumes, else calibrate on this one; volume: add this volume to "
        "it; none: compress by the weights alone (default: %(default)s)",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="with a calibrated compression: fit the compressed layers once more, to this volume; a minute, and nearer "
        "to the original on it",
    )


def add_strengths(parser: argparse.ArgumentParser) -> None:
    """Several strengths of one compression."""
    parser.add_argument(
        "--ranks",
        "--strengths",
        metavar="RATIOS",
        default="0.85,0.7,0.5",
        help="strengths below 1; of Tucker compression rank ratios (default: %(default)s)",
    )


def add_factors_and_policies(parser: argparse.ArgumentParser) -> None:
    """Several strengths of several compressions, and models that need none."""
    parser.add_argument("--factors", default="0.7,0.5,0.3", help="strengths below 1 (default: %(default)s)")
    parser.add_argument(
        "--policies",
        help=f"of {', '.join(policies())}; each may be followed by +repair (many minutes per factor), calibrated ones "
        "by +refit (a minute) or +refit+repair (default: paper,auto; with --models none)",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=(),
        metavar="MODEL",
        help="finished models, as of a distillation, a fine-tuning or a compression, as rows of their own",
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where a network runs, as far as its compiled form depends on it."""
    parser.add_argument("--device", default="auto", help="an id from 'tuckerseg devices' (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="(default: %(default)s)")
    _add_threads(parser)


def add_training_place(parser: argparse.ArgumentParser) -> None:
    """Where a network is trained, which is on PyTorch's devices, and whether a training goes on from its state."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    _add_threads(parser)
    parser.add_argument("--resume", action="store_true", help="keep a state file beside OUT, and go on from it")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=whole, help="CPU threads (default: all but one, where there are more than two)"
    )


def add_inference(parser: argparse.ArgumentParser) -> None:
    """How a model is run: the fields of ``InferenceSpec``, see ``options.inference_of``."""
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
    """Which model is exported, in which format and where to; options of one format say so in their help."""
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
    add_checkpoint(parser)
    parser.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where the model is not calibrated yet")
