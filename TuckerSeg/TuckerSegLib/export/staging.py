"""Files and folders that are written whole or not at all, and never over something by accident."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from ..files.atomic_writes import output_error, temporary_folder
from ..files.leftovers import sweep
from ..files.moves import NEW, move_all


def require_free(places: Sequence[Path], overwrite: bool) -> None:
    """Fail before the work, not after it.

    Raises:
        OutputError: Something is there already (an empty folder is not), and may not be replaced.
    """
    for place in places:
        sweep(place.parent)  # of a killed export
        occupied = any(place.iterdir()) if os.path.isdir(place) else os.path.exists(place)
        if occupied and not overwrite:
            raise OutputError(
                f"{place} is there already. Name another place, or have it replaced.", shell="That is --overwrite."
            )


@contextmanager
def staged(place: Path, names: Sequence[str] | None = None) -> Iterator[Path]:
    """A folder to write in, whose content takes its place, safe on the disk, when all went well.

    Args:
        place: The folder that it becomes; with ``names``, the folder that its files go to.
        names: Files to move one by one, the last of which makes the others count; None moves the folder as a whole.

    Raises:
        OutputError: It cannot be written there.
    """
    parent = place if names else place.parent
    missing = not os.path.exists(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(parent) as beside:
            inside = beside / NEW if names else beside / NEW / place.name
            inside.mkdir(parents=True)
            yield inside
            move_all(beside, names or [place.name])
    except OSError as error:
        raise output_error(place, error) from error
    finally:
        if missing:
            with suppress(OSError):
                parent.rmdir()  # only where nothing came into it
