"""Names for files and folders that every system takes: Windows, macOS and Linux."""

from __future__ import annotations

import re
import unicodedata

from ..errors import OutputError

LONGEST_BYTES = 255
SHOWN = 80  # characters of a name that is refused
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)
_RESERVED = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


def fault_of_name(name: str) -> str | None:
    """Why one name, without folders, cannot be that of a file on every system, as a clause; None where it can."""
    if name in ("", ".", ".."):
        return "names no file"
    if match := _RESERVED.search(name):
        return f"has a character in it ({match[0]!r}) that Windows does not allow in a name"
    if name[-1] in ". ":
        return "ends in a dot or a space, which Windows drops"
    if _DEVICES.fullmatch(name.split(".")[0].rstrip(" ")):
        return f"is the name of a device on Windows ({name.split('.')[0].rstrip(' ').upper()})"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        return f"is longer than the {LONGEST_BYTES} bytes that a name may have"
    return None


def safe_name(name: str) -> str:
    """A name that came from a model or a file, as it is, for a file or a folder.

    Raises:
        OutputError: It cannot be that on every system.
    """
    if fault := fault_of_name(name):
        raise OutputError(f"{name[:SHOWN]!r} cannot be the name of a file or folder: it {fault}. Give it another name.")
    return name


def same_to_some(name: str) -> str:
    """What two names share that are one and the same on systems which ignore case or the spelling of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
