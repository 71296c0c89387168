"""``tuckerseg summarize``: a page, a contact sheet and tables of what a cohort gave. No network is run."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...cohort.case_record import DONE, is_removed, records_in
from ...cohort.contact_sheet import draw_contact_sheet
from ...cohort.pictures import picture_of
from ...cohort.report import write_report
from ...cohort.summary import Spread, Summary
from ...cohort.summary import summarize as summary_of
from ...cohort.table import write_tables
from ...errors import ImageError, SpecError
from ...monitor import Monitor
from ...text_files import csv_text, write_text
from ..output import say, show_json
from ..terminal import TerminalReporter

PAGE, SHEET, SPREADS = "report.html", "contact_sheet.png", "structures.csv"
SHOWN_CASES = 10
SPREAD_COLUMNS = (
    "structure", "title", "group", "cases", "cut by the border", "outliers",
    "minimum ml", "lower quartile ml", "median ml", "upper quartile ml", "maximum ml",
)  # fmt: skip


def summarize(options: argparse.Namespace) -> None:
    """``tuckerseg summarize OUT``.

    Raises:
        ImageError: There are no results.
        OutputError: A file cannot be written.
    """
    folder = Path(options.folder).absolute()
    if options.pictures < 0:
        raise SpecError(f"--pictures should be 0 or more; found {options.pictures}.")
    if not os.path.isdir(folder):
        raise ImageError(f"{folder}: there is no such folder. Check the path.")
    all_records = records_in(folder)
    records = [record for record in all_records if not is_removed(record)]
    if not records:
        raise ImageError(f"{folder}: holds no results of many images (*.record.json). Give the OUT of such a run.")
    removed = [record.name for record in all_records if is_removed(record)]
    summary = summary_of(records)
    reporter = TerminalReporter()
    try:
        pictures = _pictures(summary, folder, options.pictures, options.monitor.through(reporter))
    finally:
        reporter.close()
    written = [
        *write_tables(folder, records),
        folder / SPREADS,
        write_report(folder / PAGE, summary, pictures, options.title or folder.name),
    ]
    write_text(folder / SPREADS, csv_text([SPREAD_COLUMNS, *map(_row, summary.spreads)]))
    if pictures:
        flagged = [each.case for each in summary.notable]
        try:
            written.append(draw_contact_sheet(pictures, flagged, folder / SHEET))
        except ModuleNotFoundError:
            say("matplotlib is not installed, so no contact sheet was drawn: pip install matplotlib")
    if options.json:
        show_json({"notable": [asdict(each) for each in summary.notable],
                   "structures": [asdict(each) for each in summary.spreads], "removed": removed})  # fmt: skip
        return
    _tell(summary)
    if removed:
        names = ", ".join(removed[:SHOWN_CASES]) + (", ..." if len(removed) > SHOWN_CASES else "")
        say(f"Left out, as they failed and their images were taken away since: {names}.")
    say(*(f"Written: {path}" for path in written))


def _pictures(summary: Summary, folder: Path, most: int, monitor: Monitor) -> dict[str, np.ndarray]:
    """Pictures in the order of the records; of more than there may be, those of notable cases go first."""
    first = {each.case for each in summary.notable}
    done = [record for record in summary.records if record.state == DONE]
    chosen = sorted(done, key=lambda record: record.name not in first)[:most]
    pictures = {}
    with monitor.stage("pictures") as stage:
        for number, record in enumerate(chosen):
            stage.check("The summary")
            picture = picture_of(folder, record)
            if picture is not None:
                pictures[record.name] = picture
            stage.progress(number + 1, len(chosen))
    return {record.name: pictures[record.name] for record in done if record.name in pictures}


def _row(spread: Spread) -> list[object]:
    volumes = spread.volumes
    counts = len(volumes), sum(each.cut for each in volumes), sum(each.outlier for each in volumes)
    numbers = spread.least_ml, spread.lower_ml, spread.median_ml, spread.upper_ml, spread.most_ml
    return [spread.name, spread.title, spread.group, *counts, *numbers]


def _tell(summary: Summary) -> None:
    done = sum(record.state == DONE for record in summary.records)
    say(f"{len(summary.records)} cases, {done} done; {len(summary.notable)} to look at:")
    for each in summary.notable[:SHOWN_CASES]:
        more = f" (and {len(each.reasons) - 1} more)" if len(each.reasons) > 1 else ""
        say(f"  {each.case}: {each.reasons[0]}{more}")
    if len(summary.notable) > SHOWN_CASES:
        say(f"  and {len(summary.notable) - SHOWN_CASES} more, on the page")
