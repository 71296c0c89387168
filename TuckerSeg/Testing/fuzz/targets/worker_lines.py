"""Lines that an application writes to the worker, read and answered as the worker does it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from damage import as_json, byte_edits, damaged, edited, edits_of
from hypothesis import strategies as st
from samples import SPACING_MM, Samples

SHORT = 15
UNDAMAGED = tuple((kind, (), (), ()) for kind in ("segment", "preview", "compare", "estimate", "describe_model"))
EXAMPLES: tuple = ()

PLACE = "@place@"
MOST_SAID = 100_000  # characters of an event about one line


def cases(samples: Samples) -> st.SearchStrategy:
    requests = _requests(samples)
    nothing = st.just(())

    def of_kind(kind: str) -> st.SearchStrategy:
        damage = st.one_of(
            st.tuples(edits_of(requests[kind]), nothing, nothing),
            st.tuples(nothing, byte_edits(), nothing),
            *([st.tuples(nothing, nothing, byte_edits())] if "volume" in requests[kind] else []),
        )
        return damage.map(lambda edits: (kind, *edits))

    return st.sampled_from(sorted(requests)).flatmap(of_kind)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    kind, edits, bytes_edits, volume_edits = case
    volume = folder / "volume.npy"
    np.save(volume, samples.voxels)
    volume.write_bytes(damaged(volume.read_bytes(), volume_edits))
    line = as_json(edited(_requests(samples)[kind], edits)).replace(PLACE, str(folder))
    first = damaged(line.encode("utf-8", "surrogatepass"), bytes_edits)
    alive = json.dumps({"id": 987654321, "request": "devices"}).encode()
    events = answer(_answered, first + b"\n" + alive + b"\n")
    require(any(event["id"] == 987654321 and event["event"] == "result" for event in events), "the next line is lost")
    for event in events:
        if event["event"] == "error":
            _require_known(event)
        require(len(json.dumps(event)) <= MOST_SAID, f"an event of {len(json.dumps(event))} characters")
    return next((event for event in events if event["event"] == "result" and event["id"] == 1), None)


def _require_known(event: dict[str, Any]) -> None:
    from TuckerSegLib import errors

    kind = getattr(errors, event["kind"], None)
    known = event["kind"] == "RequestError" or isinstance(kind, type) and issubclass(kind, errors.TuckerSegError)
    places = re.findall(r'TuckerSegLib/(\S+)", line (\d+)', event["details"]) or [("", "")]
    require(known, f"{event['kind']} at {':'.join(places[-1])}: {event['message']}\n{event['details']}")


def _answered(lines: bytes) -> list[dict[str, Any]]:
    """What the worker says to these lines; in this process, one request after the other."""
    from TuckerSegLib.records.protocol import event_line
    from TuckerSegLib.worker.handlers import Handlers
    from TuckerSegLib.worker.lanes import Lane
    from TuckerSegLib.worker.process import RequestServer

    events: list[dict[str, Any]] = []

    class Here(RequestServer):
        """Its streams and its end are this function's."""

        def __init__(self) -> None:
            self._input = io.BytesIO(lines)
            self._light, self._heavy = Lane(), Lane()
            self._handlers, self._broken = Handlers(), None

        def _tell(self, number: int | None, event: str, /, **fields: Any) -> None:
            events.append(json.loads(event_line(number, event, **fields)))

        def _end(self, code: int) -> None:
            require(code == 0, f"the worker ends with {code}")

    worker = Here()
    worker._read()
    for lane in (worker._light, worker._heavy):
        while not lane._queue.empty():
            work = lane.take()
            worker._do(work)
            lane.done(work)
    worker._handlers.close()
    return events


def _requests(samples: Samples) -> dict[str, dict[str, Any]]:
    from TuckerSegLib import InferenceSpec, Job
    from TuckerSegLib.records.protocol import VolumeFile
    from TuckerSegLib.records.serialization import to_json

    inference = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
    affine = tuple(map(tuple, np.diag([*SPACING_MM[::-1], 1.0]).tolist()))
    volume = to_json(VolumeFile(f"{PLACE}/volume.npy", samples.voxels.shape, affine, "volume", "key"))
    model = str(samples.model_folder)
    job = to_json(Job((), model=model, inference=inference))
    requests = {
        "describe_model": {"job": job},
        "devices": {},
        "estimate": {
            "job": job,
            "shape": list(samples.voxels.shape),
            "affine": affine,
            "measure": False,
        },
        "segment": {"job": job, "volume": volume, "labels": f"{PLACE}/labels.npy", "structures": None},
        "preview": {"job": job, "volume": volume, "labels": f"{PLACE}/labels.npy", "point": [20, 20, 20]},
        "compare": {
            "job": {**job, "calibrate": "none"},
            "volume": volume,
            "strengths": [0.5],
            "folder": PLACE,
            "box_mm": 30.0,
            "center": [20, 20, 20],
        },
        "import_model": {"path": model, "name": "mine"},
        "cancel": {"target": 5},
    }
    return {kind: json.loads(json.dumps({"id": 1, "request": kind, **fields})) for kind, fields in requests.items()}
