"""Does what no input may bring about, one act after the other, and sees that the guard finds each. In a process of its
own: ``python check_guard.py FOLDER``."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import torch  # noqa: E402
from answers import answer  # noqa: E402
from dangerous_names import CANARY  # noqa: E402
from guard import MOST_BYTES, Finding, Guard  # noqa: E402


def acts(outside: Path) -> dict[str, Callable[[], object]]:
    """By what each is."""
    return {
        "a command": lambda: os.system("true"),
        "a process": lambda: subprocess.run(["true"]),
        "a file outside": lambda: (outside / "file").write_text("x"),
        "a folder outside": lambda: (outside / "folder").mkdir(),
        "a file removed": lambda: (outside / "there").unlink(),
        "a file moved away": lambda: os.replace(outside / "there", "away"),
        "a tree removed": lambda: shutil.rmtree(outside),
        "a link": lambda: os.symlink(outside, outside / "link"),
        "a name on the web": lambda: socket.getaddrinfo(f"{CANARY}.invalid", 443),
        "a foreign connection": lambda: socket.socket().connect(("192.0.2.1", 9)),
        "code of a file": lambda: eval(f"{CANARY!r} and 1"),
        "a module of a file": lambda: __import__(CANARY),
        "a module that the input names": lambda: __import__("antigravity"),
        "a pickle's global": lambda: pickle.loads(b"cos\nsystem\n."),
        "an exit": lambda: sys.exit(0),
        "an exception of another kind": lambda: {}["missing"],
        "an endless loop": _loop,
        "much memory": lambda: bytearray(b"x") * (MOST_BYTES + 2**20),
        "another folder to work in": lambda: os.chdir("/"),
        "a variable of the environment": lambda: os.environ.update({CANARY: "1"}),
        "torch's threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        "a swallowed act": lambda: _swallowed(lambda: os.system("true")),
    }


def _loop() -> None:
    while True:
        pass


def _swallowed(act: Callable[[], object]) -> None:
    try:
        act()
    except BaseException:
        return


def main(folder: Path) -> int:
    """The number of acts that were not found."""
    guard, missed = Guard(seconds=0.5), []
    place, outside = folder / "place", folder / "outside"
    for name, act in acts(outside).items():
        outside.mkdir(exist_ok=True)
        place.mkdir(exist_ok=True)
        (outside / "there").write_text("x")
        try:
            with guard.watching(place, ("antigravity",)):
                answer(act)
            missed.append(name)
        except (Finding, KeyError):
            continue
    with guard.watching(place, ()):  # and what an input may
        answer(lambda: (place / "file").write_text("x"))
    if missed or not (outside / "there").exists():
        print(f"not found: {missed}")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
