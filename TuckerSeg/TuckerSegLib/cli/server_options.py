"""The server that the options name, which computes in place of this computer."""

from __future__ import annotations

import argparse

from ..records.server_address import address_of
from ..serving.remote_run import RemoteRuns
from ..serving.wire import read_token


def runs_on_server(options: argparse.Namespace) -> RemoteRuns:
    """What runs jobs there.

    Raises:
        ServerError: The address is none, or the token's file cannot be read.
    """
    token = read_token(options.token_file) if options.token_file else None
    return RemoteRuns(address_of(options.server), token)
