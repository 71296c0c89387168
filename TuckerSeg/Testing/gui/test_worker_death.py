"""A worker that ends when nobody expects it: started anew where nothing was lost, told truly where something was."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")
PROGRAM = """
    #!{python}
    import json, os, shutil, sys, time
    folder = sys.argv[sys.argv.index("--workspace") + 1]

    def say(**event):
        print(json.dumps(event), flush=True)

    with open({starts!r}, "a") as file:
        file.write("x")
    say(id=None, event="ready", pid=os.getpid())
    for line in sys.stdin:
        request = json.loads(line)
        number, kind = request["id"], request.get("request") or request.get("kind")
        with open({asked!r}, "a") as file:
            file.write(line)
        if "begins" in line:
            say(id=number, event="log", message="begun")
            time.sleep(60)
        if "leaves" in line:
            shutil.rmtree(folder)
            sys.exit(0)
        if "deadly" in line:
            os.kill(os.getpid(), 9)
        if "starves" in line:
            sys.exit("MemoryError: 3 GB")
        if '"volume"' in line and not os.path.exists(request["volume"]["path"]):
            say(id=number, event="error", message="The volume's file is gone.", advice="", kind="ImageError")
        else:
            say(id=number, event="result")
"""


@pytest.fixture
def program(tmp_path):
    """A program that behaves as a worker, with what it was asked and how often it was started."""
    path, starts, asked = tmp_path / "worker", tmp_path / "starts", tmp_path / "asked"
    text = textwrap.dedent(PROGRAM).lstrip().format(python=sys.executable, starts=str(starts), asked=str(asked))
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    starts.touch(), asked.touch()
    return path, starts, asked


@pytest.fixture
def worker(slicer_app, program):
    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    worker = WorkerProcess(str(program[0]))
    yield worker
    worker.stop()


@pytest.fixture
def ask(worker, until):
    """A function that sends a request and gives its events, the last one included."""

    def send(kind="devices", wait=True, **fields):
        events = []
        worker.request(kind, events.append, **fields)
        if wait:
            until(lambda: events and events[-1]["event"] in ("result", "error", "cancelled"), 60)
        return events

    return send


def starts(program):
    return len(program[1].read_text())


def kill(worker):
    """Kill it, wait until it is dead, and let Qt not look meanwhile."""
    os.kill(worker.pid, signal.SIGKILL)
    stat = Path(f"/proc/{worker.pid}/stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        pass


def test_a_request_to_a_worker_that_was_killed_while_idle_is_answered_by_a_new_one(worker, ask, program):
    assert ask()[-1]["event"] == "result"
    kill(worker)
    assert [event["event"] for event in ask()] == ["result"]
    assert starts(program) == 2


def test_a_request_that_its_idle_worker_did_not_read_any_more_is_sent_again(worker, ask, program, until):
    ask()
    os.kill(worker.pid, signal.SIGSTOP)
    events = ask(wait=False)
    kill(worker)
    until(lambda: events, 60)
    assert [event["event"] for event in events] == ["result"]


def test_a_worker_that_leaves_by_itself_is_no_error(worker, ask, program):
    ask()
    events = ask(note="leaves")
    assert starts(program) == 2  # it leaves again, and is not asked a third time
    assert events[-1]["event"] == "error" and "exit code 0" in events[-1]["message"]
    assert ask()[-1]["event"] == "result"


def test_a_request_that_kills_every_worker_is_told_after_the_second(ask, program):
    ask()
    assert ask(note="deadly")[-1]["event"] == "error"
    assert starts(program) == 2


def test_a_request_that_was_begun_is_not_repeated(worker, ask, program, until):
    ask()
    events = ask(note="begins", wait=False)
    until(lambda: events, 60)
    kill(worker)
    until(lambda: events[-1]["event"] == "error", 60)
    assert starts(program) == 1
    assert "killed" in events[-1]["message"] and "memory" not in events[-1]["message"]


def test_a_request_that_was_cancelled_ends_as_cancelled_however_its_worker_ends(worker, ask, until):
    ask()
    os.kill(worker.pid, signal.SIGSTOP)
    events = []
    worker.cancel(worker.request("devices", events.append))
    kill(worker)
    until(lambda: events, 60)
    assert [event["event"] for event in events] == ["cancelled"]


@pytest.mark.parametrize(
    ("exit_code", "said", "kills", "is_memory"),
    [
        (9, (), 0, False),
        (9, (), 1, True),
        (137, ("all is well",), 0, False),
        (1, ("Traceback", "MemoryError: Unable to allocate"), 0, True),
        (1, ("terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"), 0, True),
        (1, ("ValueError: x",), 1, False),
        (11, (), 0, False),
    ],
)
def test_memory_is_said_only_where_it_was_memory(slicer_app, exit_code, said, kills, is_memory):
    from TuckerSegLib.slicer_bridge.client.worker_end import describe_end

    assert ("ran out of memory" in describe_end(exit_code, said, kills)["message"]) == is_memory


def test_the_memory_that_the_worker_itself_misses_is_said(ask):
    assert "ran out of memory" in ask(note="starves")[-1]["message"]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_volume_is_handed_over_though_the_worker_dies_meanwhile(worker, ask, until, make_ct, when):
    from TuckerSegLib.records.serialization import to_json
    from TuckerSegLib.slicer_bridge.client.volume_transfer import VolumeTransfer
    from TuckerSegLib.slicer_bridge.client.workspace import empty_workspace

    ask()
    events, killed = [], []

    def send(file):
        killed.append(when == "after" and not killed)
        if killed[-1]:
            os.kill(worker.pid, signal.SIGSTOP)
        worker.request("volume", events.append, on_lost=repeat, volume=to_json(file))
        if killed[-1]:
            kill(worker)
            empty_workspace(worker.folder)

    def repeat(event):
        assert transfer.repeat(), event

    def fail(error):
        events.append({"event": "error", "message": str(error)})

    transfer = VolumeTransfer(worker.folder, send, fail)
    if when == "before":
        kill(worker)
    transfer.start(make_ct())
    if when == "during":
        transfer._writer.write_for(0.0)
        kill(worker)
        worker._process.waitForFinished(1000)
    until(lambda: events, 60)
    assert [event["event"] for event in events] == ["result"], events


class StartsNever:
    """A process whose start fails within ``start()``, as Qt does on Windows; or of which nothing is heard at all."""

    FailedToStart = 0
    tells = True

    def __init__(self, parent=None):
        self._slots = {}

    def connect(self, signal, slot):
        self._slots[signal.partition("(")[0]] = slot

    def setProcessEnvironment(self, environment):
        """Of no meaning here."""

    def start(self, program, arguments):
        self._slots["errorOccurred"](self.error())

    def error(self):
        return self.FailedToStart

    def errorString(self):
        return "No such file"

    def deleteLater(self):
        """Qt's."""

    def blockSignals(self, block):
        """Qt's."""


