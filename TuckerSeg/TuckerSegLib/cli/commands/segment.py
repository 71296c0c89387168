"""``tuckerseg segment``: an image to a label file and statistics."""

from __future__ import annotations

import argparse
import json

from ...jobs.run import run_job
from ...records.serialization import to_json
from ...records.statistics import as_table, structure_table
from ...text_files import check_writable, write_text
from ..jobs_from_options import job_of
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
