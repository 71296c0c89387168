"""``dataset.json`` beside label files, as ``evaluate`` reads the names of labels from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from answers import answer, require
from damage import byte_edits, damaged, edits_of, json_bytes
from hypothesis import strategies as st
from samples import Samples

SHORT = 25
UNDAMAGED = (((), ()),)
EXAMPLES: tuple = ()


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    labels = edits_of(samples.dataset["labels"]).map(
        lambda edits: tuple((kind, ("labels", *path), *more) for kind, path, *more in edits if kind != "swap")
    )
    return st.tuples(edits_of(samples.dataset) | labels, nothing) | st.tuples(nothing, byte_edits())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    import numpy as np

    from TuckerSegLib.cli.commands.evaluate import as_text
    from TuckerSegLib.evaluation.cases import EvaluationSpec, evaluate
    from TuckerSegLib.evaluation.label_names import named_labels
    from TuckerSegLib.image import Geometry, write_labels

    edits, bytes_edits = case
    (folder / "dataset.json").write_bytes(damaged(json_bytes(samples.dataset, edits), bytes_edits))
    names = answer(named_labels, str(folder))
    require(
        all(type(value) is int and value > 0 and isinstance(name, str) for value, name in (names or {}).items()),
        f"names {names}",
    )
    labels = (samples.voxels > 0).astype(np.uint8)
    for name in ("first.nii.gz", "second.nii.gz"):
        write_labels(folder / name, labels, Geometry(labels.shape, np.diag([2.0, 2.5, 3.0, 1.0])), [])
    found = answer(evaluate, folder / "first.nii.gz", folder / "second.nii.gz", EvaluationSpec())
    if found is not None:
        require(found.dice == 1.0, f"two equal files agree by {found.dice}")
        as_text(found)
    return found
