"""Compiled networks on disk: one file per entry, written beside and renamed, checked before it is used.

An entry is a line of JSON (identity, size and SHA-256 of what follows) and the compiled bytes. It knows nothing of
what the bytes mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..files.atomic_writes import written_whole
from ..text_files import parse_json

_FORMAT = 1
_LONGEST_HEADER = 65536


def entry_path(folder: Path, identity: dict[str, str]) -> Path:
    """File of an entry; different identities have different files.

    Args:
        folder: Of one model's compiled forms.
        identity: All that a compiled form depends on, by name. ``form`` is the ending of the file, which is
            ``compiled`` where it is not said.
    """
    text = json.dumps(identity, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.{identity.get('form', 'compiled')}"


def read_entry(folder: Path, identity: dict[str, str], log: Callable[[str], None]) -> np.ndarray | None:
    """Read a compiled form.

    Args:
        folder, identity: As for :func:`entry_path`.
        log: Told in a sentence where the entry is damaged or cannot be read.

    Returns:
        Its bytes (uint8); None where there is no entry, or none that is sound.
    """
    path = entry_path(folder, identity)
    try:
        content = np.fromfile(path, np.uint8)  # a slice of it is no second copy of all weights
    except FileNotFoundError:
        return None
    except OSError as error:
        log(f"The compiled network {path} cannot be read ({error.strerror}); it is made again.")
        return None
    try:
        start = content[:_LONGEST_HEADER].tobytes()
        end = start.index(b"\n")
        header = parse_json(start[:end])
        body = content[end + 1 :]
        sound = (
            header["format"] == _FORMAT
            and header["identity"] == identity
            and header["size"] == len(body)
            and header["sha256"] == hashlib.sha256(body).hexdigest()
        )
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        log(f"The compiled network {path} is damaged, or another than its name says; it is made again.")
        return None
    return body


def note_of(path: Path) -> str | None:
    """What an entry's file says of itself for people; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            header = parse_json(file.readline(_LONGEST_HEADER))
        return str(header.get("note", ""))
    except (OSError, ValueError, AttributeError):
        return None


def write_entry(
    folder: Path, identity: dict[str, str], body: bytes, log: Callable[[str], None], note: str = ""
) -> None:
    """Keep a compiled form, for the next start to be faster.

    Args:
        folder, identity: As for :func:`entry_path`; the folder need not be there.
        body: The compiled form.
        log: Told in a sentence where the folder cannot be written, which is no error.
        note: The model that it belongs to, for users who list the cache.
    """
    checks = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    header = {"format": _FORMAT, "identity": identity, **checks, "note": note[:1000]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(entry_path(folder, identity), len(body)) as beside, beside.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(body)
    except (OSError, OutputError) as error:
        log(f"The compiled network was not kept in {folder} ({error}).")


def drop_entry(folder: Path, identity: dict[str, str]) -> None:
    """Remove an entry that turned out to be unusable; arguments as for :func:`entry_path`. Never fails."""
    with contextlib.suppress(OSError):
        entry_path(folder, identity).unlink()
