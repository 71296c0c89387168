"""``.tuckerseg`` files: the document in the header with its checksum made right again, safetensors' header, bytes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from answers import answer
from damage import as_json, byte_edits, damaged, edited, edits_of
from hypothesis import strategies as st
from laws import check_model, check_run
from samples import Samples

from targets.model_folder import calls

SHORT = 30
UNDAMAGED = tuple((way, (), (), ()) for way in ("run", "load", "facts", "checksum"))
EXAMPLES: tuple = ()

WAYS = ("load", "load", "facts", "checksum", "run")
ARGUMENTS = ("plans", "architecture", "kwargs")
HEADER_KEY = "tuckerseg"
# The number of a header's bytes, which comes first in the file
LENGTHS = tuple(number.to_bytes(8, "little") for number in (0, 1, 2**20, 2**32, 2**63, 2**64 - 1))


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    header, document, _ = split(samples.compressed_file)
    shown = {key: value for key, value in list(header.items())[:6]}
    length = st.sampled_from(LENGTHS).map(lambda number: (("put", 0, number),))
    damage = st.one_of(
        st.tuples(edits_of(document), nothing, nothing),
        st.tuples(edits_of(document["plans"]).map(_below_plans), nothing, nothing),
        st.tuples(calls(ARGUMENTS), nothing, nothing),
        st.tuples(nothing, edits_of(shown), nothing),
        st.tuples(nothing, nothing, byte_edits()),
        st.tuples(nothing, nothing, length),
    )
    return st.tuples(st.sampled_from(WAYS), damage).map(lambda case: (case[0], *case[1]))


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    way, document_edits, header_edits, bytes_edits = case
    header, document, tensors = split(samples.compressed_file)
    header = edited(header, header_edits)
    if document_edits and isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"][HEADER_KEY] = signed(as_json(edited(document, document_edits)), samples.compressed_file)
    text = as_json(header).encode("utf-8", "surrogatepass")
    path = folder / "model.tuckerseg"
    path.write_bytes(damaged(len(text).to_bytes(8, "little") + text + tensors, bytes_edits))
    return use_file(way, path, samples, folder)


def use_file(way: str, path: Path, samples: Samples, folder: Path) -> Any:
    """Give a model file to the program in one of the ways that there are, and check what comes."""
    from TuckerSegLib.models.loading import load_facts, load_model
    from TuckerSegLib.tensor_file import checksum_of

    if way == "run":
        return check_run(path, samples, folder)
    if way == "checksum":
        return answer(checksum_of, path)
    model = answer(load_facts if way == "facts" else load_model, path)
    if model is not None:
        check_model(model, runs=way != "facts")
    return model


def _below_plans(edits: tuple) -> tuple:
    """Edits of the plans as edits of the document that holds them."""
    below = [(kind, ("plans", *path), *more) for kind, path, *more in edits]
    return tuple(
        (kind, path, ("plans", *more[0])) if kind == "swap" else (kind, path, *more) for kind, path, *more in below
    )


@cache
def split(path: Path) -> tuple[dict, dict, bytes]:
    """safetensors' header, the document in it, and the bytes of the tensors."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    return header, json.loads(header["__metadata__"][HEADER_KEY]), content[start:]


@cache
def _tensors(path: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(path)


def signed(text: str, path: Path) -> str:
    """The document with the checksum that it should have, as somebody with this program can make it."""
    from TuckerSegLib import tensor_file

    try:
        document = json.loads(text)
        document["sha256"] = tensor_file._sha256(_tensors(path), document)
        return json.dumps(document)
    except (ValueError, TypeError, AttributeError, RecursionError):  # no document that has a checksum
        return text
