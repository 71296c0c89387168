"""What passes between a client and a server: lines of JSON as between application and worker, and bytes behind some.

The server greets with a ``challenge``; the client answers with its protocol's version and, where the server has a
token, with a digest of both, so that the token itself never passes. Then requests go up and events come down. A request
with a ``volume`` says its size; the event ``upload`` lets its bytes come, in pieces, each behind a line
``{"id": 3, "request": "upload", "bytes": 4194304}``. The labels of a ``result`` follow its line as bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

from ..errors import ServerError
from ..printable import excerpt, shown

SERVER_PROTOCOL = 1
MOST_REQUEST_BYTES = 64 * 1024  # of a client's line; one that names all structures of the largest task has five
PIECE_BYTES = 4 * 1024 * 1024
VOXEL_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")  # lowest byte first
LABEL_TYPES = ("uint8", "uint16")
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 1024  # characters


def read_token(path: str | os.PathLike) -> bytes:
    """The token in a file that its owner alone can read.

    Raises:
        ServerError: There is none, it is too short, or others can read it.
    """
    try:
        with Path(path).open("rb") as file:
            if os.name != "nt" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ServerError(
                    f"{path}: others can read the token. Take their right away, as by 'chmod 600', or make a new one."
                )
            token = file.read(LONGEST_TOKEN + 1).strip()
    except OSError as error:
        raise ServerError(f"{path}: the token cannot be read ({error.strerror}).") from error
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise ServerError(
            f"{path}: a token should have {SHORTEST_TOKEN} to {LONGEST_TOKEN} characters; found {len(token)}."
        )
    return token


def answer_to(challenge: str, token: bytes | None) -> str:
    """What a client answers to a challenge; empty where it has no token."""
    if token is None:
        return ""
    return hmac.new(token, b"tuckerseg serve\n" + challenge.encode(), hashlib.sha256).hexdigest()


def is_answer(answer: object, challenge: str, token: bytes | None) -> bool:
    """Whether a client has the token; compared in a time that does not tell how far it is right."""
    if token is None:
        return True
    given = answer.encode("utf-8", "replace") if isinstance(answer, str) else b""
    return hmac.compare_digest(given, answer_to(challenge, token).encode())


def version_words(version: object) -> str:
    """Why a client of another version is refused."""
    return (
        f"This server speaks version {SERVER_PROTOCOL} of its protocol; the client speaks "
        f"{excerpt(shown(version), 40)}. Use the same version of TuckerSeg on both computers."
    )
