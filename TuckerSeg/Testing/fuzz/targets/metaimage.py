"""MetaImage headers, with the voxels in the same file and beside it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from damage import byte_edits, damaged
from hypothesis import strategies as st
from samples import SHAPE, SPACING_MM, Samples

from targets.image_file import edited_lines, line_edits, read

SHORT = 50
UNDAMAGED = ((".mha", "image", (), ()), (".mhd", "image", (), ()))
EXAMPLES: tuple = ()

LINES = [
    ("ObjectType", "Image"),
    ("NDims", "3"),
    ("BinaryData", "True"),
    ("BinaryDataByteOrderMSB", "False"),
    ("CompressedData", "True"),
    ("TransformMatrix", "1 0 0 0 1 0 0 0 1"),
    ("Offset", "-10 -20 30"),
    ("ElementSpacing", " ".join(map(str, SPACING_MM[::-1]))),
    ("DimSize", " ".join(map(str, SHAPE[::-1]))),
    ("ElementNumberOfChannels", "1"),
    ("HeaderSize", "0"),
    ("ElementType", "MET_SHORT"),
    ("ElementDataFile", "LOCAL"),
]


def cases(samples: Samples) -> st.SearchStrategy:
    extension, way = st.sampled_from((".mha", ".mhd")), st.sampled_from(("image", "labels"))
    return st.tuples(extension, way, line_edits(LINES), byte_edits(1))


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    extension, way, edits, bytes_edits = case
    detached = extension == ".mhd"
    lines = [(name, "voxels.raw" if detached and name == "ElementDataFile" else value) for name, value in LINES]
    lines = edited_lines(lines, edits)
    data = zlib.compress(samples.voxels.astype("<i2").tobytes(), 1)
    if detached:
        (folder / "voxels.raw").write_bytes(data)
    header = "".join(f"{name} = {value}\n" for name, value in lines).encode("utf-8", "surrogatepass")
    path = folder / f"image{extension}"
    path.write_bytes(damaged(header + (b"" if detached else data), bytes_edits))
    return read(way, path)
