"""``dataset.json`` of a labeled dataset that a model is fine-tuned on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from answers import answer, require
from damage import byte_edits, damaged, edits_of, json_bytes
from hypothesis import strategies as st
from samples import Samples

SHORT = 25
UNDAMAGED = (((), ()),)
EXAMPLES: tuple = ()

CASES = {"one": {"images": ["./imagesTr/one_0000.nii.gz"], "label": "./labelsTr/one.nii.gz"}}


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    return st.tuples(edits_of(_document(samples)), nothing) | st.tuples(nothing, byte_edits())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from TuckerSegLib.training.finetuning.dataset import read_raw_dataset

    edits, bytes_edits = case
    for name in ("imagesTr/one_0000.nii.gz", "labelsTr/one.nii.gz"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(samples.nifti_file.read_bytes())
    (folder / "dataset.json").write_bytes(damaged(json_bytes(_document(samples), edits), bytes_edits))
    found = answer(read_raw_dataset, folder, _plans(samples.model_folder))
    if found is not None:
        require(len(found.cases) > 0, "a dataset without a case")
        for each in found.cases:
            require(all(file.is_file() for file in (*each.images, each.labels)), "a file that is not there")
    return found


def _document(samples: Samples) -> dict[str, Any]:
    return json.loads(json.dumps({**samples.dataset, "dataset": CASES}))


@cache
def _plans(folder: Path) -> Any:
    from TuckerSegLib import load_model

    return load_model(folder).plans
