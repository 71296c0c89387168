"""What the worker takes for a request, and what it says of everything else."""

from __future__ import annotations

import io
import json
import os

import pytest

from TuckerSegLib import Job
from TuckerSegLib.records.comparison import Variant
from TuckerSegLib.records.job import steps_at
from TuckerSegLib.records.protocol import MOST_LINE_BYTES, REQUESTS, request_line
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.worker.requests import (
    _FIELDS,
    RequestError,
    check_fields,
    job_of,
    lines_of,
    read_request,
    variants_of,
)

AFFINE = [[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]]
JOB = to_json(Job((), model="total", structures=("liver",), steps=steps_at(0.5), crop="auto"))
RUN = {"job": JOB, "volume": {}}
LABELS, FOLDER = os.path.abspath("labels.npy"), os.path.abspath("folder")
SOUND = {
    "describe_model": {"job": JOB},
    "devices": {},
    "estimate": {"job": JOB, "shape": [3, 4, 5], "affine": AFFINE},
    "segment": {**RUN, "labels": LABELS, "structures": ["liver"]},
    "preview": {**RUN, "labels": LABELS, "point": [1, 2.5, -3]},
    "compare": {**RUN, "strengths": [0.5], "folder": FOLDER, "box_mm": 120.0, "center": [0, 0, 0]},
    "import_model": {"path": "path", "name": "name"},
    "policies": {},
    "forget": {},
    "list_images": {"folder": FOLDER},
    "segment_file": {"job": JOB, "image": FOLDER, "output": os.path.abspath("labels.nii.gz")},
}
FORMER = {  # as applications of an earlier version say what a job says
    "describe_model": {"model": "demo", "folds": None},
    "estimate": {
        "model": "demo", "method": None, "compression": {}, "inference": {}, "shape": [3, 4, 5], "affine": AFFINE,
        "steps": [], "folds": ["0"], "calibrate": "auto", "crop": None, "structures": ["liver"],
    },
}  # fmt: skip


def test_every_kind_of_request_is_known():
    assert set(_FIELDS) == set(REQUESTS) == set(SOUND)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_sound_request_passes(kind):
    request = read_request(request_line(3, kind, **SOUND[kind]).encode())
    check_fields(request)
    assert (request["id"], request["request"]) == (3, kind)


@pytest.mark.parametrize("kind", ["describe_model", "estimate", "segment", "preview", "compare"])
def test_every_request_says_its_job_in_the_same_way(kind):
    request = {"id": 1, "request": kind, **SOUND[kind], "structures": None, "job": {**JOB, "output": "labels.nii.gz"}}
    assert job_of(request) == from_json(Job, JOB), "labels go where the request says"
    fields = {name: JOB[name] for name in ("model", "steps", "crop")}
    former = {**request, "job": None, **fields, "structures": ["liver"], "folds": []}
    check_fields(former)
    assert job_of(former) == from_json(Job, JOB)
    with pytest.raises(RequestError, match=f"{kind}: 'job' should be an object; found nothing"):
        check_fields({**request, "job": None})


def test_fields_of_a_job_beside_it_go_before_its_own():
    request = {"id": 1, "request": "segment", **SOUND["segment"], "structures": ["spleen"]}
    assert job_of(request).structures == ("spleen",)


FIELDS = [(kind, name, sound) for sound in (SOUND, FORMER) for kind in sound for name in sound[kind]]


@pytest.mark.parametrize(("kind", "name", "sound"), FIELDS)
def test_a_field_of_another_type_is_told_by_name(kind, name, sound):
    for wrong in (3.5, float("nan"), [[]], [float("inf")] * 3, ["a"] * 3, True, "a\0b", [10**400] * 3):
        request = {"id": 1, "request": kind, **sound[kind], name: wrong}
        if name == "box_mm" and wrong == 3.5:
            continue
        if name in ("structures", "folds") and wrong == ["a"] * 3:
            continue
        with pytest.raises(RequestError, match=f"{kind}: '{name}' should be .*; found"):
            check_fields(request)


