"""A picture of what was found, as a PNG file: structures in their colors, seen from the front and from the left."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..files.atomic_writes import output_error, written_whole
from ..image import Geometry, oriented

Color = tuple[float, float, float]
LONGEST_SIDE, MARGIN = 700, 12  # pixels
DARKEST = 0.3  # of a surface that is seen from its side
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_preview(path: Path, labels: np.ndarray, geometry: Geometry, colors: Mapping[int, Color]) -> None:
    """Write the picture.

    Args:
        path: Of the PNG file.
        labels: (Z, Y, X), whole numbers.
        geometry: Of the labels.
        colors: Of every label that is shown, red, green and blue from 0 to 1.

    Raises:
        OutputError: It cannot be written.
    """
    content = _png(picture(labels, geometry, colors))
    try:
        with written_whole(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise output_error(path, error) from error


def picture(labels: np.ndarray, geometry: Geometry, colors: Mapping[int, Color]) -> np.ndarray:
    """The picture as uint8 (rows, columns, 3), on black; arguments as for :func:`write_preview`."""
    view, turned = oriented(labels, geometry, "RAS")  # axes grow upwards, to the front, to the patient's right
    occupied = [np.flatnonzero(view.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not occupied[0].size:
        return np.zeros((2 * MARGIN, 2 * MARGIN, 3), np.uint8)
    view = view[tuple(slice(int(each[0]), int(each[-1]) + 1) for each in occupied)][::-1, ::-1, ::-1]
    up, front, right = turned.spacing_mm
    pixel_mm = max(*(size * mm for size, mm in zip(view.shape, (up, front, right))), 1e-6) / LONGEST_SIDE
    pixel_mm = max(pixel_mm, min(up, front, right) / 2)
    table = np.zeros((int(labels.max()) + 1, 3))
    for value, color in colors.items():
        if value < len(table):
            table[value] = color
    from_front = _seen(view, (up, right, front), pixel_mm, table)  # the patient's right is on the left
    from_left = _seen(view.transpose(0, 2, 1)[:, ::-1], (up, front, right), pixel_mm, table, axis=1)
    gap = np.zeros((len(from_front), MARGIN, 3), np.uint8)
    return np.pad(np.hstack([from_front, gap, from_left]), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))


def _seen(
    view: np.ndarray, spacing_mm: tuple[float, float, float], pixel_mm: float, table: np.ndarray, axis: int = 1
) -> np.ndarray:
    """The surfaces that are seen along an axis of (rows, depth, columns), from its begin.

    Args:
        spacing_mm: Of rows, columns and depth.
    """
    filled = view != 0
    depth = filled.argmax(axis=axis)
    labels = np.take_along_axis(view, np.expand_dims(depth, axis), axis).squeeze(axis)
    rows, columns = (
        np.minimum((np.arange(max(1, round(size * mm / pixel_mm))) * pixel_mm / mm).astype(int), size - 1)
        for size, mm in zip(labels.shape, spacing_mm)
    )
    depth_mm = depth[np.ix_(rows, columns)] * spacing_mm[2]
    labels = labels[np.ix_(rows, columns)]
    slopes = np.gradient(depth_mm, pixel_mm) if min(depth_mm.shape) > 1 else [np.zeros(depth_mm.shape)] * 2
    facing = 1 / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    light = (DARKEST + (1 - DARKEST) * facing)[..., None]
    return (table[labels] * light * 255 * (labels > 0)[..., None]).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (rows, columns, 3)."""
    height, width, _ = pixels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)])  # each begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return _SIGNATURE + b"".join(map(_chunk, *zip(*parts)))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
