"""Files of tensors in the cache: converted and compressed models, decompositions. Used, or made again."""

from __future__ import annotations

import json
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from answers import answer, require
from damage import as_json, byte_edits, damaged, edited, edits_of
from hypothesis import strategies as st
from laws import check_model
from samples import Samples

from targets.model_file import HEADER_KEY, signed, split

SHORT = 6
UNDAMAGED = ((0, (), ()),)
EXAMPLES: tuple = ()


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())

    def of_file(number: int) -> st.SearchStrategy:
        _, document, _ = split(_files(samples)[number])
        return (st.tuples(edits_of(document), nothing) | st.tuples(nothing, byte_edits())).map(
            lambda edits: (number, *edits)
        )

    return st.integers(0, len(_files(samples)) - 1).flatmap(of_file)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from TuckerSegLib import load_model
    from TuckerSegLib.cache import Cache
    from TuckerSegLib.models.compress import compress

    number, edits, bytes_edits = case
    shutil.copytree(_cache(samples), folder / "kept")
    original = _files(samples)[number]
    file = folder / "kept" / original.relative_to(_cache(samples))
    header, document, tensors = split(original)
    header = json.loads(json.dumps(header))
    if edits:
        header["__metadata__"][HEADER_KEY] = signed(as_json(edited(document, edits)), original)
    text = json.dumps(header).encode()
    file.write_bytes(damaged(len(text).to_bytes(8, "little") + text + tensors, bytes_edits))
    kept = Cache(folder / "kept")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an entry is made again
        model = answer(load_model, samples.model_folder, cache=kept)
        compressed = model and answer(compress, model, _spec(), cache=kept)
    require(compressed is not None, "what is kept makes a valid model fail")
    check_model(compressed)
    return compressed


def _spec() -> Any:
    from TuckerSegLib.compression.tucker.spec import Spec

    return Spec(rank_ratio=0.5, rank_mode="energy", minimum_rank=2, rank_multiple=1)


@cache
def _cache(samples: Samples) -> Path:
    """A folder of what a compression keeps."""
    from TuckerSegLib import load_model
    from TuckerSegLib.cache import Cache
    from TuckerSegLib.models.compress import compress

    kept = Cache(samples.folder / "kept")
    compress(load_model(samples.model_folder, cache=kept), _spec(), cache=kept)
    return samples.folder / "kept"


@cache
def _files(samples: Samples) -> list[Path]:
    files = [*_cache(samples).rglob("*.tuckerseg"), *_cache(samples).rglob("*.safetensors")]
    return sorted(files)
