"""``tuckerseg dicom``: the series of a folder, a zip or a file. No network is run, so torch is not imported."""

from __future__ import annotations

import argparse

from ...image.dicom import SeriesEntry, list_series
from ...records.serialization import to_json
from ..output import say, show_json


def dicom(options: argparse.Namespace) -> None:
    """``tuckerseg dicom FOLDER``."""
    listed, notes = list_series(options.path)
    if options.json:
        show_json([to_json(entry) for entry in listed])
        return
    rows = [TITLES, *map(_row, listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    say(*notes)
    if listed:
        say("--series NAME chooses one; without it the one with the star is read, or the first that suits the model.")


TITLES = ("", "series", "modality", "slices", "pixels", "spacing mm", "each mm", "kernel", "description")


def _row(entry: SeriesEntry) -> tuple[str, ...]:
    return (
        "*" if entry.chosen else " ",
        entry.name,
        entry.modality,
        str(entry.slices),
        f"{entry.columns}x{entry.rows}",
        " x ".join(f"{value:.3g}" for value in entry.pixel_spacing_mm[::-1]),
        "" if entry.slice_distance_mm is None else f"{entry.slice_distance_mm:.3g}",
        entry.kernel,
        entry.description,
    )
