"""Checksums of downloads: those that are published, and those of what was downloaded here first.

Who replaces a file on the server later is noticed even where its owner publishes no checksum.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from ..catalog.entries import Part
from ..text_files import write_text
from .places import models_folder

SHA256 = re.compile(rb"[0-9a-f]{64}\b")


def known_sum(part: Part) -> tuple[str | None, str]:
    """What a part's zip has to be, None where nothing is known; and where that is known from, as a sentence."""
    if part.sha256:
        return part.sha256, "The checksum is the published one, in TuckerSeg's catalog."
    file = _file(part)
    if (sha256 := _remembered(file)) is not None:
        return sha256, f"It was another one when it was first downloaded here. To accept the new file, remove {file}"
    return None, ""


def remember_sum(part: Part, sha256: str) -> None:
    """Keep the checksum of a zip that turned out to be a model, in the format of ``sha256sum``."""
    file = _file(part)
    if not part.sha256 and _remembered(file) is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{sha256}  {part.dataset}.zip\n")


def _remembered(file: Path) -> str | None:
    try:
        match = SHA256.match(file.read_bytes())
    except OSError:
        return None
    if match is None:
        warnings.warn(f"{file} should begin with a SHA-256; it is damaged, and written again.", stacklevel=3)
        return None
    return match[0].decode()


def _file(part: Part) -> Path:
    return models_folder() / "downloads" / f"{part.dataset}.zip.sha256"
