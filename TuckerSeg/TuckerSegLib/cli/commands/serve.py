"""``tuckerseg serve``: computes for applications on other computers, or for several on this one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from ...errors import SpecError
from ...serving.server import GIGABYTE, Server, ServerSettings
from ...serving.wire import read_token
from ..output import say, tell


def serve(options: argparse.Namespace) -> None:
    """``tuckerseg serve --port PORT``."""
    if not 0 <= options.port < 65536:
        raise SpecError(f"A port is a number from 0 to 65535; found {options.port}.")
    if not 0 < options.clients <= 1000:
        raise SpecError(f"--clients should be from 1 to 1000; found {options.clients}.")
    if not 0 < options.most_gb <= options.most_gb_in_all:
        raise SpecError("--most-gb should be above 0, and --most-gb-in-all not below it.")
    settings = ServerSettings(
        host=options.host,
        port=options.port,
        token=read_token(options.token_file) if options.token_file else None,
        most_clients=options.clients,
        most_per_client=int(options.most_gb * GIGABYTE),
        most_in_all=int(options.most_gb_in_all * GIGABYTE),
        folder=Path(options.folder) if options.folder else None,
    )
    asyncio.run(_serve(settings))


async def _serve(settings: ServerSettings) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # on Windows, the interrupt ends it as it is
            loop.add_signal_handler(number, stopped.set)
    whom = "clients with the token" if settings.token else "everybody on this computer"
    await Server(settings, tell).run(lambda port: say(f"Serving {whom} at {settings.host}:{port}."), stopped)
    say("Stopped.")
