"""``tuckerseg ratios``: what a compressed model takes in memory and on disk, and its time, against its original."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from ... import hardware
from ...analysis.storage_ratios import StorageRatio, storage_ratios, together
from ...errors import OutputError
from ...model_zoo import locate
from ...models.pack_file import read_pack, read_part
from ...text_files import as_csv, check_writable, write_text
from ..jobs_from_options import model_named, model_of
from ..output import say

MOST_CSV_BYTES = 64 * 1024 * 1024


def ratios(options: argparse.Namespace) -> None:
    """``tuckerseg ratios MODEL --csv FILE``: rows are appended to the file."""
    if options.csv is not None:
        check_writable(options.csv)
    with hardware.torch_threads(options.threads or hardware.default_threads()), hardware.freed_memory_kept():
        rows = _rows(options)
    say(f"{'layer':48}{'weights':>12}{'memory':>9}{'disk':>9}{'time':>8}   (original / compressed)")
    for row in rows:
        seconds = "" if row.time_ratio is None else f"{row.time_ratio:.2f}"
        say(f"{row.layer:48}{row.weights:12}{row.memory_ratio:9.3f}{row.disk_ratio:9.3f}{seconds:>8}")
    if options.csv is not None:
        _append(Path(options.csv), rows)
        say(f"Written: {options.csv}")


def _rows(options: argparse.Namespace) -> list[StorageRatio]:
    """The ratios of a model; of a file of several networks each one's, and of them all together."""
    path, _ = locate(model_named(options))
    is_file = path.suffix == ".tuckerseg" and os.path.isfile(path)
    pack = read_pack(path) if is_file else None
    if pack is None:
        return storage_ratios(model_of(options), path.stat().st_size if is_file else None, options.runs)
    rows, totals = [], []
    for number, part in enumerate(pack.parts):
        *layers, total = storage_ratios(read_part(path, number), None, options.runs)
        rows += [replace(row, layer=f"{part.name}: {row.layer}") for row in (*layers, total)]
        totals.append(total)
    return [*rows, together(pack.name, totals, path.stat().st_size)]


def _append(path: Path, rows: list[StorageRatio]) -> None:
    """Add rows to a table; a new one begins with the names of its columns."""
    text = as_csv(rows, StorageRatio)
    header, *lines = text.splitlines(keepends=True)
    if not os.path.exists(path):
        write_text(path, text)
        return
    if path.stat().st_size > MOST_CSV_BYTES:
        raise OutputError(f"{path} has more than {MOST_CSV_BYTES / 1e6:.0f} MB; name another file.")
    earlier = path.read_bytes().decode("utf-8", "replace")
    if earlier.splitlines()[:1] != [header.strip()]:
        raise OutputError(f"{path} is another table: its first line should be {header.strip()}. Name another file.")
    write_text(path, earlier + "".join(lines))
