"""Archives of small models as a server has them, and what their installation leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

from TuckerSegLib import catalog
from TuckerSegLib.catalog.entries import Part, Task
from TuckerSegLib.download import Patience
from TuckerSegLib.model_zoo.installing import ensure_installed
from TuckerSegLib.monitor import Monitor

QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02)
TASK = catalog.task("total_fastest")  # one network, of which no checksum is published
PART = TASK.parts[0]


def zip_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def stand_in(part: Part, entries: dict[str, bytes], within: str = "{dataset}/{configuration}/") -> bytes:
    """The zip of a part, as it is published."""
    prefix = within.format(dataset=part.dataset, configuration=part.configuration)
    return zip_of({prefix + name: content for name, content in entries.items()})


def entries_of(folder: Path) -> dict[str, bytes]:
    """Files of a small network, named relative to the folder of its configuration."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def serve(server, part: Part, content: bytes) -> None:
    server.files[f"/{part.dataset}.zip"] = content


def install(task: Task = TASK, parts=None, on_event=None, cancelled=None) -> list[Path]:
    return ensure_installed(task, parts, Monitor(on_event, cancelled), QUICK)


def left_in(folder: Path) -> list[str]:
    """Names of what lies in the models' folder and its folder of downloads, locks left out."""
    names = [path.name for path in folder.iterdir() if path.name != "downloads"]
    return sorted([*names, *(path.name for path in (folder / "downloads").glob("*") if path.suffix != ".lock")])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def with_sum(content: bytes) -> Task:
    return dataclasses.replace(TASK, parts=(dataclasses.replace(PART, sha256=sha256(content)),))
