"""Moves of several files, or of a folder over another, that a killed process leaves neither undone nor half done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .fsync import sync_folder, sync_tree, synced_file

NEW = "new"
_NOTE, _REPLACED = "move.txt", "replaced"


def move_all(beside: Path, names: Sequence[str]) -> None:
    """Move files and folders that belong together from ``beside/new`` to the folder that ``beside`` lies in.

    What has these names there gives way. The last name makes the others count: it gives way first and comes last, so
    that nobody finds new files beside an old one.

    Args:
        beside: A temporary folder. Should the process be killed halfway, whoever removes it ends the move.

    Raises:
        OSError: It cannot be done.
    """
    sync_tree(beside / NEW)
    with synced_file(beside / _NOTE) as file:
        file.write(os.fsencode("\0".join(names)))
    sync_folder(beside)
    _move(beside, names)


def finish_begun_move(beside: Path) -> None:
    """End a move that was ended halfway; one that had not begun is left: what was there before is whole.

    Raises:
        OSError, ValueError: It cannot be done.
    """
    if not os.path.exists(beside / _NOTE):
        return
    names = os.fsdecode((beside / _NOTE).read_bytes()).split("\0")
    if not all(name and Path(name).name == name for name in names):
        raise ValueError(f"{beside / _NOTE} does not name files.")
    begun = os.path.exists(beside / _REPLACED) or any(not os.path.exists(beside / NEW / name) for name in names)
    if begun and not os.path.exists(beside.parent / names[-1]):
        _move(beside, names)


def _move(beside: Path, names: Sequence[str]) -> None:
    new, replaced, place = beside / NEW, beside / _REPLACED, beside.parent
    last = place / names[-1]
    if os.path.exists(last) and (len(names) > 1 or os.path.isdir(last)):
        os.replace(last, replaced)
    try:
        for name in names:
            if os.path.exists(new / name):
                os.replace(new / name, place / name)
    except OSError:
        if os.path.exists(replaced) and all(os.path.exists(new / name) for name in names):
            os.replace(replaced, last)
        raise
    sync_folder(place)
