"""Plays the worker, and the check of packages, in a process of its own without PyTorch, as the script of a test has it.

Usage: ``played_worker.py SCRIPT ...``, in place of Python. The script is read anew for each request; see
``moments.Play.script``.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

STAGES = ("read", "load", "calibrate", "compress", "prepare", "preprocess", "network", "finish")
COMPUTING = ("segment", "segment_file", "compare")
SCRIPT = Path(sys.argv[1])


def script():
    return json.loads(SCRIPT.read_text(encoding="utf-8"))


def say(number, event, **fields):
    print(json.dumps({"id": number, "event": event, **fields}), flush=True)


def note(words):
    """For the test: what has happened here."""
    with SCRIPT.with_name("notes").open("a", encoding="utf-8") as file:
        file.write(words + "\n")


def act(number, what):
    """What happens at the moment of the script; gives whether the request has ended."""
    note("reached")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        sys.exit("RuntimeError: something broke")
    if what == "hang":
        time.sleep(600)
    if what == "pause":
        while script()["what"] == "pause":
            time.sleep(0.01)
        return False
    if what == "wait":
        for line in sys.stdin:
            request = json.loads(line)
            if request["request"] == "cancel":
                note("cancelled")
            if request["request"] == "cancel" and request["target"] == number:
                say(number, "cancelled")
                return True
    for line in script()["lines"]:
        say(number, **line)
    return what == "end"


def play(request):
    number, kind = request["id"], request["request"]
    moment, what = script()["moment"], script()["what"]

    def at(here):
        return here == moment and act(number, what)

    if at("queued"):
        return
    for stage in STAGES:
        say(number, "stage", stage=stage)
        if stage == "network":
            say(number, "progress", stage=stage, done=3, total=10, fraction=0.3)
        if at(stage):
            return
    if kind == "compare":
        at("rows")
        return
    labels = Path(request["labels" if kind == "segment" else "output"])
    partial = labels.with_name(f"{labels.name}.part")
    partial.write_bytes(b"\x93NUMPY")
    if at("write"):
        partial.unlink()
        return
    shutil.copy(script()["labels"], partial)
    partial.replace(labels)
    if moment == "lost":
        labels.unlink()
    box = {"path": str(labels), "lower": script()["lower"], "upper": script()["upper"]}
    say(number, "result", statistics=script()["statistics"], labels=box)


def main():
    if "worker" not in sys.argv:  # a check of packages
        note("checking")
        time.sleep(600)
    if script()["moment"] == "start":
        act(None, script()["what"])
    say(None, "ready", pid=os.getpid(), protocol=1)
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] in COMPUTING:
            play(request)
        elif request["request"] == "list_images":
            say(request["id"], "result", images=script()["images"])
        elif request["request"] != "cancel":
            say(request["id"], "dropped")


main()
