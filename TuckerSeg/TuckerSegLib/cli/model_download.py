"""Downloads a named model that a sub-command needs, and shows how far it is."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from .. import catalog
from .. import model_zoo as installed_models
from .terminal import JsonReporter, TerminalReporter


def bring(name: str, options: argparse.Namespace) -> None:
    """Download a task of the catalog that is not on this computer, and say so first; leave other models alone."""
    task = catalog.task(name)
    if task is None or installed_models.is_installed(task):
        return
    from ..model_zoo.installing import ensure_installed

    with _reporter(options) as reporter:
        ensure_installed(task, monitor=options.monitor.through(reporter))


@contextlib.contextmanager
def _reporter(options: argparse.Namespace) -> Iterator[JsonReporter | TerminalReporter]:
    """What shows progress: as JSON lines only where events were asked for."""
    events = getattr(options, "json", False) and options.command in ("segment", "compare", "models")
    reporter = JsonReporter() if events else TerminalReporter()
    try:
        yield reporter
    finally:
        reporter.close()
