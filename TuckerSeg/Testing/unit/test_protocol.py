"""Lines between an application and the worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.unit.records_of_a_run import STATISTICS
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.records.comparison import ComparisonRow, StructureDice
from TuckerSegLib.records.estimate import Estimate
from TuckerSegLib.records.protocol import BoxFile, VolumeFile, event_line, parse_event, request_line
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.records.statistics import RunStatistics

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
AFFINE = ((-2.0, 0.0, 0.0, 30.0), (0.0, 2.5, 0.0, -40.0), (0.0, 0.0, 3.0, 5.0), (0.0, 0.0, 0.0, 1.0))


def over_the_line(record):
    """A record as the other side gets it."""
    return from_json(type(record), parse_event(event_line(7, "row", row=to_json(record)))["row"])


def test_records_come_over_as_they_went():
    volume = VolumeFile("/a/volume.npy", (3, 4, 5), AFFINE, "CT", "key")
    box = BoxFile("/a/labels.npy", (0, 1, 2), (3, 3, 3))
    estimate = Estimate(2, 1, 20, 10, 3, 60, 30, None, 1.5, 1000, 2000, None, "not measured", "cpu", "fp32", ("a",))
    row = ComparisonRow(0.5, 0.9, (StructureDice("liver", 0.8),), box, None, STATISTICS)
    for record in (volume, box, estimate, row):
        assert over_the_line(record) == record


def test_a_line_is_one_line_whatever_its_text():
    line = event_line(None, "log", message="two\nlines, Größe 3 µm")
    assert line.count("\n") == 1
    assert parse_event(line) == {"id": None, "event": "log", "message": "two\nlines, Größe 3 µm"}
    assert json.loads(request_line(4, "segment", structures=None)) == {
        "id": 4,
        "request": "segment",
        "structures": None,
    }


def test_fields_may_have_any_name():
    assert parse_event(event_line(1, "error", kind="ImageError", number=2))["kind"] == "ImageError"
    assert json.loads(request_line(1, "fly", kind="high"))["kind"] == "high"


def test_text_that_is_no_event_is_a_log_line_and_an_empty_line_nothing():
    for text in ("a warning of a library", '{"id": 1}', "[1]", '"event"', '{"event": 3}', "null"):
        assert parse_event(f"{text}\n") == {"id": None, "event": "log", "message": text}
    assert parse_event(" \n") is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"event":' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_text_that_would_end_a_reader_is_a_log_line_and_not_a_long_one(text):
    event = parse_event(text)
    assert (event["id"], event["event"]) == (None, "log")
    assert 0 < len(event["message"]) <= 2000


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "row"},
        {"event": "row", "row": []},
        {"event": "log"},
        {"event": "stage", "stage": 3},
        {"event": "progress", "stage": "network", "done": "1", "total": 2},
        {"event": "progress", "stage": "network", "done": 1, "total": float("nan")},
        {"event": "progress", "stage": "network", "done": 1, "total": 2, "fraction": float("inf")},
        {"event": "progress", "stage": "network", "done": 1, "total": 2, "remaining_s": "soon"},
    ],
)
def test_an_event_that_lacks_what_its_kind_has_ends_its_request_with_an_error(fields):
    event = parse_event(json.dumps({"id": 3, **fields}))
    assert (event["id"], event["event"]) == (3, "error")
    assert f"'{fields['event']}', which cannot be used" in event["message"]
    assert parse_event(json.dumps(fields))["event"] == "log"


def test_an_id_is_a_number_and_an_error_has_words():
    for number in ([], {}, "1", 1.5, True, None):
        assert parse_event(json.dumps({"id": number, "event": "ready", "pid": 1}))["id"] is None
    assert parse_event('{"id": 1, "event": "error", "message": 3, "advice": [], "details": {}}').keys() == {
        "id",
        "event",
        "message",
    }


def record(**changes):
    return {**to_json(STATISTICS), **changes}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "RunStatistics should be an object"),
        (None, "RunStatistics should be an object"),
        (record(version="2"), "RunStatistics.version should be a whole number"),
        (record(model=3), "RunStatistics.model should be text; found 3"),
        (record(model=None), "RunStatistics.model should be text; found None"),
        (record(mirroring=1), "mirroring should be true or false"),
        (record(patches=1.5), "patches should be a whole number"),
        (record(patches=True), "patches should be a whole number"),
        (record(step_fraction="0.5"), "step_fraction should be a number"),
        (record(seconds=[1]), "seconds should be an object"),
        (record(seconds={"load": "\x1b[2J"}), r"seconds should be a number; found '\\x1b\[2J'"),
        (record(structures=3), "structures should be a list"),
        (record(structures=[3]), "Structure should be an object"),
        (
            record(structures=[{"value": "3", "name": "a", "volume_ml": 1.0}]),
            "Structure.value should be a whole number",
        ),
        (record(structures=[{"value": 3}]), "Structure: incomplete record"),
        (record(volume_shape="abc"), "volume_shape should be a list"),
    ],
)
def test_a_record_whose_fields_are_of_other_types_is_none(document, words):
    with pytest.raises(ModelFileError, match=words):
        from_json(RunStatistics, document)


def test_a_list_of_another_length_is_none():
    with pytest.raises(ModelFileError, match="BoxFile.lower should be a list of 3; found"):
        from_json(BoxFile, {"path": "", "lower": [0, 0], "upper": [1, 1, 1]})


def test_a_run_fits_where_its_memory_is_free_or_nobody_knows():
    def estimate(peak, free):
        return Estimate(1, 1, 1, 1, 1, 1, 1, None, None, peak, free, None, "", "cpu", "fp32")

    assert estimate(1000, 1000).fits
    assert not estimate(1001, 1000).fits
    assert estimate(1000, None).fits


def test_the_seconds_of_a_row_are_those_of_the_work_on_the_volume():
    assert ComparisonRow(0.5, 0.9, (), None, None, STATISTICS).seconds == 2.75


def test_an_application_needs_nothing_but_the_standard_library():
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'nibabel', 'openvino', 'SimpleITK'): sys.modules[name] = None\n"
        "import TuckerSegLib.records.protocol\n"
        "from TuckerSegLib.worker import process\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
