"""The options of each sub-parser, one function each."""

from __future__ import annotations

import os
from argparse import ArgumentParser

from ..typed_numbers import real, whole
from .model_options import add_after_networks, add_ensemble, add_model, add_model_actions
from .option_groups import (
    add_checkpoint,
    add_cohort,
    add_compression,
    add_export,
    add_extras,
    add_factors_and_policies,
    add_images,
    add_inference,
    add_label_names,
    add_output_types,
    add_place,
    add_strengths,
    add_structures,
)


def segment_options(parser: ArgumentParser) -> None:
    add_images(parser, many=True)
    parser.add_argument(
        "output",
        metavar="OUT",
        help="NIfTI, NRRD, MHA, .seg.nrrd or DICOM (.dcm) file to write; of many images the folder for the results",
    )
    add_output_types(parser)
    add_cohort(parser)
    parser.add_argument("--stats", metavar="FILE", help="write the statistics as JSON")
    parser.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="compute where 'tuckerseg serve' runs; tls://HOST:PORT: by TLS",
    )
    parser.add_argument("--token-file", metavar="FILE", help="of --server: file with the server's token")
    add_model(parser, default="demo")
    add_ensemble(parser)
    add_after_networks(parser)
    add_extras(parser)
    add_structures(parser)
    add_compression(parser)
    add_inference(parser)


def summarize_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="OUT", help="folder of results of 'tuckerseg segment' of many images")
    parser.add_argument(
        "--pictures",
        type=whole,
        default=200,
        metavar="N",
        help="cases that have pictures, those to look at first before others; 0: none (default: %(default)s)",
    )
    parser.add_argument("--title", help="of the page (default: the folder's name)")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON on standard output")


def plan_options(parser: ArgumentParser) -> None:
    add_images(parser)
    parser.add_argument("--measure", action="store_true", help="run a patch where this computer's speed is not known")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    add_model(parser, default="demo")
    add_ensemble(parser)
    add_structures(parser)
    add_compression(parser)
    add_inference(parser)


def compare_options(parser: ArgumentParser) -> None:
    add_images(parser)
    add_strengths(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the label maps and comparison.json")
    parser.add_argument("--json", action="store_true", help="one JSON event per line on standard output")
    add_model(parser, default="demo")
    add_structures(parser)
    add_inference(parser)
    add_compression(parser, strength=False)


def explore_options(parser: ArgumentParser) -> None:
    parser.add_argument("ct", nargs="+", metavar="CT", help="files or DICOM folders; no labels are needed")
    add_factors_and_policies(parser)
    parser.add_argument("--repair-steps", type=whole, default=300, help="of +repair (default: %(default)s)")
    parser.add_argument(
        "--calibrate-on",
        nargs="+",
        default=(),
        metavar="CT",
        help="volumes to calibrate, refit and repair on; a repair on several holds the last back (default: the first)",
    )
    parser.add_argument(
        "--reference", action="append", default=[], metavar="SEG", help="labels taken for true, once per CT: adds Dice"
    )
    parser.add_argument(
        "--steps", metavar="LIST", help="measure steps of the patches, as 0.5,0.65,0.8,1.0, in place of compressions"
    )
    parser.add_argument(
        "--weights",
        default="gaussian",
        metavar="LIST",
        help="with --steps: how patches count where they overlap, of gaussian,flat (default: %(default)s)",
    )
    parser.add_argument("--out", default="explore-output", metavar="DIR", help="folder (default: %(default)s)")
    add_model(parser, default="demo")
    add_inference(parser)


def reconstruct_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ct", metavar="FILE", help="CT to calibrate on for this once (default: the calibration that the model has)"
    )
    parser.add_argument(
        "--layer", action="append", default=[], metavar="PATTERN", help="as 'decoder.*'; repeatable (default: all)"
    )
    parser.add_argument("--multiple", type=whole, default=8, help="step of the ranks (default: %(default)s)")
    parser.add_argument("--out", default="reconstruct-output", metavar="DIR", help="folder (default: %(default)s)")
    add_model(parser, default="demo")


def features_options(parser: ArgumentParser) -> None:
    parser.add_argument("ct", metavar="CT", help="file or DICOM folder")
    parser.add_argument(
        "--layer", action="append", default=[], metavar="PATTERN", help="as 'decoder.*'; repeatable (default: all)"
    )
    parser.add_argument("--compare", metavar="MODEL", help="another model, as the one before a training, beside it")
    parser.add_argument("--out", default="features-output", metavar="DIR", help="folder (default: %(default)s)")
    add_model(parser, default="demo")


def evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("prediction", metavar="PRED", help="label file, or folder of them")
    parser.add_argument("reference", metavar="REF", help="label file, or folder with files of the same names")
    parser.add_argument("--out", metavar="CSV", help="write every structure of every case; means go to *_means.csv")
    parser.add_argument("--tolerance-mm", type=real, default=3.0, help="surfaces this near agree (default: 3)")
    parser.add_argument(
        "--minimum-voxels", type=whole, default=0, help="smaller reference structures do not count (default: 0)"
    )
    add_label_names(parser, "--labels", "; where both files have names, structures are matched by name")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def check_options(parser: ArgumentParser) -> None:
    add_images(parser, optional=True)
    parser.add_argument("--labels", metavar="SEG", help="label file: NIfTI, NRRD, MHA or .seg.nrrd; needs no image")
    add_label_names(parser, "--labels-names")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def bodyparts_options(parser: ArgumentParser) -> None:
    add_images(parser, optional=True)
    parser.add_argument("--json", dest="json_file", metavar="FILE", help="write Body Part Regression's JSON fields")
    parser.add_argument("--csv", metavar="FILE", help="write a table with a row per slice")
    parser.add_argument("--labels", metavar="SEG", help="instead of an image: labels of it, which spares a run")
    add_label_names(parser, "--labels-names")
    parser.add_argument(
        "--bpr-model",
        metavar="FOLDER",
        help="score with Body Part Regression's own network, whose model.pt and inference-settings.json lie there",
    )
    add_model(parser, default="total_fastest")
    add_inference(parser)


