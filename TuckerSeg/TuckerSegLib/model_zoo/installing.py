"""Brings the networks of a task to this computer: downloads, checks and unpacks what is missing.

A model appears in its place by one renaming, so it is whole or not there. Nothing is sent but the request for a file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..catalog.entries import Part, Task
from ..download import Fetched, Patience, WrongChecksum, check_address, fetch, sha256_of
from ..errors import DownloadError, ModelFolderError, OutputError
from ..files.atomic_writes import output_error, temporary_folder
from ..files.moves import NEW, move_all
from ..monitor import Monitor
from ..nnunet.folder import find_model_folder
from ..text_files import write_text
from .archives import unpack
from .checksums import known_sum, remember_sum
from .download_progress import DownloadProgress
from .locks import exclusive
from .places import NOTE_FILE, find_part, models_folder, refusal

UNPACKED_SHARE = 1.3  # of a zip of weights, with room to spare; the exact size is checked before unpacking


def ensure_installed(
    task: Task,
    parts: Sequence[Part] | None = None,
    monitor: Monitor | None = None,
    patience: Patience | None = None,
) -> list[Path]:
    """Download the networks of a task that are not on this computer.

    Args:
        parts: Those that are needed; None: all.
        monitor: Hears of each file's stages, and of the progress of ``download`` in bytes of all files together. Asked
            between chunks whether to stop: what came until then is kept, and the next call goes on from there.

    Returns:
        The folder of each part's configuration.

    Raises:
        DownloadError: It cannot be had, with the address and the folder to put the file into by hand.
        ModelFolderError: What came is not the model.
        Cancelled: The monitor said so.
    """
    parts, monitor = task.parts if parts is None else tuple(parts), monitor or Monitor()
    if reason := refusal(task):
        raise DownloadError(reason)
    missing = [part for part in parts if find_part(part) is None]
    if missing:
        monitor.log(_announcement(task, missing))
        progress = DownloadProgress(missing, monitor.on_event)
        for number, part in enumerate(missing):
            progress.begin(number)
            _install(part, monitor.through(progress), patience)
    return [_folder_of(part) for part in parts]


def address_of(part: Part) -> str:
    """Where a part's zip is: its own address, or the same file name under ``TUCKERSEG_DOWNLOAD_URL``.

    Raises:
        DownloadError: It has none, or none that may be asked.
    """
    if part.url is None:
        raise DownloadError(f"{part.dataset} cannot be downloaded: its address is not known.")
    if base := os.environ.get("TUCKERSEG_DOWNLOAD_URL"):
        address = f"{base.rstrip('/')}/{part.dataset}.zip"
        check_address(address)
        return address
    return part.url


def _announcement(task: Task, missing: Sequence[Part]) -> str:
    sizes = [part.size_bytes for part in missing]
    size = f"{sum(sizes) / 1e6:.0f} MB" if None not in sizes else "of unknown size"
    addresses = "".join(f"\n  {address_of(part)}" for part in missing)
    return f"{task.name} is not on this computer: downloading {size} into {models_folder()} from{addresses}"


def _folder_of(part: Part) -> Path:
    path = find_part(part)
    if path is None:  # removed meanwhile
        raise ModelFolderError(f"{part.dataset} was installed and is gone again; try once more.")
    return path


def _install(part: Part, monitor: Monitor, patience: Patience | None) -> None:
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{folder}, the folder of models, cannot be made ({error.strerror}). Make it possible to write there.",
            shell="Or name another by TUCKERSEG_MODELS_DIR.",
        ) from error
    waiting_for = f"Another process installs {part.dataset}; waiting for it."
    with exclusive(folder / "downloads" / f"{part.dataset}.lock", waiting_for, monitor):
        if find_part(part) is not None:
            return
        by_hand = folder / f"{part.dataset}.zip"
        if os.path.isfile(by_hand):
            _install_file(_checked(by_hand, part, monitor), part, monitor)
        else:
            _install_download(part, monitor, patience)


def _install_download(part: Part, monitor: Monitor, patience: Patience | None) -> None:
    for attempt in ("resumed", "anew"):
        fetched = _fetch(part, monitor, patience)
        try:
            _install_file(fetched, part, monitor)
            return
        except ModelFolderError as error:
            fetched.path.unlink(missing_ok=True)
            # Where no checksum is known, a part that a loss of power damaged shows only now.
            if attempt == "anew" or not fetched.resumed:
                raise ModelFolderError(f"{error} {_advice(part)}") from error


def _fetch(part: Part, monitor: Monitor, patience: Patience | None) -> Fetched:
    sha256, why = known_sum(part)
    target = models_folder() / "downloads" / f"{part.dataset}.zip"
    if os.path.isfile(target):  # from a run that ended while it was unpacked
        actual_sha256 = sha256_of(target, monitor)
        if sha256 in (None, actual_sha256):
            return Fetched(target, actual_sha256, resumed=True)
    monitor = monitor.begin("download")
    try:
        return fetch(address_of(part), target, sha256, monitor, _unpacked_bytes, patience, part.size_bytes)
    except WrongChecksum as error:
        raise DownloadError(f"{error} {why}") from error
    except DownloadError as error:
        raise DownloadError(f"{error} {_advice(part)}") from error


def _unpacked_bytes(size_bytes: int) -> int:
    """Of disk that a zip's content takes, about."""
    return int(UNPACKED_SHARE * size_bytes)


