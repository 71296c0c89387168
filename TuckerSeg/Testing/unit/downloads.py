"""A file that is downloaded, and what is in a folder."""

from __future__ import annotations

import hashlib
import random

from TuckerSegLib.download import Patience

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02)


def names(folder):
    return sorted(path.name for path in folder.iterdir())
