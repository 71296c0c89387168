"""``tuckerseg worker``: computes for an application.

It tells of itself, and of what is missing, before anything large is imported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import SpecError
from ...worker import serve


def worker(options: argparse.Namespace) -> None:
    """``tuckerseg worker --workspace DIR``; with ``--server`` a computer elsewhere does the work."""
    if options.idle < 0:
        raise SpecError(f"The idle seconds should be 0 or more; found {options.idle:g}.")
    if options.server:
        from ...records.server_address import address_of
        from ...serving.relay import Relay

        Relay(Path(options.workspace), address_of(options.server), options.token_file).run()
        return
    serve(Path(options.workspace), options.idle)
