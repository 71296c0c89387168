"""A DICOM file with several frames whose bytes or groups of fields are damaged, alone, in a folder or in a zip."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from damage import FLOATS, NUMBERS, byte_edits, damaged
from hypothesis import strategies as st
from samples import Samples

from targets.image_file import read

SHORT = 15
WAYS = ("file", "folder", "zip")
UNDAMAGED = tuple((way, (), (), ()) for way in WAYS)
EXAMPLES: tuple = ()

FRAMES = 4
# Values of the sample, as they stand in its groups
VALUES = ("-10\\-20\\30", "-10\\-20\\32.5", "-10\\-20\\37.5", "1\\0\\0\\0\\1\\0", ".9\\.7", "2.5", str(FRAMES))


def cases(samples: Samples) -> st.SearchStrategy:
    number = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(FLOATS), st.integers(-9, 9)).map(str)
    value = st.lists(number, max_size=6).map("\\".join) | st.text(max_size=16)
    fields = st.lists(st.tuples(st.integers(0, len(VALUES) - 1), value), max_size=2).map(tuple)
    return st.tuples(st.sampled_from(WAYS), fields, byte_edits(), byte_edits(1))


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    way, fields, edits, zip_edits = case
    content = _sample(samples.folder)
    for place, text in fields:
        old = VALUES[place].encode()
        old += b" " * (len(old) % 2)
        content = content.replace(old, text.encode("utf-8", errors="replace")[: len(old)].ljust(len(old)))
    content = damaged(content, edits)
    if way == "zip":
        path = folder / "study.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("study/frames.dcm", content)
        path.write_bytes(damaged(path.read_bytes(), zip_edits))
        return read("image", path)
    path = folder / "study" / "frames.dcm"
    path.parent.mkdir()
    path.write_bytes(content)
    return read("image", path.parent if way == "folder" else path)


@cache
def _sample(folder: Path) -> bytes:
    """As SimpleITK writes a volume into one file: with places of the frames in groups."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.arange(FRAMES * 9 * 8).reshape(FRAMES, 9, 8).astype(np.uint8))
    image.SetSpacing([0.7, 0.9, 2.5])
    image.SetOrigin([-10.0, -20.0, 30.0])
    path = folder / "frames.dcm"
    SimpleITK.WriteImage(image, str(path))
    return path.read_bytes()
