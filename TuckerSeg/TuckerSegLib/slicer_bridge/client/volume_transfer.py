"""Hands volumes over to the worker, piece by piece between the application's own events."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from ...errors import TuckerSegError
from ...records.protocol import VolumeFile
from ..scene.volumes import VolumeWriter, volume_file
from .delay import Delay
from .workspace import keep_workspace

PIECE_S = 0.03
ATTEMPTS = 3  # a worker that ends removes the files that are in its folder
KEPT_FILES = 2  # the one that runs, and the one that is asked for meanwhile


class VolumeTransfer:
    """One volume on its way to the worker's folder.

    Args:
        folder: The worker's folder.
        on_ready: Receives the file when it is whole; may be called before :meth:`start` returns.
        on_error: Receives what went wrong.
        on_progress: Receives the fraction that is written.
    """

    def __init__(
        self,
        folder: Path,
        on_ready: Callable[[VolumeFile], None],
        on_error: Callable[[TuckerSegError], None],
        on_progress: Callable[[float], None] = lambda fraction: None,
    ):
        self._folder = folder
        self._on_ready, self._on_error, self._on_progress = on_ready, on_error, on_progress
        self._writer: VolumeWriter | None = None
        self._file: VolumeFile | None = None
        self._volume_node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._attempts, self._repeated = 0, False
        self._next_piece = Delay(0, self._write)

    def start(self, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Begin; a volume that is there already is ready at once.

        Raises:
            ImageError: The node cannot be segmented.
        """
        self._volume_node = volume_node
        self._file = volume_file(volume_node, self._folder)
        if os.path.exists(self._file.path):
            self._on_ready(self._file)
            return
        self._remove_old_files()
        self._attempts = 0
        self._begin()

    def repeat(self) -> bool:
        """Hand the volume over again, to a new worker; False where that has been done before."""
        if self._repeated:
            return False
        self._repeated = True
        try:
            self.start(self._volume_node)
        except TuckerSegError as error:
            self._on_error(error)
        return True

    def _begin(self) -> None:
        self._attempts += 1
        self._writer = VolumeWriter(self._volume_node, self._file.path)
        self._next_piece.start()

    def stop(self) -> None:
        """Give up; nothing is called any more, and nothing half written stays."""
        self._next_piece.stop()
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _write(self) -> None:
        if self._writer is None:
            return
        try:
            done = self._writer.write_for(PIECE_S)
        except TuckerSegError as error:
            self._writer = None
            if isinstance(error.__cause__, FileNotFoundError) and self._attempts < ATTEMPTS:
                keep_workspace(self._folder)
                self._begin()
            else:
                self._on_error(error)
            return
        if not done:
            self._on_progress(self._writer.fraction)
            self._next_piece.start()
            return
        self._writer = None
        self._on_ready(self._file)

    def _remove_old_files(self) -> None:
        keep_workspace(self._folder)
        with contextlib.suppress(OSError):  # in use by the worker on Windows: removed with its folder
            files = sorted(self._folder.glob("volume-*.npy"), key=lambda file: file.stat().st_mtime)
            for file in files[: -(KEPT_FILES - 1)]:
                file.unlink()


def error_event(error: TuckerSegError, advice: str = "") -> dict[str, Any]:
    """An error on this side of the border, in the worker's words."""
    return {"event": "error", "kind": type(error).__name__, "message": str(error), "advice": advice}
