"""NIfTI-1 and NIfTI-2 headers, either byte order, plain and compressed; read as an image and as a label map."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from damage import FLOATS, NUMBERS, byte_edits, damaged
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from samples import SHAPE, SPACING_MM, Samples

from targets.image_file import read

SHORT = 50
UNDAMAGED = ((1, "<", True, "image", (), (), ()), (2, ">", False, "image", (), (), ()))
EXAMPLES: tuple = ()

HEADERS = {1: Nifti1Header, 2: Nifti2Header}
FIELDS = {version: [name for name in kind.template_dtype.names] for version, kind in HEADERS.items()}
TYPE_CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 9999)


def cases(samples: Samples) -> st.SearchStrategy:
    number = st.one_of(
        st.sampled_from(TYPE_CODES), st.sampled_from(NUMBERS), st.sampled_from(FLOATS), st.integers(-9, 9)
    )

    def of_version(version: int) -> st.SearchStrategy:
        edit = st.tuples(st.sampled_from(FIELDS[version]), st.integers(0, 7), number)
        return st.tuples(
            st.just(version),
            st.sampled_from("<>"),
            st.booleans(),
            st.sampled_from(("image", "labels")),
            st.lists(edit, max_size=3).map(tuple),
            byte_edits(),
            byte_edits(1),
        )

    return st.sampled_from((1, 2)).flatmap(of_version)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    version, order, compressed, way, edits, inner, outer = case
    content = damaged(_header(version, order, edits) + samples.voxels.astype(f"{order}i2").tobytes(), inner)
    content = gzip.compress(content, 1) if compressed else content
    path = folder / ("image.nii.gz" if compressed else "image.nii")
    path.write_bytes(damaged(content, outer))
    return read(way, path)


def _header(version: int, order: str, edits: tuple) -> bytes:
    header = HEADERS[version](endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape(SHAPE[::-1])
    header.set_qform(np.diag([*SPACING_MM[::-1], 1.0]), 1)
    header.set_sform(np.diag([*SPACING_MM[::-1], 1.0]), 1)
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    block = header.structarr.copy()
    for name, index, value in edits:
        place = block[name].reshape(-1) if block[name].shape else None
        with np.errstate(all="ignore"):
            worth = _as_type(value, block.dtype[name].base)
        if place is None:
            block[name] = worth
        else:
            block[name][index % len(place)] = worth
    return block.tobytes() + bytes(header.single_vox_offset - block.nbytes)


def _as_type(value: Any, dtype: np.dtype) -> Any:
    """A number as near to the value as a header's field holds it."""
    if dtype.kind == "S":
        return str(value).encode()[: dtype.itemsize]
    if dtype.kind == "f":
        return float(value)
    limits = np.iinfo(dtype)
    return (
        0 if value != value else limits.max if value > limits.max else limits.min if value < limits.min else int(value)
    )
