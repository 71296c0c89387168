"""A cohort as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..catalog.resources import RESOURCES
from ..text_files import write_text
from .case_record import DONE, CaseRecord
from .pictures import data_url
from .summary import Summary

TEMPLATE = RESOURCES / "Report" / "report.html"
PARTS = {"STYLE": "report.css", "SCRIPT": "report.js"}


def write_report(path: str | os.PathLike, summary: Summary, pictures: Mapping[str, np.ndarray], title: str) -> Path:
    """Write the page.

    Args:
        path: The .html file.
        summary: Numbers of the cohort.
        pictures: Name of a case to its picture; cases without one are listed without.
        title: Of the page.

    Raises:
        OutputError: It cannot be written.
    """
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, file in PARTS.items():
        page = page.replace(f"<!--{name}-->", TEMPLATE.with_name(file).read_text(encoding="utf-8"))
    document = json.dumps(_document(summary, pictures), separators=(",", ":"))
    # Within a script, only "</" and "<!--" could end it or change how it is read
    page = page.replace("TITLE", html.escape(title)).replace("VERSION", html.escape(__version__))
    page = page.replace('"DATA"', document.replace("<", "\\u003c").replace("\u2028", "\\u2028"))
    write_text(path, page)
    return Path(path)


def _document(summary: Summary, pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    reasons = {each.case: list(each.reasons) for each in summary.notable}
    return {
        "cases": [_case(record, reasons.get(record.name, []), pictures) for record in summary.records],
        "notable": [each.case for each in summary.notable],
        "structures": [
            {
                "title": spread.title,
                "group": spread.group,
                "color": "#" + "".join(f"{round(255 * part):02x}" for part in spread.color),
                "quartiles": [spread.least_ml, spread.lower_ml, spread.median_ml, spread.upper_ml, spread.most_ml],
                "volumes": [[each.case, each.volume_ml, each.cut, each.outlier] for each in spread.volumes],
            }
            for spread in summary.spreads
        ],
    }


def _case(record: CaseRecord, reasons: list[str], pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    run = record.statistics
    facts = {
        "name": record.name,
        "done": record.state == DONE,
        "image": "; ".join(record.images),
        "seconds": record.seconds,
        "reasons": reasons,
        "files": [each.name for each in record.outputs],
        "picture": data_url(pictures[record.name]) if record.name in pictures else None,
    }
    if run is not None:
        facts |= {
            "structures": len(run.structures),
            "shape": " × ".join(map(str, run.volume_shape[::-1])),
            "spacing": " × ".join(f"{value:.3g}" for value in run.volume_spacing_mm[::-1]),
            "model": f"{run.model}, {run.compression}",
            "device": run.device_name,
            "parts": [part.name for part in run.quality.body_parts] if run.quality else [],
            "liters": sum(each.volume_ml for each in run.structures) / 1000,
        }
    return facts
