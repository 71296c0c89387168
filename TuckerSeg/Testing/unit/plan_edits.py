"""Fields of the documents of a model, changed."""

from __future__ import annotations

import json
from pathlib import Path

CONFIGURATION = ("configurations", "3d_fullres")
ARCHITECTURE = (*CONFIGURATION, "architecture")
ARGUMENTS = (*ARCHITECTURE, "arch_kwargs")


def edit(folder: Path, keys: tuple, value: object, file: str = "plans.json") -> Path:
    document = json.loads((folder / file).read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / file).write_text(json.dumps(document))
    return folder


WRITTEN: list[Path] = []