@pytest.fixture
def starts_never(monkeypatch, slicer_app):
    import qt

    monkeypatch.setattr(qt, "QProcess", StartsNever)


def test_a_start_that_fails_at_once_is_told_and_can_be_cancelled(starts_never, program):
    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    worker, events = WorkerProcess(str(program[0])), []
    number = worker.request("devices", events.append)
    assert [event["event"] for event in events] == ["error"]
    assert "could not be started (No such file)" in events[0]["message"]
    worker.cancel(number)
    worker._give_up(number)
    worker._kill()
    worker.stop()
    assert len(events) == 1 and not worker.busy


def test_a_script_is_told_of_a_start_that_fails_at_once(starts_never, make_ct):
    from TuckerSegLib.errors import TuckerSegError
    from TuckerSegLib.slicer_bridge.client.segmentation_run import RunSettings
    from TuckerSegLib.slicer_bridge.client.session import Session

    session = Session("nowhere")
    with pytest.raises(TuckerSegError, match="could not be started"):
        session.segment(make_ct(), None, RunSettings())
    with pytest.raises(TuckerSegError, match="could not be started"):
        session.ask("devices")
    assert session.active is None
    session.close()


def test_a_check_of_the_packages_is_told_of_it_too(starts_never):
    from TuckerSegLib.slicer_bridge.installation.dependencies import check_dependencies

    assert "could not be started" in check_dependencies("nowhere").failure


def test_an_idle_worker_that_was_killed_is_noticed_while_a_run_is_handed_over(scripted, make_ct, program, until):
    from TuckerSegLib.slicer_bridge.client.session import Session
    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    worker = WorkerProcess(str(program[0]))
    session = Session()
    session._worker = worker
    assert session.ask("devices")["event"] == "result"
    kill(worker)
    events = []
    session.start(make_ct(), None, scripted.context.choice.settings(), events.append)
    until(lambda: starts(program) == 2 and "segment" in program[2].read_text(), 60)
    session.close()
    said = " ".join(event.get("message", "") for event in events)
    assert not any(word in said for word in ("memory", "killed", "ended"))
