"""Volumes on their way to a server: room is promised before a byte is taken, and given back with the folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import DiskFullError, ServerError
from ..files.full_disk import free_bytes, room_words
from .checked_requests import Declared

SPARE_BYTES = 256 * 1024 * 1024  # of the disk, left for labels and for everybody else
MAGIC, HEADER_BYTES = b"\x93NUMPY\x01\x00", 128


class UploadRoom:
    """How much may lie in a server's folder.

    Args:
        folder: Where the jobs' folders are made.
        most_per_client: Bytes that one client may have there.
        most_in_all: Bytes that all clients may have there.
    """

    def __init__(self, folder: Path, most_per_client: int, most_in_all: int):
        self._folder = folder
        self._most_per_client, self._most_in_all = most_per_client, most_in_all
        self._taken: dict[object, int] = {}

    def take(self, client: object, size: int) -> None:
        """Promise room to a client.

        Raises:
            ServerError: More than it may have, or than all may have.
            DiskFullError: The disk has no room.
        """
        own, all_others = self._taken.get(client, 0), sum(self._taken.values())
        if own + size > self._most_per_client:
            raise ServerError(
                f"The volume has {_megabytes(size)}; this server takes {_megabytes(self._most_per_client)} of one "
                f"client at once{f', which has {_megabytes(own)} there' if own else ''}. Crop or resample the volume."
            )
        if all_others + size > self._most_in_all:
            raise ServerError(
                f"The server holds {_megabytes(all_others)} of at most {_megabytes(self._most_in_all)} already, and "
                f"{_megabytes(size)} more were asked for. Try again when other runs have ended."
            )
        free = free_bytes(self._folder)
        promised = sum(self._taken.values())  # as if none of it were written yet: it errs towards too little
        if free is not None and free < promised + size + SPARE_BYTES:
            words = room_words(Path("the server's folder"), promised + size + SPARE_BYTES)
            raise DiskFullError(f"The disk of the server is full: {words}. Whoever runs it has to make space.")
        self._taken[client] = own + size

    def give_back(self, client: object, size: int) -> None:
        """Room that is not needed any more."""
        self._taken[client] = self._taken.get(client, 0) - size
        if self._taken[client] <= 0:
            del self._taken[client]

    @property
    def taken_bytes(self) -> int:
        """Room that is promised now."""
        return sum(self._taken.values())


class Upload:
    """One volume that comes in pieces, in a folder of its own.

    Args:
        parent: Where the folder is made.
        declared: What was said of it.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, parent: Path, declared: Declared):
        self.declared = declared
        self.folder = Path(tempfile.mkdtemp(prefix="job-", dir=parent))
        self.file, self.labels = self.folder / "volume.npy", self.folder / "labels.npy"
        self._handle = self.file.open("wb")
        self._handle.write(_header(declared))
        self.missing_bytes = declared.size_bytes

    def add(self, piece: bytes) -> None:
        """Write what came.

        Raises:
            OSError: The disk is full.
        """
        self._handle.write(piece)
        self.missing_bytes -= len(piece)
        if not self.missing_bytes:
            self._handle.close()

    def remove(self) -> None:
        """Remove the folder with all that it holds."""
        self._handle.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _header(declared: Declared) -> bytes:
    """The beginning of a .npy file, format 1.0."""
    kind = {"i": "i", "u": "u", "f": "f"}[declared.dtype[0]] + str(int(declared.dtype.lstrip("uintfloa")) // 8)
    order = "|" if kind.endswith("1") else "<"
    text = f"{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': {declared.shape}, }}"
    text = text.ljust(HEADER_BYTES - len(MAGIC) - 3) + "\n"
    return MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