def dicom_options(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="FOLDER", help="folder, zip, or file with several frames")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def compress_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "output",
        nargs="?",
        metavar="OUT",
        help=".tuckerseg file to write; or a model's name or path, to prepare it in the cache for runs to come",
    )
    parser.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where the model is not calibrated yet")
    add_model(parser, default="demo", preset=False)
    add_structures(parser)
    add_place(parser)
    add_compression(parser)


def pack_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="TASK", help="name from 'tuckerseg models', as total; or one model")
    parser.add_argument("--out", required=True, metavar="FILE", help=".tuckerseg file to write")
    parser.add_argument("--ct", metavar="FILE", help="CT to calibrate on, where a network is not calibrated yet")
    parser.add_argument("--folds", metavar="0,1", help="folds of the networks to write (default: all)")
    add_checkpoint(parser)
    add_compression(parser)


def ratios_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=".tuckerseg file, or another compressed model")
    parser.add_argument("--csv", metavar="FILE", help="append the rows to this table")
    parser.add_argument("--runs", type=whole, default=3, help="timed passes; 0 times nothing (default: %(default)s)")
    parser.add_argument("--threads", type=whole, help="CPU threads (default: all but one, where more than two)")
    parser.add_argument("--folds", metavar="0,1", help="folds of the model (default: all)")
    add_checkpoint(parser)


def calibrate_options(parser: ArgumentParser) -> None:
    parser.add_argument("ct", nargs="+", metavar="CT", help="file or DICOM folder; no labels are needed")
    parser.add_argument("--anew", action="store_true", help="forget the earlier calibration instead of adding to it")
    add_model(parser, default="demo")


def inspect_options(parser: ArgumentParser) -> None:
    add_model(parser, default="demo")
    add_compression(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def models_options(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same as JSON; progress as one JSON event per line")
    parser.set_defaults(action="list")
    add_model_actions(parser)


def export_options(parser: ArgumentParser) -> None:
    add_export(parser)
    add_compression(parser)


def devices_options(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure layers on the device that is taken, about half a minute, once: it shows whether INT8 pays there",
    )


def cache_options(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "clear", "folder"), default="list")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="demo-output", metavar="DIR", help="folder for results (default: demo-output)")
    parser.add_argument("--rank", type=real, help="rank ratio of the compressed model")


def benchmark_options(parser: ArgumentParser) -> None:
    parser.add_argument("--volume", metavar="FILE", help="CT to run (default: the built-in volume)")
    parser.add_argument(
        "--task", choices=("total_fast", "total"), default="total_fast", help="whose networks (default: %(default)s)"
    )
    parser.add_argument("--one-volume", action="store_true", help="leave out the larger one made of it")
    parser.add_argument(
        "--budgets",
        action="store_true",
        help="instead: seconds of the full-size 3 mm network, predicted and measured, whole and at shares of its time; "
        "rows that the folder has from a run before are kept",
    )
    precisions, default = ("auto", "fp32", "bf16", "fp16"), "with --budgets; auto, the default: fp32, and the best here"
    parser.add_argument("--precision", choices=precisions, default="auto", help=default)
    parser.add_argument("--out", default="bench-output", metavar="DIR", help="folder for results")
    parser.add_argument("--runs", type=whole, default=3, help="rounds; medians are shown")
    parser.add_argument(
        "--totalsegmentator-python",
        metavar="PYTHON",
        default=os.environ.get("TUCKERSEG_TOTALSEGMENTATOR_PYTHON"),
        help="Python of an environment in which TotalSegmentator is installed",
    )


def serve_options(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=whole, default=9310, help="to listen at; 0: a free one (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="to listen at; all but this computer's own need a token"
    )
    parser.add_argument("--token-file", metavar="FILE", help="file whose content clients must know")
    parser.add_argument("--clients", type=whole, default=16, metavar="N", help="at once (default: %(default)s)")
    parser.add_argument(
        "--most-gb", type=real, default=4.0, metavar="GB", help="volumes of one client (default: %(default)s)"
    )
    parser.add_argument(
        "--most-gb-in-all", type=real, default=16.0, metavar="GB", help="volumes of all clients (default: %(default)s)"
    )
    parser.add_argument("--folder", metavar="DIR", help="for temporary files (default: the system's place for them)")


def worker_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workspace", required=True, metavar="DIR", help="folder for files that pass; removed at the end"
    )
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="let 'tuckerseg serve' compute there, and pass everything on"
    )
    parser.add_argument("--token-file", metavar="FILE", help="of --server: file with the server's token")
    parser.add_argument("--idle", type=real, default=1800, help="end after so many idle seconds (default: %(default)s)")
