"""Zips that are given as a model, and that are imported."""

from __future__ import annotations

import io
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

from damage import byte_edits, damaged
from dangerous_names import LEFTOVER
from hypothesis import strategies as st
from samples import Samples

from targets.model_folder import use_model

SHORT = 15
EXAMPLES: tuple = ()

WAYS = ("load", "import", "facts", "run")
UNDAMAGED = tuple((way, (), ()) for way in WAYS)
MODEL = "Dataset001_Small/nnUNetTrainer__nnUNetPlans__3d_fullres/"
PLACES = (
    f"../{LEFTOVER}",
    f"/{LEFTOVER}",
    f"{MODEL}../../../{LEFTOVER}",
    f"C:\\{LEFTOVER}",
    f"..\\{LEFTOVER}",
    MODEL + "fold_../checkpoint_final.pth",
    MODEL + "fold_1/checkpoint_final.pth",
    MODEL + "fold_0/",
    MODEL + "plans.json/x",
    "plans.json",
    "a/" * 3000 + "x",
    "\x1b[31m\n",
    "",
    "fold_0",
)
MODES = (stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666, stat.S_IFREG | 0o4777)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def cases(samples: Samples) -> st.SearchStrategy:
    number = st.integers(0, len(samples.model_entries) - 1)
    content = st.sampled_from((b"", b"{}", b"[]", b"/etc/passwd", b"\x00" * 100))
    edit = st.one_of(
        st.tuples(st.just("rename"), number, st.sampled_from(PLACES)),
        st.tuples(st.just("add"), st.sampled_from(PLACES), content),
        st.tuples(st.just("content"), number, content),
        st.tuples(st.just("twice"), number),
        st.tuples(st.just("leave out"), number),
        st.tuples(st.just("mode"), number, st.sampled_from(MODES)),
        st.tuples(st.just("method"), number, st.sampled_from(METHODS)),
        st.tuples(st.just("inside a zip")),
        st.tuples(st.just("bomb"), number),
        st.tuples(st.just("many"), st.sampled_from((100, 11_000))),
    )
    edits = st.lists(edit, max_size=2).map(tuple)
    return st.tuples(st.sampled_from(WAYS), edits, byte_edits())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    way, edits, bytes_edits = case
    path = folder / "model.zip"
    path.write_bytes(damaged(_zip(edits, samples), bytes_edits))
    return use_model(way, path, samples, folder)


def _zip(edits: tuple, samples: Samples) -> bytes:
    entries = [[name, content, 0, zipfile.ZIP_DEFLATED] for name, content in samples.model_entries]
    for kind, *more in edits:
        if kind == "bomb":
            return samples.bomb(more[0])
        if more and isinstance(more[0], int) and kind != "many":
            more[0] %= len(entries)
        if kind == "rename":
            entries[more[0]][0] = more[1]
        elif kind == "add":
            entries.append([more[0], more[1], 0, zipfile.ZIP_STORED])
        elif kind == "content":
            entries[more[0]][1] = more[1]
        elif kind == "twice":
            entries.append(list(entries[more[0]]))
        elif kind == "leave out":
            entries[more[0]][0] = "other"
        elif kind == "mode":
            entries[more[0]][2] = more[1] << 16
        elif kind == "method":
            entries[more[0]][3] = more[1]
        elif kind == "inside a zip":
            entries = [["model.zip", _written(entries), 0, zipfile.ZIP_STORED]]
        elif kind == "many":
            entries += [[f"{MODEL}fold_{number}/x", b"", 0, zipfile.ZIP_STORED] for number in range(more[0])]
    return _written(entries)


def _written(entries: list) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content, mode, method in entries:
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is, not as the class would have it
            entry.external_attr, entry.compress_type = mode, method
            archive.writestr(entry, content)
    return file.getvalue()
