"""Recipes of compressed networks: read from JSON and done to a network without weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from answers import answer
from damage import edited, edits_of
from hypothesis import strategies as st
from samples import Samples

SHORT = 25
UNDAMAGED = ((),)
EXAMPLES: tuple = ()


def cases(samples: Samples) -> st.SearchStrategy:
    document, _ = _made(samples.compressed_file)
    changed = next(index for index, change in enumerate(document["changes"]) if change["skipped_because"] is None)
    change = edits_of(document["changes"][changed], raw=False).map(
        lambda edits: tuple((kind, ("changes", changed, *path), *more) for kind, path, *more in edits if kind != "swap")
    )
    return edits_of(document, raw=False) | change


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from dataclasses import replace

    from TuckerSegLib.records.compression import CompressionRecipe
    from TuckerSegLib.records.serialization import from_json

    document, model = _made(samples.compressed_file)
    recipe = answer(from_json, CompressionRecipe, edited(document, case))
    return None if recipe is None else answer(replace(model, recipes=(recipe,)).structure)


@cache
def _made(path: Path) -> tuple[dict[str, Any], Any]:
    from TuckerSegLib.models.model_file import read_model_facts
    from TuckerSegLib.records.serialization import to_json

    model = read_model_facts(path)
    return json.loads(json.dumps(to_json(model.recipes[0]))), model
