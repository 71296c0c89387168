"""Measurements as a table for people and as one line of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .peers import NNUNET, TOTALSEGMENTATOR, Outcome

PEERS = (TOTALSEGMENTATOR, NNUNET)
# Word in the table and the JSON, figure of an outcome, width of its ratio's column.
FIGURES = (
    ("process", "wall_s", 10),
    ("predict", "predict_s", 9),
    ("memory", "peak_memory_bytes", 8),
    ("largest", "largest_process_bytes", 9),
)
# In the JSON only: what hardly depends on what else the machine does.
FIGURES_TOLD = (*FIGURES, ("processor", "processor_s", 0))
_RATIO_HEADER = "".join(f"{word:>{width}}" for word, _, width in FIGURES)
HEADER = (
    f"{'':38}{'process, s':>20}{'prediction, s':>22}{'memory, GB':>12}{'largest':>9}"
    f"{_RATIO_HEADER}{_RATIO_HEADER}{'labels':>9}{'labels':>9}"
)
GROUPS = f"{'':101}{'x less than TotalSegmentator':>36}{'x less than nnU-Net':>36}{'= Total.':>9}{'= nnU-N.':>9}"


@dataclass(frozen=True)
class Row:
    """All runs of one contestant on one volume.

    Attributes:
        outcomes: One per round; empty where it failed.
        failure: Why it has no outcomes.
        agreement: Fraction of voxels with the label of each peer, by the peer's name.
    """

    name: str
    title: str
    outcomes: tuple[Outcome, ...]
    failure: str | None
    agreement: dict[str, float]

    def median(self, figure: str) -> float:
        """Median of ``wall_s``, ``predict_s`` or a memory figure over the rounds."""
        return statistics.median(getattr(outcome, figure) for outcome in self.outcomes)


@dataclass(frozen=True)
class VolumeResult:
    """One volume: path, shape and spacing in (Z, Y, X), and everybody's runs."""

    volume: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """A contestant's runs; None where there are none."""
        return next((row for row in self.rows if row.name == name and row.outcomes), None)


def as_text(results: Sequence[VolumeResult]) -> str:
    """The table: medians, the range over the rounds in brackets, ratios of medians."""
    lines: list[str] = []
    for result in results:
        size = " x ".join(str(n) for n in result.shape)
        spacing = " x ".join(f"{mm:g}" for mm in result.spacing_mm)
        lines += ["", f"{result.volume}: {size} voxels of {spacing} mm (Z Y X)", GROUPS, HEADER]
        lines += [_line(row, result) for row in result.rows]
    return "\n".join(lines[1:])


def as_json(results: Sequence[VolumeResult], facts: dict[str, Any]) -> str:
    """Everything on a single line: ``facts`` (machine, versions), then per volume every run, median and ratio."""
    volumes = [
        {
            "volume": result.volume,
            "shape": list(result.shape),
            "spacing_mm": list(result.spacing_mm),
            "contestants": {row.name: _row_document(row, result) for row in result.rows},
        }
        for result in results
    ]
    return json.dumps({"benchmark": "tuckerseg", "version": 1, **facts, "volumes": volumes}, allow_nan=False)


def ratios(row: Row, peer: Row | None) -> dict[str, float] | None:
    """How many times less than the peer, for each of ``FIGURES_TOLD``; None without either's runs."""
    if peer is None or not row.outcomes:
        return None
    medians = {word: (peer.median(figure), row.median(figure)) for word, figure, _ in FIGURES_TOLD}
    return {word: theirs / own for word, (theirs, own) in medians.items() if theirs and own}


def _line(row: Row, result: VolumeResult) -> str:
    if not row.outcomes:
        return f"{row.title:38}  failed: {(row.failure or 'it has not run').splitlines()[-1].strip()}"
    warm = row.name.endswith("_warm")  # its process segments twice, so that its whole time compares with nothing
    seconds = f"{'':20}" if warm else _range(row, "wall_s", 20)
    memory = f"{row.median('peak_memory_bytes') / 1e9:12.2f}{row.median('largest_process_bytes') / 1e9:9.2f}"
    cells = [f"{row.title:38}", seconds, _range(row, "predict_s", 22), memory]
    for peer in PEERS:
        ratio_of = ratios(row, result.row(peer)) or {}
        if warm:
            ratio_of.pop("process", None)
        for word, _, width in FIGURES:
            cells.append(f"{ratio_of[word]:{width}.2f}" if word in ratio_of else f"{'-':>{width}}")
    for peer in PEERS:
        equal = row.agreement.get(peer)
        cells.append(f"{'-':>9}" if equal is None else f"{equal:9.2%}")
    return "".join(cells)


def _range(row: Row, figure: str, width: int) -> str:
    values = [getattr(outcome, figure) for outcome in row.outcomes]
    spread = f" ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.2f}{spread}".rjust(width)


def _row_document(row: Row, result: VolumeResult) -> dict[str, Any]:
    if not row.outcomes:
        return {"title": row.title, "failure": row.failure}
    return {
        "title": row.title,
        "process_s": [round(outcome.wall_s, 3) for outcome in row.outcomes],
        "predict_s": [round(outcome.predict_s, 3) for outcome in row.outcomes],
        "peak_memory_bytes": [outcome.peak_memory_bytes for outcome in row.outcomes],
        "largest_process_bytes": [outcome.largest_process_bytes for outcome in row.outcomes],
        "processor_s": [round(outcome.processor_s, 3) for outcome in row.outcomes],
        "median": {figure: row.median(figure) for _, figure, _ in FIGURES_TOLD},
        "times_less_than": {peer: ratios(row, result.row(peer)) for peer in PEERS if result.row(peer)},
        "equal_labels": row.agreement,
    }
