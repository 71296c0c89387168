"""Sub-commands that take an image through a network, or tell of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...jobs.run import run_job
from ...records.serialization import to_json
from ...records.statistics import as_table, structure_table
from ...text_files import check_writable, write_text
from .. import explore as exploring
from ..options import job_of, strengths_of
from ..output import say
from ..terminal import JsonReporter, TerminalReporter

SHOWN_STRUCTURES = 15


def segment(options: argparse.Namespace) -> None:
    """``tuckerseg segment IN OUT``."""
    job = job_of(options, options.output)
    if options.stats:
        check_writable(options.stats)
    reporter = JsonReporter() if options.json else TerminalReporter()
    try:
        result = run_job(job, monitor=options.monitor.through(reporter))
    finally:
        reporter.close()
    document = to_json(result.statistics)
    if options.stats:
        write_text(options.stats, json.dumps(document, indent=1))
    if options.json:
        reporter({"event": "result", "output": options.output, "statistics": document})
    else:
        say(*as_table(result.statistics).split("\n"))
        say(*structure_table(result.statistics, most=SHOWN_STRUCTURES).split("\n"))
        if len(result.statistics.structures) > SHOWN_STRUCTURES:
            say("--stats FILE lists all structures.")
        say(f"Written: {options.output}")


def plan(options: argparse.Namespace) -> None:
    """``tuckerseg plan IN``."""
    exploring.plan(job_of(options), options.measure, options.json, options.monitor)


def compare(options: argparse.Namespace) -> None:
    """``tuckerseg compare IN --ranks 0.85,0.7``."""
    folder = Path(options.out) if options.out else None
    strengths = strengths_of(options.ranks)
    exploring.compare(job_of(options, strength=strengths[0]), strengths, folder, options.json, options.monitor)
