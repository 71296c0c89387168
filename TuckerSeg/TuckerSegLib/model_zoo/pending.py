"""What a run would have to download first, told before it is asked for. Nothing is fetched here."""

from __future__ import annotations

import contextlib
import os
import shutil
import urllib.parse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .. import catalog
from ..catalog.entries import Part, Task
from .installing import UNPACKED_SHARE, address_of
from .places import find_part, models_folder


@dataclass(frozen=True)
class PendingDownload:
    """Networks that are not on this computer, and what it takes to bring them.

    Attributes:
        parts: The networks.
        size_bytes: Of their zips; None where one is not known.
        here_bytes: Of those, what an earlier download that was stopped, or the user by hand, brought already.
        hosts: Servers that they come from.
        folder: Where to.
        disk_bytes: What the disk needs for a while, with the zips and what comes out of them; None where not known.
        free_bytes: What the disk has; None where not known.
    """

    parts: tuple[Part, ...]
    size_bytes: int | None
    here_bytes: int
    hosts: tuple[str, ...]
    folder: Path
    disk_bytes: int | None
    free_bytes: int | None

    @property
    def fits(self) -> bool:
        """Whether the disk has room, as far as is known."""
        return None in (self.disk_bytes, self.free_bytes) or self.disk_bytes <= self.free_bytes


def pending_download(
    task: Task, structures: Collection[str] | None = None, crop: bool = False
) -> PendingDownload | None:
    """What a run of a task would download first.

    Args:
        structures: That are wanted; None: all.
        crop: Whether a fast network is to find their box. For tasks that are made for a box, one always is.

    Returns:
        None where everything is here.

    Raises:
        DownloadError: A network has no address.
    """
    if task.path is not None:
        return None
    needed = task.parts_with(structures)
    if task.crop_task and (crop or task.crop_structures):
        needed = [*needed, *catalog.task(task.crop_task).parts]
    missing = [part for part in needed if not find_part(part)]
    if not missing:
        return None
    folder = models_folder()
    sizes, here_bytes = [part.size_bytes for part in missing], sum(_here_bytes(part, folder) for part in missing)
    size = None if None in sizes else sum(sizes)
    hosts = dict.fromkeys(urllib.parse.urlsplit(address_of(part)).hostname or "" for part in missing)
    # One zip at a time lies beside what has been unpacked.
    disk = None if size is None else int(UNPACKED_SHARE * size) + max(max(sizes) - here_bytes, 0)
    return PendingDownload(tuple(missing), size, here_bytes, tuple(hosts), folder, disk, _free_bytes(folder))


def _here_bytes(part: Part, folder: Path) -> int:
    zips = (
        folder / f"{part.dataset}.zip",
        *(folder / "downloads" / f"{part.dataset}.zip{end}" for end in ("", ".part")),
    )
    return max((path.stat().st_size for path in zips if os.path.isfile(path)), default=0)


def _free_bytes(folder: Path) -> int | None:
    while not os.path.exists(folder) and folder.parent != folder:
        folder = folder.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None
