"""``plans.json`` and ``dataset.json`` of an nnU-Net model folder, as every way into the program reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from answers import answer
from damage import byte_edits, damaged, edits_of, json_bytes
from dangerous_names import CALLS
from hypothesis import strategies as st
from laws import check_model, check_run
from samples import Samples

SHORT = 16
UNDAMAGED = tuple((way, (), (), (), ()) for way in ("run", "load", "facts", "import"))
EXAMPLES: tuple = ()

WAYS = ("load", "load", "load", "facts", "import", "run")
ARGUMENTS = ("configurations", "3d_fullres", "architecture", "arch_kwargs")
CALLABLES = ("nonlin", "norm_op", "dropout_op", "conv_op")


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    plans = st.tuples(edits_of(samples.plans), nothing, nothing, nothing)
    dataset = st.tuples(nothing, edits_of(samples.dataset), nothing, nothing)
    both = st.tuples(edits_of(samples.plans), edits_of(samples.dataset), nothing, nothing)
    raw = st.tuples(nothing, nothing, byte_edits(), byte_edits())
    called = st.tuples(calls(ARGUMENTS), nothing, nothing, nothing)
    return st.tuples(st.sampled_from(WAYS), plans | dataset | both | raw | called).map(lambda case: (case[0], *case[1]))


def calls(arguments: tuple[str, ...]) -> st.SearchStrategy:
    """Edits that let a network's section name something else to be called.

    Args:
        arguments: Path of the network's arguments in the document.
    """
    class_name = (*arguments[:-1], "network_class_name" if arguments[-1] == "arch_kwargs" else "class_name")

    def named(where: str, call: tuple[str, dict], listed: bool) -> tuple:
        name, keywords = call
        if where == "class":
            return (("set", class_name, name), ("set", arguments, dict(keywords)))
        edits = (("set", (*arguments, where), name), ("set", (*arguments, f"{where}_kwargs"), dict(keywords)))
        imports = "_kw_requires_import" if arguments[-1] == "arch_kwargs" else "requires_import"
        more = () if listed else (("set", (*arguments[:-1], imports), [where]),)
        return (*edits, *more)

    return st.builds(named, st.sampled_from((*CALLABLES, "class")), st.sampled_from(CALLS), st.booleans())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    way, plans_edits, dataset_edits, plans_bytes, dataset_bytes = case
    plans = damaged(json_bytes(samples.plans, plans_edits), plans_bytes)
    dataset = damaged(json_bytes(samples.dataset, dataset_edits), dataset_bytes)
    root = samples.copy_model(folder, plans, dataset)
    return use_model(way, root, samples, folder)


def use_model(way: str, path: Path, samples: Samples, folder: Path) -> Any:
    """Give a model to the program in one of the ways that there are, and check what comes."""
    from TuckerSegLib.model_zoo import models_folder
    from TuckerSegLib.model_zoo.importing import import_model
    from TuckerSegLib.models.loading import load_facts, load_model

    if way == "run":
        return check_run(path, samples, folder)
    if way == "import":
        imported = answer(import_model, path, "mine")
        left = [entry.name for entry in (models_folder() / "imported").glob("*") if entry.name != "mine"]
        assert not left, f"the import left {left}"
        path = imported and imported.path
    model = answer(load_facts if way == "facts" else load_model, path) if path else None
    if model is not None:
        check_model(model, runs=way != "facts")
    return model
