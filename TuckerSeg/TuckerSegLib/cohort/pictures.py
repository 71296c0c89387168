"""Slices of a case with its labels over them, as small pictures."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np

from ..catalog import structures
from ..errors import TuckerSegError
from ..evaluation.label_files import EXTENSIONS, read_label_map
from ..hounsfield import may_be_hounsfield
from ..image import oriented, read_image
from .case_record import CaseRecord

HEIGHT = 150  # pixels
WINDOW_HU = (-200.0, 300.0)
OPACITY = 0.45


def picture_of(folder: Path, record: CaseRecord) -> np.ndarray | None:
    """An axial, a coronal and a sagittal slice through the middle of what was found, side by side.

    Args:
        folder: Of the cohort.
        record: Of the case.

    Returns:
        (rows, columns, 3) of uint8; None where image or labels cannot be read (any more), or no image of labels was
        written.
    """
    files = [folder / each.name for each in record.outputs if each.name.lower().endswith(EXTENSIONS)]
    whole = [file for file in files if file.parent == folder]
    if not whole or record.statistics is None:
        return None
    try:
        volume = read_image(record.images[0], series=record.series)
        label_map = read_label_map(whole[0])
    except TuckerSegError:
        return None
    intensities, geometry = oriented(volume.array[0], volume.geometry, "RAS")
    if label_map.array.shape != intensities.shape:
        return None
    colors = _color_table(record, label_map.array)
    low, high = _window(intensities)
    parts = []
    for cut, (rows_mm, columns_mm) in zip(_cuts(label_map.array), _pixel_sizes(geometry.spacing_mm)):
        plane, labels = (np.asarray(array[cut])[::-1] for array in (intensities, label_map.array))
        rows, columns = _nearest(plane.shape, rows_mm, columns_mm)
        plane, labels = plane[np.ix_(rows, columns)], labels[np.ix_(rows, columns)]
        gray = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)[..., None]
        share = np.where(labels > 0, OPACITY, 0.0)[..., None]
        parts.append(gray * (1 - share) + colors[labels] * share)
    return (np.concatenate(parts, axis=1) * 255).astype(np.uint8)


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (rows, columns, 3) of uint8 as PNG (ISO/IEC 15948: color type 2, filter 0)."""
    rows, columns = picture.shape[:2]
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), picture.reshape(rows, -1)], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def data_url(picture: np.ndarray) -> str:
    """A picture within a page."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode("ascii")


def _color_table(record: CaseRecord, labels: np.ndarray) -> np.ndarray:
    table = np.full((int(labels.max(initial=0)) + 1, 3), 0.5)
    for each in record.statistics.structures:
        if each.value < len(table):
            table[each.value] = structures.color_of(each.value, each.name)
    return table


def _window(intensities: np.ndarray) -> tuple[float, float]:
    sample = intensities[:: max(1, len(intensities) // 32)]
    if may_be_hounsfield(sample):
        return WINDOW_HU
    return tuple(float(value) for value in np.percentile(sample, (1, 99)))


def _cuts(labels: np.ndarray) -> list[tuple]:
    """Axial, coronal, sagittal: through the median of the labeled voxels, else the middle."""
    places = []
    for axis, size in enumerate(labels.shape):
        others = tuple(other for other in range(3) if other != axis)
        counts = np.cumsum(np.count_nonzero(labels, axis=others))
        places.append(int(np.searchsorted(counts, counts[-1] / 2)) if counts[-1] else size // 2)
    z, y, x = places
    whole = slice(None)
    return [(z, whole, whole), (whole, y, whole), (whole, whole, x)]


def _pixel_sizes(spacing_mm: tuple[float, float, float]) -> list[tuple[float, float]]:
    z, y, x = spacing_mm
    return [(y, x), (z, x), (z, y)]


def _nearest(shape: tuple[int, int], row_mm: float, column_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a slice for a picture of a fixed height whose pixels are square."""
    pixel_mm = shape[0] * row_mm / HEIGHT
    width = int(np.clip(round(shape[1] * column_mm / pixel_mm), 8, 4 * HEIGHT))
    rows = (np.arange(HEIGHT) + 0.5) * shape[0] / HEIGHT
    columns = (np.arange(width) + 0.5) * shape[1] / width
    return rows.astype(int), columns.astype(int)
