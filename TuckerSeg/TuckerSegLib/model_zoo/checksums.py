"""Checksums of downloads: those that are published, and those of what was downloaded here first.

Who replaces a file on the server later is noticed even where its owner publishes no checksum.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..catalog.entries import Part
from ..text_files import write_text
from .places import models_folder


def known_sum(part: Part) -> tuple[str | None, str]:
    """What a part's zip has to be, None where nothing is known; and where that is known from, as a sentence."""
    if part.sha256:
        return part.sha256, "The checksum is the published one, in TuckerSeg's catalog."
    with contextlib.suppress(OSError, IndexError):
        file = _file(part)
        sha256 = file.read_text(encoding="utf-8").split()[0]
        return sha256, f"It was another one when it was first downloaded here. To accept the new file, remove {file}"
    return None, ""


def remember_sum(part: Part, sha256: str) -> None:
    """Keep the checksum of a zip that turned out to be a model, in the format of ``sha256sum``."""
    file = _file(part)
    if not part.sha256 and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{sha256}  {part.dataset}.zip\n")


def _file(part: Part) -> Path:
    return models_folder() / "downloads" / f"{part.dataset}.zip.sha256"
