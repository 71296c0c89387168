"""Of which image each result in a folder is, so that another image of the same name does not take its place.

A batch notes it in one file beside the results. The file holds digests of the images' paths, which tell no names.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ...text_files import read_json, write_text

ORIGINS_FILE = "tuckerseg-batch.json"


def origin_of(image: str) -> str:
    """What stands for an image: a digest of its whole path."""
    return hashlib.sha256(os.path.normcase(os.path.abspath(image)).encode("utf-8", "backslashreplace")).hexdigest()


def name_key(output: str | os.PathLike) -> str:
    """What stands for a result in its folder; many disks do not tell small letters from large ones."""
    return os.path.basename(output).casefold()


def read_origins(folder: str | os.PathLike) -> dict[str, str]:
    """Of the results that are there, :func:`name_key` to :func:`origin_of`, as far as that was noted."""
    try:
        there = {name_key(name) for name in os.listdir(folder)}
        document = read_json(Path(folder, ORIGINS_FILE))
    except (OSError, ValueError):  # no batch has been here, or somebody has edited it
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: origin for name, origin in document.items() if name in there and isinstance(origin, str)}


def note_origin(output: str | os.PathLike, image: str) -> None:
    """Note that a result is of an image.

    Raises:
        OutputError: That cannot be written.
    """
    folder = Path(output).parent
    origins = {**read_origins(folder), name_key(output): origin_of(image)}
    write_text(folder / ORIGINS_FILE, json.dumps(origins, indent=1))
