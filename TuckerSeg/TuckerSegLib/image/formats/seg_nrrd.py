"""What a segmentation of 3D Slicer (.seg.nrrd) calls its segments. Reads the header only.

Source of the keys: Slicer's developer guide, "Segmentation labelmap file format (.seg.nrrd)".
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ImageError
from .nrrd import HEADER_LIMIT


def read_segment_names(path: Path) -> dict[int, str]:
    """Names of a segmentation's label values, in the file's order; none where its header names none.

    Raises:
        ImageError: It cannot be read, or its segments overlap, so that no one label map holds them.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_LIMIT)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error
    header = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("utf-8", errors="replace")
    segments: dict[int, dict[str, str]] = {}
    for index, key, value in re.findall(r"^Segment(\d+)_(\w+):=(.*?)\r?$", header, re.MULTILINE):
        segments.setdefault(int(index), {})[key] = value
    if len({keys.get("Layer", "0") for keys in segments.values()}) > 1:
        raise ImageError(
            f"{path}: its segments overlap, so they lie in several layers; one label map is needed. Export it as a "
            "label map in 3D Slicer, or separate the segments there."
        )
    try:
        return {int(keys.get("LabelValue", "1")): keys.get("Name", "") for _, keys in sorted(segments.items())}
    except ValueError as error:
        raise ImageError(f"{path}: the label value of a segment is damaged ({error}).") from error