def _checked(by_hand: Path, part: Part, monitor: Monitor) -> Fetched:
    """A zip that the user put into the folder."""
    monitor.log(f"Taking {by_hand}")
    actual_sha256, (expected, why) = sha256_of(by_hand, monitor), known_sum(part)
    if expected not in (None, actual_sha256):
        raise DownloadError(f"{by_hand}: wrong checksum. Expected SHA-256 {expected}, found {actual_sha256}. {why}")
    return Fetched(by_hand, actual_sha256, resumed=False)


def _install_file(fetched: Fetched, part: Part, monitor: Monitor) -> None:
    """Unpack beside, check, rename; then the zip is not needed any more."""
    folder = models_folder()
    try:
        with temporary_folder(folder) as beside:
            monitor = monitor.begin("unpack")
            (beside / "content").mkdir()
            unpack(fetched.path, beside / "content", monitor)
            root = _dataset_folder(beside / "content", part)
            _check(root, part, fetched.path)
            _write_note(root, part, fetched.sha256)
            (beside / NEW).mkdir()
            os.replace(root, beside / NEW / part.dataset)
            move_all(beside, [part.dataset])  # what lies there, without all its files, gives way
        remember_sum(part, fetched.sha256)
    except OSError as error:
        raise DownloadError(str(output_error(folder / part.dataset, error))) from error
    except OutputError as error:
        raise DownloadError(str(error)) from error
    fetched.path.unlink(missing_ok=True)


def _dataset_folder(content: Path, part: Part) -> Path:
    """The folder that holds the configuration's folder: zips begin with the data set's, or with the configuration's."""
    for candidate in (content / part.dataset, content, *sorted(content.iterdir())):
        if os.path.isdir(candidate) and (part.configuration is None or os.path.isdir(candidate / part.configuration)):
            return candidate
    names = ", ".join(sorted(entry.name for entry in content.iterdir())) or "nothing"
    raise ModelFolderError(f"The zip of {part.dataset} should hold {part.configuration}; found {names}.")


def _check(root: Path, part: Part, source: Path) -> None:
    folder = root / part.configuration if part.configuration else root
    try:
        model_folder = find_model_folder(folder, part.folds)
        for name in ("plans.json", "dataset.json"):
            model_folder.read_json(name)
    except ModelFolderError as error:
        raise ModelFolderError(f"{source.name} does not hold the model: {error}") from error
    for name, expected in part.files:
        if sha256_of(folder / name) != expected:
            raise ModelFolderError(f"{source.name}: {name} has a wrong checksum.")


def _write_note(root: Path, part: Part, sha256: str) -> None:
    note: dict[str, Any] = {"url": part.url, "sha256": sha256, "installed_at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    write_text(root / NOTE_FILE, json.dumps(note, indent=1))


def _advice(part: Part) -> str:
    return (
        f"By hand: download {part.url} on any computer, put the file into {models_folder()} as {part.dataset}.zip, "
        "and try again; it is checked and unpacked from there."
    )
