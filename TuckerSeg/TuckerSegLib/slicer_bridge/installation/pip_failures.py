"""Why pip failed, in one sentence, and what to do: read from the last lines that it wrote.

Knows pip's words only (23 to 26); runs nothing.
"""

from __future__ import annotations

import itertools
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...files.full_disk import full_disk_words

TAIL_LINES = 60  # of what pip wrote: its reason is near the end, with a few notices behind it


@dataclass(frozen=True)
class PipFailure:
    """One failed installation.

    Attributes:
        kind: ``proxy``, ``certificate``, ``network``, ``disk``, ``path``, ``permission``, ``wheel``, ``build``,
            ``conflict`` or ``unknown``.
        wheel: Package that it failed at, where pip says which.
        message: What happened and what to do.
    """

    kind: str
    wheel: str | None
    message: str


# In the order of precedence. Each of them can end as "no matching distribution", because pip then got no list of
# versions at all; and a connection that failed once and then came about is in the text too.
_SIGNS = (
    ("wheel", r"\(from versions: (?!none)"),
    ("conflict", r"ResolutionImpossible|The conflict is caused by"),
    ("proxy", r"ProxyError|Cannot connect to proxy|407 Proxy"),
    ("certificate", r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError|UNEXPECTED_EOF"),
    ("disk", r"No space left on device|Errno 28\b|Errno 122\b|WinError 112\b|not enough space on the disk"),
    ("path", r"WinError 206\b|Errno 36\b|[Ff]ile ?name(?: or extension is)? too long|Windows Long Path"),
    ("permission", r"Permission denied|Errno 13\b|WinError 5\b|WinError 32\b|Access is denied|Read-only file system"),
    ("build", r"Failed building wheel"),
    (
        "network",
        r"NewConnectionError|Max retries exceeded|NameResolutionError|getaddrinfo failed|Failed to resolve|timed out"
        r"|ConnectionResetError|Connection broken|connection broken|RemoteDisconnected|IncompleteRead"
        r"|Network is unreachable|HTTP error \d+",
    ),
    ("build", r"Failed to build|subprocess-exited-with-error|metadata-generation-failed"),
    ("wheel", r"No matching distribution found|Could not find a version|is not a supported wheel"),
)

_WHEELS = (
    r"Failed building wheel for ([\w.-]+)",
    r"No matching distribution found for ([\w.-]+)",
    r"Could not find a version that satisfies the requirement ([\w.-]+)",
    r"Cannot install ([\w.-]+)",
    r"Cannot uninstall ([\w.-]+)",
    r"Failed to build '?([\w.-]+)",
    r"ERROR: ([\w.-]+?)-\d\S*\.whl is not a supported wheel",
)
# What pip was at, the last one counting: while it collects, and while it writes.
_COLLECTING = (r"(?:Downloading|Using cached|Processing) (?:\S*[/\\])?([\w.]+?)-\d", r"Collecting ([\w.-]+)")
_WRITING = (r"site-packages[/\\]+([A-Za-z]\w*)", r"Attempting uninstall: ([\w.-]+)")

_ADVICE = {
    "proxy": "The proxy server could not be reached or refused the connection. Set the environment variable "
    "HTTPS_PROXY to the address of your network's proxy and start Slicer again, or install from a folder of wheels.",
    "certificate": "The download server's certificate was not accepted, as happens behind a firewall that reads "
    "encrypted traffic. Set the environment variable PIP_CERT to your network's certificate file and start Slicer "
    "again, or install from a folder of wheels.",
    "network": "The download failed. Check the connection to the internet and install again, or install from a "
    "folder of wheels.",
    "disk": "Free some space and install again.",
    "path": "A file's path became longer than Windows allows. Enable long paths in Windows, or install Slicer in a "
    "short folder such as C:\\Slicer; then choose Install / Repair.",
    "permission": "A file could not be written: it is in use, or the folder is protected. Restart Slicer and install "
    "again before anything else; if that fails, install Slicer in a folder of your own.",
    "wheel": "No file of this package fits this Python and system.",
    "build": "This package would have to be compiled here, and that failed.",
    "conflict": "Two packages need different versions of a third. What Slicer ships is never changed, so they cannot "
    "be installed together. Use another Python, under Advanced.",
    "unknown": "pip failed; the log says why.",
}


def classify(lines: Sequence[str], offline: bool = False) -> PipFailure:
    """Find pip's reason.

    Args:
        lines: What it wrote, standard output and error together.
        offline: Installed from a folder of wheels.
    """
    tail = [line for line in lines[-TAIL_LINES:] if line.strip()]
    text = "\n".join(tail)
    kind = next((kind for kind, sign in _SIGNS if re.search(sign, text)), "unknown")
    wheel = _wheel(text)
    advice = _ADVICE[kind]
    if kind == "disk":
        words = full_disk_words(Path(sysconfig.get_paths()["purelib"]))
        advice = f"{words[0].upper()}{words[1:]}. {advice}"
    elif kind == "wheel":
        advice += " Add it to the folder of wheels." if offline else " Use another Python, under Advanced."
    where = f"{wheel} could not be installed. " if wheel else ""
    reason = _reason(tail) if kind in ("unknown", "conflict", "build", "wheel") else ""
    return PipFailure(kind, wheel, " ".join(filter(None, [where + advice, reason])))


def _wheel(text: str) -> str | None:
    for pattern in _WHEELS:
        if match := re.search(pattern, text):
            return match[1].rstrip(".,")
    for pattern in _WRITING if "Installing collected packages" in text else _COLLECTING:
        if match := re.findall(pattern, text):
            return match[-1]
    return None


def _reason(tail: Sequence[str]) -> str:
    """pip's own words: who disagrees with whom, or its last error line."""
    for index, line in enumerate(tail):
        if line.startswith("The conflict is caused by"):
            parties = itertools.takewhile(lambda text: text.startswith(" "), tail[index + 1 :])
            return "pip says: " + "; ".join(party.strip() for party in parties)
    errors = [line.strip() for line in tail if re.match(r"\s*(ERROR|error):", line)]
    return f"pip says: {errors[-1].partition(':')[2].strip()}" if errors else ""
