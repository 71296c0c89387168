"""Checkpoints: what their dictionary holds, what their pickle names, and their bytes."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

from damage import byte_edits, damaged, edited, edits_of
from dangerous_names import CALLS
from hypothesis import strategies as st
from samples import Samples

from targets.model_folder import use_model

SHORT = 20
EXAMPLES: tuple = ()

WAYS = ("load", "import", "run")
UNDAMAGED = tuple((way, (), (), None, ()) for way in WAYS)
TYPES = ("float64", "float16", "int64", "bool", "complex64")
SHAPES = ((), (0,), (1,), (3, 3), (10**6,), (8, 1, 3, 3, 3))


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    rest, names = _outline(samples.checkpoint_file)
    tensor = st.tuples(st.sampled_from(names), st.sampled_from(SHAPES), st.sampled_from(TYPES))
    damage = st.one_of(
        st.tuples(edits_of(rest, raw=False), nothing, st.none(), nothing),
        st.tuples(nothing, st.lists(tensor, min_size=1, max_size=2).map(tuple), st.none(), nothing),
        st.tuples(nothing, nothing, st.sampled_from([name for name, _ in CALLS]), nothing),
        st.tuples(nothing, nothing, st.none(), byte_edits()),
    )
    return st.tuples(st.sampled_from(WAYS), damage).map(lambda case: (case[0], *case[1]))


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    import torch

    way, edits, tensors, called, bytes_edits = case
    content = samples.checkpoint_file.read_bytes()
    if edits or tensors or called:
        rest, names = _outline(samples.checkpoint_file)
        document = edited(rest, edits)
        if isinstance(document, dict) and isinstance(document.get("network_weights"), dict):
            weights = _checkpoint(samples.checkpoint_file)["network_weights"]
            given = document["network_weights"]
            document["network_weights"] = {
                name: weights[name] if given[name] == "tensor" and name in weights else given[name] for name in given
            }
            for name, shape, kind in tensors:
                document["network_weights"][name] = torch.zeros(shape, dtype=getattr(torch, kind))
        if called and isinstance(document, dict):
            document["logging"] = _Call(called)
        file = io.BytesIO()
        torch.save(document, file)
        content = file.getvalue()
    root = samples.copy_model(folder)
    path = root / "fold_0" / samples.checkpoint_file.name
    path.unlink()
    path.write_bytes(damaged(content, bytes_edits))
    return use_model(way, root, samples, folder)


class _Call:
    """Pickled as a call of a name of the table of dangerous ones."""

    def __init__(self, name: str):
        self._name = name

    def __reduce__(self) -> tuple:
        return _named(self._name), tuple(dict(CALLS)[self._name].values())


def _named(name: str) -> Any:
    """The function of a name, where there is one; to name it in a pickle is not to call it."""
    import os
    import pickle
    import pydoc

    found = pydoc.locate(name)
    try:
        pickle.dumps(found)
    except (pickle.PicklingError, TypeError, AttributeError):  # it hides its name
        found = None
    return found or os.system


@cache
def _checkpoint(path: Path) -> dict[str, Any]:
    import torch

    return torch.load(path, weights_only=False)


@cache
def _outline(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The dictionary with a word in place of each tensor, and the tensors' names."""
    checkpoint = {**_checkpoint(path), "logging": {}}
    names = list(checkpoint["network_weights"])
    return {**checkpoint, "network_weights": dict.fromkeys(names, "tensor")}, names
