"""What the panel does with events that are nonsense: a request ends in words, and nothing else happens."""

from __future__ import annotations

import json

import pytest


class SaysAnything:
    """Stands in for the process: takes requests, and says what it is told to."""

    def __init__(self):
        self.asked, self._says = [], b""

    def write(self, line):
        self.asked.append(json.loads(line))

    def readAllStandardOutput(self):
        said, self._says = self._says, b""
        return type("Bytes", (), {"data": lambda self: said})()

    def say(self, worker, *lines):
        self._says += b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        worker._read()


@pytest.fixture
def worker(slicer_app):
    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    logged = []
    worker = WorkerProcess("python", logged.append)
    worker._process = worker.process = SaysAnything()
    worker.logged = logged
    yield worker
    worker._process = None
    worker.stop()


def ask(worker, listener=None):
    """A request, and the events that it gets."""
    events = []
    number = worker.request("devices", lambda event: (events.append(event), listener and listener(event)))
    return number, events


def test_lines_that_are_no_events_are_logged_and_the_request_waits_on(worker):
    number, events = ask(worker)
    worker.process.say(worker, b"[" * 100_000 + b"\n", b'{"event": 3}\n', b"\xff\n", {"id": [], "event": "result"})
    assert events == [] and len(worker.logged) == 3
    worker.process.say(worker, {"id": number, "event": "result"})
    assert [event["event"] for event in events] == ["result"]


@pytest.mark.parametrize("event", [{"event": "row"}, {"event": "progress", "stage": 3}, {"event": "log", "message": 3}])
def test_an_event_without_its_fields_ends_the_request(worker, event):
    number, events = ask(worker)
    worker.process.say(worker, {"id": number, **event})
    assert [event["event"] for event in events] == ["error"]
    assert "cannot be used" in events[0]["message"]
    assert not worker.busy


def test_an_answer_that_a_listener_cannot_use_ends_the_request_and_the_others_get_theirs(worker):
    def use(event):
        if event["event"] != "error":
            event["statistics"]["seconds"]

    number, events = ask(worker, use)
    other, others = ask(worker)
    worker.process.say(worker, {"id": number, "event": "log", "message": "a"}, {"id": other, "event": "result"})
    assert [event["event"] for event in events] == ["log", "error"]
    assert "KeyError: 'statistics'" in events[1]["message"] and "Traceback" in events[1]["details"]
    assert worker.process.asked[-1] == {"id": 0, "request": "cancel", "target": number}
    assert [event["event"] for event in others] == ["result"]


def test_a_line_without_an_end_does_not_fill_the_memory(worker):
    from TuckerSegLib.records.protocol import MOST_LINE_BYTES

    number, events = ask(worker)
    for _ in range(5):
        worker.process.say(worker, b"a" * 2_000_000)
    assert len(worker._unread) <= MOST_LINE_BYTES + 1
    worker.process.say(worker, b"\n", {"id": number, "event": "result"})
    assert [event["event"] for event in events] == ["result"]
    assert "passed over" in worker.logged[-1]


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"model": 3}', "null", '{"version": "a"}'])
def test_a_record_of_a_scene_that_cannot_be_read_is_none(module, until, text):
    import slicer

    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import RECORD_ATTRIBUTE, statistics_of

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from elsewhere")
    node.SetAttribute(RECORD_ATTRIBUTE, text)
    assert statistics_of(node) is None
    module.panel.context.change(outputSegmentation=node)
    assert not module.panel.ui.saveResultsButton.enabled


def test_a_preview_in_which_nothing_is_found_shows_nothing_and_no_error(scripted, make_ct):
    from TuckerSegLib.slicer_bridge.client.preview import Preview, Wanted

    said = []
    preview = Preview(scripted.session, said.append)
    wanted = Wanted(make_ct((8, 8, 8)), scripted.context.choice.settings(), (0.0, 0.0, 0.0))
    preview._wanted = wanted
    preview._on_event(
        wanted,
        scripted.session.worker.folder / "x",
        {"event": "result", "labels": None, "label_names": {}, "seconds": 1.0},
    )
    assert said == ["1.0 s, 0 structures"]
    assert preview.node.GetSegmentation().GetNumberOfSegments() == 0
    preview.clear()


@pytest.mark.parametrize("last", ["cancelled", "dropped"])
def test_an_import_that_the_worker_gave_up_can_be_tried_again(scripted, monkeypatch, tmp_path, last):
    asked = []

    def request(kind, on_event, **fields):
        asked.append((kind, on_event))
        return len(asked)

    monkeypatch.setattr(scripted.session.worker, "request", request)
    scripted.context.change(model=str(tmp_path / "Dataset001_A"))
    scripted.ui.importButton.click()
    assert scripted.ui.importButton.text == "Cancel"
    (on_event,) = [on_event for kind, on_event in asked if kind == "import_model"]
    on_event({"event": last})
    assert scripted.ui.importButton.text == "Import" and "Nothing was imported" in scripted.ui.statusLabel.text
