"""What a server's answer says: lengths, ranges, pauses and refusals. Nothing in it is believed to be well formed."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
from collections.abc import Mapping

from ..errors import DownloadError
from ..printable import excerpt

PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # of a server that may do better in a moment
_SIZE = "([0-9]{1,18})"


def length_of(headers: Mapping[str, str]) -> int | None:
    """``Content-Length``; None where it is missing, is no number, or says nothing, as beside chunks."""
    if headers.get("Transfer-Encoding"):
        return None
    match = re.fullmatch(_SIZE, headers.get("Content-Length", "").strip())
    return int(match[1]) if match else None


def range_of(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """First byte of what comes, and bytes of the whole file, as ``Content-Range`` has them; None where it does not."""
    match = re.fullmatch(f"bytes {_SIZE}-{_SIZE}/{_SIZE}", headers.get("Content-Range", "").strip())
    if not match:
        return None
    first, last, total = map(int, match.groups())
    return (first, total) if first <= last < total else None


def pause_asked(error: urllib.error.HTTPError) -> float:
    """``Retry-After`` in seconds; 0 where there is none."""
    match = re.fullmatch(_SIZE, (error.headers.get("Retry-After", "") if error.headers else "").strip())
    return float(match[1]) if match else 0.0


def passing_status(error: urllib.error.HTTPError, url: str) -> str:
    """A status that may be another one in a moment, in words.

    Raises:
        DownloadError: It will stay.
    """
    if error.code in (*PASSING_STATUSES, 416):
        return f"HTTP status {error.code}"
    hint = " The proxy asks for a name and password: set HTTPS_PROXY." if error.code == 407 else ""
    reason = excerpt(error.reason, 200)
    raise DownloadError(f"{url}: the server answered with HTTP status {error.code} ({reason}).{hint}") from error


def reason_of(error: OSError | http.client.HTTPException, url: str) -> str:
    """A failure that may be none in a moment, in words.

    Raises:
        DownloadError: It will stay.
    """
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise DownloadError(
            f"{url}: the server's certificate cannot be verified ({cause.verify_message}). A proxy that inspects "
            "connections has its own: name its certificate file by SSL_CERT_FILE. Or the computer's clock is wrong."
        ) from error
    return excerpt(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)
