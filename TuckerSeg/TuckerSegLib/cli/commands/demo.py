"""``tuckerseg demo``: the built-in volume through the original and the compressed network, with a picture.

Shows what a rank costs and what it saves, measured there and then.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from ... import catalog, image
from ...analysis.overlays import draw_overlays
from ...cache import Cache
from ...evaluation.dice import mean_dice
from ...jobs.run import run_job
from ...records.job import InferenceSpec, Job, steps_at
from ...records.serialization import to_json
from ...records.statistics import as_table
from ...segmentation.segment import SegmentationResult
from ...text_files import make_folder, write_text
from ..output import say
from ..terminal import TerminalReporter

RANK_RATIO = 0.85  # the lowest rank at which this small network's picture is still right; see the table it prints
FURTHER_RANK_RATIOS = (0.7, 0.5)


@dataclass(frozen=True)
class DemoRow:
    """One line of the demonstration's table."""

    rank_ratio: float
    result: SegmentationResult
    agreement: float


def demo(options: argparse.Namespace) -> None:
    """``tuckerseg demo --out DIR``."""
    run_demo(Path(options.out), options.rank)


def run_demo(folder: Path, rank_ratio: float | None = None) -> list[DemoRow]:
    """Segment the built-in volume at several ranks and write results to ``folder``.

    Writes ``segmentation.seg.nrrd`` (compressed network), ``original.seg.nrrd``, ``overlays.png`` and
    ``statistics.json``.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    make_folder(folder)
    chosen = RANK_RATIO if rank_ratio is None else rank_ratio
    ratios = [1.0, chosen, *(ratio for ratio in FURTHER_RANK_RATIOS if ratio < chosen)]
    files = {1.0: folder / "original.seg.nrrd", chosen: folder / "segmentation.seg.nrrd"}
    rows: list[DemoRow] = []
    for ratio in ratios:
        result = _run(ratio, files.get(ratio))
        original = rows[0].result if rows else result
        rows.append(DemoRow(ratio, result, mean_dice(result.labels, original.labels)))
    _report(rows, folder)
    return rows


def _run(rank_ratio: float, output: Path | None) -> SegmentationResult:
    reporter = TerminalReporter()
    job = Job(
        images=(str(catalog.DEMO_VOLUME),),
        output=str(output) if output else None,
        model="demo",
        steps=steps_at(rank_ratio),
        inference=InferenceSpec(),
    )
    try:
        return run_job(job, reporter, cache=Cache())
    finally:
        reporter.close()


def _report(rows: list[DemoRow], folder: Path) -> None:
    original, chosen = rows[0], rows[1]
    say(*as_table(chosen.result.statistics).split("\n"))
    say("")
    say(f"{'rank':>6}{'M parameters':>15}{'GFLOPs':>10}{'network s':>11}{'total s':>9}{'agreement':>11}")
    for row in rows:
        statistics = row.result.statistics
        say(
            f"{row.rank_ratio:6.2f}{statistics.parameters / 1e6:15.3f}{statistics.macs_per_volume * 2e-9:10.1f}"
            f"{statistics.seconds['network']:11.2f}{statistics.seconds['total']:9.2f}{row.agreement:11.3f}"
        )
    say("agreement: mean Dice against the original network, structures of 20 voxels or more")
    documents = [
        {"rank_ratio": row.rank_ratio, "agreement": row.agreement, "statistics": to_json(row.result.statistics)}
        for row in rows
    ]
    write_text(folder / "statistics.json", json.dumps(documents, indent=1))
    written = [folder / name for name in ("segmentation.seg.nrrd", "original.seg.nrrd", "statistics.json")]
    try:
        picture = draw_overlays(
            image.read_image(str(catalog.DEMO_VOLUME)),
            {"original network": original.result.labels, f"rank {chosen.rank_ratio:.2f}": chosen.result.labels},
            original.result.label_names,
            folder / "overlays.png",
        )
        written.append(picture)
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
    say("Written: " + ", ".join(str(path) for path in written))
