"""Lines of a client of a server: what is let through names no file, and is what the worker takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from damage import as_json, byte_edits, damaged, edited, edits_of
from hypothesis import strategies as st
from samples import SPACING_MM, Samples

SHORT = 40
KINDS = ("segment", "preview", "estimate", "describe_model", "devices")
UNDAMAGED = tuple((kind, (), ()) for kind in KINDS)
EXAMPLES: tuple = ()


def cases(samples: Samples) -> st.SearchStrategy:
    def of_kind(kind: str) -> st.SearchStrategy:
        nothing = st.just(())
        damage = st.one_of(st.tuples(edits_of(_request(kind, samples)), nothing), st.tuples(nothing, byte_edits()))
        return damage.map(lambda edits: (kind, *edits))

    return st.sampled_from(KINDS).flatmap(of_kind)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from TuckerSegLib.serving.checked_requests import checked, known_models
    from TuckerSegLib.serving.uploads import Upload
    from TuckerSegLib.worker.requests import RequestError, check_fields, read_request

    kind, edits, bytes_edits = case
    text = as_json(edited(_request(kind, samples), edits))
    line = damaged(text.encode("utf-8", "surrogatepass"), bytes_edits)
    try:
        known = answer(checked, read_request(line))
    except RequestError:
        return None
    if known is None:
        return None
    job = known.fields.get("job")
    if job is not None:
        require(job["model"] in known_models(), f"the model {job['model']}")
        require(not job["images"] and job["output"] is None and not job.get("outputs"), "a job with files")
    for field, value in known.fields.items():
        require(field not in ("labels", "folder", "path", "image", "output"), f"the field {field} of {value}")
    if known.volume is None:
        check_fields({"request": known.kind, **known.fields})
        return known
    if known.volume.size_bytes > 10**6:  # the room for it is another's affair
        return known
    upload = Upload(folder, known.volume)
    upload.add(bytes(known.volume.size_bytes))
    require(np.load(upload.file).shape == known.volume.shape, "the file has another shape than was declared")
    upload.remove()
    return known


def _request(kind: str, samples: Samples) -> dict[str, Any]:
    from TuckerSegLib import Job
    from TuckerSegLib.records.serialization import to_json
    from TuckerSegLib.serving.connection import declared

    affine = np.diag([*SPACING_MM[::-1], 1.0]).tolist()
    shape = list(samples.voxels.shape)
    volume, job = declared(samples.voxels, affine), to_json(Job((), model="demo"))
    fields = {
        "segment": {"job": job, "volume": volume},
        "preview": {"job": job, "volume": volume, "point": [20, 20, 20]},
        "estimate": {"job": job, "shape": shape, "affine": affine, "measure": False, "agreements": [0.9]},
        "describe_model": {"job": job},
        "devices": {},
    }[kind]
    return json.loads(json.dumps({"id": 1, "request": kind, **fields}))
