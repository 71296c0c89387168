"""What a segmentation of 3D Slicer (.seg.nrrd) says of its segments. Reads the header only.

Source of the keys: Slicer's developer guide, "Segmentation labelmap file format (.seg.nrrd)".
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ImageError
from .labels import Segment
from .nrrd import HEADER_LIMIT

GRAY = (0.5, 0.5, 0.5)


def read_segments(path: str | Path) -> list[Segment]:
    """Read the segments of a segmentation file, in the file's order; none where its header names none.

    Raises:
        ImageError: It cannot be read, or its segments overlap, so that no one label map holds them.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_LIMIT)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error
    header = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("utf-8", errors="replace")
    found: dict[int, dict[str, str]] = {}
    for index, key, value in re.findall(r"^Segment(\d+)_(\w+):=(.*?)\r?$", header, re.MULTILINE):
        found.setdefault(int(index), {})[key] = value
    if len({keys.get("Layer", "0") for keys in found.values()}) > 1:
        raise ImageError(
            f"{path}: its segments overlap, so they lie in several layers; one label map is needed. Export it as a "
            "label map in 3D Slicer, or separate the segments there."
        )
    return [_segment(path, keys) for _, keys in sorted(found.items())]


def _segment(path: Path, keys: dict[str, str]) -> Segment:
    try:
        value = int(keys.get("LabelValue", "1"))
        color = tuple(float(part) for part in keys["Color"].split()) if "Color" in keys else GRAY
    except ValueError as error:
        raise ImageError(f"{path}: a segment's label value or color is damaged ({error}).") from error
    tags = dict(part.split(":", 1) for part in keys.get("Tags", "").split("|") if ":" in part)
    return Segment(value, keys.get("Name", keys.get("ID", "")), color, tags)
