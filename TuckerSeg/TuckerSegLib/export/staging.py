"""Files and folders that are written whole or not at all, and never over something by accident."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError


def require_free(places: Sequence[Path], overwrite: bool) -> None:
    """Fail before the work, not after it.

    Raises:
        OutputError: Something is there already (an empty folder is not), and may not be replaced.
    """
    for place in places:
        occupied = any(place.iterdir()) if place.is_dir() else place.exists()
        if occupied and not overwrite:
            raise OutputError(f"{place} is there already. Name another place, or say --overwrite.")


@contextmanager
def staged(place: Path, names: Sequence[str] | None = None) -> Iterator[Path]:
    """A folder to write in, whose content takes its place when all went well.

    Args:
        place: The folder that it becomes; with ``names``, the folder that its files go to.
        names: Files to move one by one, the last of which makes the others count; None moves the folder as a whole.

    Raises:
        OutputError: It cannot be written there.
    """
    parent = place if names else place.parent
    beside, missing = None, not parent.exists()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".tuckerseg-", dir=parent))
        inside = beside / "new"
        inside.mkdir()
        yield inside
        if names:
            for name in names:
                os.replace(inside / name, place / name)
        else:
            if place.exists():
                os.replace(place, beside / "old")
            os.replace(inside, place)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}.") from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        if missing:
            with suppress(OSError):
                parent.rmdir()  # only where nothing came into it
