"""Gives damaged inputs to the program and sees what it does: ``make fuzz``, or a short round among the tests.

Every answer must be a result or a ``TuckerSegError``: no other exception, no crash, no code of a file run, nothing
written outside the folder that was given, within 10 s of the processor and 600 MB. Results must keep their laws:
geometry finite, spacing positive, labels among the declared ones.

* ``make fuzz FUZZ_MINUTES=30`` plays all targets with new cases for so long. Findings are printed with their case
  and the seed of their round; the exit code is 1 where there are any. The examples that failed are kept in
  ``.hypothesis/`` and are tried first the next time.
* ``make fuzz TARGET=nifti SEED=17`` plays a round again.
* A case that is printed can be pasted into ``EXAMPLES`` of its target, so that every round tries it.
* A new target is one module in ``targets/`` and one line there, where it is told what it needs.

``guard.py`` watches what happens, ``damage.py`` does the damage, ``laws.py`` knows what holds of results,
``samples.py`` has what is damaged, ``rounds.py`` plays with Hypothesis. All of it is for a process of its own, which
this file starts, and starts again where an input kills it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LONG_EXAMPLES = 150  # of a round of a target
SECONDS_PER_INPUT = 10.0
WATCHDOG_S = 600  # a round of all targets that takes longer hangs
MOST_DEATHS = 20


def main() -> int:
    """Play; 0 where nothing was found."""
    options = _options()
    if options.child:
        return _child(options)
    with tempfile.TemporaryDirectory(prefix="tuckerseg-fuzz-") as folder:
        return _parent(options, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the long round plays")
    parser.add_argument("--short", action="store_true", help="the same few cases every time, as among the tests")
    parser.add_argument("--target", action="append", help="play this one only; may be repeated")
    parser.add_argument("--seed", type=int, help="play the round of this seed, once")
    parser.add_argument("--report", type=Path, help="file for the findings, as JSON")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _parent(options: argparse.Namespace, folder: Path) -> int:
    """Start the process that plays, again where it dies, until the time is over."""
    until = time.time() + 60 * options.minutes
    findings: dict[str, str] = {}
    for number in range(MOST_DEATHS):
        place = folder / str(number)
        place.mkdir()
        command = [sys.executable, str(HERE / "run.py"), *sys.argv[1:], "--child", str(place), "--until", str(until)]
        code = subprocess.run(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode
        report = place / "report.json"
        if report.exists():
            findings |= json.loads(report.read_text(encoding="utf-8"))["findings"]
        if code == 0:
            break
        last = place / "last_case"
        case = last.read_text(encoding="utf-8") if last.exists() else "before the first case"
        findings[f"death {number}"] = f"the process ended with {code}; its last case was\n{case}"
        print(f"FOUND {findings[f'death {number}']}", flush=True)
        if options.short or options.seed is not None or not last.exists():
            break
    if options.report:
        tried = json.loads(report.read_text(encoding="utf-8"))["tried"] if report.exists() else {}
        options.report.write_text(json.dumps({"findings": findings, "tried": tried}), encoding="utf-8")
    print(f"{len(findings)} findings{'.' if not findings else ':'}", *findings, sep="\n  ")
    return 1 if findings else 0


def _child(options: argparse.Namespace) -> int:
    """Play in this process."""
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from guard import Guard, limit_memory
    from rounds import Rounds
    from targets import NAMES

    faulthandler.enable()
    torch.set_num_threads(1)
    names = options.target or list(NAMES)
    guard = Guard(None if options.short else SECONDS_PER_INPUT)
    rounds = Rounds(options.child, guard, options.child / "last_case")
    faulthandler.dump_traceback_later(WATCHDOG_S, exit=True)
    for name in names:
        rounds.prepare(name)
    limit_memory()
    while True:
        for name in names:
            _play(rounds, name, options)
        if options.short or options.seed is not None or time.time() > options.until:
            return 0


def _play(rounds, name: str, options: argparse.Namespace) -> None:
    """One target's round, and what is known after it."""
    from targets import target

    if not options.short and options.seed is None and time.time() > options.until:
        return
    faulthandler.dump_traceback_later(WATCHDOG_S, exit=True)
    seed = None if options.short else options.seed if options.seed is not None else random.randrange(2**32)
    before, started = set(rounds.found[name].failures) if name in rounds.found else set(), time.time()
    rounds.play(name, target(name).SHORT if options.short else LONG_EXAMPLES, seed)
    found = rounds.found[name]
    took = time.time() - started
    print(f"{name}: seed {seed}, {found.examples} cases, {found.results} results, {took:.1f} s", flush=True)
    for where in set(found.failures) - before:
        print(f"FOUND {where}, seed {seed}\n{found.failures[where]}\n", flush=True)
    findings = {
        f"{each}: {where}": words for each, kept in rounds.found.items() for where, words in kept.failures.items()
    }
    tried = {each: [kept.examples, kept.results] for each, kept in rounds.found.items()}
    text = json.dumps({"findings": findings, "tried": tried})
    (options.child / "report.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
