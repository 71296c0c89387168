"""One table of a cohort: a row per case, with what its run took and the volume of every structure."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..catalog import structures
from ..files.atomic_writes import written_whole
from ..text_files import csv_text, write_text
from .case_record import CaseRecord

CSV_NAME, PARQUET_NAME = "cohort.csv", "cohort.parquet"
VOLUME_ENDING = " ml"


def table_of(records: Sequence[CaseRecord]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: facts of the case, of its run, and volumes in ml of all structures that any case has.

    A structure that was not found has no volume; one that the border cuts is named in ``cut by the border``.
    """
    names = _structure_names(records)
    columns = [*FACTS, *(name + VOLUME_ENDING for name in names)]
    return columns, [[*_facts(record), *_volumes(record, names)] for record in records]


def write_tables(folder: str | os.PathLike, records: Sequence[CaseRecord]) -> list[Path]:
    """Write the table as CSV, and as Parquet where pyarrow is here.

    Returns:
        The files.

    Raises:
        OutputError: One cannot be written.
    """
    columns, rows = table_of(records)
    csv_path = Path(folder, CSV_NAME)
    write_text(csv_path, csv_text([columns, *rows]))
    if importlib.util.find_spec("pyarrow") is None:
        return [csv_path]
    import pyarrow
    from pyarrow import parquet

    parquet_path = Path(folder, PARQUET_NAME)
    columns_of_values = [list(values) for values in zip(*rows)] if rows else [[] for _ in columns]
    types = [TYPES_OF_FACTS.get(column, float) for column in columns]
    arrays = [
        pyarrow.array(values, {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}[kind])
        for values, kind in zip(columns_of_values, types)
    ]
    with written_whole(parquet_path) as beside:
        parquet.write_table(pyarrow.table(arrays, names=columns), str(beside))
    return [csv_path, parquet_path]


TYPES_OF_FACTS = {
    "case": str,
    "state": str,
    "message": str,
    "image": str,
    "series": str,
    "files": str,
    "model": str,
    "compression": str,
    "device": str,
    "precision": str,
    "shape Z Y X": str,
    "spacing mm Z Y X": str,
    "seconds": float,
    "network seconds": float,
    "peak memory GB": float,
    "patches": int,
    "GFLOPs": float,
    "structures": int,
    "body parts": str,
    "warnings": str,
    "cut by the border": str,
}
FACTS = tuple(TYPES_OF_FACTS)


def _facts(record: CaseRecord) -> list[Any]:
    facts = {
        "case": record.name,
        "state": record.state,
        "message": record.message,
        "image": "; ".join(record.images),
        "series": record.series or "",
        "files": "; ".join(output.name for output in record.outputs),
        "seconds": float(record.seconds),
    }
    run = record.statistics
    if run is not None:
        quality = run.quality
        facts |= {
            "model": run.model,
            "compression": run.compression,
            "device": run.device_name,
            "precision": run.precision,
            "shape Z Y X": " x ".join(map(str, run.volume_shape)),
            "spacing mm Z Y X": " x ".join(f"{value:g}" for value in run.volume_spacing_mm),
            "network seconds": float(run.seconds.get("network", 0.0)),
            "peak memory GB": run.peak_memory_bytes / 1e9,
            "patches": run.patches,
            "GFLOPs": run.macs_per_volume * 2e-9,
            "structures": len(run.structures),
            "body parts": ", ".join(part.name for part in quality.body_parts) if quality else "",
            "warnings": " ".join(quality.warnings) if quality else "",
            "cut by the border": ", ".join(quality.partial) if quality else "",
        }
    return [facts.get(name) for name in FACTS]


def _structure_names(records: Sequence[CaseRecord]) -> list[str]:
    """Of all cases, in the order of the catalog's groups and then as they come."""
    names: dict[str, None] = {}
    for record in records:
        for structure in sorted(record.statistics.structures if record.statistics else (), key=lambda each: each.value):
            names.setdefault(structure.name)
    return [name for members in structures.groups(names).values() for name in members]


def _volumes(record: CaseRecord, names: Sequence[str]) -> list[float | None]:
    present = record.statistics.structures if record.statistics else ()
    volume_of = {structure.name: float(structure.volume_ml) for structure in present}
    return [volume_of.get(name) for name in names]
