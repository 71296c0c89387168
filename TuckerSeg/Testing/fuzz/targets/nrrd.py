"""NRRD headers, attached and detached, and those of 3D Slicer's segmentations."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from damage import byte_edits, damaged
from hypothesis import strategies as st
from samples import SHAPE, SPACING_MM, Samples

from targets.image_file import edited_lines, line_edits, read

SHORT = 50
UNDAMAGED = ((".nrrd", "image", (), ()), (".seg.nrrd", "labels", (), ()), (".nhdr", "image", (), ()))
EXAMPLES: tuple = ()

LINES = [
    ("type: ", "short"),
    ("dimension: ", "3"),
    ("space: ", "left-posterior-superior"),
    ("sizes: ", " ".join(map(str, SHAPE[::-1]))),
    ("space directions: ", f"({SPACING_MM[2]},0,0) (0,{SPACING_MM[1]},0) (0,0,{SPACING_MM[0]})"),
    ("kinds: ", "domain domain domain"),
    ("endian: ", "little"),
    ("encoding: ", "gzip"),
    ("space origin: ", "(-10,-20,30)"),
]
SEGMENTS = [
    ("Segment0_ID:=", "Segment_1"),
    ("Segment0_Name:=", "spleen"),
    ("Segment0_LabelValue:=", "1"),
    ("Segment0_Layer:=", "0"),
    ("Segment1_Name:=", "liver"),
    ("Segment1_LabelValue:=", "2"),
    ("Segment1_Layer:=", "0"),
]
MORE = [
    ("byte skip: ", "0"),
    ("line skip: ", "0"),
    ("data file: ", "voxels.raw.gz"),
]
SELDOM = [("spacings: ", "1 1 1"), ("spacing: ", "1 1 1"), ("centers: ", "cell cell cell")]
EVERY = LINES + SEGMENTS + MORE + SELDOM


def cases(samples: Samples) -> st.SearchStrategy:
    return st.tuples(
        st.sampled_from((".nrrd", ".nhdr", ".seg.nrrd")),
        st.sampled_from(("image", "labels")),
        line_edits(EVERY),
        byte_edits(1),
    )


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    extension, way, edits, bytes_edits = case
    segmented, detached = extension == ".seg.nrrd", extension == ".nhdr"
    lines = [*LINES, *(SEGMENTS if segmented else []), *(MORE if detached else [])]
    known = {name for name, _ in lines}
    every = edited_lines(EVERY, edits)
    touched = {index for _, index, *_ in edits}
    named = {EVERY[index][0] for index in touched}
    header = "".join(f"{name}{value}\n" for name, value in every if name in known | named)
    voxels = samples.voxels.clip(0, 100) // 100 if segmented or way == "labels" else samples.voxels
    data = gzip.compress(voxels.astype("<i2").tobytes(), 1)
    if detached:
        (folder / "voxels.raw.gz").write_bytes(data)
    content = b"NRRD0004\n" + header.encode("utf-8", "surrogatepass") + b"\n" + (b"" if detached else data)
    path = folder / f"image{extension}"
    path.write_bytes(damaged(content, bytes_edits))
    return read(way, path)