@pytest.mark.parametrize(
    "rows",
    [
        [AFFINE[0], AFFINE[0], *AFFINE[2:]],
        [AFFINE[0], [0] * 4, *AFFINE[2:]],
        [[1e-300, 0, 0, 0], *AFFINE[1:]],
        [[1e9, 0, 0, 0], *AFFINE[1:]],
        [AFFINE[0], [each + 1e-9 for each in AFFINE[0]], *AFFINE[2:]],
    ],
)
def test_an_affine_whose_axes_span_no_volume_is_refused(rows):
    with pytest.raises(RequestError, match="'affine' should be .* span a volume"):
        check_fields({"id": 1, "request": "estimate", **SOUND["estimate"], "affine": rows})


def test_a_box_needs_its_center():
    with pytest.raises(RequestError, match="'center' should be .* where there is a 'box_mm'"):
        check_fields({"id": 1, "request": "compare", **SOUND["compare"], "center": None})


def test_a_comparison_of_an_earlier_application_is_understood():
    former = {"id": 1, "request": "compare", **SOUND["compare"], "rank_ratios": [0.25]}
    del former["strengths"]
    check_fields(former)
    assert variants_of(former) == [Variant(0.25)]
    with pytest.raises(RequestError, match="'rank_ratios' should be"):
        check_fields({**former, "rank_ratios": [2]})
    with pytest.raises(RequestError, match="'strengths' should be .*; found nothing"):
        check_fields({**former, "rank_ratios": None})


def test_a_missing_field_is_told_by_name():
    with pytest.raises(RequestError, match="segment: 'labels' should be the whole path of a .npy file; found nothing"):
        check_fields({"id": 1, "request": "segment", **RUN})


@pytest.mark.parametrize("name", ["", ".", "labels.npy", "labels", LABELS.replace(".npy", ".txt")])
def test_labels_are_written_where_the_application_said_or_not_at_all(name):
    with pytest.raises(RequestError, match="'labels' should be the whole path of a .npy file; found"):
        check_fields({"id": 1, "request": "segment", **RUN, "labels": name})


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_a_folder_is_the_same_wherever_the_worker_runs(name):
    with pytest.raises(RequestError, match="'folder' should be the whole path of a folder; found"):
        check_fields({"id": 1, "request": "compare", **SOUND["compare"], "folder": name})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[" * 100_000, "nested"),
        (b'{"request":' * 100_000, "nested"),
        (b"\xff\xfe", "UTF-8"),
        (b"{\n", "no JSON"),
        (b"3", "should be an object"),
        (b'{"request": ["segment"], "id": 1}', "should be an object with a 'request'"),
        (b'{"request": "segment", "id": []}', "'id' should be a whole number"),
        (b'{"request": "segment", "id": 1.5}', "'id' should be a whole number"),
        (b'{"request": "segment", "id": true}', "'id' should be a whole number"),
        (b'{"request": "cancel", "id": 1, "target": {}}', "'target' should be a whole number"),
        (b'{"request": "segment", "id": ' + b"9" * 5000 + b"}", "digits"),
        (b"\x1b[2J\n", r"\\x1b\[2J"),
        (b"a" * (MOST_LINE_BYTES + 1), "more than 4 MB and begins with aaa"),
    ],
)
def test_a_line_that_is_no_request_is_told_in_few_words(line, words):
    with pytest.raises(RequestError, match=words) as caught:
        read_request(line)
    assert len(str(caught.value)) < 500


def test_shutdown_needs_no_number():
    assert read_request(b'{"request": "shutdown"}')["request"] == "shutdown"


def test_of_a_line_without_an_end_only_the_beginning_is_kept():
    request = json.dumps({"request": "devices", "id": 1}).encode() + b"\n"
    long = b"a" * (3 * MOST_LINE_BYTES) + b"\n"
    lines = list(lines_of(io.BytesIO(request + long + request + b"b" * (MOST_LINE_BYTES + 1) + request)))
    assert [len(line) for line in lines] == [len(request), MOST_LINE_BYTES + 1, len(request), MOST_LINE_BYTES + 1]
    assert list(lines_of(io.BytesIO(b"a" * MOST_LINE_BYTES + b"\n" + request)))[1] == request
    assert list(lines_of(io.BytesIO(b"a" * (2 * MOST_LINE_BYTES + 2) + b"\n" + request)))[1] == request
