"""A DICOM series of which one slice's tags or bytes are damaged."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from damage import FLOATS, NUMBERS, byte_edits, damaged
from dangerous_names import TEXTS
from hypothesis import strategies as st
from samples import Samples

from targets.image_file import read

SHORT = 15
UNDAMAGED = (((), ()),)
EXAMPLES: tuple = ()

SLICES = 3
POSITION, ORIENTATION, SPACING = "0020|0032", "0020|0037", "0028|0030"
TAGS = {
    "0008|0060": "CT",
    "0008|103e": "chest",
    "0020|000e": "1.2.3.4",
    "0020|000d": "1.2.3",
    "0020|0011": "1",
    "0028|1052": "-1024",
    "0028|1053": "1",
    ORIENTATION: "1\\0\\0\\0\\1\\0",
    POSITION: "-10\\-20\\2.0",
    SPACING: "0.7\\0.7",
}


def cases(samples: Samples) -> st.SearchStrategy:
    number = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(FLOATS), st.integers(-9, 9)).map(str)
    value = st.lists(number, max_size=6).map("\\".join) | st.sampled_from(
        [text for text in TEXTS if text.isprintable()]
    )
    return st.tuples(st.lists(st.tuples(st.sampled_from(sorted(TAGS)), value), max_size=2).map(tuple), byte_edits())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    tags, bytes_edits = case
    series = folder / "series"
    series.mkdir()
    for index in range(SLICES):
        path = series / f"{index}.dcm"
        if index == 1 and tags:
            try:
                _write(path, index, {**TAGS, POSITION: f"-10\\-20\\{2.0 * index}", **dict(tags)})
            except RuntimeError:  # not even the writer takes these
                return None
        else:
            shutil.copy(_slice(samples.folder, index), path)
    middle = series / "1.dcm"
    middle.write_bytes(damaged(middle.read_bytes(), bytes_edits))
    return read("image", series)


@cache
def _slice(folder: Path, index: int) -> Path:
    path = folder / f"slice-{index}.dcm"
    _write(path, index, {**TAGS, POSITION: f"-10\\-20\\{2.0 * index}"})
    return path


def _write(path: Path, index: int, tags: dict[str, str]) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.full((1, 9, 8), 10 * index, np.int16))
    image.SetOrigin([-10.0, -20.0, 2.0 * index])
    for key, value in {**tags, "0008|0018": f"1.2.3.4.{index}", "0020|0013": str(index)}.items():
        image.SetMetaData(key, value)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
