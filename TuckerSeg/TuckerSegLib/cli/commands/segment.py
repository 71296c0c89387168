"""``tuckerseg segment``: an image to files with labels and statistics; many images to a folder, see ``cohort_run``."""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import replace

from ...errors import SpecError
from ...jobs.run import run_job
from ...monitor import Monitor
from ...outputs import planned_outputs, type_of, written_paths
from ...outputs.extras import extra_paths
from ...records.job import Job, OutputFile
from ...records.serialization import to_json
from ...records.statistics import as_table, structure_table
from ...segmentation.segment import SegmentationResult
from ...text_files import check_writable, write_text
from ..jobs_from_options import job_of, output_types_of
from ..output import say
from ..terminal import JsonReporter, TerminalReporter

SHOWN_STRUCTURES = 15
FILE_ENDING = re.compile(r"\.[A-Za-z]\w{1,4}$")
OF_COHORTS = ("all_series", "dry_run", "again", "watch", "cluster", "workers", "memory_limit")


def segment(options: argparse.Namespace) -> None:
    """``tuckerseg segment IN OUT``."""
    if options.token_file and not options.server:
        raise SpecError("--token-file belongs to --server.")
    if _is_cohort(options):
        from ..cohort_run import segment_cohort

        segment_cohort(options)
        return
    _refuse_cohort_options(options)
    outputs = planned_outputs(options.output, output_types_of(options), options.split)
    job = replace(job_of(options), outputs=outputs)
    if options.stats:
        check_writable(options.stats)
    reporter = JsonReporter() if options.json else TerminalReporter()
    try:
        result = _run(options, job, options.monitor.through(reporter))
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
        say(*(f"Written: {words}" for words in [*map(_written, outputs), *extra_paths(job)]))


def _run(options: argparse.Namespace, job: Job, monitor: Monitor) -> SegmentationResult:
    """The job here, or on the server that is named."""
    if not options.server:
        return run_job(job, monitor=monitor)
    from ..server_options import runs_on_server

    return runs_on_server(options).run(job, monitor)


def _is_cohort(options: argparse.Namespace) -> bool:
    """Whether there may be many images, whose results go to a folder: one of DICOM slices to a file is one image.

    Raises:
        SpecError: Many images are to go to one file.
    """
    from ...cohort.cases import is_cohort_file

    names_file = type_of(options.output) is not None and not os.path.isdir(options.output)
    if is_cohort_file(options.images) or options.all_series:
        if names_file:
            raise SpecError(f"Many images are written to a folder; {options.output} names a file.")
        return True
    if names_file or not os.path.isdir(options.images):
        return False
    # What looks like the ending of a file that cannot be written is no folder that somebody wants
    return os.path.isdir(options.output) or not FILE_ENDING.search(options.output)


def _refuse_cohort_options(options: argparse.Namespace) -> None:
    for name in OF_COHORTS:
        if getattr(options, name):
            raise SpecError(f"--{name.replace('_', '-')} is for many images: name a folder for the results.")


def _written(output: OutputFile) -> str:
    """What a run has written, in words."""
    if not output.split:
        return output.path
    paths = written_paths([output])
    return f"{len(paths)} files in {paths[0].parent}" if paths else "nothing"
