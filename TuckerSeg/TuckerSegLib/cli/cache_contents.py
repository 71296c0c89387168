"""What the entries of the cache belong to, in words. Reads headers only; what is damaged is said to be so."""

from __future__ import annotations

from .. import tensor_file
from ..cache import CacheEntry, entry_name
from ..errors import ModelFileError
from ..hardware import compiled_cache
from ..models.description import describe
from ..models.model_file import read_model_facts
from ..printable import excerpt

DAMAGED = "damaged, or not what its name says"


def belongs_to(entry: CacheEntry) -> str:
    """The model that an entry was made of, on one printable line."""
    name = entry_name(entry.kind, entry.key)
    try:
        if entry.kind == "models":
            model = read_model_facts(entry.path, name)
            return excerpt(f"{model.name}, {describe(model)}")
        if entry.kind == "compiled":
            notes = [compiled_cache.note_of(path) for path in sorted(entry.path.glob("*.compiled"))]
            return excerpt(next((note or DAMAGED for note in notes), "nothing"))
        _, document = tensor_file.read_shapes(entry.path, name)
    except (ModelFileError, OSError, KeyError, TypeError, ValueError):
        return DAMAGED
    volumes = document.get("volumes")
    return excerpt(f"{document.get('of')}" + (f", on {len(volumes)} volumes" if isinstance(volumes, list) else ""))
