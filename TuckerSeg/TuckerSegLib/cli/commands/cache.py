"""``tuckerseg cache``: what is kept between runs, and how it is cleared."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ...cache import Cache, CacheEntry
from ...files.leftovers import Leftover, leftovers, sweep
from ...model_zoo.places import other_places
from ...records.serialization import to_json
from ..cache_contents import belongs_to
from ..output import say, show_json

LEFTOVER = "being written, or left by a process that was killed; removed after a day, or by: cache clear"
STATES = {
    "living": "being written",
    "ended": "left by a process that was killed; removed by: cache clear",
    "unknown": "of another computer or user",
}


def cache(options: argparse.Namespace) -> None:
    """``tuckerseg cache [list|clear|folder]``."""
    store = Cache()
    if options.action == "folder":
        say(str(store.folder))
        return
    if options.action == "clear":
        say(f"Freed {store.clear() / 1e6:.1f} MB in {store.folder}")
        freed = sum(map(sweep, other_places()))
        if freed:
            say(f"Freed {freed / 1e6:.1f} MB that ended processes left elsewhere")
        return
    entries, earlier = store.entries(), store.leftovers()
    unfinished = [*store.unfinished(), *(leftover for place in other_places() for leftover in leftovers(place))]
    if options.json:
        documents = [{**_as_json(entry), "belongs_to": belongs_to(entry), "leftover": False} for entry in entries]
        documents += [{**_as_json(entry), "belongs_to": LEFTOVER, "leftover": True} for entry in earlier]
        documents += [_leftover_as_json(leftover) for leftover in unfinished]
        show_json(documents)
        return
    for entry in (*entries, *earlier):
        owner = LEFTOVER if entry in earlier else belongs_to(entry)
        age = age_in_words(time.time() - entry.used_at)
        say(f"{entry.size_bytes / 1e6:9.1f} MB  {age:>7}  {entry.kind:12} {entry.key}  {owner}")
    total = sum(entry.size_bytes for entry in entries)
    say(f"{total / 1e6:9.1f} MB of {store.limit_bytes / 1e6:.0f} MB in {store.folder}")
    for leftover in unfinished:
        size, age = f"{leftover.size_bytes / 1e6:9.1f} MB", age_in_words(leftover.age_s)
        say(f"{size}  {age:>7}  {STATES[leftover.owner]}: {leftover.path}")


def age_in_words(seconds: float) -> str:
    """How long ago something was used, in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _leftover_as_json(leftover: Leftover) -> dict[str, Any]:
    facts = {
        "kind": "unfinished",
        "key": leftover.path.name,
        "path": str(leftover.path),
        "size_bytes": leftover.size_bytes,
    }
    return {**facts, "used_at": time.time() - leftover.age_s, "belongs_to": STATES[leftover.owner], "leftover": True}


def _as_json(entry: CacheEntry) -> dict[str, Any]:
    return {**to_json(entry), "path": str(entry.path)}
