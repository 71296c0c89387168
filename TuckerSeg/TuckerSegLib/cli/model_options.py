"""Options that name models, and what is done with those that have a name."""

from __future__ import annotations

import argparse

from ..records.job import CHECKPOINTS


def add_model(parser: argparse.ArgumentParser, default: str, preset: bool = True, of_several: bool = True) -> None:
    """Options that name a model.

    Args:
        preset: Put the default in where no model is named; else the command does.
        of_several: A folder or zip may hold several configurations, of which one may be chosen.
    """
    parser.add_argument(
        "--model",
        default=default if preset else None,
        metavar="NAME_OR_PATH",
        help=f"name from 'tuckerseg models', nnU-Net v2 folder or zip, or .tuckerseg file (default: {default})",
    )
    if of_several:
        add_configuration(parser)
    parser.add_argument("--folds", metavar="0,1", help="folds of the model to average (default: all)")
    add_checkpoint(parser)


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """An option that says which of nnU-Net's configurations in a folder or zip is meant."""
    parser.add_argument(
        "--configuration",
        dest="model_configuration",
        metavar="NAME",
        help="of a folder or zip that holds several: which, as 2d, or the whole name of its folder (default: "
        "3d_fullres, else 3d_lowres, else 2d)",
    )


def add_ensemble(parser: argparse.ArgumentParser) -> None:
    """Models that decide together, or one after the other."""
    parser.add_argument(
        "--ensemble",
        action="append",
        default=[],
        metavar="MODEL",
        help="another model, by folder or file; the mean of the probabilities of all decides, as nnUNetv2_ensemble",
    )
    parser.add_argument(
        "--previous-stage",
        metavar="MODEL",
        help="of a cascade: the model whose labels it takes (default: 3d_lowres beside it, as nnU-Net puts it)",
    )


def add_after_networks(parser: argparse.ArgumentParser) -> None:
    """What is done with labels, and what is kept of what the networks say of every class."""
    parser.add_argument(
        "--postprocessing",
        metavar="FILE|TASK",
        help="clean the labels: nnU-Net's postprocessing.pkl or .json, which is not run; body or vertebrae_pp, as "
        "TotalSegmentator does for these tasks; or none (default: what the task has)",
    )
    parser.add_argument(
        "--save-probabilities",
        action="store_true",
        help="write the probabilities of all classes beside the labels (.npz and .pkl, as nnU-Net does)",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """An option that says which of a training's checkpoints is meant."""
    parser.add_argument(
        "--checkpoint",
        choices=CHECKPOINTS,
        help="which of nnU-Net's checkpoints of each fold (default: final, else best)",
    )


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
    add_configuration(imported)
    imported.add_argument("--name", required=True, help="what --model takes from then on")
    remove = add("remove", "remove an imported model, or what was downloaded of a task")
    remove.add_argument("names", nargs="+", metavar="NAME")
