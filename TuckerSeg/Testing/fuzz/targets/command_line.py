"""What a user of the command line sees and gets of damaged inputs: exit codes, one clear message, no control
characters, tables without formulas."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from damage import edits_of, json_bytes
from dangerous_names import TEXTS
from hypothesis import strategies as st
from samples import Samples

SHORT = 12
EXAMPLES = (("evaluate", (), (("set", ("labels",), {"background": 0, "\ud800": 1, "cube": 2}),)),)

WAYS = ("inspect", "segment", "evaluate", "import", "plan", "export")
UNDAMAGED = tuple((way, (), ()) for way in WAYS)
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of characters that a terminal obeys, or nobody sees
FORMULA = re.compile(r"[=+\-@\t\r]")


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())
    text = st.sampled_from(TEXTS)
    named = st.one_of(
        st.tuples(text.map(lambda name: (("add", ("labels",), name, 3),))),
        st.tuples(text.map(lambda name: (("set", ("labels",), {"background": 0, name: 1, "cube": 2}),))),
        st.tuples(text.map(lambda name: (("set", ("channel_names", "0"), name),))),
    ).map(lambda edits: ((), *edits))
    called = text.map(lambda name: ((("set", ("dataset_name",), name),), ()))
    plans = st.tuples(edits_of(samples.plans), nothing)
    dataset = st.tuples(nothing, edits_of(samples.dataset))
    return st.tuples(st.sampled_from(WAYS), named | called | plans | dataset).map(lambda case: (case[0], *case[1]))


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    way, plans_edits, dataset_edits = case
    plans, dataset = json_bytes(samples.plans, plans_edits), json_bytes(samples.dataset, dataset_edits)
    root = samples.copy_model(folder, plans, dataset)
    out = folder / "out"
    out.mkdir()
    model, table = ["--model", str(root)], out / "table.csv"
    if way == "evaluate":
        _write_labels(out, samples, dataset)
    processor = ["--device", "torch:cpu", "--precision", "fp32", "--threads", "1"]
    arguments = {
        "inspect": ["inspect", *model],
        "segment": ["segment", str(samples.nifti_file), str(out / "labels.seg.nrrd"), *model, *processor],
        "evaluate": ["evaluate", str(out / "a.nii.gz"), str(out / "b.nii.gz"), "--out", str(table)],
        "import": ["models", "import", str(root), "--name", "mine"],
        "plan": ["plan", str(samples.nifti_file), *model, *processor],
        "export": ["export", str(root), "--format", "nnunet", "--out", str(out / "exported")],
    }[way]
    code = _run(arguments)
    if code == 0 and way == "import":
        code = _run(["models"])
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        formulas = [cell for cell in cells if FORMULA.match(cell) and not _is_number(cell)]
        require(not formulas, f"cells of a table that a spreadsheet computes: {formulas}")
    return True if code == 0 else None


def _run(arguments: list[str]) -> int:
    """Exit code of the command line, whose output is looked at."""
    from TuckerSegLib.cli.main import main

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = answer(main, arguments)
    text = shown.getvalue()
    require(code in (0, 1), f"exit code {code}")
    require("Unexpected" not in text and "Traceback" not in text, text[-3000:])
    obeyed = {character for character in text if unicodedata.category(character) in OBEYED} - set("\n\t")
    require(not obeyed, f"shows {obeyed}: {text[:3000]!r}")
    require(code == 0 or "tuckerseg: " in text, f"exit code {code} without a message: {text[:1000]!r}")
    return code


def _write_labels(out: Path, samples: Samples, dataset: bytes) -> None:
    from TuckerSegLib.image import Geometry, write_labels

    (out / "dataset.json").write_bytes(dataset)
    labels = (samples.voxels > 0).astype(np.uint8)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(out / name, labels, Geometry(labels.shape, np.diag([2.0, 2.5, 3.0, 1.0])), [])


def _is_number(cell: str) -> bool:
    with contextlib.suppress(ValueError):
        float(cell)
        return True
    return False
