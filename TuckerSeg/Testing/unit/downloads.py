"""A file that is downloaded, and what is in a folder."""

from __future__ import annotations

import hashlib
import random

from TuckerSegLib.download import Patience, fetch
from TuckerSegLib.monitor import Monitor

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def with_model(server):
    """A file server that has the file."""
    server.files["/model.zip"] = CONTENT
    return server


def fetching(server, folder):
    """A function that fetches the model into a folder."""

    def run(sha256=SHA256, path="/model.zip", progress=None, cancelled=None, **arguments):
        monitor = Monitor(progress and (lambda event: progress(event["done"], event["total"])), cancelled)
        return fetch(server.url + path, folder / "model.zip", sha256, monitor, patience=QUICK, **arguments)

    return run
