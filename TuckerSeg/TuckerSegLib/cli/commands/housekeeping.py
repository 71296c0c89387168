"""Sub-commands about the hardware, the cache, the demonstration and the benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from ... import hardware
from ...cache import Cache
from ...records.serialization import to_json
from ..output import say, show_json


def devices(options: argparse.Namespace) -> None:
    """``tuckerseg devices``."""
    found = hardware.devices()
    if options.json:
        show_json([to_json(device) for device in found])
        return
    for device in found:
        state = "usable  " if device.usable else "unusable"
        say(f"{device.id:14} {state} {device.name}")
        say(f"{'':14} {device.offers if device.usable else device.reason}")
    chosen, why = hardware.choose("auto", found)
    say(f"auto takes {chosen.id}: {why}")


def cache(options: argparse.Namespace) -> None:
    """``tuckerseg cache [list|clear|folder]``."""
    store = Cache()
    if options.action == "folder":
        say(str(store.folder))
        return
    if options.action == "clear":
        say(f"Freed {store.clear() / 1e6:.1f} MB in {store.folder}")
        return
    entries = store.entries()
    if options.json:
        show_json([{**to_json(entry), "path": str(entry.path)} for entry in entries])
        return
    for entry in entries:
        say(f"{entry.size_bytes / 1e6:9.1f} MB  {entry.kind:9} {entry.key}")
    total = sum(entry.size_bytes for entry in entries)
    say(f"{total / 1e6:9.1f} MB of {store.limit_bytes / 1e6:.0f} MB in {store.folder}")


def demo(options: argparse.Namespace) -> None:
    """``tuckerseg demo``."""
    from ..demo import run_demo

    run_demo(Path(options.out), options.rank)


def benchmark(options: argparse.Namespace) -> None:
    """``tuckerseg benchmark``."""
    from ...benchmark import BenchmarkSpec, run_benchmark

    spec = BenchmarkSpec(options.task, spacing_mm=None) if options.one_volume else BenchmarkSpec(options.task)
    run_benchmark(options.volume, Path(options.out), options.totalsegmentator_python, options.runs, spec)
