"""Folders for files that pass between the application and the worker: images of patients are among them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import slicer

from ...errors import OutputError
from ...files.atomic_writes import output_error
from ...files.leftovers import HeldFolder

_held: dict[Path, HeldFolder] = {}


def make_workspace() -> Path:
    """A new folder in the application's temporary folder; those that ended sessions left there are removed.

    Raises:
        OutputError: It cannot be made, as on a full disk.
    """
    parent = Path(slicer.app.temporaryPath)
    with _as_output_error(parent / "TuckerSeg"):
        held = HeldFolder(parent)
        folder = held.path / "files"  # a worker that ends removes it, and not the lock beside it
        folder.mkdir()
    _held[folder] = held
    return folder


def keep_workspace(folder: Path) -> None:
    """Make a folder again if it is gone: a worker that ends removes it.

    Raises:
        OutputError: It cannot be made, as on a full disk.
    """
    with _as_output_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if folder in _held:
            _held[folder].renew()  # where somebody tidied up the temporary folder


def empty_workspace(folder: Path) -> None:
    """Remove all files of a folder, which stays this session's."""
    with contextlib.suppress(OSError, OutputError):
        keep_workspace(folder)
        for file in folder.iterdir():
            file.unlink()


def remove_workspace(folder: Path) -> None:
    """Remove a folder with all that it holds; it may be gone already."""
    if folder in _held:
        _held.pop(folder).release()


@contextlib.contextmanager
def _as_output_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(folder, error) from error
