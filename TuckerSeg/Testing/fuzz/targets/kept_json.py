"""Files of JSON that the program keeps for itself, and that others may have written: they are used, or passed over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from damage import byte_edits, damaged, edits_of, json_bytes
from hypothesis import strategies as st
from samples import Samples

SHORT = 40
UNDAMAGED = tuple((name, (), ()) for name in ("measurements", "sources", "part", "note", "compiled"))
EXAMPLES: tuple = ()

BODY = b"compiled"
DOCUMENTS: dict[str, Any] = {
    "measurements": [
        ["patch", "setting", "1000", 0.5, 1.0],
        ["voxel", "setting", "", 0.5, 1.0],
        ["layer", "setting", "kernel.gmacs", 0.5, 1.0],
        ["agreement", "setting", "volume", 0.9, 1.0],
    ],
    "sources": {"@key@": {"sha256": "0" * 64, "files": ["a"], "at": 1.0}},
    "part": {"url": "https://example.org/a.zip", "validator": '"a"', "total": 100, "safe": 10},
    "note": {"title": "Mine: 2 structures", "source": "/a", "imported_at": "2026-01-01T00:00:00+0000"},
    "compiled": {"format": 1, "identity": {"a": "b"}, "size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()},
}


def cases(samples: Samples) -> st.SearchStrategy:
    nothing = st.just(())

    def of_name(name: str) -> st.SearchStrategy:
        damage = st.tuples(edits_of(DOCUMENTS[name]), nothing) | st.tuples(nothing, byte_edits())
        return damage.map(lambda edits: (name, *edits))

    return st.sampled_from(sorted(DOCUMENTS)).flatmap(of_name)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    name, edits, bytes_edits = case
    content = damaged(json_bytes(DOCUMENTS[name], edits), bytes_edits)
    return globals()[f"_check_{name}"](content, folder)


def _check_measurements(content: bytes, folder: Path) -> Any:
    from TuckerSegLib.cache import Cache
    from TuckerSegLib.measurements import FILE_NAME, Measurements

    cache = Cache(folder)
    cache.folder.mkdir()
    (cache.folder / FILE_NAME).write_bytes(content)
    kept = Measurements(cache)
    per_unit = kept.layer_seconds("setting").values()
    for seconds in (*kept.patch_seconds("setting").values(), kept.voxel_seconds("setting"), *per_unit):
        require(seconds is None or bool(np.isfinite(float(seconds))), f"took {seconds} s")
    kept.agreement("setting")
    kept.add_patch_seconds("other", 5, 0.25)
    require(kept.patch_seconds("other") == {5: 0.25}, "a new measurement is not kept")
    return kept


def _check_sources(content: bytes, folder: Path) -> Any:
    from TuckerSegLib.cache import Cache

    source = folder / "source"
    source.write_bytes(b"1")
    cache = Cache(folder)
    found = cache.sha256_of_files([source], lambda: "1" * 64)
    memo = next(cache.folder.glob("*.json"))
    key = next(iter(json.loads(memo.read_text())))
    memo.write_bytes(content.replace(b"@key@", key.encode()))
    found = cache.sha256_of_files([source], lambda: "1" * 64)
    require(isinstance(found, str), f"a sum {found!r}")
    return found


def _check_part(content: bytes, folder: Path) -> Any:
    from TuckerSegLib.download.part_file import PartFile

    target = folder / "a.zip"
    (folder / "a.zip.part").write_bytes(bytes(20))
    (folder / "a.zip.part.json").write_bytes(content)

    def use() -> PartFile:
        with PartFile(target, "https://example.org/a.zip") as part:
            require(0 <= part.size <= 20, f"{part.size} bytes are here")
            headers = part.range_headers()
            words = all(isinstance(value, str) and value.isprintable() for value in headers.values())
            require(words, f"asks with {headers}")
            part.write(b"more")
        return part

    return answer(use)


def _check_note(content: bytes, folder: Path) -> Any:
    from TuckerSegLib.model_zoo import imported_models, models_folder

    mine = models_folder() / "imported" / "mine"
    mine.mkdir(parents=True)
    (mine / "tuckerseg.json").write_bytes(content)
    found = imported_models()
    require([model.name for model in found] == ["mine"], f"imported models {found}")
    require(
        all(isinstance(words, str) for words in (found[0].title, found[0].source, found[0].imported_at)), f"{found}"
    )
    return found


def _check_compiled(content: bytes, folder: Path) -> Any:
    from TuckerSegLib.hardware.compiled_cache import entry_path, read_entry

    identity = DOCUMENTS["compiled"]["identity"]
    entry_path(folder, identity).write_bytes(content + b"\n" + BODY)
    found = read_entry(folder, identity, lambda message: None)
    require(found is None or found.tobytes() == BODY, "other bytes than the entry's")
    return found
